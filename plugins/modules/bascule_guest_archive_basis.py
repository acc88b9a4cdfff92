#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep the archive that was restored last, as the basis of the next one's transfer."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_guest_archive_basis
short_description: Keep the archive that was restored last as the basis of the next transfer
description:
  - Moves an archive of a component into a folder beside it, C(.bascule-COMPONENT), where Proxmox does not list it, and
    removes the one that was there, so that each node has one. M(bascule_guest_pull) finds unchanged data in it.
options:
  folder:
    description: The folder in which the node keeps its archives.
    type: path
    required: true
  archive:
    description: Name of the archive; one that is not there is not an error, it is kept already.
    type: str
  state:
    description: Whether it is kept; V(absent) removes what is kept.
    type: str
    choices: [kept, absent]
    default: kept
extends_documentation_fragment:
  - bascule.component
"""

EXAMPLES = r"""
- name: Keep what was restored
  bascule_guest_archive_basis:
    component: courses_guest
    folder: /var/lib/vz/dump
    archive: vzdump-qemu-100-2026_11_20-08_46_01.vma
  delegate_to: pve-tls
  become: true
"""

RETURN = r"""
"""

import os
from typing import Any

from ansible.module_utils.bascule.guest.io import archive_basis
from ansible.module_utils.bascule.plugin.module import COMPONENT, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Keep it, or remove what is kept."""
    folder, component = module.params["folder"], module.params["component"]
    if module.params["state"] == "absent":
        return {"changed": archive_basis.drop(folder, component, module.check_mode)}
    path = os.path.join(folder, module.params["archive"])
    return {"changed": archive_basis.keep(path, component, module.check_mode)}


if __name__ == "__main__":
    run_module(
        {
            **COMPONENT,
            "folder": {"type": "path", "required": True},
            "archive": {"type": "str"},
            "state": {"type": "str", "choices": ["kept", "absent"], "default": "kept"},
        },
        main,
        required_if=[("state", "kept", ["archive"])],
    )
