"""What the tests of a disturbed switch share: clients that write all the time, and a switch that is held at a step."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bascule_lab import shell

from bascule.report.intervals import longest_gap
from tests.cells import Cell, Figures
from tests.faults.pair import ROOT, SIDES, Pair

# Longer than a switch needs on a machine that is busy with other tests as well.
BUDGET = 15.0
# Where a test waits for the dead-man, which comes when most of the budget is over.
SHORT_BUDGET = 7.0
# A transaction of a client may wait as long as its pooler lets it.
WAIT_SECONDS = 100.0
_DATA = "/var/lib/postgresql/15/main"


@dataclass(frozen=True)
class Ack:
    """A write that was acknowledged, and by which server."""

    key: uuid.UUID
    side: str
    begun: float
    ended: float


class Clients:
    """Two clients through each side's pooler, which write as long as the block lasts."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.acks: list[Ack] = []
        self.errors: list[str] = []
        self._last: dict[str, float] = {}
        self._stop = threading.Event()
        self._password = (pair.work / "secrets/data_password").read_text().strip()
        self._threads = [threading.Thread(target=self._write, args=(side,)) for side in (*SIDES, *SIDES)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def connect(self, side: str) -> psycopg.Connection[Any]:
        """Come in through a side's pooler."""
        return psycopg.connect(
            host=self.pair.addresses[side],
            port=6432,
            dbname="courses",
            user="lab_data",
            password=self._password,
            sslmode="require",
            connect_timeout=20,
            autocommit=True,
            prepare_threshold=None,
        )

    def go_on(self) -> None:
        """Wait until clients of both poolers have written again."""
        since = time.monotonic()
        deadline = since + WAIT_SECONDS
        seen = dict.fromkeys(SIDES, False)
        while not all(seen.values()):
            assert time.monotonic() < deadline, f"nobody writes through {seen}; last errors: {self.errors[-4:]}"
            time.sleep(0.05)
            for thread_side, ended in list(self._last.items()):
                seen[thread_side] = seen[thread_side] or ended > since

    def lost(self, serving: str) -> set[uuid.UUID]:
        """Return acknowledged writes that the serving side does not have."""
        # Clients may go on meanwhile: what is acknowledged after the look was not looked for.
        acks = list(self.acks)
        found = set(self.pair.sql(serving, "select id from lab.data_layer").split())
        return {ack.key for ack in acks if str(ack.key) not in found}

    def changes(self) -> list[str]:
        """Return which server acknowledged, one entry for each change; a write is between its begin and its end."""
        order: list[str] = []
        for ack in sorted(self.acks, key=lambda ack: ack.ended):
            if not order or order[-1] != ack.side:
                order.append(ack.side)
        return order

    def figures(self, serving: str) -> Figures:
        """Return what these clients have measured, once they have stopped and this side serves."""
        order = sorted(self.acks, key=lambda ack: ack.ended)
        moments = [ack.ended for ack in order]
        changed = self.changes()
        two = 0.0
        if len(changed) == 2:
            # Each write was committed between its begin and its end: what is counted is certain.
            first = min(ack.ended for ack in order if ack.side == changed[1])
            two = max(0.0, max(ack.begun for ack in order if ack.side == changed[0]) - first)
        return Figures(
            outage_seconds=round(longest_gap(moments, moments[0], moments[-1]) or 0.0, 3),
            lost_writes=len(self.lost(serving)),
            divergent_writes=len(divergent(self.pair, serving)),
            two_writers_seconds=round(two, 3),
        )

    def _write(self, side: str) -> None:
        addresses = {address: name for name, address in self.pair.addresses.items()}
        connection: psycopg.Connection[Any] | None = None
        while not self._stop.is_set():
            key, begun = uuid.uuid4(), time.monotonic()
            try:
                connection = connection or self.connect(side)
                row = connection.execute(
                    "insert into lab.data_layer values (%s, now()) returning host(inet_server_addr())", (key,)
                ).fetchone()
                ended = time.monotonic()
                self.acks.append(Ack(key, addresses[str(row[0])] if row else "", begun, ended))
                self._last[side] = ended
            except psycopg.Error as error:
                self.errors.append(f"through {side}: {error}")
                if connection is not None:
                    connection.close()
                connection = None
            time.sleep(0.05)


class Switch:
    """A switch under way, in a process of its own, held at a step."""

    def __init__(
        self,
        pair: Pair,
        source: str,
        directory: Path,
        step: str = "",
        budget: float = BUDGET,
        patience: float = 30,
    ) -> None:
        self.pair = pair
        self.old, self.new = source, SIDES[1 - SIDES.index(source)]
        self.step = step
        self.directory = directory
        directory.mkdir(exist_ok=True)
        for stale in directory.iterdir():
            stale.unlink()
        settings = {
            "old": pair.host(self.old),
            "new": pair.host(self.new),
            "component": pair.component,
            "budget": budget,
            "patience": patience,
        }
        environment = {**shell.environment(), "PYTHONPATH": str(ROOT / "python_helpers")}
        if step:
            environment["BASCULE_TEST_SWITCH_HOLD"] = f"{step}:{directory}"
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("driver.py")), json.dumps(settings)],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )

    def held(self) -> None:
        """Wait until it stands at its step."""
        deadline = time.monotonic() + 60
        while not (self.directory / f"{self.step}.reached").exists():
            assert self.process.poll() is None, f"it never came to {self.step}: {self.end()}"
            assert time.monotonic() < deadline, f"it never came to {self.step}"
            time.sleep(0.01)

    def go(self) -> None:
        """Let it go on."""
        (self.directory / f"{self.step}.go").touch()

    def kill(self, victim: str) -> None:
        """Kill -9 the driver, an agent (old-agent, new-agent) or a server (old-server, new-server), or a whole host."""
        if victim == "driver":
            self.process.send_signal(signal.SIGKILL)
            return
        which, _, what = victim.partition("-")
        side, part = (self.old, "leave") if which == "old" else (self.new, "enter")
        if what == "host":
            self.pair.kill(side)
            return
        if what == "agent":
            command = f"pkill -9 -f 'pg_side .*--part {part}'"
        else:
            command = "kill -9 $(head -1 /var/lib/postgresql/15/main/postmaster.pid)"
        self.pair.run(side, ["bash", "-c", command])

    def end(self) -> dict[str, Any]:
        """Wait for its end; return what it said."""
        out, _ = self.process.communicate(timeout=240)
        said: dict[str, Any] = json.loads(out) if out.strip() else {}
        return said


