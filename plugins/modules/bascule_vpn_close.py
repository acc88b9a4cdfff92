#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Close one side's VPN server and give the receipt."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_vpn_close
short_description: Close one side's VPN server and give the receipt
description:
  - Promises the epoch durably, stops the server, masks its unit, sees that no interface and no socket is left, and
    records the receipt. The permit to be open ends with the promise.
  - The attempt from outside is made by M(bascule_vpn_open) from the other side.
  - Runs on the host of the VPN server to close.
options:
  epoch:
    description: The epoch of this decision, from the action bascule_epoch.
    type: str
    required: true
  other_guard:
    description: The guard of the side that was opened after this one was given up as lost; this side closes for good.
    type: dict
extends_documentation_fragment:
  - bascule.side
  - bascule.vpn
"""

EXAMPLES = r"""
- name: Close the VPN server we come from
  bascule_vpn_close:
    component: vpn
    side: "{{ bascule_from }}"
    epoch: "{{ __example_epoch.epoch }}"
    vpn: {name: wg0, port: 51820}
  delegate_to: "{{ bascule_from }}"
  become: true
  register: __example_closed
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
receipt:
  description: The receipt that the other side needs to open.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.guard.state import GuardState
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.vpn.io import side as vpn_side
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Close, prove, and return the receipt."""
    params = module.params
    side = vpn_side.Side(params["component"], params["side"], params["vpn"], check=module.check_mode)
    other = GuardState.from_dict(params["other_guard"]) if params["other_guard"] else None
    return side.close(params["epoch"], other)


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "vpn": {"type": "dict", "required": True, "options": vpn_side.OPTIONS},
            "epoch": {"type": "str", "required": True},
            "other_guard": {"type": "dict"},
        },
        main,
    )
