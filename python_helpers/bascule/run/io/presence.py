"""The note of a playbook that is at work, and whether its process still lives.

A process is told by its number and the time at which the kernel started it, on the same machine since the same boot.
No lock is held: a child would inherit it, or the process would drop it when it closes any descriptor of the file.
See proc_pid_stat(5), field 22, and pid_namespaces(7).
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ...errors import StoreError
from ...system import moments
from ...system.io import storage
from ..controllers import Noted
from . import identity

_FOLDER = "controllers"
TEXTS = ("user", "playbook", "started", "play", "ended", "host")
_PROC = Path("/proc")


class Presence:
    """This playbook's note in its run's folder."""

    def __init__(self, run: Path, decision: str, playbook: str, play: str) -> None:
        """Write the note; `run` is the run's folder."""
        storage.make_directory(run / _FOLDER, 0o700)
        self.path = run / _FOLDER / f"{decision}.json"
        self._note = {
            **process(os.getpid()),
            "user": user(),
            "playbook": playbook,
            "started": moments.now(),
            "play": play,
            "ended": "",
        }
        self._write()

    def play(self, name: str) -> None:
        """Note which play is at work."""
        self._note["play"] = name
        self._write()

    def end(self) -> None:
        """Note that the playbook has ended by itself."""
        self._note["ended"] = moments.now()
        self._write()

    def _write(self) -> None:
        # Another file each time: whoever reads finds the note before or the note after.
        storage.write_json(self.path, self._note)


def read(run: Path) -> list[Noted]:
    """Return the notes in a run's folder; of one that cannot be read it is not known whether its process lives."""
    found = []
    for path in storage.children(run / _FOLDER):
        if path.suffix != ".json" or path.name.startswith("."):
            continue
        try:
            note = storage.read_json(path)
            if note is None:
                continue
            user, playbook, started, play, ended, host = (str(note[name]) for name in TEXTS)
            alive, why = (False, "") if ended else lives(note)
            found.append(Noted(path.stem, int(note["pid"]), user, playbook, started, play, ended, alive, host, why))
        except (OSError, StoreError, KeyError, TypeError, ValueError) as error:
            why = f"its note {path} cannot be read ({type(error).__name__})"
            found.append(Noted(path.stem, 0, "", "", "", "", "", None, identity.controller(), why))
    return found


def process(pid: int) -> dict[str, Any]:
    """Return what tells a process of this machine from all others: a note that `lives` reads."""
    return {"pid": pid, "born": _stat(pid)[1], "host": identity.controller(), "boot": _boot(), "space": _space()}


def lives(note: Mapping[str, Any]) -> tuple[Optional[bool], str]:
    """Return whether the process of a note lives, and why that is not known."""
    if note["host"] != identity.controller():
        return None, f"ask on {note['host']} before you go on"
    boot = _boot()
    if not (boot and note["boot"]):
        return None, "the kernel does not tell its boot"
    if note["boot"] != boot:
        return False, ""
    if note["space"] != _space():
        return None, "it was begun in another container of this machine, ask there"
    pid = int(note["pid"])
    state, born = _stat(pid)
    if born and note["born"]:
        # A number that is used again is another process; a zombie does nothing any more.
        return born == note["born"] and state not in ("Z", "X"), ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False, ""
    except OSError:
        pass
    return None, f"the kernel does not tell when process {pid} was started"


def is_of_this_boot(note: Mapping[str, Any]) -> bool:
    """Return whether a note was written on this machine since it was started."""
    return bool(note["boot"]) and note["boot"] == _boot()


def _stat(pid: int) -> tuple[str, str]:
    """Return the state of a process and when it was started, in the kernel's count since boot; nothing if unknown."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError, ValueError):
        return "", ""


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _space() -> str:
    """Return in which namespace process numbers count."""
    try:
        return os.readlink(_PROC / "self/ns/pid")
    except OSError:
        return ""


def user() -> str:
    """Return who runs this process; a number where the machine has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
