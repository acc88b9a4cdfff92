#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep the disks of a closed guest aside before they are overwritten."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_guest_disk_keep
short_description: Keep the disks of a closed guest aside
description:
  - Copies each disk next to itself (sharing blocks where the file system can, sparse) once for the receipt the guest
    was closed with, so that its state at the fence outlives a return.
options:
  disks:
    description: Paths of the disks.
    type: list
    elements: str
    required: true
  mark:
    description: What the copy stands for, the epoch of the receipt. Needed to keep.
    type: str
  state:
    description: V(kept) makes the copies, V(absent) removes them.
    type: str
    choices: [kept, absent]
    default: kept
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Keep the disk as it was at the fence
  bascule_guest_disk_keep:
    disks: [/var/lib/vz/images/100/vm-100-disk-0.raw]
    mark: "3.9f2c44d1a0b7e655"
  delegate_to: pve-mtp
  become: true
"""

RETURN = r"""
kept:
  description: The copies.
  returned: with state V(kept)
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.bascule.guest.io import disks
from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Keep, or remove."""
    paths = module.params["disks"]
    if module.check_mode:
        return {"changed": True, "kept": [disks.kept_path(path) for path in paths]}
    if module.params["state"] == "absent":
        return {"changed": any(disks.drop_kept(path) for path in paths), "kept": []}
    changed = [disks.keep_aside(path, module.params["mark"]) for path in paths]
    return {"changed": any(changed), "kept": [disks.kept_path(path) for path in paths]}


if __name__ == "__main__":
    run_module(
        {
            "disks": {"type": "list", "elements": "str", "required": True},
            "mark": {"type": "str"},
            "state": {"type": "str", "choices": ["kept", "absent"], "default": "kept"},
        },
        main,
        required_if=[("state", "kept", ["mark"])],
    )
