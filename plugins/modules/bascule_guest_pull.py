#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Carry files over from the other node, as a unit on this one."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_guest_pull
short_description: Carry disks or an archive over from the other node
description:
  - Starts a transient systemd unit on the receiving node that writes changed blocks only, or finds the one
    that runs already, and follows it. The unit goes on when the controller dies; a re-run finds it.
  - An action plugin of the same name follows the unit and shows its progress.
options:
  job:
    description:
      - The transfer. Keys are C(component), C(name), C(address), C(port), C(user), C(pairs) (each with C(source) and
        C(target)), C(compress), C(block_size), C(bwlimit) (KiB/s, 0 is none) and C(disks); also
        C(blocks), disks here of which changed blocks are written wherever they lie (C(name), C(path), C(format),
        C(volid) and C(length)), and C(basis), the folder of the archive that was restored last, in which unchanged data
        are found.
    type: dict
    required: true
  job_id:
    description: Follow this job instead of starting one. Given by the action plugin.
    type: str
  wait:
    description: Seconds to wait for the end in one call.
    type: float
    default: 2
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Carry changed blocks over
  bascule_guest_pull:
    job:
      component: courses_guest
      name: delta
      address: 198.18.1.30
      port: 22
      user: root
      pairs:
        - source: /var/lib/vz/images/100/vm-100-disk-0.raw
          target: /var/lib/vz/images/100/vm-100-disk-0.raw
      compress: true
      block_size: 65536
      bwlimit: 0
      disks: true
  delegate_to: pve-tls
  become: true
"""

RETURN = r"""
based:
  description: Whether there was a basis to find unchanged data in.
  returned: when the transfer has ended
  type: bool
literal:
  description: Bytes that were different and were written.
  returned: when the transfer has ended
  type: int
received:
  description: Bytes that came over the link.
  returned: when the transfer has ended
  type: int
seconds:
  description: How long it took.
  returned: when the transfer has ended
  type: float
"""

from typing import Any

from ansible.module_utils.bascule.errors import BasculeError
from ansible.module_utils.bascule.guest.io import pull
from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Start or follow."""
    job, job_id = module.params["job"], module.params["job_id"]
    if module.check_mode:
        return {"changed": True, "state": "done", "reason": "would be carried over"}
    if not job_id:
        job_id, _ = pull.begin(job)
    status = pull.follow(job["component"], job["name"], job_id, module.params["wait"])
    if status["state"] == "failed":
        raise BasculeError(
            expected=f"the transfer of {job['name']} to end well",
            found=str(status.get("error")),
            state="nothing uses what has arrived so far",
            next_command="run the same command again: it carries over what is missing",
        )
    return {"changed": status.get("literal", 0) > 0, **status}


if __name__ == "__main__":
    run_module(
        {
            "job": {"type": "dict", "required": True},
            "job_id": {"type": "str"},
            "wait": {"type": "float", "default": 2.0},
        },
        main,
    )
