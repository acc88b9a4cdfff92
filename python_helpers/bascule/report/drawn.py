"""Which plots a report has, out of its summary and its journal. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..run.gates import number_of
from ..run.order import VERBS, WINDOWS
from ..run.window import EVENT
from ..system.work import SECONDS
from . import plots
from .forecast import LIMIT
from .plots import Bar
from .references import Entry
from .rows import LEGS
from .words import said, word

# A line with fewer points says nothing.
_LEAST = 2


def drawn(summary: Mapping[str, Any], entries: Iterable[Entry], lang: str) -> list[str]:
    """Return the plots: windows, phases, trends of samples, pauses that a client outside has seen."""
    known = [entry for entry in entries if not entry["data"].get("check_mode")]
    return [
        *_windows(summary, known, lang),
        *(plot for leg in LEGS for plot in _phases(summary.get(leg) or {}, leg, lang)),
        *(plot for leg in LEGS for plot in _outages(summary.get(leg) or {}, leg, lang)),
        *_trends(known, lang),
    ]


def _windows(summary: Mapping[str, Any], known: Sequence[Entry], lang: str) -> list[str]:
    """Draw what each component did when, in the last window of each phase, below what was planned of all."""
    made = []
    for phase in WINDOWS:
        mine = [e for e in known if e["phase"] == phase and e["verb"] in VERBS and e["kind"] in ("begin", "end")]
        mine = [entry for entry in mine if entry["epoch"] == mine[-1]["epoch"]]
        if not mine:
            continue
        forecast = _forecast(known, mine[-1])
        start = min(map(_at, mine))
        begun: dict[tuple[str, str], float] = {}
        rows: dict[str, list[Bar]] = {}
        for entry in mine:
            key = (str(entry["component"]), str(entry["verb"]))
            if entry["kind"] == "begin":
                begun[key] = _at(entry) - start
            elif key in begun:
                rows.setdefault(key[0], []).append(Bar(begun[key], _at(entry) - start, key[1]))
        legs: list[Mapping[str, Any]] = [summary.get(leg) or {} for leg in LEGS]
        times = [leg["phases"][phase] for leg in legs if phase in (leg.get("phases") or {})]
        expected = number_of(times[-1].get("expected")) if times else None
        planned = [(word("planned", lang, "plot"), [Bar(0.0, expected, "planned")])] if expected else []
        title = said("window", lang, "plot", phase=word(phase, lang))
        limit = number_of((summary.get("limits") or {}).get(LIMIT))
        if total := number_of(forecast.get("seconds")):
            planned.append((word("forecast", lang, "plot"), [Bar(0.0, total, "planned")]))
        made.append(plots.timeline(title, [*planned, *rows.items()], "s", limit, _kinds(lang)))
        made += _shares(known, mine[-1], forecast, phase, lang)
    return made


def _kinds(lang: str) -> Mapping[str, str]:
    """Return what the kinds of bars are called that are no verbs."""
    return {kind: word(f"{kind}_bar", lang, "plot") for kind in ("planned", "measured")}


def _forecast(known: Sequence[Entry], last: Entry) -> Mapping[str, Any]:
    """Return what was forecast when the decision of an entry was made."""
    found = [e["data"].get("forecast") for e in known if e["kind"] == "decision" and e["epoch"] == last["epoch"]]
    return next((one for one in found if one), {})


def _shares(known: Sequence[Entry], last: Entry, forecast: Mapping[str, Any], phase: str, lang: str) -> list[str]:
    """Draw what each component was forecast to add to a window, and the work that it was."""
    shares = [e["data"]["components"] for e in known if e["data"].get("event") == EVENT and e["epoch"] == last["epoch"]]
    rows: list[tuple[str, list[Bar]]] = []
    for component, share in (shares[-1] if shares else {}).items():
        ahead = number_of((forecast.get("parts") or {}).get(component))
        rows += [] if ahead is None else [(f"{component} P", [Bar(0.0, ahead, "planned")])]
        rows.append((f"{component} M", [Bar(0.0, float(share[SECONDS]), "measured")]))
    title = said("shares", lang, "plot", phase=word(phase, lang))
    return [plots.timeline(title, rows, "s", names=_kinds(lang))] if rows else []


def _phases(figures: Mapping[str, Any], leg: str, lang: str) -> list[str]:
    rows: list[tuple[str, list[Bar]]] = []
    for phase, times in (figures.get("phases") or {}).items():
        expected, measured = number_of(times.get("expected")), number_of(times.get("measured"))
        rows += [(f"{word(phase, lang)} P", [Bar(0.0, expected, "planned")])] if expected else []
        rows += [(f"{word(phase, lang)} M", [Bar(0.0, measured, "measured")])] if measured is not None else []
    return (
        [plots.timeline(said("phases", lang, "plot", leg=word(leg, lang)), rows, "s", names=_kinds(lang))]
        if rows
        else []
    )


def _outages(figures: Mapping[str, Any], leg: str, lang: str) -> list[str]:
    pauses = figures.get("outages")
    if not pauses:
        return []
    bars = [Bar(at, at + seconds, "pause") for at, seconds in pauses]
    title = said("outage", lang, "plot", leg=word(leg, lang))
    return [plots.timeline(title, [(word("writes", lang, "plot"), bars)], "s")]


def _trends(known: Sequence[Entry], lang: str) -> list[str]:
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in known:
        if entry["kind"] == "sample" and number_of(entry["data"].get("value")) is not None:
            found.setdefault((str(entry["data"].get("name")), str(entry["component"])), []).append(entry)
    made = []
    for (gate, component), samples in found.items():
        if len(samples) < _LEAST:
            continue
        first = _at(samples[0])
        points = [(_at(one) - first, number_of(one["data"]["value"]) or 0.0) for one in samples]
        bounds = [number_of((samples[-1]["data"].get("limit") or {}).get(key)) for key in ("min", "max")]
        title = said("trend", lang, "plot", gate=gate, component=component)
        limits = [bound for bound in bounds if bound is not None]
        made.append(plots.trend(title, points, str(samples[-1]["data"].get("unit") or ""), limits))
    return made


def _at(entry: Entry) -> float:
    return datetime.datetime.fromisoformat(str(entry["time"])).timestamp()
