#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prepare, fence, freeze or thaw one side's VPN server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_vpn_mode
short_description: Prepare, fence, freeze or thaw one side's VPN server
description:
  - Changes whether the server runs, now and after a start of its host, as far as the guard of this side allows, and
    looks whether it does.
  - Runs on the host of the VPN server.
options:
  state:
    description:
      - V(prepared) leaves what the boot fence needs, and says whether the server runs.
      - V(ready) changes nothing; it fails where a start of the server would.
      - V(fenced) stops and masks a side that its guard calls closed; one that is open stays as it is.
      - V(frozen) stops and masks the server if this side is active, and proves it.
      - V(thawed) lets peers in; only a side with a live permit thaws.
    type: str
    choices: [prepared, ready, fenced, frozen, thawed]
    required: true
extends_documentation_fragment:
  - bascule.side
  - bascule.vpn
"""

EXAMPLES = r"""
- name: Send the peers away
  bascule_vpn_mode:
    component: vpn
    side: "{{ bascule_from }}"
    vpn: {name: wg0, port: 51820}
    state: frozen
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
mode:
  description: Whether the server is open, closed, or stopped, which is neither.
  returned: when O(state=prepared) or O(state=fenced)
  type: str
active:
  description: Whether this side was the active one.
  returned: when O(state=frozen)
  type: bool
closed:
  description: That the server was closed, and seen so at its own host.
  returned: when O(state=frozen) and this side was active, except in check mode
  type: bool
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.vpn.io import side as vpn_side
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    side = vpn_side.Side(params["component"], params["side"], params["vpn"], check=module.check_mode)
    if params["state"] == "prepared":
        changed = side.prepare()
        return {"changed": changed, "guard": side.guard().to_dict(), "mode": side.server.seen().mode}
    if params["state"] == "ready":
        side.server.ready()
        return {"guard": side.guard().to_dict()}
    if params["state"] == "fenced":
        return side.fence()
    return side.freeze() if params["state"] == "frozen" else side.thaw()


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "vpn": {"type": "dict", "required": True, "options": vpn_side.OPTIONS},
            "state": {"type": "str", "choices": ["prepared", "ready", "fenced", "frozen", "thawed"], "required": True},
        },
        main,
    )
