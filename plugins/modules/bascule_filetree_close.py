#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Close one side of a file tree and give its receipt."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_filetree_close
short_description: Close one side of a file tree and give its receipt
description:
  - Under the guard, ends what this side still sends, makes the file system read-only, proves it by a write that
    is refused, takes the manifest, and records the receipt. The same epoch again returns the stored receipt.
options:
  epoch:
    description: The epoch of this switch.
    type: str
    required: true
  other_guard:
    description: The guard of the side that was opened after this one was given up as lost; this side closes for good.
    type: dict
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Close the side we come from
  bascule_filetree_close:
    component: course_files
    side: files-mtp
    epoch: 3.9f2c44d1a0b7e655
  delegate_to: files-mtp
  become: true
  register: __example_close
"""

RETURN = r"""
receipt:
  description: This side's durable statement that it is closed, and the manifest it stands at.
  returned: when not in check mode
  type: dict
left:
  description: Whether something may have happened since the last transfer; then it has to be carried over before the
    other side opens.
  returned: when not in check mode
  type: bool
done:
  description: What was changed, or would be.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.bascule.filetree.io import transitions
from ansible.module_utils.bascule.guard.state import GuardState
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    component, side, epoch, given = (module.params[key] for key in ("component", "side", "epoch", "other_guard"))
    other = GuardState.from_dict(given) if given else None
    return transitions.close(component, side, epoch, other=other, check=module.check_mode)


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "epoch": {"type": "str", "required": True},
            "other_guard": {"type": "dict"},
        },
        main,
    )
