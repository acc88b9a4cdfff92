#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Close one side of a database and give its receipt."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_close
short_description: Close one side of a database and give its receipt
description:
  - Stops a primary cleanly once its standby has everything, fences it, proves the refusal and reads the final position.
  - A standby is held to being one.
  - A failure before the stop leaves the primary running.
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
  budget:
    description: Seconds that waiting may take at each step.
    type: float
    default: 30.0
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Close the old side
  bascule_postgresql_close:
    component: accounts_db
    side: db-mtp
    epoch: 1.3f2a
  delegate_to: db-mtp
  become: true
"""

RETURN = r"""
receipt:
  description: The side's durable statement that it is closed, with its final position.
  returned: when not in check mode
  type: dict
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
        return {"changed": True, "receipt": {}, "marks": {}}
    return pg_switch.close(params["component"], params["side"], params["epoch"], budget=params["budget"])


if __name__ == "__main__":
    run_module(
        {
            "component": {"type": "str", "required": True},
            "side": {"type": "str", "required": True},
            "epoch": {"type": "str", "required": True},
            "budget": {"type": "float", "default": 30.0},
        },
        main,
    )
