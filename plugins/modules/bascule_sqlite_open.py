#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give one side's SQLite databases the permit to be open."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_sqlite_open
short_description: Give one side's SQLite databases the permit to be open
description:
  - Sees that exactly what the receipt says lies here, by a digest of all rows, and takes the permit by the rule.
  - Nobody finds the databases until M(bascule_sqlite_mode) thaws this side.
  - Runs on the host of the databases to open.
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
  - bascule.sqlite
"""

EXAMPLES = r"""
- name: Open the databases we move to
  bascule_sqlite_open:
    component: ops_store
    side: "{{ bascule_from }}"
    sqlite: {databases: [/srv/ops/database.sqlite], units: [ops.service]}
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
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.sqlite.io import side as sqlite_side
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Open by the rule."""
    params = module.params
    side = sqlite_side.Side(params["component"], params["side"], params["sqlite"], check=module.check_mode)
    if params["word"]:
        return side.take_over(Word.from_dict(params["word"]))
    return side.open(params["epoch"], params["receipt"], GuardState.from_dict(params["other_guard"]))


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "sqlite": {"type": "dict", "required": True, "options": sqlite_side.OPTIONS},
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
