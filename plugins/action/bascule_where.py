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
    with the next safe command. Changes nothing.
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
from typing import Any

from ansible.utils.display import Display

from bascule.errors import BasculeError
from bascule.guard.io.store import GUARD_DIRECTORY
from bascule.guard.state import GuardState
from bascule.plugin.action import ControllerAction, Scope, plain
from bascule.run import chain, context, position, runs
from bascule.run.io import identity
from bascule.run.io.journal import Journal, read_copies, read_starts
from bascule.system.io import remote

_LONGEST = 300


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
        lines = position.report(
            journal.run,
            self._sides(scope, position.given_up(entries)),
            position.last_verb(entries),
            copies,
            chain.problems(read),
            (_site_name(scope, "plan_source_site"), _site_name(scope, "plan_target_site")),
            position.retired(entries),
            bool(errors),
        )
        own = runs.describe(runs.starts(entries))
        if other := [name for name in runs.plans(runs.starts(entries)) if name != scope.plan]:
            lines.insert(1, f"  IT IS A RUN OF PLAN {', '.join(other)}, NOT OF {scope.plan}")
        elif newer := runs.newer(scope.plan, journal.run, [*own, *known]):
            lines.insert(1, f"  {newer}")
        for line in lines:
            Display().display(line)
        return {"lines": lines, "run": journal.run, "decision": identity.current()}

    def _sides(self, scope: Scope, given_up: dict[str, str]) -> list[position.Sides]:
        """Return both sides of every component."""
        declared = {name: context.declared_sides(name, scope.hostvars[name]) for name in scope.components}
        found: dict[tuple[str, str], GuardState] = {}
        errors: dict[tuple[str, str], str] = {}
        failures: dict[str, str] = {}
        late: dict[str, str] = {}
        for name in scope.components:
            variables = scope.hostvars[name]
            prefix = f"__{variables['component_role']}"
            for registered in [plain(variables[key]) for key in variables if str(key).startswith(prefix)]:
                found |= {(name, guard.side): guard for guard in position.find_guards(registered)}
                # A guard that does not lie on a machine cannot be asked for there.
                if not isinstance(registered, dict):
                    continue
                late[name] = "; ".join(registered.get("late") or []) or late.get(name, "")
                unread = registered.get("unread") or {}
                errors |= {(name, host): str(reason) for host, reason in unread.items()}
                if registered.get("failed") is True:
                    failures[name] = str(registered.get("msg", "no reason given"))[:_LONGEST]
        known = found.keys() | errors.keys()
        missing = [(name, host) for name, sides in declared.items() for host in sides if (name, host) not in known]
        read, silent = self._read(scope, missing, failures)
        found, errors = {**found, **read}, {**errors, **silent}

        def side(name: str, host: str) -> position.Side:
            site = str(scope.hostvars[host].get("site", "")) if host in scope.hostvars else ""
            plan_sites = scope.get("plan_sites") or {}
            title = plan_sites.get(site, {}).get("title") or site or host
            return position.Side(host, str(title), found.get((name, host)), errors.get((name, host), ""))

        return [
            position.Sides(name, side(name, a), side(name, b), given_up.get(name, ""), late.get(name, ""))
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


def _site_name(scope: Scope, variable: str) -> str:
    sites = scope.get("plan_sites") or {}
    return str(sites.get(scope.get(variable), {}).get("name") or "SITE")
