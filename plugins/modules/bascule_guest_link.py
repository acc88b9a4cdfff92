#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let one node read disks and archives of the other, and nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_guest_link
short_description: Let one node read disks and archives of the other
description:
  - V(own) makes this node's key for the component when there is none, and returns its public part with the node's SSH
    host keys. V(trust) pins the other node's host keys and lets its key read files in the given folders, by a forced
    command. V(reach) asks the other node whether it does. V(lend) lets it read these disks of the stopped guest, and no
    others. V(end) ends what an earlier run has left writing into disks at this node. V(absent) takes all of that away
    again and removes the key.
options:
  state:
    description: What to do.
    type: str
    choices: [own, trust, reach, lend, end, absent]
    required: true
  address:
    description: Address at which this node reaches the other.
    type: str
  port:
    description: SSH port of the other node.
    type: int
    default: 22
  user:
    description: User at the other node, with V(reach).
    type: str
    default: root
  host_keys:
    description: The other node's SSH host keys.
    type: list
    elements: str
  public_key:
    description: The other node's public key for the component.
    type: str
  readable:
    description: Folders whose files the other node may read.
    type: list
    elements: str
  blocks:
    description: With V(reach), ask whether the other node sends changed blocks of disks too.
    type: bool
    default: false
  disks:
    description:
      - With V(lend), the disks, each with its C(name), C(path), C(volid) and C(format), as the API states them.
    type: list
    elements: dict
extends_documentation_fragment:
  - bascule.component
"""

EXAMPLES = r"""
- name: Have a key
  bascule_guest_link:
    component: courses_guest
    state: own
  delegate_to: pve-tls
  become: true
"""

RETURN = r"""
public_key:
  description: This node's public key for the component.
  returned: with state V(own)
  type: str
host_keys:
  description: This node's SSH host keys.
  returned: with state V(own)
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.bascule.guest.io import disk_blocks, pull, ssh_key
from ansible.module_utils.bascule.plugin.module import COMPONENT, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the state says."""
    values = module.params
    if values["state"] == "own":
        return ssh_key.own(values["component"], module.check_mode)
    if values["state"] == "reach":
        ssh_key.reach(values["component"], values["address"], values["port"], values["user"], values["blocks"])
        return {"changed": False}
    if values["state"] == "lend":
        return {"changed": disk_blocks.lend(values["component"], values["disks"], module.check_mode)}
    if values["state"] == "end":
        return {"changed": not module.check_mode and pull.end(values["component"])}
    if values["state"] == "absent":
        return {"changed": ssh_key.forget(values["component"], module.check_mode)}
    changed = ssh_key.trust(
        values["component"],
        values["address"],
        values["port"],
        values["host_keys"],
        values["public_key"],
        values["readable"],
        module.check_mode,
    )
    return {"changed": changed}


if __name__ == "__main__":
    run_module(
        {
            **COMPONENT,
            "state": {"type": "str", "choices": ["own", "trust", "reach", "lend", "end", "absent"], "required": True},
            "address": {"type": "str"},
            "port": {"type": "int", "default": 22},
            "user": {"type": "str", "default": "root"},
            "host_keys": {"type": "list", "elements": "str", "no_log": False},
            "public_key": {"type": "str", "no_log": False},
            "readable": {"type": "list", "elements": "str"},
            "blocks": {"type": "bool", "default": False},
            "disks": {"type": "list", "elements": "dict"},
        },
        main,
        required_if=[
            ("state", "trust", ["address", "host_keys", "public_key", "readable"]),
            ("state", "reach", ["address"]),
            ("state", "lend", ["disks"]),
        ],
    )
