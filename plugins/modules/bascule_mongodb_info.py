#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure one side's MongoDB server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mongodb_info
short_description: Measure one side's MongoDB server
description:
  - Reads version, options, members, databases, the position, and the guard. Changes nothing.
  - Runs on the host of the server.
options:
  other:
    description: The RV(server) that this module has returned at the other side; what must be equal and is not is
      named.
    type: dict
    default: {}
  other_guard:
    description: The RV(guard) of the other side; whether one alone serves is judged by both.
    type: dict
    default: {}
  other_side:
    description: Inventory name of the other side's host.
    type: str
    default: ""
extends_documentation_fragment:
  - bascule.side
  - bascule.mongodb
"""

EXAMPLES = r"""
- name: Measure the server
  bascule_mongodb_info:
    component: orders
    side: "{{ bascule_from }}"
    mongodb: "{{ __example_mongodb_from }}"
  delegate_to: "{{ bascule_from }}"
  become: true
  register: __example_info
"""

RETURN = r"""
server:
  description: What was measured; mode is open, closed, or between, which is neither.
  returned: always
  type: dict
faults:
  description: What keeps this side from being moved, empty when nothing does.
  returned: always
  type: list
  elements: str
differences:
  description: What must be equal at both sides and is not.
  returned: always
  type: list
  elements: str
service:
  description: Why it is not one side alone that serves, empty when it is; without O(other_guard) empty as well.
  returned: always
  type: list
  elements: str
interrupted:
  description: Whether a move was interrupted between its freeze and its thaw, so that nobody is let in on purpose.
  returned: always
  type: bool
lag:
  description: Seconds by which this side is behind the one that it follows; null when nobody can say.
  returned: always
  type: float
sampled_at:
  description: When it was measured, in seconds since 1970.
  returned: always
  type: float
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
"""

import time
from typing import Any

from ansible.module_utils.bascule.guard.state import GuardState
from ansible.module_utils.bascule.mongodb import decisions, refusals
from ansible.module_utils.bascule.mongodb.io import side as mongodb_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Measure, and compare with what the other side has said."""
    params = module.params
    side = mongodb_side.Side(params["component"], params["side"], params["mongodb"], check=module.check_mode)
    there, other = params["other"], params["other_guard"]
    measured = side.seen()
    guard = side.guard()
    guards, modes = {params["side"]: guard}, {params["side"]: measured["mode"]}
    if other:
        guards[params["other_side"]] = GuardState.from_dict(other)
        modes[params["other_side"]] = there["mode"]
    service = decisions.service_faults(guards, modes) if other else []
    return {
        "server": measured,
        "faults": refusals.side(measured, side.own, side.peer),
        "differences": refusals.pair(measured, there) if there else [],
        "service": service,
        "interrupted": bool(other) and decisions.interrupted(guards, modes),
        "lag": measured["lag"],
        "sampled_at": time.time(),
        "guard": guard.to_dict(),
    }


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mongodb": {"type": "dict", "required": True, "options": mongodb_side.OPTIONS},
            "other": {"type": "dict", "default": {}},
            "other_guard": {"type": "dict", "default": {}},
            "other_side": {"type": "str", "default": ""},
        },
        main,
    )
