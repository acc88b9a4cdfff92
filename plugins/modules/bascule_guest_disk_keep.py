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
  - A disk of which such a copy would not outlive the disk (a block device, Ceph, btrfs) is left alone and named; an
    archive of it is made before anything writes to it or removes it, by M(bascule_guest).
options:
  disks:
    description: The disks, each with its C(path) and its C(volid), as the API states them.
    type: list
    elements: dict
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
    disks:
      - path: /var/lib/vz/images/100/vm-100-disk-0.raw
        volid: local:100/vm-100-disk-0.raw
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
not_copied:
  description: Volumes of which no copy is made.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.bascule.guest import disk_kinds
from ansible.module_utils.bascule.guest.io import disks
from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Keep, or remove."""
    copied, others = [], []
    for disk in module.params["disks"]:
        if disk_kinds.is_kept_as_copy(disk["volid"], disk["path"]):
            copied.append(disk["path"])
        else:
            others.append(disk["volid"])
    said = {"kept": [disks.kept_path(path) for path in copied], "not_copied": others}
    if module.check_mode:
        return {**said, "changed": bool(copied)}
    if module.params["state"] == "absent":
        dropped = [disks.drop_kept(path) for path in copied]
        return {**said, "changed": any(dropped), "kept": []}
    changed = [disks.keep_aside(path, module.params["mark"]) for path in copied]
    return {**said, "changed": any(changed)}


if __name__ == "__main__":
    run_module(
        {
            "disks": {"type": "list", "elements": "dict", "required": True},
            "mark": {"type": "str"},
            "state": {"type": "str", "choices": ["kept", "absent"], "default": "kept"},
        },
        main,
        required_if=[("state", "kept", ["mark"])],
    )
