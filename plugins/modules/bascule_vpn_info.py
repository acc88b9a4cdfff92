#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure one side's VPN server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_vpn_info
short_description: Measure one side's VPN server
description:
  - Reads unit, interface and port, the configuration without its secrets, what runs beside what the file says,
    forwarding and routes, and the guard. Changes nothing.
  - A private key and preshared keys stay on their host; a key pair is known by its public key.
  - Runs on the host of the VPN server.
options:
  behind:
    description: The addresses that peers have to get to through the server.
    type: list
    elements: str
    default: []
  other_address:
    description: The address of the other side; neither it nor who drives this host may be behind the tunnel.
    type: str
    default: ""
  forwarding:
    description: Whether packets of peers are passed on.
    type: bool
    default: true
  other:
    description: The RV(vpn) that this module has returned at the other side; what differs from it is named.
    type: dict
    default: {}
  other_guard:
    description: The RV(guard) of the other side, by this module; whether one alone serves is judged by both.
    type: dict
    default: {}
  other_side:
    description: Inventory name of the other side's host.
    type: str
    default: ""
extends_documentation_fragment:
  - bascule.side
  - bascule.vpn
"""

EXAMPLES = r"""
- name: Measure the VPN server
  bascule_vpn_info:
    component: vpn
    side: "{{ bascule_from }}"
    vpn: {name: wg0, port: 51820}
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
vpn:
  description: What was measured; mode is open, closed, or stopped, which is neither.
  returned: always
  type: dict
faults:
  description: What keeps this side from being moved, empty when nothing does.
  returned: always
  type: list
  elements: str
differences:
  description: What peers would notice when one side took the place of the other.
  returned: always
  type: list
  elements: str
notes:
  description: What differs and may do so, what only the default route leads to, and which units stop with the server.
  returned: always
  type: list
  elements: str
service:
  description: Why it is not one side alone that serves, empty when it is; without O(other_guard) empty as well.
  returned: always
  type: list
  elements: str
interrupted:
  description: Whether a move was interrupted between its freeze and its thaw, so that nobody is let in on purpose.
  returned: always
  type: bool
guard:
  description: The guard of this side.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.guard.state import GuardState
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.vpn import state, wireguard
from ansible.module_utils.bascule.vpn.io import side as vpn_side
from ansible.module_utils.bascule.vpn.io import way_in
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Measure, and compare with what the other side has said."""
    params = module.params
    side = vpn_side.Side(params["component"], params["side"], params["vpn"])
    ways = {"the way by which this host is driven": way_in.came_from(), "the other side": params["other_address"]}
    needed = {what: address for what, address in ways.items() if address}
    measured, faults = side.server.measure(params["behind"], params["forwarding"], needed)
    there = params["other"].get("config")
    both = (measured["config"], there or {}, params["other_side"])
    guards, modes = {params["side"]: side.guard()}, {params["side"]: measured["mode"]}
    if params["other_guard"]:
        guards[params["other_side"]] = GuardState.from_dict(params["other_guard"])
        modes[params["other_side"]] = params["other"]["mode"]
    return {
        "vpn": measured,
        "faults": faults,
        "differences": wireguard.differences(*both) if there is not None else [],
        "notes": measured["notes"] + (wireguard.notes(*both) if there is not None else []),
        "service": state.service_faults(guards, modes) if params["other_guard"] else [],
        "interrupted": bool(params["other_guard"]) and state.interrupted(guards, modes),
        "guard": guards[params["side"]].to_dict(),
    }


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "vpn": {"type": "dict", "required": True, "options": vpn_side.OPTIONS},
            "behind": {"type": "list", "elements": "str", "default": []},
            "forwarding": {"type": "bool", "default": True},
            "other_address": {"type": "str", "default": ""},
            "other": {"type": "dict", "default": {}},
            "other_guard": {"type": "dict", "default": {}},
            "other_side": {"type": "str", "default": ""},
        },
        main,
    )
