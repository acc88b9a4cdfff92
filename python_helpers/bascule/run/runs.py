"""Which run a controller goes on with: its own, or the one that the sites know and it does not. Pure.

A chain begins with its start entry, which names the plan: the start entries of all copies say which runs there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

Entry = Mapping[str, Any]
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ID = re.compile(r"\d{8}-\d{6}-(.+)")


@dataclass(frozen=True)
class Run:
    """A run as its start entries show it; `last` is when a decision joined it last, leaving out dry ones."""

    name: str
    plan: str
    last: str = ""
    controller: str = ""


@dataclass(frozen=True)
class Choice:
    """The run to go on with (none: begin a new one), and what has to be said about it."""

    name: str = ""
    said: str = ""


def valid(name: str) -> bool:
    """Say whether that can be a run's name: it becomes a directory on every journal host."""
    return _NAME.fullmatch(name) is not None


def suffix(plan: str) -> str:
    """Return the plan's name as a part of a run's."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", plan) or "run"


def starts(entries: Iterable[Entry]) -> list[Entry]:
    """Return the start entries."""
    return [e for e in entries if e["kind"] == "state" and e["data"].get("event") == "start" and valid(str(e["run"]))]


def plans(begun: Iterable[Entry]) -> list[str]:
    """Return the plans that start entries name, the oldest first."""
    named = [str(e["data"]["plan"]) for e in sorted(begun, key=lambda e: str(e["time"])) if e["data"].get("plan")]
    return list(dict.fromkeys(named))


def describe(begun: Iterable[Entry]) -> list[Run]:
    """Return the runs, the one joined last at the end."""
    grouped: dict[str, list[Entry]] = {}
    for entry in begun:
        grouped.setdefault(str(entry["run"]), []).append(entry)
    return sorted((_run(name, group) for name, group in grouped.items()), key=lambda run: (run.last, run.name))


def describe_name(name: str) -> Run:
    """Return a run of which nothing but its name is known."""
    return _run(name, [])


def of_plan(run: Run, plan: str) -> bool:
    """Say whether the run is one of the plan; in a run's own name it stands as in a file name."""
    return run.plan in (plan, suffix(plan))


def choose(plan: str, local: Optional[Run], at_sites: Sequence[Run]) -> Choice:
    """Return the run to go on with: the latest here, unless the sites know nothing of it and know a newer one.

    One that was only ever tried with --check hides nothing. A run that no site knows because its site is silent is
    newer than what the other site holds, or nothing was changed in it.
    """
    own = local if local is not None and of_plan(local, plan) else None
    found = [run for run in at_sites if of_plan(run, plan)]
    if own is None or own.name not in {run.name for run in found}:
        newest = found[-1] if found else None
        if newest is not None and (own is None or newest.last > own.last):
            said = f"going on with run {newest.name}, which the sites hold: {_joined(newest)}"
            return Choice(newest.name, said + (f"; {left_here(own)}" if own is not None and own.last else ""))
    if own is None:
        return Choice()
    return Choice(own.name, newer(plan, own.name, [own, *at_sites]))


def newer(plan: str, name: str, known: Sequence[Run]) -> str:
    """Say which run of the same plan was begun or joined after this one; nothing when none was."""
    last = max((run.last for run in known if run.name == name), default="")
    later = [run for run in known if run.name != name and of_plan(run, plan) and run.last > last]
    if not later:
        return ""
    run = max(later, key=lambda run: run.last)
    return f"ANOTHER RUN OF THIS PLAN IS NEWER: {run.name}, {_joined(run)}; BASCULE_RUN={run.name} goes on with it"


def left_here(run: Run, more: int = 0) -> str:
    """Say that a run lies at this controller alone, and what that means for whoever goes on with another one."""
    others = f" (and {more} more)" if more else ""
    return (
        f"run {run.name}{others}, {_joined(run)}, lies here alone and no site holds it: what it has measured does not "
        f"count in another run, so audit again; BASCULE_RUN={run.name} shows what it was"
    )


def orphans(plan: str, here: Iterable[Run], at_sites: Iterable[Run]) -> str:
    """Say which runs of the plan lie at this controller alone while the sites hold another one; nothing if none."""
    known = [run for run in at_sites if of_plan(run, plan)]
    alone = [run for run in here if run.last and of_plan(run, plan) and run.name not in {one.name for one in known}]
    return left_here(max(alone, key=lambda run: run.last), len(alone) - 1) if alone and known else ""


def under_way(entries: Iterable[Entry], controller: str) -> list[str]:
    """Return the verbs that another controller has begun and not ended, in words."""
    begun: dict[tuple[str, ...], Entry] = {}
    for entry in entries:
        key = tuple(str(entry[field]) for field in ("controller", "epoch", "phase", "verb", "component"))
        if entry["kind"] == "begin" and not entry["data"].get("check_mode"):
            begun[key] = entry
        elif entry["kind"] == "end":
            begun.pop(key, None)
    return [
        f"{e['verb']} of {e['component']} ({e['phase']}), begun {str(e['time'])[:19]}Z by another controller, "
        f"{e['controller']}, has not ended: interrupted or under way"
        for e in begun.values()
        if e["controller"] != controller
    ]


def _run(name: str, begun: Sequence[Entry]) -> Run:
    named, match = plans(begun), _ID.fullmatch(name)
    real = [entry for entry in begun if not entry["data"].get("check_mode")]
    last = max(real, key=lambda entry: str(entry["time"]), default=None)
    return Run(
        name,
        named[0] if named else match.group(1) if match else "",
        str(last["time"]) if last else "",
        str(last["controller"]) if last else "",
    )


def _joined(run: Run) -> str:
    return f"begun or joined last {run.last[:19]}Z by {run.controller}" if run.last else "only tried with --check"
