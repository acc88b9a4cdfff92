"""On which lines of the journal each figure of a report rests. Pure.

A line is named by its decision and its number in that decision's chain (`3fa85f64….17`), which is the same in every
copy of the journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..run.window import EVENT as WINDOW
from .figures import COMPARISONS
from .legs import Moved
from .proof import VERIFY

Entry = Mapping[str, Any]
# Figures of a leg that its verifications state, and those of its window.
VERIFIED = (*COMPARISONS, "guests_moved", "not_proved", "not_compared")
WINDOWED = ("window_seconds", "orchestration_seconds")


def name(entry: Entry) -> str:
    """Return what names a line of the journal."""
    return f"{entry['epoch']}.{entry['n']}"


def of_leg(moved: Moved) -> dict[str, list[str]]:
    """Return the lines on which the figures of a leg rest, by figure; `phase:NAME` is the time of a phase.

    What somebody outside has measured stands in no journal, and has none.
    """
    last: dict[str, str] = {}
    window: list[str] = []
    phases: dict[str, list[Entry]] = {}
    for entry in moved.inside:
        event = entry["data"].get("event")
        if event == VERIFY:
            last[str(entry["component"])] = name(entry)
        elif event == WINDOW:
            window = [name(entry)]
        if entry["phase"] and entry["verb"]:
            phases.setdefault(str(entry["phase"]), []).append(entry)
    return {
        **{figure: list(last.values()) for figure in VERIFIED if last},
        **{figure: window for figure in WINDOWED if window},
        **{f"phase:{phase}": _ends(entries) for phase, entries in phases.items()},
    }


def _ends(entries: Iterable[Entry]) -> list[str]:
    """Return the first and the last line of a phase when it was run last."""
    known = list(entries)
    mine = [one for one in known if (one["controller"], one["epoch"]) == (known[-1]["controller"], known[-1]["epoch"])]
    return list(dict.fromkeys((name(mine[0]), name(mine[-1]))))
