"""Run programs: one place that does it, with time limits and errors that name the program and its last words."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bascule_lab import paths
from bascule_lab.errors import LabError


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def environment() -> dict[str, str]:
    env = dict(os.environ, LC_ALL="C.UTF-8")
    if paths.CONTAINERS_CONF.exists():
        env["CONTAINERS_CONF"] = str(paths.CONTAINERS_CONF)
    return env


def attempt(command: Sequence[str], data: bytes | None = None, timeout: float = 120) -> Result:
    """Run a program and return what it said, whatever it said. Only a missing program or a time-out is an error."""
    try:
        done = subprocess.run(
            list(command),
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            timeout=timeout,
            env=environment(),
            # Ctrl-C is for the lab: a podman cut short in the middle of a start never gives the address back.
            start_new_session=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is not installed", "tests/lab/install-packages.sh") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(command[:6])}: no end after {timeout:.0f} s") from error
    return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def run(command: Sequence[str], data: bytes | None = None, timeout: float = 120) -> str:
    """Run a program that must succeed and return its output."""
    result = attempt(command, data, timeout)
    if result.code:
        last = (result.err.strip() or result.out.strip()).splitlines()[-12:]
        raise LabError(f"{' '.join(command[:8])} failed with {result.code}:\n  " + "\n  ".join(last))
    return result.out


class Process(Protocol):
    """A process that can be waited for, as those of subprocess."""

    pid: int

    def wait(self) -> int: ...


def kill_tree(process: Process) -> None:
    """Kill -9 a process with all it has started, whatever session that is in: Ansible gives its workers their own."""
    found = [process.pid]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in children.read_text().split()]
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
