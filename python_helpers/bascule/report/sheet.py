"""The decision sheet: what a person has to see before a GO that cannot be taken back easily, on one screen. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..run import chain, gates
from ..run.gates import Verdict, number_of

# A screen has some forty lines.
_MOST = 25
# So many samples make a trend.
_TREND = 4


@dataclass(frozen=True)
class Row:
    """A gate of a component: what its last sample says now, its age in seconds, the samples before, what it is of."""

    component: str
    verdict: Verdict
    age: float | None
    earlier: tuple[Any, ...] = ()
    detail: str = ""


def rows(
    declared: Any,
    overrides: Any,
    entries: Iterable[Mapping[str, Any]],
    components: Iterable[str],
    now: float,
    tries: Iterable[str] = (),
) -> list[Row]:
    """Put the last sample of every component to its gate again, by the limits and the clock of now.

    A gate to which nobody has put a sample has a row of its own, which says NO-GO; so has the way back of
    every component that tries it.

    Args:
        declared: the plan's limits by gate.
        overrides: the reasons of this command by gate.
        entries: the journal of the run, all copies.
        components: those that take part.
        now: the time, in seconds since the epoch.
        tries: the components whose check tries the way back.
    """
    trying = list(tries)
    limits = {**(gates.OWN if trying else {}), **(declared if isinstance(declared, Mapping) else {})}
    taking_part = set(components)
    taken: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in _real(entries):
        if entry["kind"] == "sample" and "value" in entry["data"] and str(entry["component"]) in taking_part:
            key = (str(entry["data"].get("name")), str(entry["component"]))
            taken.setdefault(key, []).append(entry)
    found = []
    for name in map(str, limits):
        mine = {component: samples for (gate, component), samples in taken.items() if gate == name}
        for component, samples in mine.items():
            data = samples[-1]["data"]
            at = number_of(data.get("sampled_at"))
            at = _seconds(str(samples[-1]["time"])) if at is None else at
            verdict = gates.decide(name, data["value"], str(data.get("unit", "")), at, limits, overrides, now)
            earlier = tuple(one["data"]["value"] for one in samples[-_TREND:-1])
            found.append(Row(component, verdict, now - at, earlier, str(data.get("detail", ""))))
        absent = [one for one in trying if one not in mine] if name in gates.OWN else [] if mine else ["-"]
        found += [Row(one, gates.decide(name, None, "", None, limits, overrides, now), None) for one in absent]
    return found


def no_go(found: Iterable[Row]) -> list[str]:
    """Return the gates that say NO-GO now and are not overridden, in words."""
    return [f"{row.verdict.name} of {row.component}: {row.verdict.reason}" for row in found if not row.verdict.passes]


def trend(row: Row) -> str:
    """Say how a value has gone, by the samples before it; nothing where there were none, or they are no numbers."""
    values = [number_of(value) for value in (*row.earlier, row.verdict.value)]
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(known) != len(values):
        return ""
    first, last = known[0], known[-1]
    word = "steady" if first == last else "rising" if last > first else "falling"
    return f"{word} from {first:g}"


def lines(title: str, found: Sequence[Row], decides: str, overrides: Any, notes: Sequence[str] = ()) -> list[str]:
    """Return the sheet.

    Args:
        title: what is decided.
        found: the gates.
        decides: who decides, and where.
        overrides: the reasons of this command by gate.
        notes: what else has to be seen.
    """
    wrong = no_go(found)
    verdict = f"NO-GO now, {len(wrong)} of {len(found)}" if wrong else f"GO, {len(found)} of {len(found)}"
    said = [f"DECISION SHEET: {title}", f"decides: {decides}", f"gates: {verdict}" if found else "gates: none declared"]
    # What says no has to be seen first.
    ordered = sorted(found, key=lambda row: row.verdict.passes)
    table = [_cells(row) for row in ordered[:_MOST]]
    if table:
        table.insert(0, ("gate", "component", "", "value", "limit", "age", "trend or reason"))
        widths = [max(len(cells[place]) for cells in table) for place in range(6)]
        said += [
            "  " + "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths)), cells[6]]).rstrip()
            for cells in table
        ]
    if len(ordered) > _MOST:
        said.append(f"  … and {len(ordered) - _MOST} more")
    given = overrides if isinstance(overrides, Mapping) else {}
    said += [f"override: {name}: {reason}" for name, reason in given.items()]
    return [*said, *notes]


def _cells(row: Row) -> tuple[str, ...]:
    verdict = row.verdict
    word = "GO" if verdict.go else "OVERRIDDEN" if verdict.override else "NO-GO"
    limit = verdict.limit or {}
    bounds = ", ".join(f"{key} {limit[key]}" for key in ("min", "max", "equals") if key in limit)
    value = "-" if verdict.value is None else f"{verdict.value} {verdict.unit}".strip()
    age = "-" if row.age is None else f"{row.age:.0f} s"
    told = (trend(row), row.detail) if verdict.go else (verdict.reason, trend(row))
    rest = "; ".join(one for one in told if one)
    return verdict.name, row.component, word, value, bounds, age, rest


def _real(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the entries of what was not only tried, in their order."""
    ordered = chain.in_order(entries)
    tried = {
        (entry.get("controller"), entry.get("epoch")) for entry in ordered if (entry["data"] or {}).get("check_mode")
    }
    return [entry for entry in ordered if (entry.get("controller"), entry.get("epoch")) not in tried]


def _seconds(time: str) -> float:
    return datetime.datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
