"""Find out which side of a component was given up as lost and has to give way, and whom to tell once it has."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_gives_way
short_description: Find out which side has to give way, and whom to tell once it has
description:
  - Runs on the controller and connects to nothing.
  - A side has to give way when the other one was opened by a person's word that it is lost, and it has not closed
    since.
  - Once it has closed for that, the other one has to be told. Until then that one's receipts go on saying that they are
    of a side which has given the other up.
options:
  from_guard:
    description: The guard of one side, as M(bascule_guard) returned it.
    type: dict
    required: true
  to_guard:
    description: The guard of the other side.
    type: dict
    required: true
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: See which side was given up
  bascule_gives_way:
    from_guard: "{{ __example_from.guard }}"
    to_guard: "{{ __example_to.guard }}"
  register: __example_back
"""

RETURN = r"""
side:
  description: The side that has to give way; empty when none has to.
  returned: always
  type: str
other_guard:
  description: The guard of the side that was opened instead.
  returned: when a side has to give way
  type: dict
epoch:
  description: The epoch for which it closes.
  returned: when a side has to give way
  type: str
told:
  description: The side that has to be told; empty when none has to.
  returned: always
  type: str
gone_guard:
  description: The guard of the side that has given way.
  returned: when a side has to be told
  type: dict
"""

from typing import Any, ClassVar

from bascule.guard.lost import give_way, has_to_be_told, has_to_give_way
from bascule.guard.state import GuardState, leader, next_epoch
from bascule.plugin.action import ControllerAction, Scope
from bascule.run.io import identity


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "from_guard": {"type": "dict", "required": True},
        "to_guard": {"type": "dict", "required": True},
    }

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Look at both guards."""
        first, second = (GuardState.from_dict(args[key]) for key in ("from_guard", "to_guard"))
        # Refuses two sides that were each opened instead of the other.
        leader(first, second)
        for state, other in ((first, second), (second, first)):
            if has_to_give_way(state, other):
                epoch = next_epoch(state, other, identity.current())
                # Refuses before anything is changed, as the side itself would.
                give_way(state, other, epoch)
                return {"side": state.side, "other_guard": other.to_dict(), "epoch": str(epoch), "told": ""}
            if has_to_be_told(state, other):
                return {"side": "", "told": state.side, "gone_guard": other.to_dict()}
        return {"side": "", "told": ""}
