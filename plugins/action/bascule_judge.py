"""Say of every component whether it is proved, and fail unless it is."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_judge
short_description: Fail unless every component of the play is proved
description:
  - Takes what the roles' verb C(verify) has recorded (C(bascule_record) with C(kind=verify)) out of the journal, and
    judges it. What is missing, null, not proved, zero where there must be something, or older than the last switch is a
    reason.
  - A person lets a reason pass with the variable C(proof_overrides), a text by C(COMPONENT.FIGURE); it stands in the
    journal. An override of something that is not in doubt is refused.
  - Runs on the controller and connects to no host.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Judge what was verified
  bascule_judge:
  run_once: true
"""

RETURN = r"""
msg:
  description: What no comparison looked at, by component and name, each with the reason.
  returned: always
  type: list
  elements: str
overridden:
  description: The reasons that were let pass, with why.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from bascule.plugin import standing
from bascule.plugin.action import ControllerAction, Scope
from bascule.run.io.journal import Journal


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Judge."""
        if self.check_mode:
            # Nothing was verified, and nothing is claimed.
            return {"overridden": [], "msg": []}
        entries = list(Journal.current().read().entries)
        passed = standing.must_be_proved(scope, entries, {})
        told = [f"not compared: {line}" for line in standing.left_out(scope, entries)]
        return {"overridden": passed, "msg": told, **({"warnings": passed} if passed else {})}
