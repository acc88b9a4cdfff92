"""The safety dump of a switch: what the old side had when it closed, encrypted, restored once and compared.

Taken under the snapshot that the old side pins before it follows the new one, by a unit nobody waits for. A return ends
it: what was cut short is not proved, never assumed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ....guard.state import Epoch, GuardState
from ....system.io import age_keys, sealed, storage, units
from ....system.io.dump_notes import Notes
from ....system.safety_dump import proof_room
from ... import compare, rows, safety_dump
from ...spec import Spec
from ..cluster.cluster import Cluster, load_spec
from ..cluster.psql import Session
from ..rows.digest import Connections, Digester
from ..rows.schema import Definitions
from ..rows.snapshot import equality_file
from . import pg_dump
from .scratch_cluster import Scratch, jobs, like

UNIT = "safety-dump"
PIPES = Path("/run/bascule-rows")


def notes(spec: Spec, epoch: str = "") -> Notes:
    """Return what is written down of the dump of a switch."""
    return Notes(spec.component, spec.unit_name(UNIT), epoch, spec.side)


def begin(spec: Spec, epoch: str) -> list[str]:
    """Start the unit; return a warning when it does not start, which must not stop a side from following."""
    if not spec.safety_dump:
        return []
    return notes(spec, epoch).begin([*units.AGENT, "safety_dump", "--component", spec.component, "--epoch", epoch])


def state(spec: Spec, guard: GuardState) -> dict[str, Any]:
    """Return what is known about the safety dump of the switch that closed this side; an earlier one's is none."""
    # Who makes this side follow begins the dump: looked for first, as it may do so, and end, between two looks.
    coming = spec.safety_dump and units.is_running(spec.unit_name("follow"))
    since = guard.receipt.epoch if guard.receipt else None
    return notes(spec).state(lambda epoch: since is not None and Epoch.parse(epoch) < since, coming=coming)


def not_held(spec: Spec, epoch: str, timeout: float) -> str:
    """Wait until the unit holds the snapshot by sessions of its own; return why it does not, or nothing."""
    return notes(spec, epoch).not_held(timeout)


