"""The programs that watch a run: started, followed while they write, and stopped by closing their standard input.

A watcher whose starter dies sees the end of its input and stops by itself; nothing has to be found and killed later.
"""

from __future__ import annotations

import abc
import contextlib
import io
import json
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .setting import LAB, ROOT, Setting, podman_environment

CONTAINER = "bascule-user"
PROGRAM = "/usr/local/lib/bascule-user"
PROGRAM_FILES = ("client/user.py", "client/resolver.py")
# A run that lasts longer than this is not looked at by anybody any more.
LONGEST_SECONDS = 4 * 3600
FILES = tuple(
    f"content/{n}/{name}" for n in (1, 7, 42, 119) for name in ("index.html", "handout-003.txt", "slides-1.pdf")
)


class Follower(abc.ABC):
    """Reads the lines another program appends to a file, as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    @abc.abstractmethod
    def take(self, record: dict[str, Any]) -> None:
        """Take account of one record."""

    def _follow(self) -> None:
        rest = b""
        with self.path.open("rb") as source:
            while True:
                ending = self._stop.is_set()
                chunk = source.read(1 << 20)
                if not chunk:
                    if ending:
                        return
                    self._stop.wait(0.25)
                    continue
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    with contextlib.suppress(ValueError):
                        record = json.loads(line)
                        with self._lock:
                            self.take(record)


class UserFollower(Follower):
    """Live counts of the client outside."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.writes: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self._acked_at: list[float] = []
        self._sent_at: dict[int, float] = {}
        self.last_problem = ""

    def take(self, record: dict[str, Any]) -> None:
        op, outcome = record.get("op"), str(record.get("outcome"))
        if op in ("read", "write"):
            self._sent_at[int(record.get("n", 0))] = float(record.get("sent_wall", 0.0))
        if op == "write":
            self.writes[outcome] += 1
            if outcome == "ack":
                self._acked_at.append(float(record["sent_wall"]))
        elif op == "read":
            self.reads[outcome] += 1
        if record.get("problem"):
            self.last_problem = f"{record.get('kind')}: {record['problem']}"

    def acked_since(self, wall: float) -> int:
        """Acknowledged writes sent since a moment."""
        with self._lock:
            return sum(moment >= wall for moment in self._acked_at)

    def settled(self, wall: float) -> bool:
        """Whether everything sent before a moment has its line: operations are numbered as they start, gapless."""
        with self._lock:
            last = max((number for number, sent in self._sent_at.items() if sent < wall), default=0)
            return all(number in self._sent_at for number in range(1, last + 1))

    def first_acked(self) -> float | None:
        """When the first acknowledged write was sent."""
        with self._lock:
            return min(self._acked_at, default=None)

    def line(self) -> str:
        """The counters in a few words."""
        with self._lock:
            bad_reads = sum(self.reads[outcome] for outcome in ("refused", "error", "unknown"))
            paused = self.writes["maintenance"] + self.reads["maintenance"]
            return (
                f"writes {self.writes['ack']} ok, {self.writes['unknown']} unanswered | "
                f"reads {self.reads['ack']} ok, {bad_reads} errors | maintenance pages {paused}"
            )


class ProberFollower(Follower):
    """Which side took the last write of each kind."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.probes = 0
        self._accepted: dict[tuple[str, str], float] = {}

    def take(self, record: dict[str, Any]) -> None:
        if record.get("op") == "probe":
            self.probes += 1
            if record.get("result") == "accept":
                self._accepted[(str(record["kind"]), str(record["side"]))] = float(record["end_wall"])

    def active_side(self, within: float = 5.0, now: float | None = None) -> str | None:
        """The side that took a write of every kind within the last seconds, if it is one side alone."""
        moment = time.time() if now is None else now
        with self._lock:
            fresh = {key for key, at in self._accepted.items() if moment - at <= within}
        sides = {side for _, side in fresh}
        if len(sides) != 1 or {kind for kind, _ in fresh} != {"db", "files", "guest"}:
            return None
        return next(iter(sides))


class DataFollower(Follower):
    """Live counts of the client of the database alone."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.writes: Counter[str] = Counter()
        self.last_problem = ""

    def take(self, record: dict[str, Any]) -> None:
        if record.get("op") == "write":
            self.writes[str(record.get("outcome"))] += 1
            if record.get("problem"):
                self.last_problem = str(record["problem"])

    def acked(self) -> int:
        """Writes acknowledged so far."""
        with self._lock:
            return self.writes["ack"]


