#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read or mark the guard of a component's side."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_guard
short_description: Read or mark the guard of a component's side
description:
  - The guard holds what one side of a component has durably promised, on the component's own host.
  - Opening and closing a side are not done here, but by the module that really opens or closes it.
options:
  state:
    description:
      - V(read) returns the guard and changes nothing.
      - V(adopt) takes over a side that has no guard yet, as O(status) says; a guard that exists stays as it is.
      - V(freeze) marks an open side as frozen, V(thaw) takes the mark away. Both refuse a side that is not open.
      - V(reopen) takes over as open a side that has lost its guard, by O(word) and the O(receipt) of the other side.
      - V(settle) tells a side that was opened by a person's word that the other one has given way to it, and gave its
        receipt, as O(other_guard) shows. Nothing opens or closes by it.
    type: str
    choices: [read, adopt, freeze, thaw, reopen, settle]
    default: read
  status:
    description: What the side is at the moment it is adopted.
    type: str
    choices: [open, closed]
  other_guard:
    description:
      - The guard of the other side, as this module has returned it there.
      - A side is adopted as V(open) only beside one that is not taken over yet, so that a lost guard does not make two.
      - A side is adopted as V(closed) beside one that is taken over only while that one is open, so that the side whose
        guard was lost is not taken for the passive one.
    type: dict
  holds_data:
    description: Whether the side holds anything that nobody else may have; an entrance does not.
    type: bool
    default: true
  word:
    description: The word of a person that this side is the latest, as M(bascule_word) made it; for V(reopen).
    type: dict
  receipt:
    description: The other side's receipt for the epoch of the word; for V(reopen).
    type: dict
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Read the guard of the side we move to
  bascule_guard:
    component: accounts_db
    side: db-tls
  delegate_to: db-tls
  become: true
  register: __example_guard

- name: Take over the side that serves today
  bascule_guard:
    component: accounts_db
    side: db-mtp
    state: adopt
    status: open
    other_guard: "{{ __example_guard.guard }}"
  delegate_to: db-mtp
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run (in check mode, as it would be).
  returned: always
  type: dict
  sample:
    component: accounts_db
    side: db-mtp
    promised: "0.adopted"
    status: open
    opened: "0.adopted"
    receipt: null
    frozen: false
"""

from typing import Any

from ansible.module_utils.bascule.guard.io import store
from ansible.module_utils.bascule.guard.state import GuardState, Receipt, Word
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    component, side, state = (module.params[key] for key in ("component", "side", "state"))
    changed = False
    if state == "read":
        guard = store.read(component, side)
    elif state == "adopt":
        given = module.params["other_guard"]
        other = GuardState.from_dict(given) if given else None
        status, empty = module.params["status"], not module.params["holds_data"]
        guard, changed = store.adopt(component, side, status, other=other, empty=empty, check=module.check_mode)
    elif state == "reopen":
        word, other = Word.from_dict(module.params["word"]), GuardState.from_dict(module.params["other_guard"])
        if module.check_mode:
            return {"changed": True, "guard": store.read(component, side).to_dict()}
        with store.reopening(component, side, word, Receipt.from_dict(module.params["receipt"]), other) as opening:
            guard, changed = opening.opened(), True
    elif state == "settle":
        other = GuardState.from_dict(module.params["other_guard"])
        guard, changed = store.settled(component, side, other, check=module.check_mode)
    else:
        guard, changed = store.frozen(component, side, state == "freeze", check=module.check_mode)
    return {"changed": changed, "guard": guard.to_dict()}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "state": {
                "type": "str",
                "choices": ["read", "adopt", "freeze", "thaw", "reopen", "settle"],
                "default": "read",
            },
            "status": {"type": "str", "choices": ["open", "closed"]},
            "other_guard": {"type": "dict"},
            "holds_data": {"type": "bool", "default": True},
            "word": {"type": "dict"},
            "receipt": {"type": "dict"},
        },
        main,
        required_if=[
            ("state", "adopt", ["status"]),
            ("state", "reopen", ["word", "receipt", "other_guard"]),
            ("state", "settle", ["other_guard"]),
        ],
    )
