"""Show what a cutover would do and cost, and write the plan that it may be bound to."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_plan
short_description: Show what a cutover would do and cost, and write its plan
description:
  - Stands after an audit and the roles' verb C(state). Takes the guards that were registered.
  - Prints what depends on what, what would happen in which order, the forecast of the window (expected and pessimistic,
    its critical path, the way back), and the decision sheet.
  - Refuses unless every component came through the audit, answers at both sides, serves at the side that is left and is
    closed at the other one, and unless the expected outage is within C(plan_limits.write_outage_seconds).
  - Writes the plan to C(plans) in the run's folder, with a checksum over the inventory, the variables of the plan, what
    was given with C(-e), and where everything stands; its id and its checksum go to the journal of both sites.
  - With C(--check) nothing is written.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Show what would happen, and write the plan
  bascule_plan:
  run_once: true
"""

RETURN = r"""
plan:
  description: File of the plan; empty with C(--check).
  returned: always
  type: str
"""

import secrets
import time
from typing import Any

from ansible.utils.display import Display

from bascule.errors import GateError, NoGo
from bascule.guard import state as rule
from bascule.plugin import outlook, planned, sheets, standing
from bascule.plugin.action import ControllerAction, Scope
from bascule.plugin.standing import Component
from bascule.report import audited, expectation, planning
from bascule.run import context, plans
from bascule.run.approval import destination
from bascule.run.io import plan_files
from bascule.run.io.journal import Journal
from bascule.run.verbs import POINTING


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Look, show, refuse or write."""
        journal, phase = Journal.current(), scope.announced.phase
        components, silent = standing.read(scope)
        entries = standing.entries(scope)
        roles = {name: str(scope.hostvars[name]["component_role"]) for name in scope.in_play}
        depends_on = context.dependencies(scope.components, scope.hostvars)
        found = expectation.outlook(outlook.known(scope, self._loader, entries, scope.in_play), entries)
        limit = outlook.limit(scope)
        pointing = [name for name in scope.in_play if roles[name] in POINTING]
        names = {name: scope.get(name) for name in ("plan_sites", "plan_source_site", "plan_target_site")}
        site = destination(names, scope.announced.direction)
        for line in [
            f"PLAN {scope.plan}: cutover to {site}",
            *(f"  {line}" for line in planning.graph(roles, depends_on)),
            *(f"  {line}" for line in planning.steps(scope.in_play, depends_on, pointing)),
            *(f"  {line}" for line in expectation.lines(found, limit)),
            *(f"  {line}" for line in sheets.made(scope, entries, f"cutover to {site}", [])),
        ]:
            Display().display(line)
        self._refuse(scope, phase, components, silent)
        if not expectation.fits(found, limit):
            raise GateError(
                expected=f"an outage within the {limit} s that the plan allows",
                found=f"{found.expected.figure} expected, on {', '.join(found.expected.chain)}",
                state="no plan was written; nothing was changed at the components",
                next_command="another way for what takes longest, or a longer window (plan_limits); then plan again",
            )
        if self.check_mode:
            Display().display("  no plan is written with --check")
            return {"plan": ""}
        salt = secrets.token_hex(16)
        plan = plans.make(
            planned.basis(scope, self._loader, salt, components),
            plan_id=secrets.token_hex(16),
            salt=salt,
            run=journal.run,
            plan=scope.plan,
            made=round(time.time(), 3),
            by=planned.whose(),
        )
        made = {"decision": plans.MADE, "id": plan["id"], "checksum": plan["checksum"], "by": plan["by"]}
        journal.append("decision", phase=phase, data=made)
        planned.to_both(scope, journal, "the plan")
        path = plan_files.write(journal.directory, plan)
        Display().display(f"  plan {plan['id'][:8]}: {path}, to be used once: bascule run cutover --plan {path} …")
        return {"plan": str(path)}

    def _refuse(self, scope: Scope, phase: str, components: list[Component], silent: Any) -> None:
        """Refuse what no cutover could begin with, all at once."""
        seen = audited.audited(Journal.current().own(), phase)
        found = [f"{name}: {'; '.join(seen[name].refusals)}" for name in scope.gone if name in seen]
        found += [f"{name}: it has failed" for name in scope.gone if name not in seen]
        found += [f"the journal at {site}: {reason}" for site, reason in sorted(silent.items())]
        for one in components:
            if one.name in scope.gone:
                continue
            if why := standing.obstacle(one, False) or _elsewhere(one):
                found.append(why)
        if found:
            raise NoGo(
                expected="every component to come through the audit and to serve at the side that is left, closed at "
                "the other",
                found="; ".join(found),
                state="no plan was written; nothing was changed at the components",
                next_command="mend what is named, then plan again; bascule status says where the run stands",
            )


def _elsewhere(one: Component) -> str:
    """Return why a component does not stand as it does before a cutover; nothing where it does, or only points."""
    left, entered = one.left.guard, one.entered.guard
    if one.points_only or left is None or entered is None:
        return ""
    if left.status == rule.OPEN and not left.frozen and entered.status == rule.CLOSED:
        return ""
    return f"{one.name}: {left.describe()}; {entered.describe()}"
