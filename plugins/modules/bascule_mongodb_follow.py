#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Have a closed side follow the other one."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mongodb_follow
short_description: Have a closed side follow the other one
description:
  - Waits until the server has filled itself when O(seed=true), shuts it to everybody, and waits for a position.
  - The server follows over connections of its own, to which the other side lets this host in.
  - Runs on the host of the closed side.
options:
  seed:
    description: Whether a side that is not filled yet is waited for.
    type: bool
    default: false
  wait_for:
    description: The position to wait for; empty waits for none.
    type: str
    default: ""
  exactly:
    description: Whether the other side stands still at O(wait_for); an operation here that it never had is refused.
    type: bool
    default: false
  timeout:
    description: Seconds for the filling, and for the position.
    type: float
    default: 3600
extends_documentation_fragment:
  - bascule.side
  - bascule.mongodb
"""

EXAMPLES = r"""
- name: Follow
  bascule_mongodb_follow:
    component: orders
    side: "{{ bascule_from }}"
    mongodb: "{{ __example_mongodb_from }}"
    seed: true
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
position:
  description: What this side has.
  returned: except in check mode
  type: str
"""

from typing import Any

from ansible.module_utils.bascule.mongodb.io import side as mongodb_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Follow, and wait."""
    params = module.params
    side = mongodb_side.Side(params["component"], params["side"], params["mongodb"], check=module.check_mode)
    result = side.follow(seed=params["seed"], timeout=params["timeout"])
    if params["wait_for"] and not module.check_mode:
        result.update(side.caught_up(params["wait_for"], params["timeout"], exactly=params["exactly"]))
    return result


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mongodb": {"type": "dict", "required": True, "options": mongodb_side.OPTIONS},
            "seed": {"type": "bool", "default": False},
            "wait_for": {"type": "str", "default": ""},
            "exactly": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 3600},
        },
        main,
    )
