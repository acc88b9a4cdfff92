#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Set up one side of a file tree."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_filetree_setup
short_description: Set up one side of a file tree
description:
  - Lets the other side's key do what a transfer needs and nothing else, pins the other side's host keys, takes
    the side over into the guard, writes the sentinel, and brings the mounts into their state.
options:
  path:
    description: Public path of the tree; the mount point of a file system of its own, unless O(part_allowed).
    type: path
    required: true
  adopt:
    description: What the side is when it is taken over for the first time.
    type: str
    choices: [open, closed]
    required: true
  peer_key:
    description: The other side's public key.
    type: str
    required: true
  peer_host_keys:
    description: The other side's public host keys, as the controller has read them.
    type: list
    elements: str
    required: true
  peer_address:
    description: The address the other side connects from.
    type: str
    required: true
  peer_guard:
    description:
      - The other side's guard. A side is taken over as open only before the other one, and as closed beside one that is
        taken over only while that one is open.
    type: dict
  adopt_filled:
    description: Take over a passive tree that is not empty; transfers then replace and delete what is in it.
    type: bool
    default: false
  recorder:
    description: Have a service record which names change on the side that is active, for deltas by names.
    type: bool
    default: true
  owners:
    description:
      - Whether owners travel and are compared as numbers or as names; both sides need the same. Another choice than
        before has everything looked at again, and is refused once the component has been switched.
    type: str
    choices: [numbers, names]
    default: numbers
extends_documentation_fragment:
  - bascule.side
  - bascule.tree
"""

EXAMPLES = r"""
- name: Set up the side we move to
  bascule_filetree_setup:
    component: course_files
    side: files-tls
    path: /srv/courses
    sentinel: .bascule-sentinel
    adopt: closed
    peer_key: "{{ __example_keys.public_key }}"
    peer_host_keys: "{{ __example_keys.host_keys }}"
    peer_address: 198.18.1.20
  delegate_to: files-tls
  become: true
"""

RETURN = r"""
done:
  description: What was changed, or would be.
  returned: always
  type: list
  elements: str
guard:
  description: What this side has promised.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.filetree.io import setup
from ansible.module_utils.bascule.filetree.io.fence import side as fence_side
from ansible.module_utils.bascule.filetree.io.transfer import ssh_key
from ansible.module_utils.bascule.plugin.module import SIDE, TREE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    component, name, path, sentinel = (module.params[key] for key in ("component", "side", "path", "sentinel"))
    side = fence_side.Side(
        component,
        name,
        path,
        sentinel,
        recorder=module.params["recorder"],
        owners=module.params["owners"],
        account=module.params["account"],
    )
    peer = ssh_key.Peer(*(module.params[key] for key in ("peer_key", "peer_host_keys", "peer_address")))
    done = setup.set_up(
        side,
        peer,
        module.params["adopt"],
        peer_guard=module.params["peer_guard"],
        adopt_filled=module.params["adopt_filled"],
        part_allowed=module.params["part_allowed"],
        check=module.check_mode,
    )
    return {"changed": bool(done), "done": done, "guard": side.guard().to_dict()}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            **TREE,
            "path": {"type": "path", "required": True},
            "adopt": {"type": "str", "required": True, "choices": ["open", "closed"]},
            "peer_key": {"type": "str", "required": True, "no_log": False},
            "peer_host_keys": {"type": "list", "elements": "str", "required": True, "no_log": False},
            "peer_address": {"type": "str", "required": True},
            "peer_guard": {"type": "dict"},
            "adopt_filled": {"type": "bool", "default": False},
            "recorder": {"type": "bool", "default": True},
            "owners": {"type": "str", "default": "numbers", "choices": ["numbers", "names"]},
        },
        main,
    )
