#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Open one side of a database with the other side's receipt."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_open
short_description: Open one side of a database with the other side's receipt
description:
  - Checks the opening rule, promotes the standby, keeps the log for the way back, and lets clients in.
options:
  component:
    description: Name of the component.
    type: str
    required: true
  side:
    description: Inventory name of the host on which the module runs.
    type: str
    required: true
  epoch:
    description: The epoch of the switch.
    type: str
    required: true
  receipt:
    description: The other side's receipt.
    type: dict
    required: true
  budget:
    description: Seconds that waiting may take at each step.
    type: float
    default: 30.0
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Open the new side
  bascule_postgresql_open:
    component: accounts_db
    side: db-tls
    epoch: 1.3f2a
    receipt: "{{ __example_closed.receipt }}"
  delegate_to: db-tls
  become: true
"""

RETURN = r"""
guard:
  description: The guard afterwards.
  returned: when not in check mode
  type: dict
promoted:
  description: Whether a standby was promoted; a primary that never stopped needs no promotion.
  returned: when not in check mode
  type: bool
marks:
  description: Seconds from the start to each step.
  returned: when not in check mode
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.io import pg_switch
from ansible.module_utils.bascule.io.module import run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    if module.check_mode:
        return {"changed": True, "marks": {}}
    return pg_switch.open_side(
        params["component"], params["side"], params["epoch"], params["receipt"], budget=params["budget"]
    )


if __name__ == "__main__":
    run_module(
        {
            "component": {"type": "str", "required": True},
            "side": {"type": "str", "required": True},
            "epoch": {"type": "str", "required": True},
            "receipt": {"type": "dict", "required": True},
            "budget": {"type": "float", "default": 30.0},
        },
        main,
    )
