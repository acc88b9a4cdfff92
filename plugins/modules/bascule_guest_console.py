#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep what a guest writes to its serial console while it boots."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_guest_console
short_description: Keep what a guest writes to its serial console
description:
  - A unit on the guest's node reads the socket that Proxmox makes for a guest with C(serial0=socket), from before the
    guest is started. Proxmox itself keeps nothing of it. What was kept of an earlier boot goes.
options:
  state:
    description: V(record) begins to read, V(ended) stops and says what there is.
    type: str
    choices: [record, ended]
    required: true
  vmid:
    description: Number of the guest on this node.
    type: int
  seconds:
    description: How long to read at most.
    type: float
    default: 600
extends_documentation_fragment:
  - bascule.component
"""

EXAMPLES = r"""
- name: Keep what the guest writes while it boots
  bascule_guest_console:
    component: courses_guest
    state: record
    vmid: 100
  delegate_to: pve-tls
  become: true

- name: See what it has written
  bascule_guest_console:
    component: courses_guest
    state: ended
  delegate_to: pve-tls
  become: true
"""

RETURN = r"""
connected:
  description: Whether the guest had a console that could be read.
  returned: when ended
  type: bool
path:
  description: Where the output is kept on the node; empty when there was none.
  returned: when ended
  type: str
size:
  description: Its length in bytes.
  returned: when ended
  type: int
last:
  description: Its last lines, as they can be printed.
  returned: when ended
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.bascule.guest.io import console
from ansible.module_utils.bascule.plugin.module import COMPONENT, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Begin, or end."""
    component = module.params["component"]
    if module.params["state"] == "record":
        if not module.check_mode:
            console.begin(component, module.params["vmid"], module.params["seconds"])
        return {"changed": False}
    return {"changed": False, **console.end(component)}


if __name__ == "__main__":
    run_module(
        {
            **COMPONENT,
            "state": {"type": "str", "required": True, "choices": ["record", "ended"]},
            "vmid": {"type": "int"},
            "seconds": {"type": "float", "default": 600},
        },
        main,
        required_if=[("state", "record", ["vmid"])],
    )
