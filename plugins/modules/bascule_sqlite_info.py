#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure one side's SQLite databases."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_sqlite_info
short_description: Measure one side's SQLite databases
description:
  - Reads where each database is, its header, owner, size and file system, who has it open, and the guard.
  - Changes nothing.
  - Runs on the host of the databases.
options:
  other:
    description: The RV(store) of the other side, by this module; whether one alone serves is judged by both.
    type: dict
    default: {}
  other_guard:
    description: The RV(guard) of the other side.
    type: dict
    default: {}
  other_side:
    description: Inventory name of the other side's host.
    type: str
    default: ""
extends_documentation_fragment:
  - bascule.side
  - bascule.sqlite
"""

EXAMPLES = r"""
- name: Measure the databases
  bascule_sqlite_info:
    component: ops_store
    side: "{{ bascule_from }}"
    sqlite: {databases: [/srv/ops/database.sqlite], units: [ops.service]}
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
store:
  description: What was measured; mode is open, closed, or between, which is neither.
  returned: always
  type: dict
faults:
  description: What keeps this side from being moved, empty when nothing does.
  returned: always
  type: list
  elements: str
service:
  description: Why it is not one side alone that serves, empty when it is; without O(other_guard) empty as well.
  returned: always
  type: list
  elements: str
interrupted:
  description: Whether a move was interrupted between its freeze and its thaw, so that nobody writes on purpose.
  returned: always
  type: bool
recipient:
  description: For whom this host can decrypt; empty before prepare has made its key.
  returned: always
  type: str
safety_dump:
  description: What is known of the dump of the switch that closed this side, C(state) first.
  returned: always
  type: dict
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
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.sqlite import decisions
from ansible.module_utils.bascule.sqlite.io import safety_dump
from ansible.module_utils.bascule.sqlite.io import side as sqlite_side
from ansible.module_utils.bascule.system.io import age_keys, process
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Measure, and judge by both sides."""
    params = module.params
    side = sqlite_side.Side(params["component"], params["side"], params["sqlite"], check=module.check_mode)
    measured, guard, other = side.measure(), side.guard(), params["other_guard"]
    guards, modes = {params["side"]: guard}, {params["side"]: measured["mode"]}
    if other:
        guards[params["other_side"]] = GuardState.from_dict(other)
        modes[params["other_side"]] = params["other"]["mode"]
    return {
        "store": measured,
        "faults": measured["faults"],
        "service": decisions.service_faults(guards, modes) if other else [],
        "interrupted": bool(other) and decisions.interrupted(guards, modes),
        "sampled_at": time.time(),
        "recipient": age_keys.own_recipient(),
        "safety_dump": safety_dump.state(params["component"], guard, process.run),
        "guard": guard.to_dict(),
    }


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "sqlite": {"type": "dict", "required": True, "options": sqlite_side.OPTIONS},
            "other": {"type": "dict", "default": {}},
            "other_guard": {"type": "dict", "default": {}},
            "other_side": {"type": "str", "default": ""},
        },
        main,
    )
