#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write a row at the open side of a database, or look for it at the other one."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_canary
short_description: Write a row at the open side of a database, or look for it at the other one
description:
  - Without O(mark) it runs on the open side's host. The cluster's owner writes one row into the table
    C(bascule.canary) of the database C(postgres), made where it is missing, and waits until the standby has
    replayed it.
  - With O(mark) it runs on the closed side's host and only looks.
  - C(bascule_postgresql_retire) takes the table away.
options:
  mark:
    description: What an earlier call has returned, to be looked for.
    type: str
    default: ""
  wait:
    description: For how many seconds the standby is waited for.
    type: float
    default: 60.0
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Write a canary
  bascule_postgresql_canary:
    component: accounts_db
    side: db-tls
  delegate_to: db-tls
  become: true
"""

RETURN = r"""
mark:
  description: By what it is known; empty in check mode.
  returned: always
  type: str
seconds:
  description: How long it took until the standby had replayed it; null where it had not in time, and with O(mark).
  returned: always
  type: float
seen:
  description: Whether it was read at this side; false without O(mark).
  returned: always
  type: bool
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.postgresql.io.standby import canary
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    component, side, mark, wait = (module.params[name] for name in ("component", "side", "mark", "wait"))
    if mark:
        return {"mark": mark, "seconds": None, "seen": canary.is_seen(component, side, mark)}
    if module.check_mode:
        return {"changed": True, "mark": "", "seconds": None, "seen": False}
    return {"changed": True, "seen": False, **canary.write(component, side, wait)}


if __name__ == "__main__":
    run_module({**SIDE, "mark": {"type": "str", "default": ""}, "wait": {"type": "float", "default": 60.0}}, main)
