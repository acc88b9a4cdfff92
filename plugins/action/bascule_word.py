"""Make a person's word, by which a side opens although the other side is lost."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_word
short_description: Make a person's word, by which a side opens although the other side is lost
description:
  - Runs on the controller and connects to nothing. Only M(bascule_lost) lets it, which has asked for the person's name
    and for how the lost site was fenced.
  - The epoch is above everything that the guard of the side that opens knows, by so much that the guard of the lost
    side can have promised nothing above it.
options:
  guard:
    description: The guard of the side to open, as M(bascule_guard) returned it.
    type: dict
    required: true
  about:
    description: Inventory name of the side that is lost.
    type: str
    required: true
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Make the word for this side
  bascule_word:
    guard: "{{ __example_to.guard }}"
    about: "{{ bascule_from }}"
  register: __example_word
"""

RETURN = r"""
word:
  description: Who answers for what, and the epoch.
  returned: always
  type: dict
epoch:
  description: The epoch, as text.
  returned: always
  type: str
"""

import datetime
from typing import Any, ClassVar

from bascule.errors import BasculeError
from bascule.guard.state import GuardState, Word, beyond
from bascule.plugin.action import ControllerAction, Scope
from bascule.run.io import identity


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "guard": {"type": "dict", "required": True},
        "about": {"type": "str", "required": True},
    }

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Return the word; nothing is changed."""
        given = scope.get("bascule_given_up")
        if not given:
            raise BasculeError(
                expected="a person who answers for the fence of the side that is lost",
                found="nobody",
                state="nothing was opened",
                next_command="ansible-playbook playbooks/site_lost.yml -e site=SITE -e by=NAME -e fenced='how'",
            )
        epoch = beyond(GuardState.from_dict(args["guard"]), identity.current())
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        word = Word(args["about"], epoch, str(given["by"]), str(given["fenced"]), now)
        return {"word": word.to_dict(), "epoch": str(epoch)}
