"""Copies in the journal of guards that do not lie on a machine; the journal goes to both sites with every verb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import BasculeError
from ...guard.state import GuardState
from .journal import Journal

EVENT = "guard"


def of_run() -> Journal | None:
    """Return the journal of this run; None outside of one, where there is nowhere to keep a copy."""
    try:
        return Journal.current()
    except BasculeError:
        return None


def keep(journal: Journal | None, component: str, guard: Mapping[str, Any]) -> None:
    """Write a guard down as it is now, once the run's journal has begun."""
    if journal is not None and journal.own():
        journal.append("state", component=component, data={"event": EVENT, "guard": dict(guard)})


def say(component: str, text: str) -> None:
    """Write into the journal of this run what is about to be done to what carries such a guard, or was done."""
    journal = of_run()
    if journal is not None and journal.own():
        journal.append("state", component=component, data={"event": "guest", "said": text})


def last(journal: Journal | None, component: str, side: str) -> GuardState | None:
    """Return the guard of a side that was written down last."""
    for entry in reversed(journal.read().entries if journal is not None else ()):
        kept = entry["data"].get("guard")
        if entry["component"] != component or entry["data"].get("event") != EVENT or not isinstance(kept, Mapping):
            continue
        if kept.get("side") == side:
            return GuardState.from_dict(kept)
    return None
