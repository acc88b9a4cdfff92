"""The decision sheet, out of Ansible's variables and the journal of the run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..report import forecast, sheet
from ..report.sheet import Row
from ..run.io.journal import Journal
from ..run.verbs import TRIES_BACK
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
    tries = [name for name in scope.in_play if _tries(scope.hostvars[name])]
    return sheet.rows(scope.get("plan_gates"), scope.get("gate_overrides"), entries, scope.in_play, time.time(), tries)


def made(scope: Scope, entries: Iterable[Mapping[str, Any]], title: str, notes: list[str]) -> list[str]:
    """Return the sheet of what is decided now."""
    untried = [name for name in scope.in_play if not _tries(scope.hostvars[name])]
    said = [f"not tried, whether it comes back: {', '.join(untried)}"] if untried else []
    return sheet.lines(title, rows(scope, entries), whose(), scope.get("gate_overrides"), [*said, *notes])


def _tries(variables: Mapping[str, Any]) -> bool:
    """Say whether the check of a component tries the way back."""
    return variables["component_role"] in TRIES_BACK and variables.get(forecast.METHOD) != "dump_restore"


def keep(journal: Journal, phase: str, lines: Iterable[str]) -> Path:
    """Keep a sheet in the run's folder, beside those of earlier decisions; return where."""
    path = journal.directory / "sheets" / f"{phase}-{journal.decision}.txt"
    storage.make_directory(path.parent, 0o700)
    storage.write_durably(path, "\n".join([f"{moments.now_in_seconds()} {journal.run}", *lines, ""]))
    return path
