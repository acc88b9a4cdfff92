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
  - Where the plan asks for an observation (C(plan_observation_seconds), C(plan_observation_days)), demands a
    commit since the last switch.
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

from bascule.errors import NoGo
from bascule.plugin import standing
from bascule.plugin.action import ControllerAction, Scope
from bascule.run import commits


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Judge."""
        entries = standing.journalled(scope)[0]
        opened, passed = standing.must_be_settled(scope, entries)
        observed = any(scope.get(name) is not None for name in ("plan_observation_seconds", "plan_observation_days"))
        if observed and (left := commits.missing(entries, opened)):
            raise NoGo(
                expected="a commit of every component since its last switch, as the plan asks for an observation",
                found=f"none of {', '.join(left)}",
                state="nothing was removed",
                next_command="bascule commit",
            )
        return {"overridden": passed, **({"warnings": passed} if passed else {})}
