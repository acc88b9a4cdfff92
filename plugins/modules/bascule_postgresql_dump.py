#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One step of a move by dump and restore, at one side."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_dump
short_description: One step of a move by dump and restore
description:
  - V(take) and V(bring) are units, which the module starts or finds; it says how far they are after O(wait) seconds.
    The action of the same name calls it again until they have ended, and shows their progress.
options:
  step:
    description: >-
      V(promise) closes this side for O(epoch) and lets it stand; V(take) dumps it; V(bring) brings the other side's
      dump here, restores it and compares every row; V(give) gives the receipt, which names the dump; V(renounce) gives
      that of a side that was not open since the other one was; V(open) opens by the rule; V(back) takes V(promise)
      back.
    type: str
    choices: [promise, take, bring, give, renounce, open, back]
    required: true
  epoch:
    description: The epoch of the switch.
    type: str
    default: ""
  name:
    description: The dump's name, from V(promise), or that of a rehearsal.
    type: str
    default: ""
  manifest:
    description: SHA-256 of the dump's list of contents, from V(take).
    type: str
    default: ""
  refused:
    description: >-
      SHA-256 of the list of contents of a rehearsal that the other side has restored and refused; V(take) takes another
      one then. From the filter C(bascule_postgresql_refused).
    type: str
    default: ""
  position:
    description: Where the dumped side stood, from V(take).
    type: dict
    default: {}
  receipt:
    description: The other side's receipt.
    type: dict
    default: {}
  rate:
    description: Limit of the transfer, as pg_basebackup takes it.
    type: str
    default: ""
  budget:
    description: Seconds that a step of the server itself may take.
    type: float
    default: 30.0
  begin:
    description: Start the unit; else it is only followed.
    type: bool
    default: true
  wait:
    description: Seconds to wait for a unit.
    type: float
    default: 10.0
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Dump the closed side
  bascule_postgresql_dump:
    component: accounts_db
    side: db-mtp
    step: take
    name: "{{ __example_promised.name }}"
  delegate_to: db-mtp
  become: true
"""

RETURN = r"""
result:
  description: What a unit came to.
  returned: for V(take) and V(bring)
  type: dict
receipt:
  description: The receipt.
  returned: for V(give) and V(renounce)
  type: dict
name:
  description: The dump's name, which says where this side stands.
  returned: for V(promise)
  type: str
said:
  description: What state this side is in.
  returned: for V(back)
  type: str
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.postgresql.io.dump import job
from ansible.module_utils.bascule.postgresql.io.switchover import from_dump
from ansible.module_utils.basic import AnsibleModule

_UNITS = {"take": ("name", "refused"), "bring": ("name", "manifest", "rate")}


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the step says."""
    params = module.params
    step, place = params["step"], (params["component"], params["side"])
    if module.check_mode:
        return {"changed": True, "running": False}
    if step in _UNITS:
        key = {name: params[name] for name in _UNITS[step]}
        return job.follow(*place, step, key, begin=params["begin"], wait=params["wait"])
    epoch, budget = params["epoch"], params["budget"]
    if step == "promise":
        return from_dump.promise(*place, epoch, budget=budget)
    if step == "give":
        return from_dump.give(*place, epoch, manifest=params["manifest"], position=params["position"])
    if step == "renounce":
        return from_dump.renounce(*place, epoch, budget=budget)
    if step == "open":
        return from_dump.open_side(*place, epoch, params["receipt"], budget=budget)
    return from_dump.back(*place, epoch)


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "step": {
                "type": "str",
                "choices": ["promise", "take", "bring", "give", "renounce", "open", "back"],
                "required": True,
            },
            "epoch": {"type": "str", "default": ""},
            "name": {"type": "str", "default": ""},
            "manifest": {"type": "str", "default": ""},
            "refused": {"type": "str", "default": ""},
            "position": {"type": "dict", "default": {}},
            "receipt": {"type": "dict", "default": {}},
            "rate": {"type": "str", "default": ""},
            "budget": {"type": "float", "default": 30.0},
            "begin": {"type": "bool", "default": True},
            "wait": {"type": "float", "default": 10.0},
        },
        main,
    )
