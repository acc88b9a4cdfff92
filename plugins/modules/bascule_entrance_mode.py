#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Freeze, thaw or forward one side's entrance."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_entrance_mode
short_description: Freeze, thaw or forward one side's entrance
description:
  - Changes what users get at an entrance as far as the guard of this side allows, in the map file first and then in the
    running HAProxy, and reads both again.
  - Where a person drives the entrance (V(manual)), the module fails until what it wants is seen; its action on the
    controller says what has to be done, and runs it again for as long as its C(manual_wait) says.
  - Runs on the host of the entrance.
options:
  state:
    description:
      - V(prepared) gives the map file the entry that is in effect and leaves what the boot fence needs.
      - V(frozen) shows the maintenance page if this side is active, waits for the requests in flight, and proves it.
      - V(thawed) lets users in; only a side with a live permit thaws.
      - V(forwarding) hands users who still come here to the other side; a closed side forwards to an open one only.
      - V(closed) ends forwarding at a closed side.
    type: str
    choices: [prepared, frozen, thawed, forwarding, closed]
    required: true
  other_guard:
    description: The guard of the other side, as its host has just returned it.
    type: dict
  drain_timeout:
    description: Seconds to wait for the requests in flight.
    type: float
    default: 20
  drain_cut:
    description: Cut the requests that are still in flight after that, instead of failing.
    type: bool
    default: false
extends_documentation_fragment:
  - bascule.side
  - bascule.entrance
"""

EXAMPLES = r"""
- name: Show the maintenance page
  bascule_entrance_mode:
    component: entrance
    side: "{{ bascule_from }}"
    state: frozen
    entrance: "{{ __example_entrances[bascule_from] }}"
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
mode:
  description: What users get at this side now.
  returned: always
  type: str
active:
  description: Whether this side was the active one.
  returned: when O(state=frozen)
  type: bool
drained:
  description: How many requests were in flight, and how long they took to end.
  returned: when O(state=frozen) and this side was active
  type: dict
would_ask:
  description: What a person would be asked to do.
  returned: in check mode, where a person drives the entrance
  type: list
  elements: str
by_hand_seconds:
  description: How long it took with the person.
  returned: when a person was asked
  type: float
"""

from typing import Any

from ansible.module_utils.bascule.entrance.io import side as entrance_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    side = entrance_side.Side(params["component"], params["side"], params["entrance"], check=module.check_mode)
    if params["state"] == "prepared":
        changed = side.prepare()
        return {"changed": changed, "guard": side.guard().to_dict(), "mode": side.driver.mode()}
    if params["state"] == "frozen":
        return side.freeze(params["drain_timeout"], params["drain_cut"])
    if params["state"] == "thawed":
        return side.thaw()
    if params["state"] == "forwarding":
        return side.forward(params["other_guard"])
    return side.stop_forwarding()


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "entrance": {"type": "dict", "required": True, "options": entrance_side.OPTIONS},
            "state": {
                "type": "str",
                "choices": ["prepared", "frozen", "thawed", "forwarding", "closed"],
                "required": True,
            },
            "other_guard": {"type": "dict"},
            "drain_timeout": {"type": "float", "default": 20},
            "drain_cut": {"type": "bool", "default": False},
        },
        main,
        required_if=[("state", "forwarding", ["other_guard"])],
    )
