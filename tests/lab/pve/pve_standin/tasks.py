"""Tasks: a UPID, a worker, a log that ends in `TASK OK` or `TASK ERROR: …`.

Proxmox forks a process for each task; here it is a thread, whose kernel thread id stands for the process id. A task
whose worker is gone without a last line reads `unexpected status`, as after a crash of the real daemon.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Failure, Interrupted, Vanished, bad_parameters
from .faults import Faults

UPID = re.compile(
    r"UPID:(?P<node>[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?):(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9}):"
    r"(?P<starttime>[0-9A-Fa-f]{8}):(?P<type>[^:\s/]+):(?P<id>[^:\s/]*):(?P<user>[^:\s/]+):"
)


@dataclass(frozen=True)
class Upid:
    node: str
    pid: int
    pstart: int
    starttime: int
    type: str
    id: str
    user: str

    def __str__(self) -> str:
        return (
            f"UPID:{self.node}:{self.pid:08X}:{self.pstart:08X}:{self.starttime:08X}:{self.type}:{self.id}:{self.user}:"
        )

    @staticmethod
    def parse(text: str) -> Upid:
        match = UPID.fullmatch(text)
        if not match:
            raise bad_parameters({"upid": "unable to parse worker upid"})
        pid, pstart, starttime = (int(match[name], 16) for name in ("pid", "pstart", "starttime"))
        return Upid(match["node"], pid, pstart, starttime, match["type"], match["id"], match["user"])

    def fields(self) -> dict[str, Any]:
        """As the API shows it: a token's name stands beside its user."""
        user, _, token = self.user.partition("!")
        shown = {
            "upid": str(self),
            "node": self.node,
            "pid": self.pid,
            "pstart": self.pstart,
            "starttime": self.starttime,
            "type": self.type,
            "id": self.id,
            "user": user,
        }
        return {**shown, "tokenid": token} if token else shown


class Task:
    """What a worker gets: its log, and whether it was told to stop."""

    def __init__(self, upid: Upid, path: Path, fails: str | None = None, at_end: bool = False) -> None:
        self.upid = upid
        self._path = path
        self._at_end = at_end
        # What the task ends with, if a test has ordered that: at its next look around, or when it is done.
        self._fails = fails
        self._lock = threading.Lock()
        self.stopped = threading.Event()

    def log(self, line: str) -> None:
        with self._lock, self._path.open("a") as out:
            out.write(f"{line}\n")

    def check(self) -> None:
        if self.stopped.is_set():
            raise Interrupted
        if self._fails and not self._at_end and not self._fails.startswith("WARNINGS:"):
            self._end()

    def last_word(self) -> str:
        """How a log ends whose worker has done its work."""
        if self._fails:
            if self._fails.startswith("WARNINGS:"):
                return f"TASK {self._fails}"
            self._end()
        return "TASK OK"

    def _end(self) -> None:
        text, self._fails = self._fails, None
        if text == "unexpected status":
            raise Vanished
        raise Failure(text or "")


Worker = Callable[[Task], None]


class Tasks:
    def __init__(self, directory: Path, node: str, faults: Faults | None = None) -> None:
        self._directory = directory
        self._node = node
        self._faults = faults or Faults()
        self._active: dict[str, Task] = {}
        self._lock = threading.Lock()

    def start(self, kind: str, ident: str, user: str, worker: Worker) -> str:
        """Run `worker` beside the request; returns the UPID at once, whatever becomes of it."""
        begun = threading.Event()
        made: list[Task] = []

        def body() -> None:
            thread = threading.get_native_id()
            task = self._open(Upid(self._node, thread, _start_ticks(thread), int(time.time()), kind, ident, user))
            made.append(task)
            begun.set()
            self._run(task, worker)

        threading.Thread(target=body, name=kind, daemon=True).start()
        begun.wait()
        return str(made[0].upid)

    def _open(self, upid: Upid) -> Task:
        path = self._path(upid)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        order = self._faults.take("task_fails", int(upid.id) if upid.id.isdigit() else None, type=upid.type)
        options = order.options if order else {}
        fails = str(options.get("text", "got signal 9")) if order else None
        task = Task(upid, path, fails, at_end=options.get("at") == "end")
        with self._lock:
            self._active[str(upid)] = task
        return task

    def _run(self, task: Task, worker: Worker) -> None:
        try:
            worker(task)
            task.log(task.last_word())
        except Vanished:
            pass
        except Failure as failure:
            task.log(f"TASK ERROR: {' '.join(str(failure).split())}")
        except Exception as error:
            task.log(f"TASK ERROR: {type(error).__name__}: {' '.join(str(error).split())}")
        finally:
            with self._lock:
                del self._active[str(task.upid)]

    def _path(self, upid: Upid) -> Path:
        return self._directory / f"{upid.starttime & 0xF:X}" / str(upid)

    def _find(self, text: str) -> tuple[Upid, Path]:
        upid = Upid.parse(text)
        path = self._path(upid)
        if upid.node != self._node or not path.exists():
            raise bad_parameters({"upid": "no such task"})
        return upid, path

    def status(self, text: str) -> dict[str, Any]:
        upid, path = self._find(text)
        return self._status(upid, path)

    def _status(self, upid: Upid, path: Path) -> dict[str, Any]:
        with self._lock:
            if str(upid) in self._active:
                return {**upid.fields(), "status": "running"}
        return {**upid.fields(), "status": "stopped", "exitstatus": exit_status(path)}

    def log(self, text: str, start: int, limit: int) -> tuple[list[dict[str, Any]], int]:
        """Lines from `start` on, and how many there are; limit 0 is all."""
        lines = self._find(text)[1].read_text().splitlines()
        stop = start + limit if limit else len(lines)
        chosen = [{"n": number, "t": line} for number, line in enumerate(lines, 1)][start:stop]
        return chosen or [{"n": 1, "t": "no content"}], len(lines)

    def stop(self, text: str) -> None:
        upid, _ = self._find(text)
        with self._lock:
            task = self._active.get(str(upid))
        if task:
            task.stopped.set()

    def wait(self, text: str) -> str:
        """The exit status, once there is one."""
        while self.status(text)["status"] == "running":
            time.sleep(0.1)
        return str(self.status(text)["exitstatus"])

    def listed(self, source: str = "archive") -> list[dict[str, Any]]:
        """Newest first; a finished one carries `endtime` and its exit status as `status`."""
        shown = []
        for path in self._directory.glob("?/UPID:*"):
            upid = Upid.parse(path.name)
            status = self._status(upid, path)
            running = status["status"] == "running"
            if (source == "active" and not running) or (source == "archive" and running):
                continue
            entry = upid.fields()
            if running:
                entry["status"] = "RUNNING"
            else:
                entry.update(endtime=int(path.stat().st_mtime), status=status["exitstatus"])
            shown.append(entry)
        return sorted(shown, key=lambda entry: (entry["starttime"], entry["upid"]), reverse=True)


def exit_status(path: Path) -> str:
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 8192))
        lines = log.read().decode(errors="replace").splitlines()
    last = lines[-1] if lines else ""
    if last == "TASK OK":
        return "OK"
    for prefix in ("TASK ERROR: ", "TASK "):
        if last.startswith(prefix):
            return last.removeprefix(prefix)
    return "unexpected status"


def _start_ticks(thread: int) -> int:
    text = Path(f"/proc/self/task/{thread}/stat").read_text()
    return int(text.rpartition(")")[2].split()[19])
