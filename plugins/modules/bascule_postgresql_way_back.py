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
from ansible.module_utils.bascule.postgresql.io.standby import way_back
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    if module.check_mode:
        return {"bytes": None, "end": "", "seconds": None}
    return way_back.attempt(module.params["component"], module.params["side"], module.params["wait"])


if __name__ == "__main__":
    run_module({**SIDE, "wait": {"type": "float", "default": 30.0}}, main)
