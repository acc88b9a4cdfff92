#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure one side's MariaDB server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mysql_info
short_description: Measure one side's MariaDB server
description:
  - Reads variables, tables, what follows and is followed, events, the position, and the guard. Changes nothing.
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
  dumps:
    description: Whether each switch leaves a safety dump; what this host lacks for it is a fault then.
    type: bool
    default: false
extends_documentation_fragment:
  - bascule.side
  - bascule.mysql
"""

EXAMPLES = r"""
- name: Measure the server
  bascule_mysql_info:
    component: orders
    side: "{{ bascule_from }}"
    mysql: {peer: 192.0.2.2}
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
errant:
  description: Transactions of the closed one of two sides that the other one never had.
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
recipient:
  description: For whom this host can decrypt; empty before prepare has made its key.
  returned: always
  type: str
certificate:
  description: What the other side has to pin.
  returned: always
  type: str
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
"""

import time
from typing import Any

from ansible.module_utils.bascule.guard.state import GuardState
from ansible.module_utils.bascule.mysql import decisions, gtid, refusals
from ansible.module_utils.bascule.mysql.io import safety_dump
from ansible.module_utils.bascule.mysql.io import side as mysql_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.system.io import age_keys
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Measure, and compare with what the other side has said."""
    params = module.params
    side = mysql_side.Side(params["component"], params["side"], params["mysql"], check=module.check_mode)
    there, other = params["other"], params["other_guard"]
    measured = side.seen()
    guard = side.guard()
    guards, modes = {params["side"]: guard}, {params["side"]: measured["mode"]}
    running = {params["side"]: measured["variables"]["event_scheduler"] == "ON"}
    if other:
        guards[params["other_side"]] = GuardState.from_dict(other)
        modes[params["other_side"]] = there["mode"]
        running[params["other_side"]] = there["variables"]["event_scheduler"] == "ON"
    service = decisions.service_faults(guards, modes) + decisions.events_at_both(modes, running) if other else []
    # The closed one was measured first: it can have nothing that the open one did not have by then.
    follows = bool(there) and there["mode"] == decisions.CLOSED and measured["mode"] != decisions.CLOSED
    return {
        "server": measured,
        "faults": refusals.side(measured) + measured["broken"] + (safety_dump.missing() if params["dumps"] else []),
        "differences": refusals.pair(measured["variables"], there["variables"]) if there else [],
        "errant": [str(one) for one in gtid.errant(there["known"], measured["known"])] if follows else [],
        "service": service,
        "interrupted": bool(other) and decisions.interrupted(guards, modes),
        "lag": side.server.lag(),
        "sampled_at": time.time(),
        "certificate": side.certificate(),
        "recipient": age_keys.own_recipient(),
        "guard": guard.to_dict(),
    }


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mysql": {"type": "dict", "required": True, "options": mysql_side.OPTIONS},
            "other": {"type": "dict", "default": {}},
            "other_guard": {"type": "dict", "default": {}},
            "other_side": {"type": "str", "default": ""},
            "dumps": {"type": "bool", "default": False},
        },
        main,
    )
