#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a closed side of a database follow the other."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_follow
short_description: Make a closed side of a database follow the other
description:
  - Starts a unit that keeps the state at the fence aside and then follows; returns at once, or waits with O(wait).
options:
  wait:
    description: Seconds to wait until it follows.
    type: float
    default: 0.0
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Follow the new primary
  bascule_postgresql_follow:
    component: accounts_db
    side: db-mtp
  delegate_to: db-mtp
  become: true
"""

RETURN = r"""
state:
  description: started, running, or streaming.
  returned: always
  type: str
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.postgresql.io.standby import follow
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    return follow.start_follow(params["component"], params["side"], wait=params["wait"], check=module.check_mode)


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "wait": {"type": "float", "default": 0.0},
        },
        main,
    )
