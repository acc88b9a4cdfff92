#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Have a closed side follow the other one."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mysql_follow
short_description: Have a closed side follow the other one
description:
  - Fills an empty side by a dump over TLS when O(seed=true), follows from the position of what it has, and waits for
    a position.
  - Runs on the host of the closed side.
options:
  seed:
    description: Whether a side that was never filled is filled; one with databases of somebody is refused.
    type: bool
    default: false
  wait_for:
    description: The position to wait for; empty waits for none.
    type: str
    default: ""
  known:
    description: What the frozen other side knows of; a transaction here that it never had is refused. Empty while it
      serves.
    type: str
    default: ""
  timeout:
    description: Seconds for the dump, and for the position.
    type: float
    default: 3600
extends_documentation_fragment:
  - bascule.side
  - bascule.mysql
"""

EXAMPLES = r"""
- name: Follow
  bascule_mysql_follow:
    component: orders
    side: "{{ bascule_from }}"
    mysql: {peer: 192.0.2.2}
    seed: true
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
position:
  description: What this side has applied.
  returned: except in check mode
  type: str
"""

from typing import Any

from ansible.module_utils.bascule.mysql.io import side as mysql_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Follow, and wait."""
    params = module.params
    side = mysql_side.Side(params["component"], params["side"], params["mysql"], check=module.check_mode)
    result = side.follow(seed=params["seed"], timeout=params["timeout"])
    if params["wait_for"] and not module.check_mode:
        result.update(side.caught_up(params["wait_for"], params["known"], params["timeout"]))
    return result


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mysql": {"type": "dict", "required": True, "options": mysql_side.OPTIONS},
            "seed": {"type": "bool", "default": False},
            "wait_for": {"type": "str", "default": ""},
            "known": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 3600},
        },
        main,
    )
