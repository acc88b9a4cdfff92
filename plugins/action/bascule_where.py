"""Say where the run stands."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_where
short_description: Say where the run stands
description:
  - Takes the guards that the roles' verb C(state) has registered; a guard that is missing there is read from its host.
    A host without one is not prepared, unless the verb itself failed, or says in C(unread) that it could not read it.
  - Reads the journal here and at every site that can be reached, checks its chains, and prints about ten lines that end
    with what is to be typed next. Changes nothing.
  - Says which controller is at work and since when, by its note in the run's folder and its process, and which one
    has died; of another machine's, by the notes that it sends to both sites while it lives. Says what users see and
    since when, which copies of the journal lack entries, what a side holds whose other side is silent (C(loss) of the
    verb C(state)), how what is written at the open side comes to the other one (C(carried)) or why it does not
    (C(apart)), and why an open one was not seen to serve (C(unseen)). What speaks for going back. After a switch, how
    long is left to commit, when monitoring has looked last and what it found. Of timers that C(bascule timer) has made
    for this user, why one does not begin its phase.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Say where the run stands
  bascule_where:
  run_once: true
"""

RETURN = r"""
lines:
  description: What was printed.
  returned: always
  type: list
  elements: str
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from ansible.utils.display import Display

from bascule.errors import BasculeError
from bascule.guard import state as rule
from bascule.guard.io.store import GUARD_DIRECTORY
from bascule.guard.state import GuardState
from bascule.plugin import commit_timer, outlook, typed
from bascule.plugin.action import ControllerAction, Scope
from bascule.plugin.values import plain
from bascule.run import (
    chain,
    context,
    controllers,
    criteria,
    last_round,
    monitor,
    outcome,
    position,
    resume,
    runs,
    status,
    users,
)
from bascule.run.gates import number_of
from bascule.run.io import command, heartbeat, identity, presence, timers
from bascule.run.io.journal import Journal, read_copies, read_starts
from bascule.run.last import last_verb
from bascule.system import moments
from bascule.system.io import remote

_LONGEST = 300
_BROKEN = "a chain of the journal is broken"


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Read, judge, print."""
        targets = scope.journal_targets()
        journal = Journal.current()
        known = runs.describe(runs.starts(read_starts(targets)))
        readings, errors = read_copies(journal.run, targets)
        local = journal.read()
        entries = chain.merge(local.entries, *(reading.entries for reading in readings.values()))
        read = {"here": local, **readings}
        copies = {place: chain.describe(reading) for place, reading in read.items()}
        copies |= {site: f"NOT READ ({error})" for site, error in errors.items()}
        sides = self._sides(scope, position.given_up(entries))
        # A site that has just been silent is not waited for a second time.
        answering = {site: where for site, where in targets.items() if site not in errors}
        noted = heartbeat.read(journal.run, answering, presence.read(journal.directory))
        work = controllers.at_work(noted, entries, journal.controller, moments.now())
        seen, last, gone = users.read(sides, entries), last_verb(entries), position.retired(entries)
        standings = [position.standing(one, one.component in gone) for one in sides]
        doubts = [*work.doubts, *(f"the journal of {site} was not read" for site in errors)]
        doubts += [_BROKEN] if chain.problems(read) else []
        own = runs.describe(runs.starts(entries))
        other = ", ".join(name for name in runs.plans(runs.starts(entries)) if name != scope.plan)
        newer = "" if other else runs.newer(scope.plan, journal.run, [*own, *known])
        doubts += ["it is a run of another plan"] if other else ["there is a newer run"] if newer else []
        choice = resume.choose(
            standings,
            last,
            (_site_name(scope, "plan_source_site"), _site_name(scope, "plan_target_site")),
            gone,
            bool(errors),
            seen.waiting,
            work,
            "which run goes on, as said above (BASCULE_RUN=RUN)" if other or newer else "",
            typed.inventories(),
        )
        lines = status.report(
            journal.run,
            sides,
            last,
            copies,
            chain.problems(read),
            choice,
            gone,
            work,
            seen.line,
            _lacks(entries, read) if not (work.first or work.beside) else [],
        )
        timer = commit_timer.stands(scope, entries, errors, noted)
        if timer.line:
            lines.insert(-len(choice.lines()), f"Time to commit: {timer.line}")
        if speaks := criteria.met(entries, scope.components, number_of(outlook.limit(scope)), time.time()):
            lines.insert(-len(choice.lines()), f"Criteria for rollback: {'; '.join(speaks)}")
        watched, is_well = last_round.said(
            entries,
            monitor.wanted(scope.get("plan_monitor") if not monitor.problems(scope.get("plan_monitor")) else None),
            time.time(),
            any(scope.get(name) is not None for name in ("plan_monitor", "plan_observation_days")),
        )
        dead = timers.look()
        for line in [*([f"Monitoring: {watched}"] if watched else []), *(f"TIMER of {why}" for why in dead)]:
            lines.insert(-len(choice.lines()), line)
        doubts += [] if is_well else ["monitoring"]
        doubts += ["a timer of this controller"] if dead else []
        if other:
            lines.insert(1, f"  IT IS A RUN OF PLAN {other}, NOT OF {scope.plan}")
        elif newer:
            lines.insert(1, f"  {newer}")
        # A silent site may hold it.
        here = identity.audited_here({journal.run, *(run.name for run in known)}) if not errors else []
        if alone := runs.orphans(scope.plan, here, known):
            lines.insert(-len(choice.lines()), f"  {alone}")
        for line in lines:
            Display().display(line)
        if (started := command.current()) is not None:
            # What its exit status rests on, and what `resume` goes on with.
            about = {"waits": bool(seen.waiting), "at_work": work.first, "phase": last.phase, "outcome": last.outcome}
            # What keeps an answer that was given beforehand from being one.
            about["unsure"] = [one for one in doubts if one in (controllers.UNKNOWN, _BROKEN)]
            started.tell("where", {**outcome.found(standings, doubts), **about, "next": choice.to_dict()})
        return {"lines": lines, "run": journal.run, "decision": identity.current()}

    def _sides(self, scope: Scope, given_up: dict[str, str]) -> list[position.Sides]:
        """Return both sides of every component."""
        declared = {name: context.declared_sides(name, scope.hostvars[name]) for name in scope.components}
        found: dict[tuple[str, str], GuardState] = {}
        errors: dict[tuple[str, str], str] = {}
        failures: dict[str, str] = {}
        late: dict[str, str] = {}
        apart: dict[str, str] = {}
        unseen: dict[str, str] = {}
        carried: dict[str, str] = {}
        holds: dict[tuple[str, str], str] = {}
        for name in scope.components:
            variables = scope.hostvars[name]
            prefix = f"__{variables['component_role']}"
            for registered in [plain(variables[key]) for key in variables if str(key).startswith(prefix)]:
                guards = position.find_guards(registered)
                found |= {(name, guard.side): guard for guard in guards}
                # A guard that does not lie on a machine cannot be asked for there.
                if not isinstance(registered, dict):
                    continue
                late[name] = "; ".join(registered.get("late") or []) or late.get(name, "")
                if any(guard.status == rule.OPEN for guard in guards):
                    apart[name] = str(registered.get("apart") or "") or apart.get(name, "")
                    unseen[name] = str(registered.get("unseen") or "") or unseen.get(name, "")
                if reached := position.carried(registered):
                    carried[name] = reached
                # A closed side says itself that it does not follow.
                if registered.get("missed"):
                    apart[name] = str(registered["missed"])
                holds |= {(name, guard.side): str(registered.get("loss") or "") for guard in guards}
                unread = registered.get("unread") or {}
                errors |= {(name, host): str(reason) for host, reason in unread.items()}
                if registered.get("failed") is True:
                    failures[name] = str(registered.get("msg", "no reason given"))[:_LONGEST]
        known = found.keys() | errors.keys()
        missing = [(name, host) for name, sides in declared.items() for host in sides if (name, host) not in known]
        read, silent = self._read(scope, missing, failures)
        found, errors = {**found, **read}, {**errors, **silent}

        opened = {name for (name, _), guard in found.items() if guard.status == rule.OPEN}
        # Where no side is open, nothing is written that could be carried.
        apart = {name: why for name, why in apart.items() if name in opened}
        carried = {name: how for name, how in carried.items() if name in opened}

        def side(name: str, host: str) -> position.Side:
            site = str(scope.hostvars[host].get("site", "")) if host in scope.hostvars else ""
            plan_sites = scope.get("plan_sites") or {}
            title = plan_sites.get(site, {}).get("title") or site or host
            key = (name, host)
            return position.Side(host, str(title), found.get(key), errors.get(key, ""), holds.get(key, ""))

        return [
            position.Sides(
                name,
                side(name, a),
                side(name, b),
                *(known.get(name, "") for known in (given_up, late, apart, unseen, carried)),
            )
            for name, (a, b) in declared.items()
        ]

    def _read(
        self, scope: Scope, missing: list[tuple[str, str]], failures: dict[str, str]
    ) -> tuple[dict[tuple[str, str], GuardState], dict[tuple[str, str], str]]:
        """Read guards that no role has registered, all hosts side by side."""
        keys = {f"{name} {host}": (name, host) for name, host in missing if host in scope.hostvars}
        shells = {key: scope.target(host) for key, (_, host) in keys.items()}
        scripts = {
            key: f"[ ! -f {GUARD_DIRECTORY}/{name}.json ] || cat {GUARD_DIRECTORY}/{name}.json"
            for key, (name, _) in keys.items()
        }
        found: dict[tuple[str, str], GuardState] = {}
        errors: dict[tuple[str, str], str] = {}
        for key, answer in remote.run_on(shells, scripts, {}, 20).items():
            name, host = keys[key]
            if answer.error:
                errors[name, host] = answer.error
                continue
            try:
                data = json.loads(answer.output) if answer.output.strip() else None
                if data is None and name in failures:
                    # Its guard may lie elsewhere, with what it guards: no file is no proof that there is none.
                    errors[name, host] = failures[name]
                else:
                    found[name, host] = GuardState.from_dict(data) if data else GuardState(name, host)
            except (BasculeError, ValueError) as error:
                errors[name, host] = str(error)
        return found, errors


def _lacks(entries: list[chain.Entry], read: Mapping[str, chain.Reading]) -> list[str]:
    """Return which copies lack entries that others hold; what a site's machines hold counts together.

    Audits that are kept here for the next phase are lacked by none.
    """
    at_sites = [entry for place, reading in read.items() if place != "here" for entry in reading.entries]
    kept = chain.kept_here(read["here"].entries, at_sites)
    held: dict[str, list[chain.Entry]] = {}
    for place, reading in read.items():
        held.setdefault(place.partition(" (")[0], []).extend(reading.entries)
    missing = {place: chain.lacking(entries, [*there, *kept]) for place, there in held.items()}
    return [f"{place} LACKS {len(lost)} entries that others hold" for place, lost in missing.items() if lost]


def _site_name(scope: Scope, variable: str) -> str:
    sites = scope.get("plan_sites") or {}
    return str(sites.get(scope.get(variable), {}).get("name") or "SITE")
