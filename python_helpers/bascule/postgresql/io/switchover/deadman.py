"""What both halves of a switch share: marks of time, whether the driver still lives, and the dead-man's timer."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ....errors import BasculeError, CommandFailed
from ....system.io import storage, units
from ....system.io.process import run
from ...spec import Spec
from ..cluster.cluster import HOME

DEADMAN_FILE = "deadman.json"
# Shares of the budget, counted from the moment the timer is set: by when the receipt must be given, and when the
# dead-man takes back what has none. What is left is for the start that follows.
RECEIPT_SHARE = 0.6
DEADMAN_SHARE = 0.7
# After how long a take-back that has failed is tried again, until it succeeds or another switch sets the timer.
RETRY_SECONDS = 5.0


class DriverGone(BasculeError):
    """Nobody listens any more."""

    def __init__(self) -> None:
        super().__init__(expected="the controller to drive the switch", found="its connection has ended")


class Steps:
    """The marks of one side, in milliseconds since its first, and what tests may hold it at."""

    def __init__(
        self, gone: Callable[[], bool] = lambda: False, hold: Callable[[str], None] = lambda name: None
    ) -> None:
        self.marks: dict[str, float] = {}
        self.hold_at: frozenset[str] = frozenset()
        self._gone = gone
        self._hold = hold
        self._first = time.monotonic()

    def begin(self) -> None:
        """Count from now."""
        self.marks.clear()
        self._first = time.monotonic()

    def mark(self, name: str) -> None:
        """Note that a step is done."""
        self.marks[name] = round((time.monotonic() - self._first) * 1000, 1)
        if name in self.hold_at:
            self._hold(name)

    def still_wanted(self) -> None:
        """Refuse to go on for a controller that is gone."""
        if self._gone():
            raise DriverGone


def born(pid: int) -> str:
    """Return when a process was started, in the kernel's own count: a number that is used again is another process."""
    text = storage.read_text(f"/proc/{pid}/stat")
    return text.rpartition(")")[2].split()[19] if text else ""


class DeadMan:
    """The timer on this host that ends a switch whose agent or controller died; kept on disk before it is set."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.unit = spec.unit_name("deadman")
        self.path = HOME / spec.component / DEADMAN_FILE

    def arm(self, epoch: str, seconds: float, *, frozen: bool) -> None:
        """Set the timer for this process's share of the switch."""
        # One that an earlier switch has set may still look for a side to which held clients can go on.
        run(["systemctl", "stop", f"{self.unit}.timer", f"{self.unit}.service"], timeout=60, check=False)
        pid = os.getpid()
        storage.write_json(self.path, {"epoch": epoch, "frozen": frozen, "pid": pid, "born": born(pid)})
        run(
            [
                "systemd-run",
                "--quiet",
                "--collect",
                f"--unit={self.unit}",
                f"--on-active={seconds:.2f}s",
                "--timer-property=AccuracySec=20ms",
                # A server that does not start the first time must not stay down for want of somebody to try again.
                "--property=Restart=on-failure",
                f"--property=RestartSec={RETRY_SECONDS:g}s",
                "--property=StartLimitIntervalSec=0",
                "--",
                *units.AGENT,
                "pg_deadman",
                "--component",
                self.spec.component,
                "--epoch",
                epoch,
            ],
            timeout=20,
        )

    def disarm(self) -> None:
        """End the timer, and forget what it was for. The receipt has disarmed it already: it looks for one first."""
        with contextlib.suppress(CommandFailed):
            run(["systemctl", "stop", f"{self.unit}.timer"], timeout=20, check=False)
        storage.remove(self.path)

    def note(self, epoch: str) -> dict[str, Any] | None:
        """Return what the timer was set for, unless that is another switch or over."""
        found = storage.read_json(self.path)
        return found if isinstance(found, dict) and found.get("epoch") == epoch else None


def agent_lives(note: dict[str, Any]) -> bool:
    """Whether the process that set the timer is still there."""
    pid = int(note["pid"])
    return bool(note.get("born")) and born(pid) == note["born"] and Path(f"/proc/{pid}").exists()


def kill_agent(note: dict[str, Any], patience: float = 5) -> bool:
    """End the process that set the timer, whatever it does; return whether it is gone, and with it its locks."""
    deadline = time.monotonic() + patience
    while agent_lives(note):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(note["pid"]), signal.SIGKILL)
        state = (storage.read_text(f"/proc/{note['pid']}/stat") or "").rpartition(")")[2].split()[:1]
        if state == ["Z"]:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
