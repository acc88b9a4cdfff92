"""What speaks for going back after a cutover has begun, by the journal; a person decides. Pure.

A restore that fails or comes to no end in its time and a guest that does not start end their verb as failed. Data that
differ fail the verification. That users wait longer than the plan allows is seen by nothing but the clock.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from . import chain, commits, outcome
from .commit_timer import failing
from .last_round import span
from .order import VERBS
from .progress import FAILED, OK

_LONGEST = 160


def met(
    entries: Iterable[Mapping[str, Any]], components: Collection[str], limit: float | None, now: float
) -> list[str]:
    """Return the criteria for a rollback that are met; none before a cutover, after a commit, or on the way back.

    Args:
        entries: the journal of the run, all copies.
        components: those that the plan moves.
        limit: the seconds that the plan allows a window (`plan_limits.write_outage_seconds`); nothing: none.
        now: the time, in seconds since the epoch.
    """
    known = [entry for entry in chain.in_order(entries) if not (entry["data"] or {}).get("check_mode")]
    course = _of_this_cutover(known)
    found = []
    waiting = outcome.waiting(course)
    since = min((at for name in waiting if (at := _closed_at(course, name)) is not None), default=None)
    if waiting and since is not None and limit is not None and now - since > limit:
        found.append(f"users of {', '.join(waiting)} wait for {span(now - since)}, {span(limit)} are allowed")
    found += [
        f"{verb} of {name} has failed: {why}" for (name, verb), why in _failed(course).items() if name in components
    ]
    return found + (failing(course, components) if course else [])


def _of_this_cutover(entries: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return what was written since the last GO, if it was that of a cutover and nobody has committed since."""
    decided = [
        (at, entry)
        for at, entry in enumerate(entries)
        if entry["kind"] == "decision" and entry["data"].get("decision") in ("GO", commits.COMMIT)
    ]
    # A cutover that is gone on with is one and the same: users wait since the first.
    first: int | None = None
    for at, entry in decided:
        if entry["data"].get("decision") == "GO" and entry["phase"] == "cutover":
            first = at if first is None else first
        else:
            first = None
    return [] if first is None else entries[first:]


def _failed(entries: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Return the verbs of the window that have failed and did not come through since, with the reason."""
    found: dict[tuple[str, str], str] = {}
    for entry in entries:
        key = (str(entry["component"]), str(entry["verb"]))
        if entry["kind"] != "end" or entry["phase"] != "cutover" or key[1] not in VERBS:
            continue
        found.pop(key, None)
        if entry["data"].get("result") == FAILED:
            why = " ".join(str(entry["data"].get("message") or "no reason given").split())
            found[key] = why if len(why) <= _LONGEST else f"{why[:_LONGEST]}…"
    return found


def _closed_at(entries: Iterable[Mapping[str, Any]], component: str) -> float | None:
    """Return since when the users of a component wait; None where that is not known."""
    since: float | None = None
    for entry in entries:
        if entry["component"] != component:
            continue
        if entry["kind"] == "begin" and entry["verb"] in commits.CLOSING and since is None:
            time = str(entry["time"]).replace("Z", "+00:00")
            since = datetime.datetime.fromisoformat(time).timestamp()
        elif entry["kind"] == "end" and entry["verb"] == VERBS[-1] and entry["data"].get("result") == OK:
            since = None
    return since
