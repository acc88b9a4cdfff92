"""The accounts kept during a run, as typed records: the client outside, the two-writer prober, the look-up afterwards.

An account carries two clocks. Durations are taken on the monotonic one of its own process; wall time serves only to say
in which leg of the run something happened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Committed:
    """Where a write was committed, as the side that acknowledged it says."""

    system_id: str
    timeline: int
    db: str


@dataclass(frozen=True)
class Operation:
    """One operation of the client outside."""

    op: str
    kind: str
    ident: str
    outcome: str
    sent: float
    answered: float
    committed: Committed | None = None
    local: bool = False
    sha256: str | None = None


@dataclass(frozen=True)
class Probe:
    """One attempt of the prober to write at one side."""

    kind: str
    side: str
    ident: str
    result: str
    start: float
    end: float
    committed: Committed | None = None


@dataclass(frozen=True)
class Leg:
    """A part of the run between two moments of wall time; what starts at the end belongs to the next leg."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class ClientAccount:
    """Everything the client outside wrote down."""

    operations: tuple[Operation, ...] = ()
    offset: float = 0.0
    unreadable: int = 0

    def window(self, leg: Leg) -> tuple[float, float]:
        """The leg on this account's monotonic clock."""
        return leg.start + self.offset, leg.end + self.offset


@dataclass(frozen=True)
class ProbeAccount:
    """Everything the prober wrote down."""

    probes: tuple[Probe, ...] = ()
    offset: float = 0.0
    unreadable: int = 0

    def window(self, leg: Leg) -> tuple[float, float]:
        """The leg on this account's monotonic clock."""
        return leg.start + self.offset, leg.end + self.offset


@dataclass(frozen=True)
class Lookup:
    """What was looked for at the active side afterwards, and what was not there.

    `missing` says for an identifier which parts were not found: `db`, `file`, `local`.
    """

    site: str
    looked_up: frozenset[str] = frozenset()
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Lookup:
        """Read a look-up as `lookup.py` wrote it."""
        return cls(
            site=str(raw["site"]),
            looked_up=frozenset(str(ident) for ident in raw["looked_up"]),
            missing={str(ident): tuple(parts) for ident, parts in dict(raw["missing"]).items()},
        )


def committed_from(raw: object) -> Committed | None:
    """Read where a write was committed; None when it was not said, or not in full."""
    if not isinstance(raw, Mapping):
        return None
    try:
        timeline = raw["timeline"]
        # As in the name of a WAL file: eight hexadecimal digits.
        number = int(timeline, 16) if isinstance(timeline, str) and len(timeline) == 8 else int(timeline)
        return Committed(str(raw["system_id"]), number, str(raw.get("db", "")))
    except (KeyError, TypeError, ValueError):
        return None


def client_account(lines: Iterable[str]) -> ClientAccount:
    """Read the client's lines. A line that cannot be read is counted: a last half line is what a kill leaves behind."""
    operations: list[Operation] = []
    offsets: list[float] = []
    unreadable = 0
    for raw, whole in _records(lines):
        if not whole:
            unreadable += 1
        elif raw.get("op") in ("write", "read"):
            try:
                operations.append(
                    Operation(
                        op=str(raw["op"]),
                        kind=str(raw["kind"]),
                        ident=str(raw.get("id", "")),
                        outcome=str(raw["outcome"]),
                        sent=float(raw["sent"]),
                        answered=float(raw["answered"]),
                        committed=committed_from(raw.get("committed")),
                        local=bool(raw.get("local", False)),
                        sha256=raw.get("sha256"),
                    )
                )
                offsets.append(float(raw["answered"]) - float(raw["answered_wall"]))
            except (KeyError, TypeError, ValueError):
                unreadable += 1
    return ClientAccount(tuple(operations), median(offsets) if offsets else 0.0, unreadable)


def probe_account(lines: Iterable[str]) -> ProbeAccount:
    """Read the prober's lines."""
    probes: list[Probe] = []
    offsets: list[float] = []
    unreadable = 0
    for raw, whole in _records(lines):
        if not whole:
            unreadable += 1
        elif raw.get("op") == "probe":
            try:
                probes.append(
                    Probe(
                        kind=str(raw["kind"]),
                        side=str(raw["side"]),
                        ident=str(raw["id"]),
                        result=str(raw["result"]),
                        start=float(raw["start"]),
                        end=float(raw["end"]),
                        committed=committed_from(raw.get("committed")),
                    )
                )
                offsets.append(float(raw["end"]) - float(raw["end_wall"]))
            except (KeyError, TypeError, ValueError):
                unreadable += 1
    return ProbeAccount(tuple(probes), median(offsets) if offsets else 0.0, unreadable)


def _records(lines: Iterable[str]) -> Iterable[tuple[dict[str, Any], bool]]:
    for line in lines:
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
        except ValueError:
            raw = None
        yield (raw, True) if isinstance(raw, dict) else ({}, False)
