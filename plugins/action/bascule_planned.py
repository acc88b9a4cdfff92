"""Bind a cutover to the plan that was given: refuse it where it is stale, use it up before anything changes."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_planned
short_description: Refuse a plan that does not fit what stands where
description:
  - Does nothing unless a plan was given with C(-e with_plan=FILE), as C(bascule run cutover --plan FILE) does.
  - Takes the guards that the roles' verbs have registered, and compares with the plan what they say, the inventory, the
    variables of the plan, what was given with C(-e), its age and who takes part. All that differs is named.
  - A plan is used once, by the journal of both sites. With O(uses) that is written there before anything changes, and
    read again, so that of two controllers one goes on at most.
  - With C(--check) nothing is used up.
options:
  uses:
    description: Whether the plan is used up here.
    type: bool
    default: false
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Use up the plan that was given
  bascule_planned:
    uses: true
  run_once: true
"""

RETURN = r"""
plan:
  description: Id of the plan; empty where none was given.
  returned: always
  type: str
"""

from typing import Any, ClassVar

from bascule.errors import NoGo, PlanError
from bascule.plugin import planned, standing
from bascule.plugin.action import ControllerAction, Scope


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {"uses": {"type": "bool", "default": False}}

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Compare, and use it up."""
        if not (path := planned.given(self._loader)):
            return {"plan": ""}
        try:
            plan, _ = planned.must_fit(scope, self._loader, path, standing.read(scope)[0])
            if args["uses"] and not self.check_mode:
                planned.use(scope, plan, scope.announced.phase)
        except PlanError as error:
            # The GO was given, and nothing was closed.
            raise NoGo(**error.fields()) from error
        return {"plan": str(plan["id"])}
