#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prepare, fence, freeze or thaw one side's SQLite databases."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_sqlite_mode
short_description: Prepare, fence, freeze or thaw one side's SQLite databases
description:
  - Closes or opens the databases, and stops or starts their application, as far as the guard of this side allows.
  - Runs on the host of the databases.
options:
  state:
    description:
      - V(prepared) leaves what the boot fence needs, and tries that this file system can close a database.
      - V(fenced) closes a side that its guard calls closed; one that is open stays as it is.
      - V(frozen) closes the databases of the active side, and proves that a write that passed before is refused.
      - V(thawed) opens them and starts the application; only a side with a live permit thaws.
    type: str
    choices: [prepared, fenced, frozen, thawed]
    required: true
  written:
    description: With V(frozen), refuse to begin where a write does not pass; a way back does not depend on it.
    type: bool
    default: true
extends_documentation_fragment:
  - bascule.side
  - bascule.sqlite
"""

EXAMPLES = r"""
- name: Close the databases
  bascule_sqlite_mode:
    component: ops_store
    side: "{{ bascule_from }}"
    sqlite: {databases: [/srv/ops/database.sqlite], units: [ops.service]}
    state: frozen
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
active:
  description: Whether this side was the active one.
  returned: when O(state=frozen)
  type: bool
before:
  description: What came of a write by each file's owner before it was closed, by path.
  returned: when O(state=frozen) and this side was active, except in check mode
  type: dict
refused:
  description: What came of the same write afterwards, by path.
  returned: when O(state=frozen) and this side was active, except in check mode
  type: dict
closed:
  description: That the databases are closed, and were seen to refuse.
  returned: when O(state=frozen) and this side was active, except in check mode
  type: bool
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.sqlite.io import side as sqlite_side
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    side = sqlite_side.Side(params["component"], params["side"], params["sqlite"], check=module.check_mode)
    if params["state"] == "prepared":
        return {"changed": side.prepare(), "guard": side.guard().to_dict()}
    if params["state"] == "fenced":
        return side.fenced()
    return side.freeze(params["written"]) if params["state"] == "frozen" else side.thaw()


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "sqlite": {"type": "dict", "required": True, "options": sqlite_side.OPTIONS},
            "state": {"type": "str", "choices": ["prepared", "fenced", "frozen", "thawed"], "required": True},
            "written": {"type": "bool", "default": True},
        },
        main,
    )
