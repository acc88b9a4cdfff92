"""Close and open one side of a database whatever state it is in, under the component's lock and by the guard's rule.

This is the thorough way, for what a crash has left. Where both sides run as they should, `pg_live` does the same on
sessions that are open already, in a fraction of the time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ....errors import BasculeError
from ....guard import state as rule
from ....guard.io import store
from ....guard.state import Word
from ....system.io import storage, units
from ... import control, hba, lsn
from ...spec import Spec
from ..cluster.cluster import Cluster, load_spec, streaming_standby, world
from ..cluster.psql import Session
from ..rows import snapshot
from .freeze import REFUSED_AT_ALL


def close(component: str, side: str, epoch: str, *, budget: float = 30) -> dict[str, Any]:
    """Close this side for `epoch`: stop a primary, or hold a standby to being one; return the receipt.

    A failure before the stop leaves the primary serving as it was.
    """
    spec = load_spec(component, side)
    cluster = Cluster(spec)
    if units.is_running(spec.unit_name("seed")):
        raise BasculeError(
            expected=f"a standby at {side}",
            found="its base backup is still running",
            state="nothing was changed",
            next_command=f"systemctl status {spec.unit_name('seed')}",
        )
    units.stop(spec.unit_name("follow"))
    warnings: list[str] = []
    marks: dict[str, float] = {}
    start = time.monotonic()

    def mark(name: str) -> None:
        marks[name] = round(time.monotonic() - start, 3)

    with world(component):
        server = cluster.postmaster()
        if server is not None and server.status == "stopping":
            _stopped(cluster, budget)
            server = None
        if server is not None:
            cluster.wait_ready(max(budget, 60))
        primary = server is not None and not _in_recovery(cluster)
        if server is None and revive(cluster, max(budget, 60)):
            primary = True
        session = cluster.session() if primary else None
        begun = store.read(component, side).status
        if primary and begun == rule.CLOSING:
            # Left by a switch that died, and not taken back: who rides through a switch may still be in.
            cluster.admit(hba.CLOSED)
        try:
            if session is not None:
                _ready_to_close(cluster, session, component, side, budget)
                mark("checked")
            with store.closing(component, side, epoch) as guard:
                was_closed = guard.was_closed
                cluster.fence()
                mark("fenced")
                if session is not None:
                    _stop_primary(cluster, session, budget)
                    mark("stopped")
                position = final_position(cluster)
                proof = cluster.prove_refusal(REFUSED_AT_ALL)
                receipt = guard.closed(position)
                mark("closed")
            if not primary and cluster.postmaster() is not None:
                # A standby stands where the other side's log ended: that is what the other side is compared with.
                warnings += snapshot.start_and_wait(spec, epoch, "passive")
        finally:
            if session is not None:
                session.close()
        return {
            "changed": primary or not was_closed,
            "stopped": primary,
            # One that died in the middle of opening may have let somebody in, and nobody can have seen it.
            "unopened": begun != rule.OPEN,
            "receipt": receipt.to_dict(),
            "proof": proof,
            "marks": marks,
            "notices": warnings,
        }


def open_side(
    component: str,
    side: str,
    epoch: str,
    receipt: Mapping[str, Any] | None,
    *,
    budget: float = 30,
    word: Word | None = None,
) -> dict[str, Any]:
    """Open this side for `epoch` with the other side's receipt: promote it, and let its clients in.

    Where the other side is lost, a person's word takes the place of its receipt: what is here is replayed to its end.
    """
    spec = load_spec(component, side)
    cluster = Cluster(spec)
    marks: dict[str, float] = {}
    start = time.monotonic()

    def mark(name: str) -> None:
        marks[name] = round(time.monotonic() - start, 3)

    # What works on this side for an earlier decision ends first; it would only be told so by the guard.
    units.stop(spec.unit_name("follow"))
    warnings: list[str] = []
    with world(component):
        server = cluster.postmaster()
        if server is not None and server.status == "stopping":
            _stopped(cluster, budget)
            server = None
        if server is None and not cluster.has_signal():
            cluster.fence()
        cluster.start(timeout=max(budget, 60))
        with cluster.session() as session:
            mark("connected")
            position = dict((receipt or {}).get("position") or {})

            def reached() -> bool | str:
                reason = reached_position(cluster, session, position, budget)
                mark("reached")
                return True if reason is None else reason

            opening = (
                store.opening_by_word(component, side, word)
                if word is not None
                else store.opening(component, side, epoch, receipt, reached=reached)
            )
            with opening as guard:
                promoted = bool(session.value("SELECT pg_is_in_recovery()"))
                if word is None:
                    warnings += snapshot.start(spec, epoch, "active")
                if promoted:
                    session.execute(f"SELECT pg_promote(true, {int(budget)})", timeout=budget + 5)
                    wait_primary(session, side, budget)
                mark("promoted")
                keep_log(session, spec)
                cluster.unfence()
                if word is None:
                    warnings += snapshot.wait(spec, epoch, 10)
                mark("pinned")
                state = guard.opened()
            cluster.admit(hba.OPEN)
            prove_admitted(cluster)
            mark("admitted")
    return {"changed": True, "promoted": promoted, "guard": state.to_dict(), "marks": marks, "notices": warnings}


def died_as_primary(cluster: Cluster) -> bool:
    """Whether a server that is not there any more ran as a primary until it was gone."""
    # A fresh base backup says "in production" as well, until its first start; its backup_label tells.
    died = cluster.control().state in (control.IN_PRODUCTION, control.SHUTTING_DOWN)
    return died and not (cluster.data / "backup_label").exists()


def revive(cluster: Cluster, timeout: float) -> bool:
    """Start a primary again that died while it closed; return whether there was one.

    What its log holds beyond the standby has to get there. Nobody else comes in.
    """
    if cluster.postmaster() is not None or not died_as_primary(cluster):
        return False
    cluster.admit(hba.CLOSED)
    storage.remove(cluster.data / "standby.signal")
    cluster.start(timeout=timeout)
    return True


def _in_recovery(cluster: Cluster) -> bool:
    with cluster.session() as session:
        return bool(session.value("SELECT pg_is_in_recovery()"))


def _ready_to_close(cluster: Cluster, session: Session, component: str, side: str, budget: float) -> None:
    """Refuse to stop a primary whose clients still write, or whose standby does not stream and keep up."""
    state = store.read(component, side)
    if state.status == rule.OPEN and not state.frozen:
        raise BasculeError(
            expected=f"{side} to be frozen before it closes",
            found="it is open",
            state="nothing was changed; it serves",
            next_command="run the cutover or the rollback from its beginning: freeze comes first",
        )
    session.execute("CHECKPOINT", timeout=max(budget, 60))
    deadline = time.monotonic() + budget
    while True:
        row = streaming_standby(session, cluster.spec)
        if row and row["state"] == "streaming" and row["behind"] == 0:
            return
        if time.monotonic() > deadline:
            raise BasculeError(
                expected=f"the standby {cluster.spec.peer_side} to stream and to be caught up",
                found=f"{row['state']}, {row['behind']} bytes behind" if row else "it is not connected",
                state=f"nothing was closed; {side} serves as before"
                if state.status == rule.OPEN
                else f"{side} runs and lets no client in; no receipt was given",
                next_command="run the same playbook again: its sync makes the standby follow, or says why it does not",
            )
        time.sleep(0.05)


def _stop_primary(cluster: Cluster, session: Session, budget: float) -> None:
    row = streaming_standby(session, cluster.spec)
    if not row or row["state"] != "streaming":
        _back_to_serving(cluster)
        raise BasculeError(
            expected=f"the standby {cluster.spec.peer_side} to stream when the primary stops",
            found="it is gone",
            state="the primary runs on; its guard says closing",
            next_command="run the same playbook again, or the rollback",
        )
    session.execute("CHECKPOINT", timeout=max(budget, 60))
    session.close()
    if cluster.stop(budget):
        return
    # A stop waits for the receiver. It cannot be taken back, so end the wait and start again: no receipt exists.
    cluster.release_receivers()
    _stopped(cluster, 60)
    _back_to_serving(cluster)
    cluster.start()
    raise BasculeError(
        expected=f"a clean stop within {budget:g} s",
        found="the standby did not confirm the end of the log",
        state="the primary was started again; its clients stay out; no receipt was given",
        next_command="run the rollback, or see that the standby streams and run the same playbook again",
    )


def _back_to_serving(cluster: Cluster) -> None:
    """Take back what makes the next start a standby; who is let in stays as the freeze has left it."""
    storage.remove(cluster.data / "standby.signal")
    cluster.set_start("auto")


def _stopped(cluster: Cluster, timeout: float) -> None:
    if not cluster.wait_stopped(timeout):
        raise BasculeError(
            expected=f"the server at {cluster.spec.side} to end within {timeout:g} s",
            found="it still runs",
            state="it is stopping and lets nobody in",
            next_command="wait, then run the same playbook again",
        )


def final_position(cluster: Cluster) -> dict[str, str]:
    """Read, after the fence, where this side's log ends."""
    server = cluster.postmaster()
    if server is None:
        found = cluster.control()
        if found.state == control.SHUT_DOWN:
            return found.position()
        ends = max(lsn.parse(found.checkpoint_lsn), lsn.parse(found.min_recovery_lsn))
        return {**found.position(), "checkpoint_lsn": lsn.render(ends), "kind": "replay"}
    with cluster.session() as session:
        if not session.value("SELECT pg_is_in_recovery()"):
            raise BasculeError(
                expected=f"{cluster.spec.side} to be stopped or a standby",
                found="a running primary",
                state="it is not closed",
                next_command="run the same playbook again",
            )
        session.execute("CHECKPOINT", timeout=60)
        end = str(session.value("SELECT pg_last_wal_replay_lsn()::text"))
        # The control file learns of a new timeline with the first restart point on it; the receiver knows it at once.
        received = session.value("SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming'")
    found = cluster.control()
    timeline = max(found.newest_timeline, int(received or 0))
    return {**found.position(), "timeline": str(timeline), "checkpoint_lsn": end, "kind": "replay"}


