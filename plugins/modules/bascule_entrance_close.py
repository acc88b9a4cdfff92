#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Close one side's entrance and give the receipt."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_entrance_close
short_description: Close one side's entrance and give the receipt
description:
  - Promises the epoch durably, shows the maintenance page durably, waits until no request is in flight, sees the
    refusal from this host, and records the receipt. The permit to be open ends with the promise.
  - The attempt from outside is made by M(bascule_entrance_open) from the other side.
  - Where a person drives the entrance (V(manual)), the module fails until what it wants is seen; its action on the
    controller says what has to be done, and runs it again for as long as its C(manual_wait) says.
  - Runs on the host of the entrance to close.
options:
  epoch:
    description: The epoch of this decision, from the action bascule_epoch.
    type: str
    required: true
  drain_timeout:
    description: Seconds to wait for the requests in flight.
    type: float
    default: 20
  drain_cut:
    description: Cut the requests that are still in flight after that, instead of failing.
    type: bool
    default: false
  other_guard:
    description: The guard of the side that was opened after this one was given up as lost; this side closes for good.
    type: dict
extends_documentation_fragment:
  - bascule.side
  - bascule.entrance
"""

EXAMPLES = r"""
- name: Close the entrance we come from
  bascule_entrance_close:
    component: entrance
    side: "{{ bascule_from }}"
    epoch: "{{ __example_epoch.epoch }}"
    entrance: "{{ __example_entrances[bascule_from] }}"
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
from ansible.module_utils.bascule.guard.state import GuardState
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Close, prove, and return the receipt."""
    params = module.params
    side = entrance_side.Side(params["component"], params["side"], params["entrance"], check=module.check_mode)
    other = GuardState.from_dict(params["other_guard"]) if params["other_guard"] else None
    return side.close(params["epoch"], params["drain_timeout"], params["drain_cut"], other)


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "entrance": {"type": "dict", "required": True, "options": entrance_side.OPTIONS},
            "epoch": {"type": "str", "required": True},
            "drain_timeout": {"type": "float", "default": 20},
            "drain_cut": {"type": "bool", "default": False},
            "other_guard": {"type": "dict"},
        },
        main,
    )
