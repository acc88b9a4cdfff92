"""The decision that a move stays: refused while anything speaks against it, and asked for by the name of the site."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_commit
short_description: Decide that a move stays
description:
  - Stands after the roles' verb C(state). Takes the guards that were registered, and runs on the controller.
  - Demands of every component of the play that the side that stays is open to users and the other one closed, and that
    it was verified since its last switch and is proved equal, as C(bascule_judge) judges.
  - Demands that the verification is not older than C(plan_max_age_seconds), that users were in for
    C(plan_observation_seconds), and, where a kind's C(state) looks for it, that the open side serves and that what is
    written there comes to the other side now. Of kinds whose verification writes a canary, that one has reached the
    other side, as C(plan_canary) limits it. What nobody looks for is said on the sheet. C(gate_overrides) lets one of
    these pass with a reason.
  - Where the plan asks for C(plan_observation_days), demands as many full days with samples of M(bascule_monitor) since
    users were let in, and that the last of each series are fresh and within their limits.
  - Prints the decision sheet, asks for the name of the site, and journals the decision at both sites. It changes
    nothing at the components; a way back is open until the decommission. Where a site could not keep it, it is taken
    back and nothing was decided.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Decide that it stays
  bascule_commit:
  run_once: true
"""

RETURN = r"""
overridden:
  description: The reasons that were let pass, with why.
  returned: always
  type: list
  elements: str
"""

import time
from collections.abc import Mapping
from typing import Any

from ansible.utils.display import Display

from bascule.errors import BasculeError, JournalError, NoGo
from bascule.plugin import planned, sheets, standing
from bascule.plugin.action import ControllerAction, Scope, journal_entry
from bascule.plugin.asking import asked
from bascule.plugin.preflight import must_be_right
from bascule.report import forecast, sheet
from bascule.report.sheet import Row
from bascule.run import canary, commits, context, monitor
from bascule.run.approval import confirm, destination, preview
from bascule.run.gates import number_of
from bascule.run.io.journal import Journal

