#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make the key with which one side of a file tree reaches the other."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_filetree_keys
short_description: Make the key with which one side of a file tree reaches the other
description:
  - Makes one Ed25519 key per component, readable by root alone, and returns its public half together with the
    host's own public host keys, so that both can be carried over by the controller.
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Make the key of the side we move from
  bascule_filetree_keys:
    component: course_files
    side: files-mtp
  delegate_to: files-mtp
  become: true
  register: __example_keys
"""

RETURN = r"""
public_key:
  description: The public key, without a comment; empty in check mode when there is none yet.
  returned: always
  type: str
host_keys:
  description: The host's own public keys.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.bascule.filetree.io.transfer import ssh_key
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    public, changed = ssh_key.own_key(module.params["component"], module.params["side"], check=module.check_mode)
    return {"changed": changed, "public_key": public, "host_keys": ssh_key.host_keys()}


if __name__ == "__main__":
    run_module({**SIDE}, main)
