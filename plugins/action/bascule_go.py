"""GO or NO-GO: the name of the site that shall be active afterwards has to be typed."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_go
short_description: Ask for the name of the site that shall be active afterwards
description:
  - Stands first in every playbook that opens or destroys something. Runs on the controller and connects to no host.
  - Refuses a declaration that cannot be right, with every finding in one message, before anything is read or changed.
  - Says what takes part and what C(--limit) leaves out, what the decision gives up (C(component_go_note) of each
    component that has one) and, where users will wait, the forecast of that. Asks for the name of the site after it.
  - Before a cutover says how every gate of the plan stands by its last sample (the decision sheet), and keeps that in
    the run's folder. Refuses a plan, given with C(-e with_plan=FILE), that is stale or was used.
  - Compares what was typed with the name of the site that the direction leads to (C(plan_sites)), and journals it all.
  - The name comes with C(-e confirm=), or is asked for at the terminal; where C(bascule) has started the playbook, at
    the terminal of whoever follows it. One in the inventory is nobody's answer. A rollback with
    C(-e only_after_overrun=yes) takes C(plan_on_overrun=return) for one; C(bascule_alone) sees whether it is time.
  - With C(--check) nobody is asked.
options:
  phase:
    description: Name of the phase.
    type: str
    required: true
  direction:
    description: V(forward) leads to the target, V(back) to the source, V(away) from a site that was given up.
    type: str
    required: true
    choices: [forward, back, away]
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Ask for the name of the site
  bascule_go:
    phase: cutover
    direction: forward
"""

RETURN = r"""
site:
  description: Name of the site, as the plan has it.
  returned: always
  type: str
  sample: toulouse
given_up:
  description: What the decision gives up, a line for each component that says so.
  returned: always
  type: list
  elements: str
"""

from typing import Any, ClassVar

from ansible.utils.display import Display

from bascule.plugin import commit_timer, outlook, planned, sheets
from bascule.plugin.action import ControllerAction, Scope
from bascule.plugin.asking import asked
from bascule.plugin.preflight import must_be_right
from bascule.plugin.values import plain
from bascule.run import commit_timer as timer
from bascule.run import context
from bascule.run.approval import confirm, destination, given_up, preview
from bascule.run.io.journal import Journal
from bascule.run.order import WINDOWS
from bascule.run.verbs import AWAY, DIRECTIONS

display = Display()


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "phase": {"type": "str", "required": True},
        "direction": {"type": "str", "required": True, "choices": [*DIRECTIONS, AWAY]},
    }

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Look at the declaration, compare and journal."""
        must_be_right(scope, self._templar, self._loader, args["phase"])
        plan = {name: scope.get(name) for name in ("plan_sites", "plan_source_site", "plan_target_site")}
        notes = given_up({name: scope.hostvars[name] for name in scope.in_play})
        direction = scope.direction(args["direction"])
        journal = Journal.current()
        left_out = [name for name in scope.components if name not in scope.in_play]
        site = destination(plan, direction)
        lines = preview(args["phase"], site, scope.in_play, left_out, notes, self.check_mode)
        forecast: dict[str, Any] = {}
        if args["phase"] in WINDOWS:
            lines += outlook.lines(scope, self._loader, journal, args["phase"], scope.in_play)
            forecast = outlook.kept(scope, self._loader, journal, scope.in_play)
        sheet: list[str] = []
        if args["phase"] == sheets.CUTOVER:
            if file := planned.given(self._loader):
                bound, _ = planned.must_fit(scope, self._loader, file)
                lines.append(f"plan {bound['id'][:8]}, made by {bound['by']}, fits so far: {file}")
            sheet = sheets.before_cutover(scope, site)
            lines += sheet
        for line in lines:
            display.display(f"  {line}")
        typed = self.typed("confirm")
        # Whether its time is over is seen as soon as both sides are read; nothing is changed before.
        by_plan = bool(args["phase"] == "rollback" and self.typed(commit_timer.ONLY_AFTER_OVERRUN))
        if by_plan and scope.get("plan_on_overrun") == timer.RETURN and not typed:
            typed = site
        if typed or not self.check_mode:
            confirm(plan, direction, args["phase"], typed or asked(lines))
        lost: dict[str, Any] = {}
        if args["phase"] == "site_lost":
            hosts = {
                name: context.announce(name, scope.hostvars[name], args["phase"], "state", direction).from_host
                for name in scope.in_play
            }
            lost = {"lost": {**scope.get("bascule_given_up"), "hosts": hosts}}
        elif args["phase"] == "guard_lost":
            # For the report: no site was given up.
            lost = {"word": plain(scope.get("bascule_given_up") or {})}
        targets = {} if self.check_mode else scope.journal_targets()
        warnings = journal.start(targets, scope.about_run(args["phase"], self.check_mode))
        if sheet and not self.check_mode:
            sheets.keep(journal, args["phase"], sheet)
        journal.append(
            "decision",
            phase=args["phase"],
            data={
                "decision": "GO",
                "by": f"{commit_timer.BY}, run by {planned.whose()}" if by_plan else planned.whose(),
                "direction": direction,
                "site": site,
                # With this, whoever goes on keeps to the same --limit.
                "takes_part": scope.in_play,
                **lost,
                "check_mode": self.check_mode,
                "given_up": notes,
                "forecast": forecast,
            },
        )
        return {"site": site, "given_up": notes, **({"warnings": warnings} if warnings else {})}
