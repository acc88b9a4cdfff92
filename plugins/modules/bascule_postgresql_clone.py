#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Try the way back with a promoted clone of the standby."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_clone
short_description: Try the way back with a promoted clone of the standby
description:
  - V(lead) runs at the side that is closed. It copies the standby beside its data and starts the copy in a unit of its
    own, with a port, a socket and settings of its own, as a standby of nobody. Only the other side's standby comes in.
  - V(follow) runs at the side that serves. A unit takes a base backup of that clone and follows it, by address, TLS,
    account, password and rule of a return. Then the clone is promoted and writes a row, which has to come.
  - V(end) ends and removes on either side what was begun, also by an earlier run that was interrupted.
  - The units end by themselves after O(timeout), and as soon as a move begins, and remove what they have made. The real
    servers, their slots, their files and the fence are not touched.
options:
  part:
    description: What this side does.
    type: str
    choices: [lead, follow, end]
    required: true
  port:
    description: Port of the clone; 0 for the one 20000 beyond the database's.
    type: int
    default: 0
  limit:
    description: Size of the data above which nothing is tried, as PostgreSQL writes sizes; 0 for never.
    type: str
    default: 4GB
  size:
    description: Bytes of the clone's data, as V(lead) has returned them.
    type: int
    default: 0
  mark:
    description: Text of the row, as V(lead) has returned it.
    type: str
    default: ""
  rate:
    description: Limit of the base backup, as pg_basebackup takes it; empty for none.
    type: str
    default: ""
  timeout:
    description: Seconds until a unit ends, whatever happens.
    type: float
    default: 600.0
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Have a clone of the standby stand ready
  bascule_postgresql_clone:
    component: accounts_db
    side: db-mtp
    part: lead
  delegate_to: db-mtp
  become: true
  register: example_clone

- name: Follow it from the side that serves
  bascule_postgresql_clone:
    component: accounts_db
    side: db-tls
    part: follow
    port: "{{ example_clone.port }}"
    size: "{{ example_clone.bytes }}"
    mark: "{{ example_clone.mark }}"
  delegate_to: db-tls
  become: true
"""

RETURN = r"""
tried:
  description: Whether it was tried; false in check mode.
  returned: lead and follow
  type: bool
reason:
  description: Why it was not.
  returned: when it was not tried
  type: str
port:
  description: Port of the clone.
  returned: lead, when it is ready
  type: int
bytes:
  description: Bytes of its data.
  returned: when it was tried
  type: int
at:
  description: When the row had come.
  returned: follow, when it has come
  type: str
mark:
  description: Text of the row it will write.
  returned: lead, when it is ready
  type: str
timeline:
  description: The timeline on which the row came.
  returned: follow, when it has come
  type: int
copied:
  description: Seconds of the base backup.
  returned: follow, when it has come
  type: float
streamed:
  description: Seconds from the end of the base backup until the row was there.
  returned: follow, when it has come
  type: float
said:
  description: Why the unit of this side has failed; empty when it has not.
  returned: end
  type: str
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.postgresql.io.clone import trial
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    component, side = params["component"], params["side"]
    given = {name: params[name] for name in ("port", "limit", "timeout")}
    if module.check_mode:
        return {"said": ""} if params["part"] == "end" else {"tried": False, "reason": "check mode"}
    if params["part"] == "lead":
        return trial.lead(component, side, **given)
    if params["part"] == "follow":
        more = {name: params[name] for name in ("size", "mark", "rate")}
        return trial.follow(component, side, **given, **more)
    return trial.end(component, side)


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "part": {"type": "str", "choices": ["lead", "follow", "end"], "required": True},
            "port": {"type": "int", "default": 0},
            "limit": {"type": "str", "default": "4GB"},
            "size": {"type": "int", "default": 0},
            "mark": {"type": "str", "default": ""},
            "rate": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 600.0},
        },
        main,
    )
