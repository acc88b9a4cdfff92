#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Wait at the primary until the other side has replayed everything."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_catchup
short_description: Wait at the primary until the other side has replayed everything
description:
  - Runs on the primary. Sees that the slot is there, and waits until the standby has replayed what was written before.
options:
  budget:
    description: Seconds that waiting may take at each step.
    type: float
    default: 30.0
  wait:
    description: Whether to wait. Otherwise only that is seen to which the other side needs to begin to follow, the
      slot, and the server of a side that died while it closed or opened; it lets no client in.
    type: bool
    default: true
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Wait until the standby has everything
  bascule_postgresql_catchup:
    component: accounts_db
    side: db-mtp
  delegate_to: db-mtp
  become: true
"""

RETURN = r"""
behind:
  description: Bytes that the standby still has to replay; null in check mode.
  returned: always
  type: int
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.postgresql.io.standby import follow
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    if module.check_mode:
        return {"changed": False, "behind": None}
    return follow.catch_up(params["component"], params["side"], budget=params["budget"], wait=params["wait"])


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "budget": {"type": "float", "default": 30.0},
            "wait": {"type": "bool", "default": True},
        },
        main,
    )