def reached_position(cluster: Cluster, session: Session, position: Mapping[str, str], budget: float) -> str | None:
    """Return None once this side has everything up to `position`, or why it does not get there."""
    deadline = time.monotonic() + budget
    while True:
        recovery = bool(session.value("SELECT pg_is_in_recovery()"))
        end = str(
            session.value("SELECT pg_last_wal_replay_lsn()::text" if recovery else "SELECT pg_current_wal_lsn()::text")
        )
        # The restart point at the other side's shutdown checkpoint writes its timeline into our own control file.
        if lsn.parse(end) >= lsn.parse(position.get("checkpoint_lsn", "FFFFFFFF/FFFFFFFF")):
            session.execute("CHECKPOINT", timeout=max(budget, 60))
        found = cluster.control()
        timeline = found.newest_timeline
        reason = control.holds(
            position,
            system_id=found.system_id,
            timeline=timeline,
            reached=end,
            history=cluster.history(timeline),
        )
        if reason is None or time.monotonic() > deadline:
            return reason
        time.sleep(0.05)


def wait_primary(session: Session, side: str, budget: float) -> None:
    deadline = time.monotonic() + budget
    while session.value("SELECT pg_is_in_recovery()"):
        if time.monotonic() > deadline:
            raise BasculeError(
                expected=f"{side} to be promoted within {budget:g} s",
                found="it is still in recovery",
                state="its guard says opening: it may open any moment",
                next_command="run the same playbook again",
            )
        time.sleep(0.02)


def keep_log(session: Session, spec: Spec) -> None:
    """Keep the log for the other side from here on: it follows now."""
    if not session.query(f"SELECT 1 AS one FROM pg_replication_slots WHERE slot_name = '{spec.slot}'"):
        session.execute(f"SELECT pg_create_physical_replication_slot('{spec.slot}', true)")


def prove_admitted(cluster: Cluster) -> None:
    """See that the server judges by the new rules: they let this host's own knock in."""
    deadline = time.monotonic() + 3
    while cluster.knock().code == "28000":
        if time.monotonic() > deadline:
            raise BasculeError(
                expected=f"clients of {cluster.spec.side} to be admitted",
                found="the server still rejects everyone",
                state="the side is open",
                next_command="ansible-playbook playbooks/rollback.yml, or run the same playbook again",
            )
        time.sleep(0.003)
