#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give one side's MongoDB server the permit to be open."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mongodb_open
short_description: Give one side's MongoDB server the permit to be open
description:
  - Tries to write at the other side from here, which must be refused, sees that this side has the receipt's position
    and nothing else, takes the permit by the opening rule, and has nobody be elected.
  - Nobody but the other side's host is let in, and there is no primary, until M(bascule_mongodb_mode) thaws this side.
  - Runs on the host of the server to open.
options:
  epoch:
    description: The epoch of this decision, from the action bascule_epoch.
    type: str
    required: true
  receipt:
    description: The receipt of the other side for this epoch.
    type: dict
  other_guard:
    description: The guard of the other side; the side that was open last may have what the other one never got.
    type: dict
  word:
    description: A person's word that the other side is lost and fenced, as M(bascule_word) made it; it takes the
      place of the O(receipt).
    type: dict
extends_documentation_fragment:
  - bascule.side
  - bascule.mongodb
"""

EXAMPLES = r"""
- name: Open the server we move to
  bascule_mongodb_open:
    component: orders
    side: "{{ bascule_from }}"
    mongodb: "{{ __example_mongodb_from }}"
    epoch: "{{ __example_epoch.epoch }}"
    receipt: "{{ __example_closed.receipt }}"
    other_guard: "{{ __example_closed.guard }}"
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.guard.state import GuardState, Word
from ansible.module_utils.bascule.mongodb.io import side as mongodb_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Open by the rule."""
    params = module.params
    side = mongodb_side.Side(params["component"], params["side"], params["mongodb"], check=module.check_mode)
    if params["word"]:
        return side.take_over(Word.from_dict(params["word"]))
    return side.open(params["epoch"], params["receipt"], GuardState.from_dict(params["other_guard"]))


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mongodb": {"type": "dict", "required": True, "options": mongodb_side.OPTIONS},
            "epoch": {"type": "str", "required": True},
            "receipt": {"type": "dict"},
            "other_guard": {"type": "dict"},
            "word": {"type": "dict"},
        },
        main,
        required_one_of=[("receipt", "word")],
        mutually_exclusive=[("receipt", "word")],
        required_by={"receipt": ("other_guard",)},
    )
