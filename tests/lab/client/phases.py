"""Runs the phases as an operator would: by `bascule`, progress on the screen, everything in a file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bascule.run.io.command import Command
from bascule.run.outcome import Status

from .screen import Screen
from .setting import ROOT

# A phase that takes longer hangs; at the scale of the lab the longest takes a few minutes.
LONGEST_SECONDS = 1800.0
# What ends a playbook has this long to write its journal.
END_SECONDS = 20.0
# These are commands by themselves; every other phase is begun by `bascule run`.
COMMANDS = ("plan", "commit", "rollback", "status")


class PhaseFailed(Exception):
    """A phase did not end well."""

    def __init__(self, phase: str, status: int, log: Path) -> None:
        self.phase = phase
        self.status = status
        self.log = log
        super().__init__(f"{phase} ended with status {status}; the complete output is in {log}")


class Phases:
    """The phases of one run, numbered in the order they were started."""

    def __init__(self, run: str, runs: Path, screen: Screen, program: str = "") -> None:
        self._program = program or str(Path(sys.executable).parent / "bascule")
        self._run = run
        self._runs = runs
        self._screen = screen
        self._count = 0
        self._directory = runs / run / "ansible"
        self._directory.mkdir(parents=True, exist_ok=True)
        self.started: list[str] = []

    def environment(self, log: Path) -> Mapping[str, str]:
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "bascule_progress",
            # Both are given so that nothing that wraps Ansible sets them its own way.
            "ANSIBLE_HOST_KEY_CHECKING": "True",
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "plugins" / "callback"),
            "ANSIBLE_FORCE_COLOR": "1" if self._screen.console.is_terminal else "0",
            "ANSIBLE_NOCOLOR": "0" if self._screen.console.is_terminal else "1",
            "BASCULE_PROGRESS_LOG": str(log),
            "BASCULE_RUN": self._run,
            "BASCULE_RUNS": str(self._runs),
        }

    def run(self, phase: str, *arguments: str, limit: float = LONGEST_SECONDS, ends: Status = Status.DONE) -> float:
        """Run a phase to its end and return its seconds; PhaseFailed when it did not end as it should."""
        self._count += 1
        name = f"{self._count:02}_{phase}"
        log, shown = self._directory / f"{name}.log", self._directory / f"{name}.out"
        self.started.append(phase)
        self._screen.begin(phase)
        begun = time.monotonic()
        words = [phase] if phase in COMMANDS else ["run", phase]
        before = set(self._commands())
        with shown.open("wb") as out:
            # A session of its own and output to a file: a lost terminal neither stops the phase nor loses a line.
            # What runs in the background ignores SIGINT, and so would the phase, which is ended by it.
            process = subprocess.Popen(
                ["env", "--default-signal=INT", self._program, *words, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=dict(self.environment(log)),
                start_new_session=True,
            )
        try:
            status = self._follow(process, shown, begun + limit)
        finally:
            stop(process)
            # Who follows a phase leaves it running when it is stopped itself.
            for folder in sorted(set(self._commands()) - before):
                end(Command(folder))
        if status != ends:
            raise PhaseFailed(phase, status, log)
        return time.monotonic() - begun

    def _commands(self) -> list[Path]:
        return list((self._runs / ".commands").glob("*"))

    def _follow(self, process: subprocess.Popen[bytes], shown: Path, deadline: float) -> int:
        rest = b""
        with shown.open("rb") as source:
            while True:
                status = process.poll()
                chunk = source.read()
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._screen.relay(line.decode("utf-8", "replace"))
                if status is not None and not chunk:
                    return status
                if time.monotonic() > deadline:
                    self._screen.say("  it took too long and is stopped", style="bold red")
                    return -signal.SIGINT
                if not chunk:
                    time.sleep(0.15)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a playbook that still runs, gently first: it must release its lock and write its journal."""
    for number, wait in ((signal.SIGINT, 20.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=wait)


def end(command: Command) -> None:
    """End the playbook of a command, if it still runs, and wait until it has ended."""
    if command.ended():
        return
    command.interrupt()
    deadline = time.monotonic() + END_SECONDS
    while not command.ended() and time.monotonic() < deadline:
        time.sleep(0.1)