class SafetyDump:
    """One safety dump, from the snapshot to the proof."""

    def __init__(self, component: str, epoch: str) -> None:
        self.spec = load_spec(component)
        self.cluster = Cluster(self.spec)
        self.epoch = epoch
        self.notes = notes(self.spec, epoch)

    def run(self) -> int:
        """Dump, restore, compare; return an exit status. What is written down in the end says what was proved."""
        try:
            self.notes.tell(step="taking over the snapshot")
            pinned = storage.read_json(equality_file(self.spec, self.epoch, "snapshot")) or {}
            with self._holding(pinned) as snapshots:
                self._dump(snapshots)
                self.notes.tell(step="digesting what was dumped")
                source = self._digest(self._connections(), snapshots, self.spec.port, "dumped")
            with self.cluster.session() as session:
                self._room(session)
                options = like(session)
            with Scratch(self.spec, options) as scratch:
                self._restore(scratch)
                self.notes.tell(step="digesting what was restored")
                with self._seen(scratch, snapshots) as fresh:
                    restored = self._digest(Connections(scratch.session), fresh, scratch.port, "restored")
                sequences = self._sequences(scratch, pinned)
            self._judge(source, restored, sequences)
        except (BasculeError, OSError) as error:
            found = error.message() if isinstance(error, BasculeError) else str(error)
            self.notes.end([" ".join(found.split())[-800:]])
            return 1
        return 0

    @contextlib.contextmanager
    def _holding(self, pinned: Mapping[str, Any]) -> Iterator[dict[str, str]]:
        """Hold the snapshot of the switch ourselves: whoever took it lets it go when the rows are compared."""
        if pinned.get("epoch") != self.epoch:
            raise BasculeError(expected=f"a snapshot for epoch {self.epoch}", found="none")
        with contextlib.ExitStack() as stack:
            held = {}
            for name, one in pinned["databases"].items():
                if one.get("reason"):
                    raise BasculeError(expected=f"a snapshot of database {rows.ident(name)}", found=one["reason"])
                session = stack.enter_context(contextlib.closing(self._connections().open(name)))
                session.execute(
                    [
                        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                        f"SET TRANSACTION SNAPSHOT {rows.literal(str(one['snapshot']))}",
                    ]
                )
                held[str(name)] = str(session.value("SELECT pg_export_snapshot() AS id"))
            yield held

    @contextlib.contextmanager
    def _seen(self, scratch: Scratch, databases: Mapping[str, str]) -> Iterator[dict[str, str]]:
        with contextlib.ExitStack() as stack:
            fresh = {}
            for name in databases:
                session = stack.enter_context(contextlib.closing(Connections(scratch.session).open(name)))
                session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                fresh[name] = str(session.value("SELECT pg_export_snapshot() AS id"))
            yield fresh

    def _dump(self, snapshots: Mapping[str, str]) -> None:
        recipients = age_keys.recipients(self.spec.component)
        storage.make_directory(self.notes.directory, 0o700)
        # Every database is held, and everything is known that the dump needs.
        self.notes.tell(step="dumping", recipients=recipients, held=True)
        dumps = {"globals": self._sealed(pg_dump.dump_globals(self.spec), "globals.sql.age", recipients)}
        for number, (name, snapshot) in enumerate(sorted(snapshots.items())):
            argv = pg_dump.dump_database(self.spec, name, snapshot)
            dumps[f"database {name}"] = self._sealed(argv, f"{number}.dump.age", recipients)
        storage.write_json(self.notes.directory / "contents.json", dumps, 0o600)
        self.notes.tell(dumps=dumps, bytes=sum(int(dump["bytes"]) for dump in dumps.values()))

    def _sealed(self, argv: Sequence[str], name: str, recipients: Sequence[str]) -> dict[str, Any]:
        path = self.notes.directory / name
        return sealed.seal(pg_dump.as_owner(self.spec, argv), path, recipients, self.spec.way_in)

    def _room(self, session: Session) -> None:
        size = int(session.value("SELECT sum(pg_database_size(oid)) FROM pg_database"))
        needed, free = proof_room(size, int(self.notes["bytes"])), shutil.disk_usage(self.cluster.data).free
        if free < needed:
            raise BasculeError(
                expected=f"{needed} bytes free beside {self.cluster.data} to restore the safety dump once",
                found=f"{free} bytes",
                state=f"the dump lies in {self.notes.directory}",
            )

    def _restore(self, scratch: Scratch) -> None:
        plain = scratch.home / "dump"
        for what, dump in self.notes["dumps"].items():
            self.notes.tell(step=f"restoring {what}")
            sealed.unseal(dump, plain, owner=self.spec.owner)
            if what == "globals":
                pg_dump.restore_globals(self.spec, plain, scratch.port)
            else:
                pg_dump.restore_database(self.spec, plain, what.split(" ", 1)[1], scratch.port, jobs())
            plain.unlink()

    def _connections(self) -> Connections:
        return Connections(lambda name: self.cluster.session(database=name))

    def _digest(self, connections: Connections, snapshots: Mapping[str, str], port: int, what: str) -> dict[str, Any]:
        result: dict[str, Any] = {
            "epoch": self.epoch,
            "mode": self.spec.compare_mode,
            "layout": rows.LOGICAL,
            "databases": {name: {"tables": {}, "schema": {}, "sequences": {}} for name in snapshots},
        }
        pipes = PIPES / f"{self.spec.component}-safety-{what}"
        Digester(
            connections,
            result,
            snapshots,
            lambda: None,
            pipes=pipes,
            owner=self.spec.owner,
            workers=jobs(),
        ).run(Definitions(self.spec, port))
        return result

    def _sequences(self, scratch: Scratch, pinned: Mapping[str, Any]) -> list[str]:
        found = []
        for database, one in pinned["databases"].items():
            with contextlib.closing(scratch.session(database)) as session:
                for name, before in one["sequences"].items():
                    if before.get("unlogged"):
                        found.append(f"sequence {compare.table_label(database, name)} is unlogged: no standby has it")
                        continue
                    path = f"{rows.quote(str(before['schema']))}.{rows.quote(str(before['name']))}"
                    now = session.query(f"SELECT last_value AS value, is_called AS called FROM {path}")[0]
                    if safety_dump.behind(before, now):
                        found.append(f"sequence {compare.table_label(database, name)} is behind")
        return found

    def _judge(self, source: Mapping[str, Any], restored: Mapping[str, Any], sequences: list[str]) -> None:
        found = compare.compare(source, restored)
        problems = [*found.details, *found.not_proved, *sequences]
        self.notes.tell(rows_compared=found.rows_compared, not_compared=safety_dump.left_out(found.not_compared))
        self.notes.end(problems)


def work(component: str, epoch: str) -> int:
    """Take and prove the safety dump of one switch; the unit `safety-dump`."""
    # Users and the way back come first.
    os.nice(10)
    return SafetyDump(component, epoch).run()
