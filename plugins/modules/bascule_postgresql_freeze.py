#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep clients out of the open side of a database, or let them in again."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_freeze
short_description: Keep clients out of the open side of a database, or let them in again
description:
  - V(frozen) rejects every client in pg_hba.conf, ends their sessions, and proves the refusal on the host itself.
  - V(thawed) lets them in again. A side whose guard is not open is left as it is, and nobody is let in there.
options:
  state:
    description: What the side shall be.
    type: str
    choices: [frozen, thawed]
    required: true
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Keep clients out
  bascule_postgresql_freeze:
    component: accounts_db
    side: db-mtp
    state: frozen
  delegate_to: db-mtp
  become: true
"""

RETURN = r"""
guard:
  description: The guard afterwards.
  returned: always
  type: dict
ended:
  description: How many sessions were ended.
  returned: when frozen and not in check mode
  type: int
proof:
  description: The server's answer to a client that tried to come in.
  returned: when frozen and not in check mode
  type: str
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.postgresql.io.switchover import freeze
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    act = freeze.freeze if module.params["state"] == "frozen" else freeze.thaw_if_open
    return act(module.params["component"], module.params["side"], check=module.check_mode)


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "state": {"type": "str", "choices": ["frozen", "thawed"], "required": True},
        },
        main,
    )
