#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Close one side's SQLite databases and give the receipt."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_sqlite_close
short_description: Close one side's SQLite databases and give the receipt
description:
  - Promises the epoch durably, closes the databases, sees a write refused to their owner and to root, and records
    the receipt with a digest of all rows. The permit to be open ends with the promise.
  - Runs on the host of the databases.
options:
  epoch:
    description: The epoch of this decision, from the action bascule_epoch.
    type: str
    required: true
  other_guard:
    description: The guard of the side that was opened after this one was given up as lost; this side closes for good.
    type: dict
  dump:
    description: Whether the safety dump of this switch begins, which is taken and proved while nobody waits.
    type: bool
    default: false
extends_documentation_fragment:
  - bascule.side
  - bascule.sqlite
"""

EXAMPLES = r"""
- name: Close the databases we come from
  bascule_sqlite_close:
    component: ops_store
    side: "{{ bascule_from }}"
    sqlite: {databases: [/srv/ops/database.sqlite], units: [ops.service]}
    epoch: "{{ __example_epoch.epoch }}"
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
receipt:
  description: The receipt that the other side needs to open.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.guard.state import GuardState
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.sqlite.io import side as sqlite_side
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Close, prove, and return the receipt."""
    params = module.params
    side = sqlite_side.Side(params["component"], params["side"], params["sqlite"], check=module.check_mode)
    other = GuardState.from_dict(params["other_guard"]) if params["other_guard"] else None
    return side.close(params["epoch"], other, dump=params["dump"])


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "sqlite": {"type": "dict", "required": True, "options": sqlite_side.OPTIONS},
            "epoch": {"type": "str", "required": True},
            "other_guard": {"type": "dict"},
            "dump": {"type": "bool", "default": False},
        },
        main,
    )
