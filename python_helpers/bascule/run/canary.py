"""The canary: what was written at the open side after the switch, and was seen at the other one. Pure.

A verification writes it and keeps what came of it in the journal; a commit asks how long it took and how old that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from . import chain, gates
from .commits import CLOSING
from .gates import Verdict

GATE = EVENT = "canary"
# Roles whose verification writes one.
ROLES = frozenset({"postgresql_replication", "rsync_delta_sync"})
# Seconds that it may take where plan_canary does not say.
LONGEST = 60.0
_KEYS = ("max", "max_age")


def limit(declared: Any, max_age: float) -> dict[str, Any]:
    """Return the limit of the gate: `plan_canary`, and what is usual where it does not say.

    Args:
        declared: the plan's `plan_canary`.
        max_age: how old what a commit rests on may be, in seconds.
    """
    given = declared if isinstance(declared, Mapping) else {}
    return {"max": LONGEST, "max_age": max_age, **{key: given[key] for key in _KEYS if key in given}, "unit": "s"}


def problems(declared: Any) -> list[str]:
    """Name what cannot be right in `plan_canary`; nothing where none is declared."""
    if declared is None:
        return []
    if not isinstance(declared, Mapping):
        return [f"it is no table: {declared!r}"]
    unknown = [f"{key}: a key that means nothing" for key in declared if key not in _KEYS]
    return unknown or gates.problems({GATE: limit(declared, LONGEST)}, {GATE: ("s",)})


def gate(
    component: str,
    entries: Iterable[Mapping[str, Any]],
    *,
    written_at: str,
    seen_at: str,
    opened: str,
    limit: Mapping[str, Any],
    overrides: Any,
    now: float,
) -> Verdict:
    """Return how the gate stands for a component that is to stay where it is open.

    Args:
        component: its name.
        entries: the journal of the run, all copies.
        written_at: the side that is open.
        seen_at: the side that is closed.
        opened: under which epoch the open side was opened.
        limit: the gate's, as `limit` returns it.
        overrides: reasons by gate.
        now: the time, in seconds since the epoch.
    """
    found = last(entries, component)
    wrong = _wrong(found, written_at, seen_at, opened) if found else ""
    value = None if wrong or not found else found.get("value")
    sampled_at = found.get("sampled_at") if found else None
    verdict = gates.decide(GATE, value, "s", sampled_at, {GATE: limit}, overrides, now)
    why = wrong or (str(found.get("why") or "") if found and value in (None, "") else "")
    return replace(verdict, reason=why or verdict.reason)


def last(entries: Iterable[Mapping[str, Any]], component: str) -> Mapping[str, Any] | None:
    """Return what came of the last canary since the component was closed for its users; None where there is none."""
    known = chain.in_order(entries)
    tried = {_whose(entry) for entry in known if (entry["data"] or {}).get("check_mode")}
    found: Mapping[str, Any] | None = None
    for entry in known:
        if entry["component"] != component or _whose(entry) in tried:
            continue
        if entry["kind"] == "begin" and entry["verb"] in CLOSING:
            found = None
        elif entry["kind"] == "state" and entry["data"].get("event") == EVENT:
            found = entry["data"].get("found") or {}
    return found


def _wrong(found: Mapping[str, Any], written_at: str, seen_at: str, opened: str) -> str:
    """Say why what was found is about another move; nothing where it is about this one."""
    if (wrote := str(found.get("written_at"))) != written_at:
        return f"the last one was written at {wrote}, {written_at} is open"
    if (saw := str(found.get("seen_at"))) != seen_at:
        return f"the last one was looked for at {saw}, {seen_at} is the other side"
    if (under := str(found.get("opened"))) != opened:
        return f"the last one was written under epoch {under}, the side was opened under {opened}"
    return ""


def _whose(entry: Mapping[str, Any]) -> tuple[str, str]:
    return str(entry.get("controller")), str(entry.get("epoch"))
