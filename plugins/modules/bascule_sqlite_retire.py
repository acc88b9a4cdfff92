#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Remove the copies that moves of SQLite databases have left on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_sqlite_retire
short_description: Remove the copies that moves of SQLite databases have left on a host
description:
  - Removes what was laid out for the other side, what has arrived and was not taken, and what was kept of a closing.
    The databases themselves stay as they are, and so does the guard.
  - What the closed side had when it closed is removed only where the encrypted dump of that switch is proved.
  - Runs on the host of the databases.
options:
  active:
    description: Whether this is the side that stays. It has to be open then, and closed otherwise.
    type: bool
    required: true
extends_documentation_fragment:
  - bascule.side
  - bascule.sqlite
"""

EXAMPLES = r"""
- name: Remove the copies at the old side
  bascule_sqlite_retire:
    component: ops_store
    side: "{{ bascule_from }}"
    sqlite: {databases: [/srv/ops/database.sqlite], units: [ops.service]}
    active: false
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
done:
  description: What was removed, or would be.
  returned: always
  type: list
  elements: str
left:
  description: What stays, because no encrypted copy of it is proved.
  returned: always
  type: list
  elements: str
guard:
  description: The guard, which stays as it is.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.sqlite.io import side as sqlite_side
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Remove, or say what would be."""
    params = module.params
    side = sqlite_side.Side(params["component"], params["side"], params["sqlite"], check=module.check_mode)
    return side.retire(active=params["active"])


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "sqlite": {"type": "dict", "required": True, "options": sqlite_side.OPTIONS},
            "active": {"type": "bool", "required": True},
        },
        main,
    )
