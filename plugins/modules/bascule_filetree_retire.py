#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Remove what the migration of a file tree left on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_filetree_retire
short_description: Remove what the migration of a file tree left on a host
description:
  - Removes the key, the other side's permission, the private mount and what transfers kept aside. The tree
    itself stays, in the state it is in; so does the guard.
options:
  active:
    description: Whether this is the side that stays. It has to be open then, and closed otherwise.
    type: bool
    required: true
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Remove what the migration left
  bascule_filetree_retire:
    component: course_files
    side: files-mtp
    active: false
  delegate_to: files-mtp
  become: true
"""

RETURN = r"""
done:
  description: What was removed, or would be.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.bascule.filetree.io import setup
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    component, side, active = (module.params[name] for name in ("component", "side", "active"))
    done = setup.retire(component, side, active=active, check=module.check_mode)
    return {"changed": bool(done), "done": done}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "active": {"type": "bool", "required": True},
        },
        main,
    )
