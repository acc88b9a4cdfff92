#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Have the guard of a firewall's side say that it is the passive, or the active one."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_firewall_switch
short_description: Have the guard of a firewall's side say that it is the passive, or the active one
description:
  - Nothing is written through a firewall, so neither of both changes a rule; M(bascule_firewall_rules) loads those of
    the active or the passive side afterwards, as the guard says.
  - Runs on the host of the firewall.
options:
  state:
    description: V(closed) gives the receipt, V(open) takes the permit with the receipt of the other side, or a word.
    type: str
    choices: [closed, open]
    required: true
  epoch:
    description: The epoch of this decision, from the action bascule_epoch.
    type: str
    required: true
  receipt:
    description: The receipt of the other side for this epoch.
    type: dict
  word:
    description:
      - A person's word that the other side is lost, as M(bascule_word) made it; it takes the place of O(receipt).
    type: dict
  other_guard:
    description: The guard of the side that was opened by a person's word, where this one closes for good.
    type: dict
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Have the firewall we come from be the passive one
  bascule_firewall_switch:
    component: edge
    side: "{{ bascule_from }}"
    state: closed
    epoch: "{{ __example_epoch.epoch }}"
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
receipt:
  description: The receipt for this epoch.
  returned: when O(state=closed)
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.firewall.io import side as firewall_side
from ansible.module_utils.bascule.guard.state import GuardState, Word
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Close or open by the rule."""
    params = module.params
    side = firewall_side.Side(params["component"], params["side"], check=module.check_mode)
    if params["state"] == "closed":
        other = params["other_guard"]
        return side.close(params["epoch"], GuardState.from_dict(other) if other else None)
    if params["word"]:
        return side.take_over(Word.from_dict(params["word"]))
    return side.open(params["epoch"], params["receipt"])


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "state": {"type": "str", "choices": ["closed", "open"], "required": True},
            "epoch": {"type": "str", "required": True},
            "receipt": {"type": "dict"},
            "word": {"type": "dict"},
            "other_guard": {"type": "dict"},
        },
        main,
        required_if=[("state", "open", ["receipt", "word"], True)],
        mutually_exclusive=[("receipt", "word")],
    )
