"""Scheduled events: they run at exactly one side. Pure.

A closed side has the scheduler off, also after a start. What ran before the close is listed in the receipt; the side
that opens enables these, and no other, and sets the scheduler as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import settings

ENABLED = "ENABLED"
ELSEWHERE = "SLAVESIDE_DISABLED"


@dataclass(frozen=True)
class Schedule:
    """What ran: whether the scheduler did, and the enabled events as (schema, name)."""

    running: bool
    enabled: tuple[tuple[str, str], ...]

    def to_position(self) -> dict[str, str]:
        """Return it as texts of a receipt."""
        return {"scheduler": "ON" if self.running else "OFF", "events": json.dumps([list(one) for one in self.enabled])}


def from_position(position: Mapping[str, str]) -> Schedule:
    """Read it from a receipt."""
    enabled = json.loads(position.get("events", "[]"))
    return Schedule(position.get("scheduler") == "ON", tuple((str(a), str(b)) for a, b in enabled))


def seen(scheduler: str, rows: Sequence[Mapping[str, str]]) -> Schedule:
    """Return what runs at a side that serves."""
    return Schedule(
        scheduler == "ON", tuple(sorted((row["schema"], row["name"]) for row in rows if row["status"] == ENABLED))
    )


def unheard(rows: Sequence[Mapping[str, str]]) -> Schedule:
    """Return what ought to run where the other side is lost and has said nothing: all that it had not disabled."""
    names = tuple(sorted((row["schema"], row["name"]) for row in rows if row["status"] in (ENABLED, ELSEWHERE)))
    return Schedule(bool(names), names)


def statements(wanted: Schedule, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the statements by which exactly the wanted events are enabled; nothing where they are."""
    there = {(row["schema"], row["name"]): row["status"] for row in rows}
    found = []
    for (schema, name), status in sorted(there.items()):
        on = (schema, name) in wanted.enabled
        if on != (status == ENABLED) and (on or status != "DISABLED"):
            word = "ENABLE" if on else "DISABLE"
            found.append(f"ALTER EVENT {settings.name(schema)}.{settings.name(name)} {word}")
    return found


def missing(wanted: Schedule, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Name the events that ran at the other side and are not here."""
    there = {(row["schema"], row["name"]) for row in rows}
    return [f"{schema}.{name}" for schema, name in wanted.enabled if (schema, name) not in there]
