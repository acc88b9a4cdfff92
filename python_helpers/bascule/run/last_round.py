"""How long ago monitoring has looked last, and what it found: for `status`. Pure.

A round that does not come is an alarm that nobody sends: whoever was to make it is what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from . import chain, commits, monitor
from .commit_timer import switched_at
from .gates import number_of
from .monitor import Wanted

NOBODY = "NOBODY WATCHES"
# So many series are named.
_SHOWN = 3


def said(entries: Iterable[Mapping[str, Any]], want: Wanted, now: float, declared: bool) -> tuple[str, bool]:
    """Return how monitoring stands after a switch, in a line that is empty before one; and whether somebody watches.

    Args:
        entries: the journal of the run, all copies.
        want: what the plan asks for.
        now: the time, in seconds since the epoch.
        declared: whether the plan asks for monitoring at all; without it, one round is enough to be missed.
    """
    known = list(chain.in_order(entries))
    switched = switched_at(known)
    if switched is None or _decided(known, switched):
        return "", True
    rounds = monitor.rounds(known)
    if not rounds:
        late = declared and now - switched > want.max_age
        return (f"{NOBODY}: no round since the switch, {span(now - switched)} ago", False) if late else ("", True)
    at = number_of(rounds[-1].get("at")) or 0.0
    if now - at > want.max_age:
        return f"{NOBODY}: the last round was {span(now - at)} ago; {span(want.max_age)} are allowed", False
    series = [one for one in rounds[-1].get("series") or [] if isinstance(one, Mapping)]
    wrong = [f"{one.get('key')} {one.get('verdict')}" for one in series if one.get("verdict") != monitor.WITHIN]
    if wrong or not series:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        named = f"{', '.join(wrong[:_SHOWN])}{more}" or "no series"
        # The round itself has called people, and failed.
        return f"ALARM {span(now - at)} ago: {len(wrong)} of {len(series)} series: {named}", True
    return f"all {len(series)} series within their limits, {span(now - at)} ago", True


def span(seconds: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 3 h 5 min, 2 days."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 2 * 3600:
        return f"{whole // 60} min"
    if whole < 48 * 3600:
        minutes = whole % 3600 // 60
        return f"{whole // 3600} h" + (f" {minutes} min" if minutes else "")
    return f"{whole // 86400} days"


def _decided(entries: Iterable[Mapping[str, Any]], switched: float) -> bool:
    """Return whether a person has decided since the switch that it stays: then nobody has to watch."""
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(switched))
    return any(
        entry["kind"] == "decision"
        and entry["data"].get("decision") == commits.COMMIT
        and not entry["data"].get("check_mode")
        and str(entry["time"]) >= since
        for entry in entries
    )
