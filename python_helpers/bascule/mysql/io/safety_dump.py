"""The safety dump of a switch: what the old side had when it closed, encrypted, restored once and compared.

A unit that nobody waits for. It holds its snapshots before the closed side follows the other one, and both are compared
as both sides are: every row, definition and account. What was cut short is not proved, never assumed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ...errors import BasculeError
from ...guard.io import fence_settings, store
from ...guard.state import Epoch, GuardState
from ...system import polling, safety_dump
from ...system.io import age_keys, process, sealed, storage, units
from ...system.io.dump_notes import Notes
from ...system.io.process import Runner
from ...system.packages import install_command
from ...system.safety_dump import proof_room
from .. import compare, gtid, settings
from ..refusals import OWN_SCHEMAS, MysqlError
from . import digest
from .client import Client, Session, pump
from .scratch_server import LIKE, Scratch
from .server import CONTENT, Server

# Seconds in which the unit has to hold the state; the closed side follows after that, whatever came of it.
HOLD_SECONDS = 5.0
# Seconds in which it has to be proved, where no plan says another limit.
TIMEOUT = 14400.0
# Seconds after which what was started for it ends by itself, and those in which a server is asked what it waits for.
_GRACE, _LOOK = 3.0, 5.0
_PROGRAMS = {
    "age": "age", "age-keygen": "age", "mariadb-dump": "mariadb-client", "mariadb-install-db": "mariadb-server",
}  # fmt: skip
# How often a question is asked again that a drain has ended.
_ASKED_AGAIN = 4
T = TypeVar("T")
# Neither is a row, a definition or an account.
NOT_COMPARED = {"counters of AUTO_INCREMENT of the safety dump": "the rows say which numbers were given"}


def notes(component: str, epoch: str = "", side: str = "", runner: Runner = process.run) -> Notes:
    """Return what is written down of the dump of a switch."""
    return Notes(component, f"bascule-{component}-safety-dump", epoch, side, runner)


def begin(component: str, side: str, epoch: str, runner: Runner, timeout: float = TIMEOUT) -> list[str]:
    """Start the unit; return a warning when it does not start, which must not stop a switch.

    Args:
        component: whose. side: the one that has closed. epoch: of the switch. runner: starts it.
        timeout: seconds in which it has to be proved; the unit reads them from the notes.
    """
    argv = [*units.AGENT, "mysql_safety_dump", "--component", component, "--epoch", epoch]
    return notes(component, epoch, side, runner).begin(argv, timeout=timeout)


def state(component: str, guard: GuardState, runner: Runner) -> dict[str, Any]:
    """Return what is known about the dump of the switch that closed this side; one of an earlier switch is none."""
    since = guard.receipt.epoch if guard.receipt else None
    return notes(component, runner=runner).state(lambda epoch: since is not None and Epoch.parse(epoch) < since)


def before_following(component: str, guard: GuardState, runner: Runner) -> list[str]:
    """Wait until the dump of the switch that closed this side holds its state; return a warning when it does not."""
    found = state(component, guard, runner)
    if found["state"] != "running":
        return []
    why = notes(component, str(found["epoch"]), runner=runner).not_held(HOLD_SECONDS)
    return [f"the safety dump of {component} does not hold what it had when it closed: {why}"] if why else []


def connections(component: str, runner: Runner) -> list[int]:
    """Return the numbers of the connections that hold the state of a dump at work: nobody's client."""
    found = notes(component, runner=runner)
    return found.told("connections", []) if units.is_running(found.unit, runner) else []


def stop(component: str, runner: Runner) -> None:
    """End it: this side opens, and a dump that is not proved by then stays that."""
    units.stop(notes(component).unit, runner)


def missing() -> list[str]:
    """Return what this host lacks for it, with the command to type; nothing where all is there."""
    packages = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if not packages:
        return []
    command = install_command(packages, storage.read_text("/etc/os-release") or "")
    return [f"the safety dump needs {', '.join(packages)}, which this host does not have: {command}"]


