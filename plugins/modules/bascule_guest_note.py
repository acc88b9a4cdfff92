#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep or read a small durable note of a component on a node."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_guest_note
short_description: Keep or read a small durable note of a component
description:
  - A note is a JSON file C(/var/lib/bascule/COMPONENT/note-NAME.json), replaced at once and durable before the module
    returns, by which a later run (of any controller) knows what an earlier one had begun.
options:
  name:
    description: Name of the note.
    type: str
    required: true
  data:
    description: What to keep; without it the note is only read.
    type: dict
  merge:
    description: Keep what the note held under other keys.
    type: bool
    default: false
  clears:
    description: Names of notes that this one makes void; they are emptied before it is kept.
    type: list
    elements: str
    default: []
  adds:
    description: What is added to other notes before this one is kept, by their names.
    type: dict
    default: {}
extends_documentation_fragment:
  - bascule.component
"""

EXAMPLES = r"""
- name: Note that a restore into a free number begins
  bascule_guest_note:
    component: courses_guest
    name: restore
    data:
      vmid: 100
  delegate_to: pve-tls
  become: true
"""

RETURN = r"""
note:
  description: What the note holds; empty when there is none.
  returned: always
  type: dict
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.bascule.plugin.module import COMPONENT, run_module
from ansible.module_utils.bascule.system.io import storage
from ansible.module_utils.bascule.system.rsync import directory
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Write when there is something new, and return the note."""
    folder = Path(directory(module.params["component"]))
    others: dict[Path, dict[str, Any]] = {_path(folder, name): {} for name in module.params["clears"]}
    for name, more in module.params["adds"].items():
        others[_path(folder, name)] = {**(storage.read_json(_path(folder, name)) or {}), **more}
    due = {other: wanted for other, wanted in others.items() if (storage.read_json(other) or {}) != wanted}
    if not module.check_mode:
        for other, wanted in due.items():
            storage.write_json(other, wanted)
    path = _path(folder, module.params["name"])
    before, data = storage.read_json(path) or {}, module.params["data"]
    if data is not None and module.params["merge"]:
        data = {**before, **data}
    if data is None or before == data:
        return {"changed": bool(due), "note": before}
    if not module.check_mode:
        storage.write_json(path, data)
    return {"changed": True, "note": data}


def _path(folder: Path, name: str) -> Path:
    return folder / f"note-{name}.json"


if __name__ == "__main__":
    run_module(
        {
            **COMPONENT,
            "name": {"type": "str", "required": True},
            "data": {"type": "dict"},
            "merge": {"type": "bool", "default": False},
            "clears": {"type": "list", "elements": "str", "default": []},
            "adds": {"type": "dict", "default": {}},
        },
        main,
    )
