"""Where the window of each leg went, out of the journal of a run, and what was slower than the plan wants. Pure."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..run import window
from .judge import SPEED, judged
from .records import Leg


def leg_window(lines: Iterable[str], leg: Leg) -> dict[str, Any]:
    """Return the figures of the last window of a leg, as the journal has kept them; without one each is None."""
    found: Mapping[str, Any] = {}
    for line in lines:
        if f'"{window.EVENT}"' not in line:
            continue
        try:
            entry = json.loads(line)
            at = datetime.datetime.fromisoformat(entry["time"]).timestamp()
            if entry["data"]["event"] == window.EVENT and leg.start <= at < leg.end:
                found = entry["data"]
        except (ValueError, KeyError, TypeError):
            continue
    figures = {name: found.get(name) for name in ("window_seconds", "orchestration_seconds", "critical_path")}
    rest = {name: value for name, value in found.items() if name not in (*figures, "event")}
    return {**figures, "window": rest or None}


def window_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return where the windows of both legs went, as a person reads it."""
    said = []
    for leg in ("forward", "back"):
        figures = summary.get(leg, {})
        if figures.get("window"):
            said += [f"{leg}: {line}" for line in window.lines({**figures["window"], **figures})]
    return said


def slow_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return which speed was not what the plan wants, with the load that the machine had."""
    said = []
    for leg in ("forward", "back"):
        figures = summary.get(leg, {})
        about = figures.get("window") or {}
        load = f"; load of the machine {about['load']} on {about['cores']} cores" if "load" in about else ""
        for name in SPEED:
            limit, value = summary.get("limits", {}).get(name), figures.get(name)
            if isinstance(value, (int, float)) and limit is not None and value > limit and not judged(name, figures):
                said.append(f"{leg}.{name}: {value}, the plan wants {limit} at most{load}")
    return said
