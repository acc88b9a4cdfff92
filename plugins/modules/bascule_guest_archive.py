#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Digest an archive, and prove it against a digest taken elsewhere."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_guest_archive
short_description: Digest an archive and prove it
description:
  - Returns the SHA-256 of a file. With O(sha256) the file must have that digest, and its compressed stream and its
    structure (of a VMA archive header, extents, every cluster exactly once; of a container's tar file every header and
    its end) must be whole. Neither protects its payload itself, so the digest taken at the source is what proves a
    transfer.
  - With O(follow) a unit on the node digests the next archive of a guest while vzdump writes it. Asking for that
    archive with the same O(component) afterwards takes this digest; the file is read again only when it is another one.
options:
  path:
    description: The archive.
    type: path
  sha256:
    description: The digest taken at the source.
    type: str
  component:
    description: Name of the component whose archive is followed.
    type: str
  follow:
    description: The next archive to digest; keys are C(folder), C(vmid) and C(seconds) to wait for it at most.
    type: dict
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Digest the next archive while it is written
  bascule_guest_archive:
    component: courses_guest
    follow:
      folder: /var/lib/vz/dump
      vmid: 100
      seconds: 3600
  delegate_to: pve-mtp
  become: true

- name: Prove the archive after its transfer
  bascule_guest_archive:
    path: /var/lib/vz/dump/vzdump-qemu-100-2026_11_20-08_46_01.vma.zst
    sha256: 6bb1c5b1b0f8b1a3b9fa4cbf4fda7ee6a5dcd9c2b2e5c0d3d0ee2a5b6c6d1e7f
  delegate_to: pve-tls
  become: true
"""

RETURN = r"""
exists:
  description: Whether there is such a file.
  returned: with O(path)
  type: bool
sha256:
  description: Its digest; empty when there is no such file.
  returned: with O(path)
  type: str
followed:
  description: Whether the digest was taken while the archive was written.
  returned: with O(component)
  type: bool
"""

import os
from typing import Any

from ansible.module_utils.bascule.errors import BasculeError
from ansible.module_utils.bascule.guest.io import archive, archive_digest, disks
from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Follow, digest, or prove."""
    path, wanted, component = (module.params[name] for name in ("path", "sha256", "component"))
    follow = module.params["follow"]
    if follow is not None:
        if not module.check_mode:
            archive_digest.begin(component, follow["folder"], int(follow["vmid"]), float(follow["seconds"]))
        return {"changed": False}
    if not os.path.exists(path):
        if wanted and not module.check_mode:
            raise BasculeError(expected=f"the archive {path}", found="no such file", state="nothing was restored")
        return {"changed": False, "exists": False, "sha256": ""}
    if wanted:
        verdict = archive.verify_archive(path, wanted)
        if verdict.result != "proved":
            raise BasculeError(
                expected=f"the archive {path} as it was at the source (sha256 {wanted})",
                found="; ".join([*verdict.damage, *map(str, verdict.report.problems)]) or verdict.result,
                state="the archive is not used; nothing was restored",
                next_command=f"remove {path} and run the same playbook again",
            )
        return {"changed": False, "exists": True, "sha256": wanted}
    if component and not module.check_mode:
        found, followed = archive_digest.digest_of(component, path)
        return {"changed": False, "exists": True, "sha256": found, "followed": followed}
    return {"changed": False, "exists": True, "sha256": disks.file_sha256(path)}


if __name__ == "__main__":
    run_module(
        {
            "path": {"type": "path"},
            "sha256": {"type": "str"},
            "component": {"type": "str"},
            "follow": {"type": "dict"},
        },
        main,
        required_by={"follow": ["component"]},
        required_one_of=[("path", "follow")],
    )
