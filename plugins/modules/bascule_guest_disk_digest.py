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
  - Read is what the guest sees, from a file, a block device, or an image of QEMU (qcow2, vmdk, Ceph; by C(qemu-nbd),
    read-only). A volume that is inactive is activated by Proxmox's own library, and left as it was found.
  - Of a volume with C(files), which a restore of a container has made, its files are digested and not its blocks. One
    that is no directory is mounted read-only for that, in a mount namespace that ends with the process.
  - Ends what an earlier decision has left running on this component's disks.
  - With O(begin) a transient systemd unit reads the disks, and nothing is waited for; with O(job_id) the digests of
    that unit are waited for. Where it has left none, the disks are read then.
  - What comes back with O(stamp) only tells whether the disks were written since they were last asked.
options:
  disks:
    description:
      - The disks, each with C(name) and C(path); C(format) and C(volid) as the API states them, and C(length), the
        bytes that are compared, where a volume may be larger than its disk. Of a container also C(files), C(at) and
        C(mounts), where it mounts this volume and its others.
    type: list
    elements: dict
    required: true
  stamp:
    description:
      - Return a stamp of the disks' state instead of their digests. Of a file it is size and time of change; a device
        is read for it.
    type: bool
    default: false
  readable:
    description: Read nothing; refuse a node without the programs that read these disks.
    type: bool
    default: false
  begin:
    description: Begin to read the disks, and return what names the result.
    type: bool
    default: false
  job_id:
    description: What O(begin) has returned for these disks.
    type: str
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
  returned: without O(stamp), O(readable) and O(begin)
  type: dict
  sample: {"disk:scsi0": "tree-sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"}
job_id:
  description: What names the digests that are being taken.
  returned: with O(begin)
  type: str
stamp:
  description: A short name of the state of all disks.
  returned: with O(stamp)
  type: str
seconds:
  description: How long it took.
  returned: without O(stamp), O(readable) and O(begin)
  type: float
"""

import time
from typing import Any

from ansible.module_utils.bascule.guest.io import disk_digest, disk_source, disks
from ansible.module_utils.bascule.plugin.module import COMPONENT, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Digest every disk, or begin to, or wait for the digests."""
    began = time.monotonic()
    component, wanted, job_id = (module.params[name] for name in ("component", "disks", "job_id"))
    if module.params["readable"]:
        disk_source.must_be_readable(wanted)
        return {"changed": False}
    if module.params["stamp"]:
        return {"changed": False, "stamp": disks.stamp(wanted)}
    if module.check_mode:
        return {"changed": False} if module.params["begin"] else _said(disk_digest.position(wanted), began)
    if module.params["begin"]:
        return {"changed": False, "job_id": disk_digest.begin(component, wanted)}
    if job_id:
        return _said(disk_digest.collect(component, wanted, job_id), began)
    disk_digest.end_others(component)
    return _said(disk_digest.position(wanted), began)


def _said(position: dict[str, str], began: float) -> dict[str, Any]:
    return {"changed": False, "position": position, "seconds": round(time.monotonic() - began, 3)}


if __name__ == "__main__":
    run_module(
        {
            **COMPONENT,
            "disks": {"type": "list", "elements": "dict", "required": True},
            "stamp": {"type": "bool", "default": False},
            "readable": {"type": "bool", "default": False},
            "begin": {"type": "bool", "default": False},
            "job_id": {"type": "str"},
        },
        main,
    )
