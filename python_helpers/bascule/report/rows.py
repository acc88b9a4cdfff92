"""The rows of a summary, in the order a person reads them: the same for the terminal and for the report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .bidi import isolated
from .judge import LEAST_WRITES, MORE_THAN_ZERO, NEVER_ENDED, NOT_ASKED, ZERO, judged, leg_reasons, unreached
from .others import line
from .words import number, one_line, said, word

# A dash between names puts several figures on one row.
_ORDER: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("acknowledged_writes", ("acknowledged_writes",), ""),
    ("lost_writes", ("lost_writes",), ""),
    ("unknown_writes", ("unknown_writes",), ""),
    ("divergent_writes", ("divergent_writes",), ""),
    ("write_outage_seconds", ("write_outage_seconds",), "s"),
    ("data_layer_seconds", ("data_layer_seconds",), "s"),
    ("window", ("window_seconds", "orchestration_seconds"), "s"),
    ("data_layer", ("data_layer_writes", "data_layer_errors"), ""),
    ("reads", ("reads",), ""),
    ("read_errors", ("read_errors",), ""),
    ("maintenance_pages", ("maintenance_pages",), ""),
    ("two_writers_seconds", ("two_writers_seconds",), "s"),
    ("probes", ("probes",), ""),
    ("largest_probe_gap_seconds", ("largest_probe_gap_seconds",), "s"),
    ("rows", ("rows_compared", "rows_different", "rows_not_proved"), ""),
    ("files", ("files_compared", "files_different", "files_not_proved"), ""),
    ("disks", ("disks_compared", "disks_different"), ""),
    ("guests_moved", ("guests_moved",), ""),
)


# Stated by those components that can be in doubt, or not known when a phase was interrupted and went on.
LEGS = ("forward", "back")
OPTIONAL = ("files_not_proved", "window_seconds", "orchestration_seconds")


@dataclass(frozen=True)
class Row:
    """A label, the two legs' figures as text, the limit, whether each is as it must be, and the figures' names."""

    label: str
    forward: str
    back: str
    limit: str
    forward_good: bool
    back_good: bool
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class PhaseRow:
    """A phase of a leg with its expected and measured time; `of` and `phase` name both as the summary does."""

    leg: str
    name: str
    expected: str
    measured: str
    of: str = ""
    phase: str = ""


def headline(summary: Mapping[str, Any], lang: str) -> str:
    """Return the verdict, and which components of the plan it does not speak of."""
    verdict = word(str(summary["result"]), lang)
    left = ", ".join(isolated(name, lang) for name in summary.get("not_moved") or [])
    return f"{verdict}{word('semicolon', lang, 'sign')} {word('left_where_it_was', lang)} {left}" if left else verdict


def figure_rows(summary: Mapping[str, Any], lang: str) -> list[Row]:
    """Every figure of both legs, without those that nobody of this run could state."""
    limits: Mapping[str, Any] = summary.get("limits", {})
    rows = []
    legs = summary.get("legs", LEGS)
    for label, names, unit in _ORDER:
        if all(_spared(summary.get(leg, {}), name) for leg in legs for name in names):
            continue
        # A leg that this run need not have says nothing.
        cells = {leg: _cell(summary.get(leg, {}), names, unit, lang) if leg in legs else "" for leg in LEGS}
        good = {leg: leg not in legs or _good(summary.get(leg, {}), names, limits) for leg in LEGS}
        limit = next((isolated(f"≤ {_limit(limits[name], lang, unit)}", lang) for name in names if name in limits), "")
        if names[0] == "acknowledged_writes":
            limit = isolated(f"≥ {LEAST_WRITES}", lang)
        elif not limit and names[0] in ZERO:
            limit = number(0, lang)
        rows.append(
            Row(word(label, lang), cells["forward"], cells["back"], limit, good["forward"], good["back"], names)
        )
    return rows


def phase_rows(summary: Mapping[str, Any], lang: str) -> list[PhaseRow]:
    """Every phase of both legs."""
    rows = []
    for leg in LEGS:
        for name, times in summary.get(leg, {}).get("phases", {}).items():
            expected = number(times.get("expected"), lang, "s") if times.get("expected") is not None else "-"
            measured = number(times.get("measured"), lang, "s")
            rows.append(PhaseRow(word(leg, lang), word(name, lang), expected, measured, leg, name))
    return rows


def reason_lines(summary: Mapping[str, Any], lang: str) -> list[str]:
    """Why the run is not good; what has no translation stays as it was written."""
    limits: Mapping[str, Any] = summary.get("limits", {})
    known = {
        reason.text(): reason.said(lang)
        for leg in LEGS
        for reason in [*leg_reasons(leg, summary.get(leg, {}), limits), unreached(leg)]
    }
    return [one_line(known.get(text) or _site_line(text, lang)) for text in summary.get("reasons", [])]


def _site_line(text: str, lang: str) -> str:
    found = re.fullmatch(r"active_site: (.+), expected (.+)", text)
    if not found:
        return line(text, lang)
    site = word("unknown_site", lang) if found[1] == word("unknown_site", "en") else found[1]
    return said("where", lang, "reason", site=site, expected=found[2])


def _limit(value: Any, lang: str, unit: str) -> str:
    """A limit as the plan has it: a whole number has no decimals."""
    return number(int(value) if isinstance(value, float) and value.is_integer() else value, lang, unit)


def _cell(figures: Mapping[str, Any], names: tuple[str, ...], unit: str, lang: str) -> str:
    if names == ("guests_moved",):
        moved = figures.get("guests_moved")
        told = {way: word(f"by {way}", lang) for way in moved or {}}
        return (
            ", ".join(f"{number(count, lang)} {told[way]}" for way, count in moved.items())
            if moved
            else word("none", lang)
        )
    values = [figures.get(name) for name in names]
    if all(value is None for value in values):
        return word("none", lang)
    return " / ".join(number(value, lang, unit) for value in values)


def _spared(figures: Mapping[str, Any], name: str) -> bool:
    """Say whether nobody could state the figure, and nobody has."""
    return figures.get(name) is None and name in (figures.get(NOT_ASKED) or ())


def _good(figures: Mapping[str, Any], names: tuple[str, ...], limits: Mapping[str, Any]) -> bool:
    for name in names:
        value = figures.get(name)
        if value is None and (name in OPTIONAL or name in (figures.get(NOT_ASKED) or ())):
            continue
        if value is None or name in (figures.get(NEVER_ENDED) or ()):
            return False
        if name in ZERO and value != 0:
            return False
        if name in MORE_THAN_ZERO and not value > 0:
            return False
        if name in limits and not value <= limits[name] and judged(name, figures):
            return False
        if name == "acknowledged_writes" and value < LEAST_WRITES:
            return False
    return True
