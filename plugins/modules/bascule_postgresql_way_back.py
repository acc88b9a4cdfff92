#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Try the way of a return while the source serves."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_way_back
short_description: Try the way of a return while the source serves
description:
  - Runs on the host of the side that serves. C(pg_receivewal) logs in at the other side's standby as this side will
    after a switch, takes its log into a directory beside the data, and that is compared with this side's own log.
  - Writes to no database, makes no slot and starts no server. The directory is removed, however it ends; nothing is
    begun where there is no room for eight segments of the log.
options:
  wait:
    description: For how many seconds the log is waited for.
    type: float
    default: 30.0
  clone_hours:
    description: For how many hours what a clone has shown (M(bascule_postgresql_clone)) holds.
    type: float
    default: 0.0
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Have the log of the standby come back
  bascule_postgresql_way_back:
    component: accounts_db
    side: db-mtp
  delegate_to: db-mtp
  become: true
"""

RETURN = r"""
clone:
  description: What the last trial with a clone came to, while that holds; null otherwise, and in check mode.
  returned: always
  type: dict
bytes:
  description: How much of the log came and is the same; null in check mode.
  returned: always
  type: int
end:
  description: Up to where it goes; empty in check mode.
  returned: always
  type: str
seconds:
  description: How long it took; null in check mode.
  returned: always
  type: float
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.postgresql.io.clone import trial
from ansible.module_utils.bascule.postgresql.io.cluster.cluster import load_spec
from ansible.module_utils.bascule.postgresql.io.standby import way_back
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    if module.check_mode:
        return {"bytes": None, "end": "", "seconds": None, "clone": None}
    component, side = module.params["component"], module.params["side"]
    found = way_back.attempt(component, side, module.params["wait"])
    return {**found, "clone": trial.known(load_spec(component, side), module.params["clone_hours"])}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "wait": {"type": "float", "default": 30.0},
            "clone_hours": {"type": "float", "default": 0.0},
        },
        main,
    )
