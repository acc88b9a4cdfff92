#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Close one side's MongoDB server and give the receipt."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mongodb_close
short_description: Close one side's MongoDB server and give the receipt
description:
  - Promises the epoch durably, shuts the port for everybody, gives the set a configuration in which nobody is elected,
    sees a write refused, and records the position in the receipt.
  - The attempt from outside is made by M(bascule_mongodb_open) from the other side.
  - Runs on the host of the server to close.
options:
  epoch:
    description: The epoch of this decision, from the action bascule_epoch.
    type: str
    required: true
  other_guard:
    description: The guard of the side that was opened after this one was given up as lost; this side closes for good.
    type: dict
extends_documentation_fragment:
  - bascule.side
  - bascule.mongodb
"""

EXAMPLES = r"""
- name: Close the server we come from
  bascule_mongodb_close:
    component: orders
    side: "{{ bascule_from }}"
    mongodb: "{{ __example_mongodb_from }}"
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
from ansible.module_utils.bascule.mongodb.io import side as mongodb_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Close, prove, and return the receipt."""
    params = module.params
    side = mongodb_side.Side(params["component"], params["side"], params["mongodb"], check=module.check_mode)
    other = GuardState.from_dict(params["other_guard"]) if params["other_guard"] else None
    return side.close(params["epoch"], other)


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mongodb": {"type": "dict", "required": True, "options": mongodb_side.OPTIONS},
            "epoch": {"type": "str", "required": True},
            "other_guard": {"type": "dict"},
        },
        main,
    )
