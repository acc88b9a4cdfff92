"""Keep the snapshot of a switch: a unit of its own, so that who digests can be killed and go on under the same one."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ....system.io import storage, units
from ....system.moments import now
from ... import rows
from ...rows import PHYSICAL
from ...spec import Spec
from ..cluster import databases as cluster_databases
from ..cluster.cluster import HOME, Cluster, load_spec
from ..cluster.psql import Session, SqlError
from .digest import Connections

ROLES = ("active", "passive", "standing")
LINGER = 900.0
PROMOTION = 60.0
_SEQUENCES = 400


class Holder:
    """Holds a snapshot of every database, and what no snapshot holds: the positions of the sequences."""

    def __init__(self, component: str, epoch: str, role: str, layout: str = rows.PHYSICAL) -> None:
        self.spec = load_spec(component)
        self.cluster = Cluster(self.spec)
        self.epoch = epoch
        self.role = role
        self.layout = layout
        self.left_out: list[str] = []
        self.databases: dict[str, Any] = {}

    def run(self) -> int:
        """Take the snapshots, let them be digested, and hold them until nobody needs them."""
        for name in ("released", "json", "asked", "answer"):
            storage.remove(self._file(name))
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(contextlib.closing(self.cluster.session()))
            # Everything that takes time is done before the promotion: a switch waits for the rest.
            self.left_out = cluster_databases.left_out(self.cluster, first)
            sessions = {}
            connections = Connections(lambda database: self.cluster.session(database=database))
            for name in cluster_databases.names(first):
                try:
                    sessions[name] = stack.enter_context(contextlib.closing(connections.open(name)))
                    sessions[name].execute("SET lock_timeout = '5s'")
                except BasculeError as error:
                    self._refused(name, error)
            deadline = time.monotonic() + PROMOTION
            while self.role == "active" and first.value("SELECT pg_is_in_recovery()"):
                if time.monotonic() > deadline:
                    raise BasculeError(expected=f"a promotion within {PROMOTION:g} s", found="none")
                time.sleep(0.005)
            self._pin(first, sessions)
            unit = self.spec.unit_name("equality")
            units.start(unit, digesting(self.spec.component, self.epoch))
            self._stay(unit, first)
        return 0

    def _pin(self, first: Session, sessions: dict[str, Session]) -> None:
        for name, session in sessions.items():
            try:
                session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                snapshot = session.value("SELECT pg_export_snapshot() AS id")
                # Sequences know no snapshots: they are read before anybody draws from them again.
                self.databases[name] = {"snapshot": snapshot, "sequences": sequences(session)}
            except SqlError as error:
                self._refused(name, error)
        end = first.value(
            "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text"
        )
        control = self.cluster.control()
        pinned_at = now()
        storage.write_json(
            self._file("snapshot"),
            {
                "component": self.spec.component,
                "side": self.spec.side,
                "role": self.role,
                "epoch": self.epoch,
                "layout": self.layout,
                "mode": self.spec.compare_mode,
                "system_id": control.system_id,
                "timeline": control.newest_timeline,
                "end_lsn": end,
                "pinned_at": pinned_at,
                "databases": self.databases,
                "left_out": self.left_out,
            },
        )
        storage.write_durably(self._file("pinned"), pinned_at + "\n")

    def _refused(self, name: str, error: BasculeError) -> None:
        """Write down why a database cannot be read: that is its own trouble, and no other's."""
        reason = " ".join((error.found or str(error)).split())[-300:]
        self.databases[name] = {"snapshot": "", "sequences": {}, "reason": reason}

    def _stay(self, unit: str, first: Session) -> None:
        """Hold the snapshots while they are digested, and after that for whoever may ask, until nobody will."""
        idle_since = time.monotonic()
        while True:
            if units.is_running(unit):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > LINGER or Path(self._file("released")).exists():
                return
            time.sleep(1)
            # The end of the server ends this unit.
            first.value("SELECT 1 AS one")

    def _file(self, name: str) -> str:
        return equality_file(self.spec, self.epoch, name)


def digesting(component: str, epoch: str) -> list[str]:
    """Return the command that digests under the snapshots of an epoch."""
    return [*units.AGENT, "equality", "--component", component, "--epoch", epoch]


def sequences(session: Session) -> dict[str, Any]:
    """Return where every sequence of a database stands."""
    found: dict[str, Any] = {}
    every = session.query(rows.sequences_query())
    # Of those that are not replicated a standby knows nothing, and does not let anybody look.
    found.update({rows.label(one["schema"], one["name"]): one for one in every if one["unlogged"]})
    listed = [one for one in every if not one["unlogged"]]
    for start in range(0, len(listed), _SEQUENCES):
        some = listed[start : start + _SEQUENCES]
        for row in session.query(rows.sequence_values(some)):
            one = some[int(row.pop("number"))]
            found[rows.label(one["schema"], one["name"])] = {**one, **row}
    return found


def work(component: str, epoch: str, role: str, layout: str) -> int:
    """Take the snapshot of one side and hold it; the unit `snapshot`."""
    return Holder(component, epoch, role, layout).run()


# The one that holds comes first: without it the other one ends by itself.
UNITS = ("snapshot", "equality")


def equality_file(spec: Spec, epoch: str, name: str) -> str:
    """Return the path of a file that belongs to the comparison of one switch."""
    return str(HOME / spec.component / f"equality-{epoch}.{name}")


def wait(spec: Spec, epoch: str, timeout: float) -> list[str]:
    """Wait until the comparison has its snapshot; return a warning when it has none, which must not stop a switch."""
    deadline = time.monotonic() + timeout
    while storage.read_text(equality_file(spec, epoch, "pinned")) is None:
        if time.monotonic() > deadline:
            # A snapshot that comes later would show what clients have written since, as a difference.
            stop(spec)
            return [f"the comparison at {spec.side} has no snapshot of the switch: its rows will be not proved"]
        time.sleep(0.02)
    return []


def start(spec: Spec, epoch: str, role: str, layout: str = PHYSICAL) -> list[str]:
    """Start the unit that compares, in place of that of an earlier switch; return a warning when it does not start."""
    try:
        stop(spec)
        storage.remove(equality_file(spec, epoch, "pinned"))
        arguments = ["--component", spec.component, "--epoch", epoch, "--role", role, "--layout", layout]
        units.start(spec.unit_name("snapshot"), [*units.AGENT, "snapshot", *arguments])
    except BasculeError as error:
        return [f"the comparison at {spec.side} did not start: {error}"]
    return []


def start_and_wait(spec: Spec, epoch: str, role: str) -> list[str]:
    """Start the unit that compares, and wait until it has its snapshot; return warnings."""
    return start(spec, epoch, role) or wait(spec, epoch, 20)


def stop(spec: Spec) -> bool:
    """End the comparison and let its snapshot go; return whether there was one."""
    stopped = [units.stop(spec.unit_name(name)) for name in UNITS]
    return any(stopped)


def is_running(spec: Spec) -> bool:
    """Whether a snapshot is held, or being digested."""
    return any(units.is_running(spec.unit_name(name)) for name in UNITS)
