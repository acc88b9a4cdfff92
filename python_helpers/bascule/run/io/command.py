"""The folder of a playbook that `bascule` has started: who it is, what it prints, asks and tells, and how it ended.

It holds nothing that decides: what is true is read from the machines. Nothing of the environment, the arguments or what
was typed lies in it. See docs/run-control.md.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import secrets
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from ...errors import BasculeError
from ...system.io import storage
from ..outcome import Told
from . import identity, presence

FOLDER = "BASCULE_COMMAND"
# Below the runs: no run's name begins with a dot.
_BELOW = ".commands"
RUNNER = "runner"
_ANSWER = "answer"
_STOPPED = "stopped"
_LONGEST_ANSWER = 4096


class Command:
    """A playbook that `bascule` has started, as its folder shows it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.output = folder / "output"

    def tell(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep what the process of the playbook tells of itself."""
        storage.write_json(self.folder / f"{name}.json", value)

    def told(self, name: str) -> dict[str, Any]:
        """Return what was told under that name; nothing where nothing was."""
        found = storage.read_json(self.folder / f"{name}.json")
        return found if isinstance(found, dict) else {}

    @property
    def phase(self) -> str:
        """Return the phase that was asked for."""
        return str(self.told("command").get("phase") or "")

    @property
    def status(self) -> Optional[int]:
        """Return how the playbook has ended, as ansible-runner has written it."""
        text = storage.read_text(self.folder / "artifacts" / RUNNER / "rc")
        return int(text) if text and text.strip().lstrip("-").isdigit() else None

    def at_work(self) -> tuple[Optional[bool], str]:
        """Return whether the playbook, or what starts it, is at work, and why that is not known."""
        notes = [note for name in ("process", "supervisor") if (note := self.told(name))]
        found = [presence.lives(note) for note in notes]
        return next((one for one in found if one[0]), next((one for one in found if one[0] is None), (False, "")))

    def lives(self) -> bool:
        """Say whether the playbook, or what starts it, is at work; also where that is not known."""
        return self.at_work()[0] is not False

    def ended(self) -> bool:
        """Say whether the playbook has ended, by itself or not."""
        return self.status is not None or not self.lives()

    def outcome(self) -> Told:
        """Return what its process has told."""
        status, phase = self.status, self.phase
        return Told(
            # Without ansible-runner, as when it was killed, the playbook's own word counts.
            self.told("end").get("status") if status is None else status,
            tuple(str(one) for one in self.told("failures").get("errors", [])),
            phase,
            self.told("where") if phase == "status" else None,
        )

    def interrupt(self) -> bool:
        """End the playbook as Ctrl-C does, or before it begins; return whether it has not ended already."""
        # A full disk keeps nobody from ending what has begun.
        with contextlib.suppress(OSError):
            self.tell(_STOPPED, {"by": os.getpid()})
        note = self.told("process")
        if not note:
            # `begin` tells who it is before it looks whether it was stopped, so one of the two sees the other.
            return self.stopped() and not self.ended()
        if not presence.lives(note)[0]:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(note["pid"]), signal.SIGINT)
            return True
        return False

    def stopped(self) -> bool:
        """Say whether somebody has ended it."""
        return bool(self.told(_STOPPED))

    def may_ask(self) -> None:
        """Let the playbook ask: somebody is at a terminal."""
        os.mkfifo(self.folder / _ANSWER, 0o600)

    def ask(self, question: str, lines: Sequence[str]) -> str:
        """Ask whoever follows, and wait for the answer; nothing where nobody can be asked.

        Args:
            question: what is asked.
            lines: what has to be seen before it is answered.
        """
        if not self._can_ask():
            return ""
        self.tell("question", {"question": question, "lines": list(lines), "token": secrets.token_hex(8)})
        try:
            with open(self.folder / _ANSWER, "rb") as answers:
                given = answers.readline(_LONGEST_ANSWER)
        finally:
            storage.remove(self.folder / "question.json")
        return given.decode("utf-8", "replace").rstrip("\r\n")

    def answer(self, typed: str) -> bool:
        """Answer the question; return whether anybody still waits for it."""
        try:
            # Without waiting: who asked may be gone, or was answered elsewhere.
            descriptor = os.open(self.folder / _ANSWER, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                return False
            raise
        try:
            os.write(descriptor, f"{typed}\n".encode("utf-8", "surrogateescape"))
        except BrokenPipeError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _can_ask(self) -> bool:
        return (self.folder / _ANSWER).is_fifo()


def current() -> Optional[Command]:
    """Return the command that this process belongs to; nothing where `bascule` has not started it."""
    given = os.environ.get(FOLDER, "")
    return Command(Path(given)) if given and storage.is_directory(given) else None


def begin(phase: str) -> Command:
    """Make the folder of a command that is about to be started."""
    now = datetime.datetime.now(datetime.timezone.utc)
    folder = place() / f"{now:%Y%m%dT%H%M%S}-{phase}-{os.getpid()}"
    storage.make_directory(folder, 0o700)
    command = Command(folder)
    storage.append(command.output, "")
    command.tell("command", {"phase": phase, "started": f"{now:%Y-%m-%dT%H:%M:%SZ}"})
    return command


def known() -> list[Command]:
    """Return all commands that were started here, the newest last."""
    folders = [path for path in storage.children(place()) if storage.is_directory(path)]
    return [Command(path) for path in sorted(folders, key=lambda one: one.name)]


def find(name: str = "") -> Command:
    """Return the command of that name; without one the newest that is at work, else the newest.

    Raises:
        BasculeError: there is none.
    """
    commands = [one for one in known() if name in ("", one.name)]
    if not commands:
        names = ", ".join(one.name for one in known()[-5:]) or "none"
        raise BasculeError(
            expected=f"a command {name} in {place()}" if name else f"a command in {place()}",
            found=names,
            state="nothing was changed",
            next_command=f"go to the folder that it was started from, or name its runs with {identity.RUNS}; "
            "or bascule status",
        )
    return next((one for one in reversed(commands) if not one.ended()), commands[-1])


def place() -> Path:
    """Return where the folders of commands lie."""
    return identity.runs_directory() / _BELOW
