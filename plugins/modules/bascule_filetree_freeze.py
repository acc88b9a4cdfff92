#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Freeze or thaw the active side of a file tree."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_filetree_freeze
short_description: Freeze or thaw the active side of a file tree
description:
  - Frozen, the whole file system is read-only for everybody, proved by a write that is refused; who has files
    open for writing is named.
  - Only a side whose guard is open is frozen or thawed.
options:
  state:
    description: What the tree shall be.
    type: str
    choices: [frozen, thawed]
    required: true
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Freeze the tree
  bascule_filetree_freeze:
    component: course_files
    side: files-mtp
    state: frozen
  delegate_to: files-mtp
  become: true
"""

RETURN = r"""
done:
  description: What was changed, or would be.
  returned: always
  type: list
  elements: str
guard:
  description: What this side has promised.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.filetree.io import transitions
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    freeze = module.params["state"] == "frozen"
    done, guard = transitions.freeze(module.params["component"], module.params["side"], freeze, check=module.check_mode)
    return {"changed": bool(done), "done": done, "guard": guard.to_dict()}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "state": {"type": "str", "required": True, "choices": ["frozen", "thawed"]},
        },
        main,
    )
