"""Where the window of each leg went, out of the journal of a run, and what was slower than the plan wants. Pure."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..run import window
from .judge import SPEED, judged
from .records import Leg
from .words import leg_head, number, word


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


def window_lines(summary: Mapping[str, Any], lang: str = "en") -> list[str]:
    """Return where the windows of both legs went, as a person reads it."""
    said = []
    told = _french if lang == "fr" else window.lines
    for leg in ("forward", "back"):
        figures = summary.get(leg, {})
        if figures.get("window"):
            said += [f"{leg_head(leg, lang)}{line}" for line in told({**figures["window"], **figures})]
    return said


def _french(found: Mapping[str, Any]) -> list[str]:
    """Return what `window.lines` says, in French."""

    def seconds(value: Any) -> str:
        return number(float(value), "fr", "s")

    whole, lost = float(found["window_seconds"]), float(found["orchestration_seconds"])
    load = f" ; charge {number(float(found['load']), 'fr')} sur {found['cores']} cœurs" if "load" in found else ""
    said = [
        f"{seconds(whole)} du gel à la réouverture : {seconds(whole - lost)} de travail, "
        f"{seconds(lost)} d'orchestration{load}"
    ]
    said += [
        f"{name} : {seconds(share['work_seconds'])} de travail, {seconds(share['waiting_seconds'])} d'attente des "
        f"autres, {seconds(share['orchestration_seconds'])} d'orchestration"
        for name, share in found["components"].items()
    ]
    links = [
        f"{word(link['verb'], 'fr')} de {link['component']} {seconds(link['seconds'])} "
        f"({seconds(link['work_seconds'])} de travail)"
        for link in found["critical_path"]
    ]
    return [*said, f"chemin critique : {', '.join(links)}"]


def slow_lines(summary: Mapping[str, Any], lang: str = "en") -> list[str]:
    """Return which speed was not what the plan wants, with the load that the machine had."""
    said = []
    for leg in ("forward", "back"):
        figures = summary.get(leg, {})
        about = figures.get("window") or {}
        load = ""
        if "load" in about and lang == "fr":
            load = f" ; charge de la machine {number(float(about['load']), 'fr')} sur {about['cores']} cœurs"
        elif "load" in about:
            load = f"; load of the machine {about['load']} on {about['cores']} cores"
        for name in SPEED:
            limit, value = summary.get("limits", {}).get(name), figures.get(name)
            if isinstance(value, (int, float)) and limit is not None and value > limit and not judged(name, figures):
                label, found, most = word(name, lang), number(value, lang, "s"), number(limit, lang, "s")
                if lang == "fr":
                    said.append(f"{leg_head(leg, lang)}{label} : {found}, le plan veut au plus {most}{load}")
                else:
                    said.append(f"{leg_head(leg, lang)}{label}: {found}, the plan wants {most} at most{load}")
    return said
