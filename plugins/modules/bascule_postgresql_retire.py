#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Remove what a migration has left at a retired side of a database."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_retire
short_description: Remove what a migration has left at a retired side of a database
description:
  - Writes an encrypted last dump of the closed side, stops it, and removes kept states, slots and passwords.
  - At the open side it removes only what served replication.
options:
  active:
    description: Whether this is the side that stays.
    type: bool
    required: true
  recipient:
    description: The age recipient of the last dump; required at the retired side.
    type: str
    default: ""
  directory:
    description: Where the last dump is written.
    type: str
    default: /var/backups/bascule
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Retire the old side
  bascule_postgresql_retire:
    component: accounts_db
    side: db-mtp
    active: false
    recipient: age1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0sj7ekd
  delegate_to: db-mtp
  become: true
"""

RETURN = r"""
changes:
  description: What was removed, or would be.
  returned: always
  type: list
  elements: str
dump:
  description: Path and digest of the last dump.
  returned: at the retired side
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.postgresql.io.standby import retire
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    return retire.retire(
        params["component"],
        params["side"],
        active=params["active"],
        recipient=params["recipient"],
        directory=params["directory"],
        check=module.check_mode,
    )


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "active": {"type": "bool", "required": True},
            "recipient": {"type": "str", "default": ""},
            "directory": {"type": "str", "default": "/var/backups/bascule"},
        },
        main,
    )