PHASE = "commit"
UNDECIDED = "nothing was decided; a way back is open"


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Judge, show, ask, journal."""
        must_be_right(scope, self._templar, self._loader, PHASE)
        journal = Journal.current()
        plan = {name: scope.get(name) for name in ("plan_sites", "plan_source_site", "plan_target_site")}
        site = destination(plan, scope.announced.direction)
        entries, silent = standing.journalled(scope)
        apart = _apart(scope)
        rows = self._rows(scope, entries, apart)
        notes = [f"the journal at {place} is silent: {reason}" for place, reason in sorted(silent.items())]
        if scope.get("plan_observation_seconds") is None:
            notes.append("the plan asks for no observation (plan_observation_seconds)")
        if scope.get("plan_observation_days") is None:
            notes.append("the plan asks for no days of monitoring (plan_observation_days)")
        if still := [name for name in scope.in_play if name not in apart]:
            notes.append(f"nothing is carried back before a return, or has to be: {', '.join(still)}")
        if unsent := [name for name in apart if not _sends(scope, name)]:
            notes.append(f"no canary is sent by this kind, only the connection is looked at: {', '.join(unsent)}")
        seen = {row.component for row in rows if row.verdict.name == commits.SERVES}
        if unasked := [name for name in scope.in_play if name not in seen]:
            notes.append(f"nobody looks now whether it serves, the verification did: {', '.join(unasked)}")
        lines = sheet.lines(f"stay at {site}", rows, planned.whose(), scope.get("gate_overrides"), notes)
        left_out = [name for name in scope.components if name not in scope.in_play]
        lines = [*preview(PHASE, site, scope.in_play, left_out, [], self.check_mode), *lines]
        for line in lines:
            Display().display(f"  {line}")
        targets = {} if self.check_mode else scope.journal_targets()
        said = journal.start(targets, scope.about_run(PHASE, self.check_mode))
        try:
            opened, passed = standing.must_be_settled(scope, entries)
        except BasculeError as error:
            raise NoGo(**{**error.fields(), "state": UNDECIDED}) from error
        load = commits.load_against(entries, scope.get("gate_overrides")) if scope.get("plan_load_test") else []
        load += _watched_against(scope, entries)
        if wrong := [*sheet.no_go(rows), *load, *notes[: len(silent)]]:
            raise NoGo(
                expected="every gate of a commit to say GO, and the journal of both sites to answer",
                found="; ".join(wrong),
                state=UNDECIDED,
                next_command="mend what is named or wait, then commit again; bascule rollback returns; or let a gate "
                'pass with a reason: -e \'{"gate_overrides": {"GATE": "why"}}\'',
            )
        if self.check_mode:
            return {"overridden": passed}
        confirm(plan, scope.announced.direction, PHASE, self.typed("confirm") or asked(lines))
        for row in rows:
            data = row.verdict.to_dict()
            journal.append("sample", phase=PHASE, component=row.component, data=data, durable=False)
        sheets.keep(journal, PHASE, lines)
        decision = {"decision": commits.COMMIT, "site": site, "by": planned.whose(), "opened": opened}
        journal_entry(journal, "decision", scope.announced, decision)
        try:
            planned.to_both(scope, journal, "the commit")
        except JournalError as error:
            taken_back = {**decision, "opened": dict.fromkeys(opened, ""), "taken_back": error.found}
            journal_entry(journal, "decision", scope.announced, taken_back)
            journal.copy_to(scope.journal_targets(), insist=False)
            raise JournalError(**{**error.fields(), "state": UNDECIDED}) from error
        Display().display(f"  it stays at {site}; a way back is open until the decommission")
        passed += [f"gate {row.verdict.name}: {row.verdict.override}" for row in rows if row.verdict.override]
        said += passed
        return {"overridden": passed, **({"warnings": said} if said else {})}

    def _rows(self, scope: Scope, entries: list[Any], apart: Mapping[str, str]) -> list[Row]:
        unseen, late, now = standing.told(scope, "unseen"), standing.told(scope, "late"), time.time()
        given = number_of(scope.get("plan_max_age_seconds"))
        max_age = commits.MAX_AGE if given is None else given
        canaries = [_canary(scope, name, entries, max_age, now) for name in apart if _sends(scope, name)]
        return canaries + [
            Row(name, verdict, 0.0)
            for name in scope.in_play
            for verdict in commits.gates(
                name,
                entries,
                apart.get(name),
                "; ".join(filter(None, (one.get(name) for one in (unseen, late))))
                if name in unseen or name in late
                else None,
                observation=scope.get("plan_observation_seconds"),
                max_age=max_age,
                overrides=scope.get("gate_overrides"),
                now=now,
            )
        ]


def _sends(scope: Scope, name: str) -> bool:
    """Say whether the verification of a component writes a canary."""
    return scope.hostvars[name]["component_role"] in canary.ROLES


def _canary(scope: Scope, name: str, entries: list[Any], max_age: float, now: float) -> Row:
    """Return how the canary of a component stands."""
    about = context.announce(name, scope.hostvars[name], "", "state", scope.announced.direction)
    verdict = canary.gate(
        name,
        entries,
        written_at=about.to_host,
        seen_at=about.from_host,
        opened=standing.opened_under(scope, name),
        limit=canary.limit(scope.get("plan_canary"), max_age),
        overrides=scope.get("gate_overrides"),
        now=now,
    )
    return Row(name, verdict, None if verdict.sampled_at is None else now - verdict.sampled_at)


def _watched_against(scope: Scope, entries: list[Any]) -> list[str]:
    """Return what monitoring says against staying, where the plan asks for days of it."""
    days = scope.get("plan_observation_days")
    if days is None:
        return []
    let_in = {name: commits.last_end(entries, name, "thaw") for name in scope.in_play}
    want = monitor.wanted(scope.get("plan_monitor"))
    return monitor.against(entries, let_in, days, want, scope.get("gate_overrides"), time.time())


def _apart(scope: Scope) -> dict[str, str]:
    """Return why what is written does not come back, by component; one that is moved by a dump carries nothing."""
    found = standing.told(scope, "apart", "missed")
    return {name: why for name, why in found.items() if scope.hostvars[name].get(forecast.METHOD) != "dump_restore"}
