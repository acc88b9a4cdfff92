"""Ask systemd whether the timers of this user, which `bascule timer` has made, begin what they are for."""

from __future__ import annotations

import time

from ...errors import CommandFailed
from ...system.io import storage
from ...system.io.process import Runner, run
from .. import timers
from . import presence

FOLDER = "~/.config/systemd/user"
_PATIENCE = 10.0


def look(runner: Runner = run) -> list[str]:
    """Return why a timer that is installed does not begin its phase, or not well; nothing where none is installed."""
    found = []
    folder = storage.expand_user(FOLDER)
    for name in timers.PHASES:
        text = storage.read_text(folder / f"bascule-{name}.timer")
        if text is not None:
            found += [f"{name}: {why}" for why in _faults(name, text, runner)]
    return found


def _faults(name: str, text: str, runner: Runner) -> list[str]:
    names = [f"bascule-{name}.{kind}" for kind in ("timer", "service")]
    properties = ",".join(timers.ASKED)
    try:
        shown = runner(["systemctl", "--user", "show", "--timestamp=unix", "-p", properties, *names], timeout=_PATIENCE)
    except CommandFailed as error:
        return [f"whether its timer runs is not known: {' '.join(error.found.split())}"]
    return timers.faults(name, text, shown.stdout, time.time(), _lingers(runner))


def _lingers(runner: Runner) -> bool:
    """Return whether this user's units go on when nobody is logged in; where nobody says so, nothing is said of it."""
    try:
        asked = runner(["loginctl", "show-user", presence.user(), "-p", "Linger", "--value"], timeout=_PATIENCE)
    except CommandFailed as error:
        # Who is not logged in and does not linger is not known there at all.
        return "not logged in or lingering" not in error.found
    return asked.stdout.strip() != "no"
