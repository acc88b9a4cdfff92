#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Digest the disks of a stopped guest on its node."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_guest_disk_digest
short_description: Digest the disks of a stopped guest
description:
  - Reads each disk whole and returns its digest (a tree of SHA-256 over chunks of 4 MiB; holes count as the zeros they
    are). Refuses a disk that any process of the node has open, before and after reading it.
  - Ends a transfer of this component that an earlier decision left running.
  - With O(stamp) nothing is read; what comes back only tells whether the disks were written since they were last asked.
options:
  disks:
    description: The disks, each with C(name) and C(path).
    type: list
    elements: dict
    required: true
  stamp:
    description: Return a stamp of the disks' size and time of change instead of their digests.
    type: bool
    default: false
extends_documentation_fragment:
  - bascule.component
"""

EXAMPLES = r"""
- name: Digest the disks of the stopped guest
  bascule_guest_disk_digest:
    component: courses_guest
    disks:
      - name: scsi0
        path: /var/lib/vz/images/100/vm-100-disk-0.raw
  delegate_to: pve-mtp
  become: true
"""

RETURN = r"""
position:
  description: The digest of each disk, as a receipt carries it.
  returned: without O(stamp)
  type: dict
  sample: {"disk:scsi0": "tree-sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"}
stamp:
  description: A short name of the state of all disks.
  returned: with O(stamp)
  type: str
seconds:
  description: How long it took.
  returned: without O(stamp)
  type: float
"""

import time
from typing import Any

from ansible.module_utils.bascule.guest.io import disks, pull
from ansible.module_utils.bascule.plugin.module import COMPONENT, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Digest every disk."""
    began = time.monotonic()
    if module.params["stamp"]:
        return {"changed": False, "stamp": disks.stamp([disk["path"] for disk in module.params["disks"]])}
    if not module.check_mode:
        pull.end(module.params["component"])
    position = {}
    for disk in module.params["disks"]:
        disks.must_be_quiet(disk["path"])
        position[f"disk:{disk['name']}"] = disks.digest(disk["path"])
        disks.must_be_quiet(disk["path"])
    return {"changed": False, "position": position, "seconds": round(time.monotonic() - began, 3)}


if __name__ == "__main__":
    run_module(
        {
            **COMPONENT,
            "disks": {"type": "list", "elements": "dict", "required": True},
            "stamp": {"type": "bool", "default": False},
        },
        main,
    )
