"""Proxmox tasks: the answer to a request is only a task's name; what happened is read from the task and its log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Optional

from .api import Api
from .errors import ProxmoxError, TaskFailed, TaskLate

_UPID = re.compile(
    r"^UPID:(?P<node>[^:\s]+):(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9}):(?P<start>[0-9A-Fa-f]{8}):"
    r"(?P<type>[^:\s]+):(?P<id>[^:\s]*):(?P<user>[^:\s]+):$"
)
_PROGRESS = re.compile(
    r"^INFO:\s+(?P<percent>\d{1,3})% \((?P<amount>[^)]*)\) in (?P<time>\S+?), read: (?P<rate>[^,]+),"
)
_RESTORE = re.compile(r"^progress (?P<percent>\d{1,3})% \(read (?P<bytes>\d+) bytes")
_WARNINGS = re.compile(r"^WARNINGS: (\d+)$")


@dataclass(frozen=True)
class Upid:
    """The parts of a task's name."""

    text: str
    node: str
    kind: str
    id: str
    user: str


def parse_upid(text: object) -> Upid:
    """Read a task's name; anything else is refused."""
    found = _UPID.match(text) if isinstance(text, str) else None
    if not found:
        raise ProxmoxError(expected="a task name (UPID:node:…)", found=repr(text), state="unknown: no task was named")
    return Upid(str(text), found["node"], found["type"], found["id"], found["user"])


@dataclass(frozen=True)
class Outcome:
    """How a task ended well."""

    upid: str
    warnings: int
    log: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """What the latest progress line says."""

    percent: int
    text: str


def progress(lines: Sequence[str]) -> Optional[Progress]:
    """Return the last progress the log names."""
    for line in reversed(lines):
        found = _PROGRESS.match(line)
        if found:
            return Progress(int(found["percent"]), f"{found['percent']}% ({found['amount']}, {found['rate']})")
        found = _RESTORE.match(line)
        if found:
            return Progress(int(found["percent"]), f"{found['percent']}%")
    return None


def failure_words(lines: Sequence[str]) -> str:
    """Return the log's own reason: its error lines, without the last one that only repeats the exit status."""
    errors = [line.split("ERROR: ", 1)[1] for line in lines if line.startswith("ERROR: ")]
    if errors:
        return "; ".join(dict.fromkeys(errors))
    final = [line.split("TASK ERROR: ", 1)[1] for line in lines if line.startswith("TASK ERROR: ")]
    return final[-1] if final else ""


def read_log(api: Api, node: str, upid: str, start: int = 0) -> list[str]:
    """Return the log from line `start` on; the API gives 50 lines unless told more."""
    rows = api.get(f"nodes/{node}/tasks/{upid}/log", start=start, limit=5000) or []
    lines = [str(row.get("t", "")) for row in rows]
    return [] if lines == ["no content"] else lines


def wait(
    api: Api,
    upid: str,
    timeout: float,
    report: Callable[[str], None] = lambda text: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    interval: float = 0.3,
) -> Outcome:
    """Wait until the task has ended; return its log, or raise with Proxmox's own words."""
    name = parse_upid(upid)
    deadline = clock() + timeout
    lines: list[str] = []
    said = ""
    while True:
        status = api.get(f"nodes/{name.node}/tasks/{upid}/status")
        if status.get("status") == "stopped":
            break
        lines += read_log(api, name.node, upid, len(lines))
        latest = progress(lines)
        if latest and latest.text != said:
            said = latest.text
            report(f"{name.kind} {name.id}: {said}")
        if clock() >= deadline:
            raise TaskLate(
                expected=f"the task {upid} to end within {timeout:g} s",
                found="it is still running" + (f" ({said})" if said else ""),
                state=f"the task goes on at {name.node}",
                next_command="run the same command again: it finds the task and follows it",
            )
        sleep(interval)
        interval = min(interval * 1.3, 2.0)
    lines += read_log(api, name.node, upid, len(lines))
    return judge(upid, str(status.get("exitstatus", "")), lines)


def judge(upid: str, exitstatus: str, lines: Sequence[str]) -> Outcome:
    """Decide what an ended task's exit status means."""
    warned = _WARNINGS.match(exitstatus)
    if exitstatus == "OK" or warned:
        return Outcome(upid, int(warned[1]) if warned else 0, tuple(lines))
    raise TaskFailed(upid, exitstatus or "no exit status", failure_words(lines))
