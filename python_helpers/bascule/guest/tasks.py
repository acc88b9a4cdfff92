"""Proxmox tasks: the answer to a request is only a task's name; what happened is read from the task and its log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ..system import polling
from .api import Api
from .errors import NodeUnreachable, ProxmoxError, TaskFailed, TaskLate

_UPID = re.compile(
    r"^UPID:(?P<node>[^:\s]+):(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9}):(?P<start>[0-9A-Fa-f]{8}):"
    r"(?P<type>[^:\s]+):(?P<id>[^:\s]*):(?P<user>[^:\s]+):$"
)
_PROGRESS = re.compile(
    r"^INFO:\s+(?P<percent>\d{1,3})% \((?P<amount>[^)]*)\) in (?P<time>\S+?), read: (?P<rate>[^,]+),"
)
_RESTORE = re.compile(r"^progress (?P<percent>\d{1,3})% \(read (?P<bytes>\d+) bytes")
# A disk copied by `dd` through a tunnel, and one mirrored by QEMU; both write on one line, again and again.
_COPIED = re.compile(r"(?P<bytes>\d+) bytes \([^)]*\) copied, [\d.]+ s, (?P<rate>[\d.]+ \w+/s)")
_MIRRORED = re.compile(r"transferred (?P<amount>\S+ \w+ of \S+ \w+) \((?P<percent>\d{1,3})(\.\d+)?%\)")
_WARNINGS = re.compile(r"^WARNINGS: (\d+)$")
_ERROR = re.compile(r"^(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d )?ERROR: (?P<text>.*)$")
_WARNED = re.compile(r"^(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d )?WARN(?:ING)?: (?P<text>.*)$")
# Lines that say how far things are, not what went wrong.
_CHATTER = re.compile(
    r"^(?:INFO:|progress \d|TASK |trying to acquire lock|CFG:|DEV:|CTIME:|Formatting |new volume |map ')"
)
_LAST_WORDS = 4
_PAGE = 5000
# Seconds between two looks at a task at most, and after a look that a node did not answer.
_LONGEST_PAUSE = 2.0
_SILENT_PAUSE = 0.3


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

    @property
    def warned(self) -> tuple[str, ...]:
        """Return the warnings in the log's own words."""
        return tuple(found["text"] for found in map(_WARNED.match, self.log) if found)


@dataclass(frozen=True)
class Progress:
    """What the latest progress line says; a copy through a tunnel knows no percentage."""

    percent: Optional[int]
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
        mirrored = list(_MIRRORED.finditer(line))
        if mirrored:
            last = mirrored[-1]
            return Progress(int(last["percent"]), f"{last['percent']}% ({last['amount']})")
        copied = list(_COPIED.finditer(line))
        if copied:
            return Progress(None, f"{int(copied[-1]['bytes']) / 1e6:.0f} MB copied, {copied[-1]['rate']}")
    return None


def failure_words(lines: Sequence[str]) -> str:
    """Return the log's own reason: its error lines, without the last one that only repeats the exit status.

    Programs that a task starts (vma, QEMU, rsync) complain in words of their own: where no line is marked as an error,
    the last ones before the end are the reason.
    """
    errors = [found["text"] for found in map(_ERROR.match, lines) if found]
    if errors:
        return "; ".join(dict.fromkeys(errors))
    said = [line.strip() for line in lines if line.strip() and not _CHATTER.match(line)][-_LAST_WORDS:]
    final = [line.split("TASK ERROR: ", 1)[1] for line in lines if line.startswith("TASK ERROR: ")]
    return "; ".join(dict.fromkeys([*said, *final[-1:]]))


def created_archives(lines: Sequence[str]) -> list[str]:
    """Return the file names of the archives that a backup's log says it began to write."""
    found = (re.match(r"^INFO: creating vzdump archive '(?:[^']*/)?([^'/]+)'$", line) for line in lines)
    return [match[1] for match in found if match]


def read_log(api: Api, node: str, upid: str, start: int = 0) -> list[str]:
    """Return the log from line `start` on; the API gives 50 lines unless told more."""
    lines: list[str] = []
    while True:
        rows = api.get(f"nodes/{node}/tasks/{upid}/log", start=start + len(lines), limit=_PAGE) or []
        page = [str(row.get("t", "")) for row in rows]
        if page == ["no content"]:
            return lines
        lines += page
        if len(page) < _PAGE:
            return lines


def holders(api: Api, node: str, vmid: int) -> list[str]:
    """Return the tasks that are at work on a guest, as far as the token may see: who holds its lock."""
    return [f"{row.get('type')} by {row.get('user')}" for row in _active(api, node, vmid)]


def under_way(api: Api, node: str, vmid: int, kind: str) -> str:
    """Return the task of this type that is at work on a guest, as far as the token may see; or an empty text."""
    found = [str(row["upid"]) for row in _active(api, node, vmid) if row.get("type") == kind and not row.get("endtime")]
    return found[0] if found else ""


def _active(api: Api, node: str, vmid: int) -> list[Mapping[str, Any]]:
    return list(api.get(f"nodes/{node}/tasks", source="active", vmid=vmid) or [])


def wait(
    api: Api,
    upid: str,
    timeout: float,
    report: Callable[[str], None] = lambda text: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    patience: float = 120,
) -> Outcome:
    """Wait until the task has ended; return its log, or raise with Proxmox's own words.

    `patience` is how long the node may give no answer at all.
    """
    name = parse_upid(upid)
    began = clock()
    deadline = began + timeout
    lines: list[str] = []
    said = ""
    silent_since: Optional[float] = None
    while True:
        try:
            status = api.get(f"nodes/{name.node}/tasks/{upid}/status")
            ended = status.get("status") == "stopped"
            lines += read_log(api, name.node, upid, len(lines))
        except NodeUnreachable as error:
            # The task does not need the API to go on, and a node may restart its daemons meanwhile.
            silent_since = clock() if silent_since is None else silent_since
            if clock() >= min(deadline, silent_since + patience):
                raise
            report(f"{name.kind} {name.id}: no answer from the node ({error.found}); the task may go on")
            sleep(_SILENT_PAUSE)
            continue
        silent_since = None
        if ended:
            break
        latest = progress(lines)
        if latest and latest.text != said:
            said = latest.text
            report(f"{name.kind} {name.id}: {said}")
        now = clock()
        if now >= deadline:
            raise TaskLate(
                expected=f"the task {upid} to end within {timeout:g} s",
                found="it is still running" + (f" ({said})" if said else ""),
                state=f"the task goes on at {name.node}",
                next_command="run the same command again: it finds the task and follows it",
            )
        sleep(polling.pause(now - began, _LONGEST_PAUSE))
    return judge(upid, str(status.get("exitstatus", "")), lines)


def judge(upid: str, exitstatus: str, lines: Sequence[str]) -> Outcome:
    """Decide what an ended task's exit status means."""
    warned = _WARNINGS.match(exitstatus)
    if exitstatus == "OK" or warned:
        return Outcome(upid, int(warned[1]) if warned else 0, tuple(lines))
    raise TaskFailed(upid, exitstatus or "no exit status", failure_words(lines), log=lines)
