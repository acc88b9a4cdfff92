"""Run rsync and listen to it while it runs; it may be started before its names are known."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Optional

from ... import transfer
from ...transfer import Push

_RETRY_PAUSE = 3.0
# Users wait for the last transfer. Where the link stays away they are let in again where they were, without it.
_FINAL_SECONDS = 15.0
_NAMED = 20
Report = Callable[[dict[str, Any]], None]


class Patience:
    """How long a link that has failed is waited for: a few times, and while users wait for the `final` one not long."""

    def __init__(self, final: bool, retries: int, report: Report) -> None:
        self.attempt = 0
        self._final = final
        self._retries = retries
        self._report = report
        self._failed = 0.0

    def ends(self, message: str) -> bool:
        """Take note of a failure; wait and return False, or return True when enough was tried."""
        now = time.monotonic()
        if self.attempt == 0:
            self._failed = now
        if self.attempt >= self._retries or (self._final and now - self._failed > _FINAL_SECONDS):
            return True
        self.attempt += 1
        self._report({"stage": "waiting for the link", "attempt": self.attempt, "message": message[-300:]})
        time.sleep(_RETRY_PAUSE * self.attempt)
        return False


@dataclass
class Ready:
    """An rsync that is connected to the other side and waits for its names."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    used: bool = False


@contextlib.contextmanager
def ready(asked: Push) -> Iterator[Ready]:
    """Start rsync ahead of time; one that is not needed in the end goes away without having done anything."""
    command = transfer.rsync_command(replace(asked, names="-"))
    with tempfile.TemporaryFile() as errors, _start(command, subprocess.PIPE, errors) as process:
        try:
            yield Ready(process, errors)
        finally:
            if process.poll() is None:
                process.terminate()
            if process.stdin:
                with contextlib.suppress(OSError):
                    process.stdin.close()


def with_retries(
    asked: Push, final: bool, retries: int, report: Report, first: Optional[Ready] = None
) -> tuple[int, list[str], dict[str, int], int]:
    """Go on where a broken link left off; every other failure is final. `first` waits for the names of `asked`."""
    all_changes: list[str] = []
    patience = Patience(final, retries, report)
    while True:
        if first is not None and not first.used:
            rc, changes, stats, stderr = _feed(first, Path(asked.names).read_bytes(), report)
        else:
            rc, changes, stats, stderr = once(asked, report)
        all_changes += changes
        if rc not in transfer.LINK_FAILURES or patience.ends(stderr.strip()):
            transfer.judge(rc, stderr, final, asked.max_delete)
            return rc, all_changes, stats, patience.attempt


def once(asked: Push, report: Report) -> tuple[int, list[str], dict[str, int], str]:
    """Run rsync and return its exit status, the first changes by name, its figures and its last words."""
    with (
        tempfile.TemporaryFile() as errors,
        _start(transfer.rsync_command(asked), subprocess.DEVNULL, errors) as process,
    ):
        return _listen(process, errors, report)


def _feed(first: Ready, names: bytes, report: Report) -> tuple[int, list[str], dict[str, int], str]:
    first.used = True
    stdin = first.process.stdin
    if stdin is not None:
        # One that has died meanwhile says why on its standard error.
        with contextlib.suppress(BrokenPipeError):
            stdin.write(names)
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
    return _listen(first.process, first.errors, report)


def _start(command: list[str], stdin: int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=errors, env=environment)


def _listen(
    process: subprocess.Popen[bytes], errors: IO[bytes], report: Report
) -> tuple[int, list[str], dict[str, int], str]:
    changes: list[str] = []
    text: list[str] = []
    counted = 0
    last = 0.0
    for line in _lines(process.stdout):
        progress = transfer.parse_progress(line)
        if progress:
            if time.monotonic() - last > 0.5:
                last = time.monotonic()
                report({"stage": "transfer", **progress})
        elif transfer.is_change(line):
            counted += 1
            if len(changes) < _NAMED:
                changes.append(line.strip())
        elif ": " in line:
            text.append(line)
    rc = process.wait()
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - 8192))
    message = errors.read().decode("utf-8", "backslashreplace")
    return rc, changes, {**transfer.parse_stats("\n".join(text)), "changed_entries": counted}, message


def _lines(stream: Optional[IO[bytes]]) -> Iterator[str]:
    """Yield lines as they come; rsync ends a line of progress with a carriage return."""
    rest = b""
    while stream is not None and (data := os.read(stream.fileno(), 65536)):
        *lines, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
        for raw in lines:
            yield raw.decode("utf-8", "backslashreplace")