class Watchers:
    """The client outside, the prober and, once there is a pooler, the client of the database alone."""

    def __init__(self, directory: Path, setting: Setting, write_interval: float = 0.1) -> None:
        """Prepare them; `write_interval` is in seconds, and reads come four times as seldom."""
        directory.mkdir(parents=True, exist_ok=True)
        self.user_path = directory / "user.jsonl"
        self.prober_path = directory / "prober.jsonl"
        self._directory = directory
        self._setting = setting
        self._write_interval = write_interval
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.data_path = directory / "data.jsonl"
        for path in (self.user_path, self.prober_path, self.data_path):
            path.touch(mode=0o600)
        self.user = UserFollower(self.user_path)
        self.prober = ProberFollower(self.prober_path)
        self.data = DataFollower(self.data_path)

    def start(self) -> None:
        """Start both. They read nothing but the end of their standard input."""
        subprocess.run(
            ["podman", "exec", "-i", CONTAINER, "sh", "-c", f"mkdir -p {PROGRAM} && tar -x -C {PROGRAM}"],
            input=_archive(),
            check=True,
            timeout=30,
            env=podman_environment(),
        )
        user = ["podman", "exec", "-i", "-e", f"PYTHONPATH={PROGRAM}", CONTAINER]
        user += ["python3", "-B", "-m", "client.user", "--stop-on-eof"]
        user += ["--interval", str(self._write_interval), "--read-interval", str(4 * self._write_interval)]
        user += ["--seconds", str(LONGEST_SECONDS), "--files", *FILES]
        self._spawn("user", user, self.user_path)
        prober = [sys.executable, str(Path(__file__).parent / "prober.py"), "--stop-on-eof"]
        prober += ["--seconds", str(LONGEST_SECONDS), "--out", str(self.prober_path)]
        prober += ["--ca", str(LAB / "ca" / "ca.crt"), "--db-password-file", str(LAB / "secrets" / "app_password")]
        for site in (self._setting.source, self._setting.target):
            prober += ["--side", site.probe_argument()]
        self._spawn("prober", prober, None)
        self.user.start()
        self.prober.start()

    def start_data_layer(self) -> None:
        """Start the client of the database alone; it stays with the pooler of the site where the run begins."""
        data = [sys.executable, "-m", "client.data_layer", "--stop-on-eof", "--seconds", str(LONGEST_SECONDS)]
        data += ["--host", self._setting.source.db, "--ca", str(LAB / "ca" / "ca.crt")]
        data += ["--db-password-file", str(LAB / "secrets" / "data_password"), "--out", str(self.data_path)]
        self._spawn("data", data, None)
        self.data.start()

    def _spawn(self, name: str, command: list[str], out: Path | None) -> None:
        with contextlib.ExitStack() as stack:
            stdout = stack.enter_context(out.open("ab")) if out else subprocess.DEVNULL
            stderr = stack.enter_context((self._directory / f"{name}.err").open("ab"))
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                cwd=ROOT,
                env={**podman_environment(), "PYTHONPATH": str(ROOT / "tests" / "lab")},
                # Ctrl-C in the terminal stops the demo; the demo stops its watchers, last of all.
                start_new_session=True,
            )
        self._running.append((name, process))

    def dead(self) -> str | None:
        """What to say when a watcher has ended by itself; None while both run."""
        for name, process in self._running:
            if process.poll() is not None:
                words = (self._directory / f"{name}.err").read_text(encoding="utf-8", errors="replace").strip()
                last = words.splitlines()[-1] if words else "it said nothing"
                return f"the {name} ended with status {process.returncode}: {last}"
        return None

    def stop(self) -> None:
        """Close their input, wait for their last line, and only then end them harder."""
        running, self._running = self._running, []
        for _, process in running:
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        for _, process in running:
            for wait, harder in ((25.0, process.terminate), (5.0, process.kill)):
                try:
                    process.wait(timeout=wait)
                    break
                except subprocess.TimeoutExpired:
                    harder()
            else:
                process.wait(timeout=5)
        for follower in (self.user, self.prober, self.data):
            follower.stop()


def _archive() -> bytes:
    """The client's program as a tar archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in PROGRAM_FILES:
            archive.add(Path(__file__).parent.parent / name, arcname=name)
    return packed.getvalue()
