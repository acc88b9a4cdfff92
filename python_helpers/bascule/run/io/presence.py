"""The note of a playbook that is at work: who it is, and the lock by which others see whether it still lives.

The lock is the process's own: the kernel drops it when the process dies, however it dies, and no child inherits it.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import getpass
import json
import os
from pathlib import Path

from ...errors import StoreError
from ...system.io import storage
from ..controllers import Noted

_FOLDER = "controllers"
_TEXTS = ("user", "playbook", "started", "play", "ended")


class Presence:
    """This playbook's note in its run's folder; whoever holds it lives."""

    def __init__(self, run: Path, decision: str, playbook: str, play: str) -> None:
        """Write the note and hold it; `run` is the run's folder."""
        folder = run / _FOLDER
        storage.make_directory(folder, 0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(folder / f"{decision}.json", flags, 0o600)
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._note = {
            "pid": os.getpid(),
            "user": _user(),
            "playbook": playbook,
            "started": _now(),
            "play": play,
            "ended": "",
        }
        self._write()

    def play(self, name: str) -> None:
        """Note which play is at work."""
        self._note["play"] = name
        self._write()

    def end(self) -> None:
        """Note that the playbook has ended by itself, and let go."""
        self._note["ended"] = _now()
        self._write()
        os.close(self._descriptor)

    def _write(self) -> None:
        # In place: another file would not be the one that is held.
        content = json.dumps(self._note).encode()
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))


def read(run: Path) -> list[Noted]:
    """Return the notes in a run's folder; one that cannot be read is none."""
    found = []
    for path in storage.children(run / _FOLDER):
        with contextlib.suppress(OSError, StoreError, KeyError, TypeError, ValueError):
            note = storage.read_json(path)
            user, playbook, started, play, ended = (str(note[name]) for name in _TEXTS)
            found.append(Noted(path.stem, int(note["pid"]), user, playbook, started, play, ended, _is_held(path)))
    return found


def _is_held(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
