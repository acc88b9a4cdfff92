"""Where the window of each leg went, out of the journal of a run, and what was slower than the plan wants. Pure."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..run import window
from .judge import SPEED, judged
from .records import Leg
from .words import counted, leg_head, number, said, word


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
    lines = []
    for leg in ("forward", "back"):
        figures = summary.get(leg, {})
        if figures.get("window"):
            whole = {**figures["window"], **figures}
            told = window.lines(whole) if lang == "en" else _lines(whole, lang)
            lines += [f"{leg_head(leg, lang)}{line}" for line in told]
    return lines


def _lines(found: Mapping[str, Any], lang: str) -> list[str]:
    """Return what `window.lines` says, in another language."""

    def seconds(value: Any) -> str:
        return number(float(value), lang, "s")

    def parts(share: Mapping[str, Any], **names: str) -> dict[str, str]:
        return {name: seconds(share[key]) for name, key in names.items()}

    whole, lost = float(found["window_seconds"]), float(found["orchestration_seconds"])
    times = {"whole": seconds(whole), "work": seconds(whole - lost), "lost": seconds(lost)}
    share = {"work": "work_seconds", "waiting": "waiting_seconds", "lost": "orchestration_seconds"}
    links = [
        said(
            "link",
            lang,
            "window",
            verb=word(link["verb"], lang),
            component=link["component"],
            **parts(link, seconds="seconds", work="work_seconds"),
        )
        for link in found["critical_path"]
    ]
    return [
        said("whole", lang, "window", **times) + _load(found, "load", lang),
        *(
            said("share", lang, "window", component=name, **parts(one, **share))
            for name, one in found["components"].items()
        ),
        said("path", lang, "window", links=", ".join(links)),
    ]


def _load(about: Mapping[str, Any], name: str, lang: str) -> str:
    """Return how busy the machine was, where that is known, as the end of a line."""
    if "load" not in about:
        return ""
    load = str(about["load"]) if lang == "en" else number(float(about["load"]), lang)
    return counted(name, lang, int(about["cores"]), "window", load=load)


def slow_lines(summary: Mapping[str, Any], lang: str = "en") -> list[str]:
    """Return which speed was not what the plan wants, with the load that the machine had."""
    lines = []
    for leg in ("forward", "back"):
        figures = summary.get(leg, {})
        load = _load(figures.get("window") or {}, "load_of_the_machine", lang)
        for name in SPEED:
            limit, value = summary.get("limits", {}).get(name), figures.get(name)
            if isinstance(value, (int, float)) and limit is not None and value > limit and not judged(name, figures):
                values = {"found": number(value, lang, "s"), "most": number(limit, lang, "s")}
                told = said("slow", lang, "window", label=word(name, lang), **values)
                lines.append(f"{leg_head(leg, lang)}{told}{load}")
    return lines
