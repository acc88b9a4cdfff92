#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fence, freeze or thaw one side's MongoDB server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mongodb_mode
short_description: Fence, freeze or thaw one side's MongoDB server
description:
  - Shuts or opens the port, and has this member be elected or nobody, as far as the guard of this side allows, and proves it.
  - Runs on the host of the server.
options:
  state:
    description:
      - V(fenced) closes a side that its guard calls closed; one that is open stays as it is.
      - V(position) changes nothing; it says what a side that its guard calls open has.
      - V(frozen) cuts clients off if this side is active, and proves that a write that passed before is refused.
      - V(thawed) makes this member the primary and lets clients in; only a side with a live permit thaws.
    type: str
    choices: [fenced, position, frozen, thawed]
    required: true
extends_documentation_fragment:
  - bascule.side
  - bascule.mongodb
"""

EXAMPLES = r"""
- name: Send the clients away
  bascule_mongodb_mode:
    component: orders
    side: "{{ bascule_from }}"
    mongodb: "{{ __example_mongodb_from }}"
    state: frozen
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
active:
  description: Whether this side was the active one.
  returned: when O(state=frozen)
  type: bool
position:
  description: The last operation that this side has.
  returned: when O(state=position), or O(state=frozen) and this side was active, except in check mode
  type: str
closed:
  description: That a write was seen to pass and then to be refused.
  returned: when O(state=frozen) and this side was active, except in check mode
  type: bool
"""

from typing import Any

from ansible.module_utils.bascule.mongodb.io import side as mongodb_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    side = mongodb_side.Side(params["component"], params["side"], params["mongodb"], check=module.check_mode)
    if params["state"] == "fenced":
        return side.fenced()
    if params["state"] == "position":
        return {"guard": side.guard().to_dict(), "position": side.server.optime()}
    return side.freeze() if params["state"] == "frozen" else side.thaw()


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mongodb": {"type": "dict", "required": True, "options": mongodb_side.OPTIONS},
            "state": {"type": "str", "choices": ["fenced", "position", "frozen", "thawed"], "required": True},
        },
        main,
    )
