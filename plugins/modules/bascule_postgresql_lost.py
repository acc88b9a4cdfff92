#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Open one side of a database when the other is lost, or close a side that is back."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_lost
short_description: Open one side of a database when the other is lost, or close a side that is back
description:
  - V(open) promotes this side without the other one's receipt, by a person's word that it is lost and fenced.
  - V(closed) ends the permit of a side that was given up and is back, stops its server and proves the refusal. What it
    alone has is exported by the unit that M(bascule_postgresql_follow) starts.
  - V(watched) has the side that serves begin its record of the other one's fence anew, after that one has given way.
  - V(receipt) has a side that is closed already proved closed again, for a higher epoch.
options:
  state:
    description: What the side shall be.
    type: str
    choices: [open, closed, receipt, watched]
    required: true
  word:
    description: The person's word, as M(bascule_word) made it; for V(open).
    type: dict
  other_guard:
    description: The guard of the side that was opened instead; for V(closed).
    type: dict
  epoch:
    description: The epoch for which the side gives way, or gives its receipt; for V(closed) and V(receipt).
    type: str
  patience:
    description: Seconds that a promotion or a stop may take.
    type: float
    default: 120
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Open the side that is left
  bascule_postgresql_lost:
    component: accounts_db
    side: db-tls
    state: open
    word: "{{ __example_word.word }}"
  delegate_to: db-tls
  become: true
"""

RETURN = r"""
guard:
  description: What this side has promised.
  returned: when opened or closed
  type: dict
admitted:
  description: How many clients of the probe the other side has let in until it gave way.
  returned: when O(state=watched)
  type: int
"""

from typing import Any

from ansible.module_utils.bascule.guard.state import GuardState, Word
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.postgresql.io.switchover import lost, recovery
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    component, side, check, budget = params["component"], params["side"], module.check_mode, params["patience"]
    if params["state"] == "open":
        return lost.take_over(component, side, Word.from_dict(params["word"]), budget=budget, check=check)
    if params["state"] == "watched":
        return lost.watch_again(component, side, check=check)
    if params["state"] == "receipt":
        return {"changed": True, "receipt": None} if check else recovery.close(component, side, params["epoch"])
    other = GuardState.from_dict(params["other_guard"])
    return lost.give_way(component, side, other, params["epoch"], budget=budget, check=check)


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "state": {"type": "str", "choices": ["open", "closed", "receipt", "watched"], "required": True},
            "word": {"type": "dict"},
            "other_guard": {"type": "dict"},
            "epoch": {"type": "str"},
            "patience": {"type": "float", "default": 120},
        },
        main,
        required_if=[
            ("state", "open", ["word"]),
            ("state", "closed", ["other_guard", "epoch"]),
            ("state", "receipt", ["epoch"]),
        ],
    )
