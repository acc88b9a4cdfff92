#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give one side's VPN server the permit to be open."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_vpn_open
short_description: Give one side's VPN server the permit to be open
description:
  - Sees that the server could start here, asks the other side's port from here, which must refuse, and takes the permit
    by the opening rule.
  - Nobody is let in until M(bascule_vpn_mode) thaws this side.
  - Runs on the host of the VPN server to open.
options:
  epoch:
    description: The epoch of this decision, from the action bascule_epoch.
    type: str
    required: true
  receipt:
    description: The receipt of the other side for this epoch.
    type: dict
  word:
    description:
      - A person's word that the other side is lost and fenced, as M(bascule_word) made it; it takes the place of the
        O(receipt). A VPN server that is lost and one that does not know who asks are both silent, so none is asked.
    type: dict
  other_address:
    description: The address at which peers reach the other side.
    type: str
    required: true
extends_documentation_fragment:
  - bascule.side
  - bascule.vpn
"""

EXAMPLES = r"""
- name: Open the VPN server we move to
  bascule_vpn_open:
    component: vpn
    side: "{{ bascule_to }}"
    epoch: "{{ __example_epoch.epoch }}"
    receipt: "{{ __example_closed.receipt }}"
    other_address: 192.0.2.1
    vpn: {name: wg0, port: 51820}
  delegate_to: "{{ bascule_to }}"
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.guard.state import Word
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.vpn.io import side as vpn_side
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Open by the rule."""
    params = module.params
    side = vpn_side.Side(params["component"], params["side"], params["vpn"], check=module.check_mode)
    if params["word"]:
        return side.take_over(Word.from_dict(params["word"]))
    return side.open(params["epoch"], params["receipt"], (params["other_address"], params["vpn"]["port"]))


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "vpn": {"type": "dict", "required": True, "options": vpn_side.OPTIONS},
            "epoch": {"type": "str", "required": True},
            "receipt": {"type": "dict"},
            "word": {"type": "dict"},
            "other_address": {"type": "str", "required": True},
        },
        main,
        required_one_of=[("receipt", "word")],
        mutually_exclusive=[("receipt", "word")],
    )
