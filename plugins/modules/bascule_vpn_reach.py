#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Try a VPN server from a trainer's machine."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_vpn_reach
short_description: Try a VPN server from a trainer's machine
description:
  - Sees that what is behind the server is not reached without it; builds a tunnel to one side with the key of a trainer
    of its own, waits for the handshake, goes through it to what is behind, and takes the tunnel away.
  - The tunnel carries nothing but the addresses of O(places). No hook of the trainer's configuration runs, and its
    secrets stay on this machine.
  - Runs on the trainer's machine. Nothing is tried in check mode.
options:
  config:
    description: The trainer's own configuration on this machine; its tunnel has to be down.
    type: path
    required: true
  public_key:
    description: The public key of the server.
    type: str
    required: true
  address:
    description: The address of the side to try.
    type: str
    required: true
  port:
    description: The UDP port of the server.
    type: int
    required: true
  places:
    description: What is behind the server, each with C(address) and C(port) (TCP).
    type: list
    elements: dict
    required: true
  expect:
    description:
      - V(open) wants a handshake, every place to be reached through the tunnel, and none without it.
      - V(closed) wants no handshake; it proves something only from who had one with the open side.
      - V(any) fails for neither; RV(attempt) tells.
    type: str
    choices: [open, closed, any]
    required: true
  timeout:
    description: Seconds for the handshake.
    type: float
    default: 15
  endpoint:
    description: The name by which peers know the server, which has to lead to O(address) here; empty without one.
    type: str
    default: ""
  passive_address:
    description: The address of the side that is closed, to which O(endpoint) must not lead.
    type: str
    default: ""
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Come in as a trainer
  bascule_vpn_reach:
    config: /etc/wireguard/techcorp.conf
    public_key: "{{ __example_info.vpn.config.public_key }}"
    address: 192.0.2.1
    port: 51820
    places: [{address: 10.1.0.20, port: 443}]
    expect: open
  delegate_to: trainer
  become: true
"""

RETURN = r"""
attempt:
  description: Whether a handshake came, after how many seconds, and what was reached with the tunnel and without it.
  returned: when it was tried
  type: dict
endpoint:
  description: Why O(endpoint) does not lead to O(address), empty when it does; it fails nothing.
  returned: when it was tried
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.bascule.system.io import reach
from ansible.module_utils.bascule.vpn.io import trainer
from ansible.module_utils.bascule.vpn.state import VpnError, attempt_faults, endpoint, endpoint_faults
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Try and judge."""
    params = module.params
    where = endpoint(params["address"], params["port"])
    if module.check_mode:
        return {}
    places = [(str(place["address"]), int(place["port"])) for place in params["places"]]
    found = trainer.attempt(params["config"], params["public_key"], where, places, params["timeout"])
    faults = attempt_faults(params["expect"], found, where)
    if faults:
        raise VpnError(
            expected=f"the VPN server at {where} to be {params['expect']} to a trainer",
            found="; ".join(faults),
            state="the tunnel of this attempt is gone, and nothing else was changed",
            next_command="ansible-playbook playbooks/status.yml",
        )
    names = [params[name] for name in ("endpoint", "address", "passive_address")]
    led = endpoint_faults(names[0], *(reach.addresses(name) if name else [] for name in names)) if names[0] else []
    return {"attempt": found, "endpoint": led}


if __name__ == "__main__":
    run_module(
        {
            "config": {"type": "path", "required": True},
            "public_key": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "places": {"type": "list", "elements": "dict", "required": True},
            "expect": {"type": "str", "choices": ["open", "closed", "any"], "required": True},
            "timeout": {"type": "float", "default": 15},
            "endpoint": {"type": "str", "default": ""},
            "passive_address": {"type": "str", "default": ""},
        },
        main,
    )
