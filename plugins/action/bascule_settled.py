"""Before anything is retired: refuse unless every component stands where it is to stay."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_settled
short_description: Refuse unless every component stands where it is to stay
description:
  - Stands after the roles' verb C(state) in a decommission, before anything is removed. Takes the guards that were
    registered, and runs on the controller.
  - Demands of every component of the play that the side that stays is open to users and the other one closed, and that
    it was verified since its last switch and is proved, as C(bascule_judge) judges. C(proof_overrides) lets a reason
    pass.
  - Demands of what only points, such as names, that every server has answered; one that is silent could not be retired.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Refuse unless everything stands where it is to stay
  bascule_settled:
  run_once: true
"""

RETURN = r"""
overridden:
  description: The reasons that were let pass, with why.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from bascule.errors import BasculeError
from bascule.plugin import standing
from bascule.plugin.action import ControllerAction, Scope
from bascule.run import position


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Judge."""
        components, _ = standing.read(scope)
        # What is silent could not be retired, and the others would be by then.
        found = [(c.name, position.unsettled(c.entered, c.left, c.retired) or "; ".join(c.unheard)) for c in components]
        if wrong := [f"{name}: {why}" for name, why in found if why]:
            raise BasculeError(
                expected="every component open to users at the site that stays, and closed at the other",
                found="; ".join(wrong),
                state="nothing was removed",
                next_command="ansible-playbook playbooks/status.yml",
            )
        opened = {c.name: _opened(c) for c in components}
        passed = standing.must_be_proved(scope, standing.journalled(scope)[0], opened)
        return {"overridden": passed, **({"warnings": passed} if passed else {})}


def _opened(component: standing.Component) -> str:
    guard = component.entered.guard
    return str(guard.opened or "") if guard is not None else ""
