#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask the port of a VPN server from another host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_vpn_probe
short_description: Ask the port of a VPN server from another host
description:
  - Sends datagrams that no VPN knows, and judges what comes back. Changes nothing.
  - A closed port is refused by its own host (ICMP port unreachable). Silence proves nothing; it is how an open server
    meets somebody whom it does not know.
  - Runs on any host that reaches the address, usually the VPN server of the other side.
options:
  address:
    description: The address to ask.
    type: str
    required: true
  port:
    description: The UDP port of the server.
    type: int
    required: true
  expect:
    description:
      - V(closed) wants a refusal, and asks on while the port is silent, for up to 30 seconds.
      - V(open) wants anything but a refusal. Only who was not refused by an open server proves by a refusal that it has
        closed.
      - V(any) fails for nothing; RV(seen) tells.
    type: str
    choices: [closed, open, any]
    required: true
  mode:
    description:
      - What the server is by its own host, as M(bascule_vpn_info) tells; with it RV(faults) says whether it could be
        proved closed later.
    type: str
    choices: ["", open, closed, stopped]
    default: ""
  unused_port:
    description:
      - Another UDP port of the address, let in like the O(port), at which nothing listens. An open server is silent,
        and so is a firewall; that this port refuses tells them apart. 0 asks none.
    type: int
    default: 0
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: See from outside that the VPN server is closed
  bascule_vpn_probe:
    address: 192.0.2.1
    port: 51820
    expect: closed
  delegate_to: "{{ bascule_to }}"
"""

RETURN = r"""
seen:
  description: What came of it, refused, silent or answered.
  returned: always
  type: str
faults:
  description: Why the server could not be proved closed later, by who has asked now.
  returned: always
  type: list
  elements: str
sampled_at:
  description: When this was seen, in seconds since 1970.
  returned: always
  type: int
"""

import time
from typing import Any

from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.bascule.vpn.io import probe
from ansible.module_utils.bascule.vpn.state import CLOSED, OPEN, VpnError, endpoint, probe_fault, proof_faults
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Ask and judge."""
    params = module.params
    where = endpoint(params["address"], params["port"])
    seen = (probe.ask_closed if params["expect"] == CLOSED else probe.ask)(params["address"], params["port"])
    fault = probe_fault(params["expect"], seen, where)
    if fault:
        raise VpnError(
            expected=f"the VPN server at {where} to be {params['expect']}",
            found=fault,
            state="nothing was changed by asking",
            next_command=(
                "start the server there, and let its UDP port in; then run the same playbook again"
                if params["expect"] == "open"
                else "ansible-playbook playbooks/status.yml"
            ),
        )
    unused = params["unused_port"] if params["mode"] == OPEN else 0
    seen_unused = probe.ask(params["address"], unused) if unused else ""
    faults = proof_faults(params["mode"], seen, where, unused, seen_unused) if params["mode"] else []
    return {"seen": seen, "faults": faults, "sampled_at": int(time.time())}


if __name__ == "__main__":
    run_module(
        {
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "expect": {"type": "str", "choices": ["closed", "open", "any"], "required": True},
            "mode": {"type": "str", "choices": ["", "open", "closed", "stopped"], "default": ""},
            "unused_port": {"type": "int", "default": 0},
        },
        main,
    )
