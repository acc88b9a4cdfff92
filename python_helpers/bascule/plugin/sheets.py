"""The decision sheet, out of Ansible's variables and the journal of the run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..report import sheet
from ..report.sheet import Row
from ..run.io.journal import Journal
from ..system import moments
from ..system.io import storage
from . import standing
from .action import Scope
from .outlook import why
from .planned import whose

CUTOVER = "cutover"


def before_cutover(scope: Scope, site: str) -> list[str]:
    """Return the sheet before a cutover to the site of that name, or why it is not known.

    The gates decide after the GO, with samples of their own, so nothing that is wrong with it keeps a cutover from
    going on.
    """
    try:
        entries, silent = standing.journalled(scope)
        notes = [f"the journal at {place} is silent: {reason}" for place, reason in sorted(silent.items())]
        notes.append("after the GO every gate gets a fresh sample, and NO-GO there ends it before anything is closed")
        return made(scope, entries, f"cutover to {site}", notes)
    except Exception as error:
        return [f"the decision sheet is not known: {why(error)}"]


def rows(scope: Scope, entries: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return how every gate of the plan stands by its last sample."""
    return sheet.rows(scope.get("plan_gates"), scope.get("gate_overrides"), entries, scope.in_play, time.time())


def made(scope: Scope, entries: Iterable[Mapping[str, Any]], title: str, notes: list[str]) -> list[str]:
    """Return the sheet of what is decided now."""
    return sheet.lines(title, rows(scope, entries), whose(), scope.get("gate_overrides"), notes)


def keep(journal: Journal, phase: str, lines: Iterable[str]) -> Path:
    """Keep a sheet in the run's folder, beside those of earlier decisions; return where."""
    path = journal.directory / "sheets" / f"{phase}-{journal.decision}.txt"
    storage.make_directory(path.parent, 0o700)
    storage.write_durably(path, "\n".join([f"{moments.now_in_seconds()} {journal.run}", *lines, ""]))
    return path
