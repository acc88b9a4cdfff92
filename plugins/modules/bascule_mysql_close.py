#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Close one side's MariaDB server and give the receipt."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mysql_close
short_description: Close one side's MariaDB server and give the receipt
description:
  - Promises the epoch durably, shuts port and socket for everybody, sees a write refused, and records the position in
    the receipt.
  - The attempt from outside is made by M(bascule_mysql_open) from the other side.
  - Runs on the host of the server to close.
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
  dump_timeout:
    description: Seconds in which the safety dump has to be proved; one that is still at work then is not proved.
    type: float
    default: 14400
extends_documentation_fragment:
  - bascule.side
  - bascule.mysql
"""

EXAMPLES = r"""
- name: Close the server we come from
  bascule_mysql_close:
    component: orders
    side: "{{ bascule_from }}"
    mysql: {peer: 192.0.2.2}
    epoch: "{{ __example_epoch.epoch }}"
  delegate_to: "{{ bascule_from }}"
  become: true
  register: __example_closed
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
from ansible.module_utils.bascule.mysql.io import side as mysql_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Close, prove, and return the receipt."""
    params = module.params
    side = mysql_side.Side(params["component"], params["side"], params["mysql"], check=module.check_mode)
    other = GuardState.from_dict(params["other_guard"]) if params["other_guard"] else None
    return side.close(params["epoch"], other, dump=params["dump"], dump_timeout=params["dump_timeout"])


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mysql": {"type": "dict", "required": True, "options": mysql_side.OPTIONS},
            "epoch": {"type": "str", "required": True},
            "other_guard": {"type": "dict"},
            "dump": {"type": "bool", "default": False},
            "dump_timeout": {"type": "float", "default": 14400},
        },
        main,
    )
