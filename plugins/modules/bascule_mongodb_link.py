#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read a side's guard; see whether its MongoDB server answers, and whether a closed one follows the other side."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mongodb_link
short_description: Read a side's guard, and see whether its MongoDB server follows the other one
description:
  - Reads the guard; for whoever asks where a run stands, also whether the server answers, and a closed one follows.
  - Changes nothing, and fails for no server that is away.
options:
  look:
    description: Whether the server is asked as well.
    type: bool
    default: false
extends_documentation_fragment:
  - bascule.side
  - bascule.mongodb
"""

EXAMPLES = r"""
- name: See whether the closed side follows
  bascule_mongodb_link:
    component: orders
    side: "{{ bascule_to }}"
    mongodb: {peer: 192.0.2.1}
    look: true
  delegate_to: "{{ bascule_to }}"
  become: true
  register: __example_link
"""

RETURN = r"""
guard:
  description: The side's guard.
  returned: always
  type: dict
missed:
  description: Why what is written at the other side does not come to this one, which is closed; empty where it does.
  returned: with O(look)
  type: str
carried:
  description: How it comes to this one; empty where it does not, or this side is open.
  returned: with O(look)
  type: str
unseen:
  description: Why this side, which is open, was not seen to serve; empty where it was.
  returned: with O(look)
  type: str
"""

from typing import Any

from ansible.module_utils.bascule.mongodb.io import side as mongodb_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Ask the server."""
    params = module.params
    side = mongodb_side.Side(params["component"], params["side"], params["mongodb"], check=module.check_mode)
    return {"changed": False, **(side.link() if params["look"] else {"guard": side.guard().to_dict()})}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mongodb": {"type": "dict", "required": True, "options": mongodb_side.OPTIONS},
            "look": {"type": "bool", "default": False},
        },
        main,
    )