def python(pair: Pair, side: str, code: str) -> str:
    """Run host code at a side."""
    return pair.must_run(side, ["env", "PYTHONPATH=/usr/local/lib/bascule/bascule.pyz", "python3", "-"], code)


def freeze(pair: Pair, side: str) -> None:
    """Freeze a side as the verb does."""
    name = pair.component, pair.host(side)
    python(pair, side, f"from bascule.postgresql.io.switchover.freeze import freeze\nfreeze{name!r}\n")


def follow(pair: Pair, side: str) -> None:
    """Have the closed side follow, as the verb does, and wait until it streams."""
    name = pair.component, pair.host(side)
    python(
        pair, side, f"from bascule.postgresql.io.standby.follow import start_follow\nstart_follow(*{name!r}, wait=90)\n"
    )


def active(pair: Pair) -> str:
    """Return the one side whose guard is open."""
    found = [side for side in SIDES if pair.guard(side)["status"] == "open"]
    assert len(found) == 1, found
    return found[0]


@contextlib.contextmanager
def cut(pair: Pair) -> Iterator[None]:
    """Cut the link for a while."""
    pair.cut()
    try:
        yield
    finally:
        pair.restore()


def cases(all_cases: Sequence[tuple[str, str]], always: set[tuple[str, str]]) -> list[Any]:
    """Return cases of step and victim as parameters; only `make test-all` runs those that are not in `always`."""
    assert always <= set(all_cases)
    return [
        pytest.param(*case, id="-".join(case), marks=[] if case in always else [pytest.mark.long]) for case in all_cases
    ]


def refused(pair: Pair) -> bool:
    """Whether both servers refuse the client that comes straight to the one that is open."""
    for side in SIDES:
        try:
            psycopg.connect(
                host=pair.addresses[side],
                dbname="courses",
                user="courses",
                password=(pair.work / "secrets/app_password").read_text().strip(),
                sslmode="require",
                connect_timeout=5,
            ).close()
        except psycopg.OperationalError:
            continue
        return False
    return True


def statuses(pair: Pair, old: str) -> tuple[str, str]:
    """What the guards of the side that is left and of the other one say."""
    return pair.guard(old)["status"], pair.guard(SIDES[1 - SIDES.index(old)])["status"]


def divergent(pair: Pair, serving: str) -> set[str]:
    """Return the rows that only the other side has; where no server answers there, what its files say of its log."""
    other = SIDES[1 - SIDES.index(serving)]
    select = "select id from lab.data_layer"
    psql = ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-d", "courses", "-c", select]
    asked = pair.run(other, psql)
    if asked.rc == 0:
        return set(asked.out.split()) - set(pair.sql(serving, select).split())
    said = pair.must_run(other, ["/usr/lib/postgresql/15/bin/pg_controldata", "-D", _DATA])
    words = dict(re.findall(r"^(.+?): +(.+)$", said, re.MULTILINE))
    line = int(words["Latest checkpoint's TimeLineID"])
    stopped = {"shut down", "shut down in recovery", "in archive recovery"}
    assert words["Database cluster state"] in stopped, f"{other} has ended without a word: {said}"
    text = "select timeline_id from pg_control_checkpoint()"
    newest = int(pair.sql(serving, f"checkpoint; {text}"))
    if line == newest:
        # Both have one log: what is in recovery has nothing but what came from the side that serves.
        assert words["Database cluster state"] != "shut down", said
        return set()
    history = pair.must_run(serving, ["cat", f"{_DATA}/pg_wal/{newest:08X}.history"])
    left = dict(found.split()[:2] for found in history.splitlines() if found.strip())[str(line)]
    ends = f"select '{words['Latest checkpoint location']}'::pg_lsn < '{left}'::pg_lsn"
    return set() if pair.sql(serving, ends) == "t" else {f"log of {other} behind {left}"}


def nothing_lost(clients: Clients, pair: Pair, order: list[str], cell: Cell | None = None) -> None:
    """One writer, all its writes; a cell of the fault matrix is told."""
    assert clients.changes() == order
    assert clients.lost(active(pair)) == set()
    if cell is not None:
        figures = clients.figures(order[-1])
        cell.ended("completed" if len(order) > 1 else "rolled_back", figures)
        assert (figures.lost_writes, figures.divergent_writes, figures.two_writers_seconds) == (0, 0, 0), figures
