#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Digest an archive, and prove it against a digest taken elsewhere."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_archive
short_description: Digest an archive and prove it
description:
  - Returns the SHA-256 of a file. With O(sha256) the file must have that digest, and the compressed stream is tested by
    zstd as well. A VMA archive does not protect its payload itself, so the digest is what proves a transfer.
options:
  path:
    description: The archive.
    type: path
    required: true
  sha256:
    description: The digest taken at the source.
    type: str
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Prove the archive after its transfer
  bascule_archive:
    path: /var/lib/vz/dump/vzdump-qemu-100-2026_11_20-08_46_01.vma.zst
    sha256: 6bb1c5b1b0f8b1a3b9fa4cbf4fda7ee6a5dcd9c2b2e5c0d3d0ee2a5b6c6d1e7f
  delegate_to: pve-tls
  become: true
"""

RETURN = r"""
exists:
  description: Whether there is such a file.
  returned: always
  type: bool
sha256:
  description: Its digest; empty when there is no such file.
  returned: always
  type: str
"""

import os
from typing import Any

from ansible.module_utils.bascule.errors import BasculeError
from ansible.module_utils.bascule.io import disks
from ansible.module_utils.bascule.io.module import run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Digest, compare, test."""
    path, wanted = module.params["path"], module.params["sha256"]
    if not os.path.exists(path):
        if wanted and not module.check_mode:
            raise BasculeError(expected=f"the archive {path}", found="no such file", state="nothing was restored")
        return {"changed": False, "exists": False, "sha256": ""}
    found = disks.file_sha256(path)
    if wanted:
        broken = "" if found == wanted else f"digest {found}"
        if not broken and path.endswith(".zst"):
            broken = disks.stream_is_whole(path)
        if broken:
            raise BasculeError(
                expected=f"the archive {path} as it was at the source (sha256 {wanted})",
                found=broken,
                state="the archive is not used; nothing was restored",
                next_command=f"remove {path} and run playbooks/20_prepare.yml again",
            )
    return {"changed": False, "exists": True, "sha256": found}


if __name__ == "__main__":
    run_module({"path": {"type": "path", "required": True}, "sha256": {"type": "str"}}, main)