class SafetyDump:
    """One safety dump, from the snapshot to the proof."""

    def __init__(self, component: str, epoch: str) -> None:
        """Find the server and the receipt."""
        spec = fence_settings.read(component, store.GUARD_DIRECTORY.parent)
        if spec is None:
            raise MysqlError(expected=f"{component} prepared here", found="no settings of it")
        self.component = component
        self.server = Server(Client(str(spec["socket"])))
        self.receipt = store.read(component, str(spec["side"])).receipt
        self.notes = notes(component, epoch, str(spec["side"]))
        self.timeout = float(self.notes.told("timeout", TIMEOUT))
        self.data, self.size = Path(), 0
        self.like: list[tuple[str, str]] = []
        # The connection of its own snapshot.
        self.own = 0

    def run(self) -> int:
        """Dump, restore, compare; return an exit status. What is written down in the end says what was proved."""
        try:
            with _within(self.timeout, self._waits):
                return self._proved()
        except _Late as late:
            # Where the limit has come while a server was removed.
            if self.data != Path():
                Scratch(self.data, []).remove()
            error: Exception = MysqlError(
                expected=f"the safety dump of {self.component} proved within {self.timeout:g} s "
                "(mysql_replication_safety_dump_timeout)",
                found=f"it was still {self.notes['step']}; {late}",
                state="the switch is not touched by it; this dump is not proved",
                next_command="SHOW FULL PROCESSLIST at that server; end who holds a lock, or give it more time",
            )
        except (BasculeError, OSError) as failed:
            error = failed
        found = error.message() if isinstance(error, BasculeError) else str(error)
        self.notes.end([" ".join(found.split())[-800:]])
        return 1

    def _proved(self) -> int:
        with contextlib.ExitStack() as stack:
            source = self._dumped(stack)
        self.notes.tell(step="restoring")
        self._room()
        with Scratch(self.data, self.like) as scratch:
            self._restore(scratch)
            self.notes.tell(step="digesting what was restored")
            session = Session(scratch.client)
            try:
                session.lines(digest.SNAPSHOT)
                restored = digest.take(scratch.client, session)
            finally:
                session.close()
        count = compare.rows(source)
        self.notes.tell(rows_compared=count, not_compared=NOT_COMPARED)
        self.notes.end(compare.differences(source, restored) or ([] if count else [safety_dump.NOTHING]))
        return 0

    def _waits(self) -> str:
        """Return what waits at the server, and who else is connected: one of them may hold the lock."""
        try:
            rows = self.server.client.rows(
                "SELECT ID, STATE FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for%lock'", _LOOK
            )
            waiting = {int(row["ID"] or 0): row["STATE"] for row in rows}
            others = self.server.strangers([*waiting, self.own])
        except BasculeError as error:
            return f"the server could not be asked what it waits for: {error.found}"
        said = [f"connection {number}: {state}" for number, state in waiting.items()]
        return f"{', '.join(said) or 'it waited for no lock'}; also connected: {', '.join(others) or 'nobody'}"

    def _dumped(self, stack: contextlib.ExitStack) -> dict[str, Any]:
        """Hold the state of the receipt in two snapshots, write down one and digest the other."""
        recipients = age_keys.recipients(self.component)
        storage.make_directory(self.notes.directory, 0o700)
        self.notes.tell(step="taking snapshots")
        # Once the state is held, whoever else comes in is sent away for a moment.
        self._ask()
        session = Session(self.server.client)
        stack.callback(session.close)
        # What waits for a lock would stay in the server's queue when its client is gone.
        session.lines(f"SET SESSION lock_wait_timeout = {int(self.timeout + _GRACE)}")
        self.own = int(session.lines("SELECT CONNECTION_ID()")[0])
        session.lines(digest.SNAPSHOT)
        client = self.server.client
        made: list[dict[str, Any] | BaseException] = []
        argv = [*client.argv("mariadb-dump"), "--all-databases", *CONTENT]

        def dump() -> None:
            try:
                made.append(sealed.seal(argv, self.notes.directory / "all.sql.age", recipients, timeout=left))
            except (BasculeError, OSError) as error:
                made.append(error)

        left = signal.getitimer(signal.ITIMER_REAL)[0] + _GRACE
        thread = threading.Thread(target=dump, daemon=True)
        thread.start()
        # It takes back what it has begun.
        stack.callback(thread.join)
        began = time.monotonic()
        # On a closed side there is no transaction but ours and that of the dump.
        while len(holding := self._transactions()) < 2 and not made:
            time.sleep(polling.pause(time.monotonic() - began, 0.05))
        self._at_receipt()
        self.notes.tell(step="dumping", held=True, recipients=recipients, connections=holding)
        # Definitions have no snapshot: what is changed at the other side meanwhile is a difference, never equal.
        source = _again(lambda: self._described(client))
        tables = [one for one in source.pop("all") if one["type"] == "BASE TABLE"]
        source["tables"] = _again(lambda: digest.rows(client, session, tables))
        thread.join()
        if isinstance(made[0], BaseException):
            raise made[0]
        self.notes.tell(dumps={"all databases": made[0]}, bytes=made[0]["bytes"])
        return source

    def _described(self, client: Client) -> dict[str, Any]:
        tables = self.server.tables()
        names = [(str(one["schema"]), str(one["name"])) for one in tables]
        return {
            "all": tables, "definitions": digest.definitions(client, names), "accounts": digest.accounts(client),
        }  # fmt: skip

    def _transactions(self) -> list[int]:
        rows = self.server.client.rows("SELECT trx_mysql_thread_id n FROM information_schema.INNODB_TRX")
        return [int(row["n"] or 0) for row in rows]

    def _at_receipt(self) -> None:
        """Refuse snapshots of another state than the one that was closed with."""
        wanted = (self.receipt.position if self.receipt else {}).get("gtid", "")
        found = self.server.position()
        if not wanted or gtid.merge(found) != gtid.merge(wanted):
            raise MysqlError(expected=f"the closed side at {wanted or 'a receipt'}", found=found or "no position")

    def _ask(self) -> None:
        client = self.server.client
        self.data = Path(client.value("SELECT @@GLOBAL.datadir").rstrip("/"))
        names = ", ".join(settings.literal(name) for name in LIKE)
        rows = client.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
        self.like = [(str(row["Variable_name"]), str(row["Value"] or "")) for row in rows]
        own = ", ".join(settings.literal(name) for name in OWN_SCHEMAS)
        size = client.value(
            "SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES WHERE TABLE_SCHEMA "
            f"NOT IN ({own})"
        )
        self.size = int(float(size or 0))

    def _room(self) -> None:
        needed, free = proof_room(self.size, 0), shutil.disk_usage(self.data.parent).free
        if free < needed:
            raise MysqlError(
                expected=f"{needed} bytes free beside {self.data} to restore the safety dump once",
                found=f"{free} bytes",
                state=f"the dump lies in {self.notes.directory}",
            )

    def _restore(self, scratch: Scratch) -> None:
        dump: Mapping[str, Any] = self.notes["dumps"]["all databases"]
        into = [*scratch.client.argv(), "--batch", "--default-character-set=utf8mb4"]
        pump(sealed.reading(dump), into, sealed.LONGEST)


class _Late(Exception):
    """The limit has come; says what was waited for. No error of ours, as those are caught where a server is asked."""


@contextlib.contextmanager
def _within(seconds: float, waits: Callable[[], str]) -> Iterator[None]:
    """Raise _Late in the main thread when the time is over, wherever it waits."""

    def ring(*_: Any) -> None:
        raise _Late(waits())

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _again(ask: Callable[[], T]) -> T:
    """Ask the server; once more where a drain of its clients has ended the question."""
    for _ in range(_ASKED_AGAIN):
        try:
            return ask()
        except MysqlError:
            time.sleep(0.5)
    return ask()


def work(component: str, epoch: str) -> int:
    """Take and prove the safety dump of one switch; the unit `bascule-COMPONENT-safety-dump`."""
    # Users and the way back come first.
    os.nice(10)
    return SafetyDump(component, epoch).run()
