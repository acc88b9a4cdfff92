"""Make a side that has closed follow the side that opened, with its state at the fence kept first.

It is copied before the server starts, or pinned by a snapshot before the first byte of the other side's and dumped from
that. Only what the switch itself has closed, and nobody has touched since, is pinned: all else is copied.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ....guard import state as rule
from ....guard.io import store
from ....guard.state import Epoch, GuardState
from ....system.io import storage, units
from ....system.io.process import run
from ....system.moments import now
from ... import control, lsn
from ...restore_point import AUTO, COPY, DUMP, room
from ...spec import Spec
from ..cluster import peer
from ..cluster.cluster import HOME, LOG_END, STREAMING, Cluster, load_spec, streaming_standby, world
from ..cluster.psql import SqlError
from ..dump import safety_dump
from ..rows import snapshot
from ..switchover import recovery, sight
from . import divergence, restore_point

KEPT_FILE = "kept.json"
FOLLOW_FILE = "follow.json"
# What capture keeps, and what of it names the kind chosen for each side.
CAPTURED_FILE, CAPTURED = "captured.json", "restore_points"
# What lies on a closed side, as far as nothing of it is kept: only what a standby has, too; what stands where the guard
# has closed it; what somebody has started since, or that nobody has closed.
NOTHING, CLOSED, TOUCHED = "nothing", "closed", "touched"
# The unit only has to open a session to each database.
HOLD_SECONDS = 60.0
# It replays its log first, however much that is.
REVIVE_SECONDS = 600.0


def follow(component: str, epoch: str) -> int:
    """Do it, writing down how far it has come; return an exit status."""
    spec = load_spec(component)
    cluster = Cluster(spec)
    notes: dict[str, Any] = {"component": component, "epoch": epoch, "state": "running", "started_at": now()}

    def note(**values: Any) -> None:
        notes.update(values)
        storage.write_json(HOME / component / FOLLOW_FILE, notes)

    try:
        note()
        guard = _may_follow(component, spec.side, epoch)
        kind = {NOTHING: "", CLOSED: kind_of(spec), TOUCHED: COPY}[_unkept(cluster, guard)]
        if kind == COPY:
            note(step="keeping the state at the fence aside", restore_point=COPY)
            _stand_down(cluster, epoch)
            keep_aside(cluster, epoch, guard)
        note(step="starting as a standby that stands still")
        with world(component):
            _may_follow(component, spec.side, epoch)
            cluster.fence()
            cluster.start(timeout=600)
        with cluster.session() as session:
            standing = session.value("SELECT current_setting('primary_conninfo')") == ""
            diverged = None
            if standing:
                end = _settled(session)
                note(step="looking for what the other side never had", end_lsn=end)
                diverged = divergence.export(cluster, session, epoch, end)
            if standing and not diverged:
                note(step="pinning a snapshot")
                warnings = [*snapshot.start_and_wait(spec, epoch, "passive"), *safety_dump.begin(spec, epoch)]
                note(warnings=warnings)
                if kind == DUMP:
                    note(step="waiting for the safety dump to hold the state at the fence", restore_point=DUMP)
                    _require_held(spec, epoch, warnings)
                slots = f"SELECT 1 AS one FROM pg_replication_slots WHERE slot_name = '{spec.slot}' AND NOT active"
                if session.query(slots):
                    # Left from when this side was the primary: it would keep log for nobody.
                    session.execute(f"SELECT pg_drop_replication_slot('{spec.slot}')")
        if diverged:
            note(diverged=diverged)
            if kind == DUMP:
                # A dump under a snapshot is not enough where this side alone has something: as if it had been touched.
                note(step="keeping the state at the fence aside", restore_point=COPY)
                _stand_down(cluster, epoch)
                keep_aside(cluster, epoch, guard)
                with world(component):
                    cluster.start(timeout=600)
            raise BasculeError(
                expected=f"nothing on {spec.side} that {spec.peer_side} never had",
                found=divergence.described(diverged),
                state=f"{spec.side} is closed and stands still; {spec.peer_side} serves as before",
                next_command=f"look at the exported rows, then ansible-playbook playbooks/20_prepare.yml "
                f"--limit {component} (builds {spec.side} again from {spec.peer_side})",
            )
        with cluster.session() as session:
            with world(component):
                _may_follow(component, spec.side, epoch)
                cluster.follow_conf(connect=True)
                cluster.reload()
            note(step="connecting to the new primary")
            _wait_streaming(session, spec, 120)
            # This host will have to prove the other side's fence when it returns.
            sight.look(spec, store.read(component, spec.side))
        note(state="streaming", step="following", ended_at=now())
    except (BasculeError, OSError) as error:
        note(state="failed", error=str(error), ended_at=now())
        return 1
    return 0


def start_follow(component: str, side: str, *, wait: float = 0, check: bool = False) -> dict[str, Any]:
    """Start the unit that follows, unless this side follows already; with `wait`, wait until it does."""
    spec = load_spec(component, side)
    cluster = Cluster(spec)
    if streams(cluster):
        ended = bool(wait) and not check and end_holding_comparison(cluster)
        return {"changed": False, "state": "streaming", "comparison_ended": ended}
    name = spec.unit_name("follow")
    active = units.is_running(name)
    if check:
        return {"changed": not active, "state": "running" if active else "stopped"}
    if not active:
        state = store.read(component, side)
        if state.status != rule.CLOSED:
            raise _refused(state, "")
        units.start(
            name,
            [*units.AGENT, "follow", "--component", component, "--epoch", str(state.promised or rule.ADOPTED)],
        )
    deadline = time.monotonic() + wait
    while wait and not streams(cluster):
        if time.monotonic() > deadline or not units.is_running(name):
            notes = storage.read_json(HOME / component / FOLLOW_FILE) or {}
            if streams(cluster):
                break
            raise BasculeError(
                expected=f"{side} to follow {spec.peer_side} within {wait:g} s",
                found=str(notes.get("error") or peer.complaint(spec) or notes.get("step") or "nothing"),
                state=f"{side} is closed; {spec.peer_side} is as it was",
                next_command=f"systemctl status {name}; then run the sync phase again",
            )
        time.sleep(0.2)
    if wait:
        end_holding_comparison(cluster)
    return {"changed": not active, "state": "streaming" if wait else "started"}


def end_holding_comparison(cluster: Cluster, patience: float = 5, longest: float = 60) -> bool:
    """End the comparison and the safety dump when their snapshots keep this side from replaying: to follow comes first.

    That is when replay stands still for `patience`. One that is merely behind, and moves, is not held up: the safety
    dump may be all that is kept of the state at the fence.
    """
    begun = moved = time.monotonic()
    last = ""
    with cluster.session() as session:
        while True:
            row = session.query(
                "SELECT pg_last_wal_replay_lsn()::text AS replayed, "
                "pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn() AS behind"
            )[0]
            if not row["behind"] or time.monotonic() - begun > longest:
                return False
            if row["replayed"] != last:
                last, moved = str(row["replayed"]), time.monotonic()
            elif time.monotonic() - moved > patience:
                ended = [snapshot.stop(cluster.spec), units.stop(cluster.spec.unit_name(safety_dump.UNIT))]
                return any(ended)
            time.sleep(0.2)


def catch_up(component: str, side: str, *, budget: float, wait: bool = True) -> dict[str, Any]:
    """Wait, at the side that leads, until the other side has replayed all that was written before now.

    Without `wait` only see to it that there is something to follow: the slot, and the server of a side that died while
    it closed or opened, which lets no client in.
    """
    spec = load_spec(component, side)
    cluster = Cluster(spec)
    revived = not wait and _revived(component, side, cluster)
    with cluster.session() as session:
        slot = session.query(f"SELECT wal_status AS status FROM pg_replication_slots WHERE slot_name = '{spec.slot}'")
        missing = not slot
        if slot and slot[0]["status"] == "lost":
            kept = session.value("SELECT current_setting('max_slot_wal_keep_size')")
            raise BasculeError(
                expected=f"the slot of {spec.peer_side} to keep all the log that it needs",
                found=f"it is lost: the standby was away for more log than {kept}",
                state=f"{side} serves as before; {spec.peer_side} cannot follow and must not be switched to",
                next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {component} (builds it again)",
            )
        if missing:
            session.execute(f"SELECT pg_create_physical_replication_slot('{spec.slot}', true)")
        if not wait:
            return {"changed": missing or revived, "behind": None}
        target = str(session.value(f"SELECT ({LOG_END})::text"))
        deadline = time.monotonic() + budget
        while True:
            row = streaming_standby(session, spec)
            behind = lsn.behind(row["replay"], target) if row else None
            if row and row["state"] == "streaming" and behind == 0:
                return {"changed": missing, "behind": behind}
            if time.monotonic() > deadline:
                raise BasculeError(
                    expected=f"{spec.peer_side} to have replayed {target} within {budget:g} s",
                    found=f"{row['state']}, {behind} bytes behind" if row else "it is not connected",
                    state=f"{side} is as it was",
                    next_command=f"see that {spec.peer_side} streams and replays, then run the same playbook again",
                )
            time.sleep(0.1)


def _revived(component: str, side: str, cluster: Cluster) -> bool:
    with world(component):
        # Whoever holds the permit is started by freeze and thaw, never from here.
        if store.read(component, side).status == rule.OPEN or cluster.postmaster() is not None:
            return False
        if recovery.revive(cluster, REVIVE_SECONDS):
            return True
        if cluster.control().state not in control.STANDING:
            return False
        cluster.fence()
        cluster.start(timeout=REVIVE_SECONDS)
        return True


def streams(cluster: Cluster) -> bool:
    """Whether this side receives the other's log right now."""
    if cluster.postmaster() is None:
        return False
    try:
        with cluster.session() as session:
            return bool(session.query(STREAMING))
    except SqlError:
        # One that is just starting, or stopping, has no socket.
        return False


def kind_of(spec: Spec) -> str:
    """Return by what a side keeps what the guard has closed: as the plan says, or capture has chosen, else a copy."""
    if spec.restore_point != AUTO:
        return spec.restore_point
    captured = storage.read_json(HOME / spec.component / CAPTURED_FILE) or {}
    chosen = (captured.get(CAPTURED) or {}).get(spec.side)
    return DUMP if chosen == DUMP and spec.safety_dump else COPY


def _require_held(spec: Spec, epoch: str, warnings: list[str]) -> None:
    """Refuse to follow before the safety dump itself holds the snapshot: from then on nothing takes it away unseen."""
    why = "; ".join(warnings) or safety_dump.not_held(spec, epoch, HOLD_SECONDS)
    if why:
        raise BasculeError(
            expected=f"the safety dump of {spec.side} to hold its state at the fence before it follows",
            found=why,
            state=f"{spec.side} is closed and stands still; {spec.peer_side} serves as before, and keeps up to "
            f"{spec.max_slot_wal_keep_size} of log for it",
            next_command=f"mend what is named on {spec.side}, then ansible-playbook playbooks/30_sync.yml "
            f"--limit {spec.component}",
        )


def _unkept(cluster: Cluster, guard: GuardState) -> str:
    """Return what lies here of this side's own, which following would overwrite, and no copy of it is kept."""
    server = cluster.postmaster()
    if server is not None and server.status == "stopping":
        cluster.wait_stopped(60)
        server = cluster.postmaster()
    if server is None:
        found = cluster.control()
        position = found.position()
        if found.state == control.SHUT_DOWN:
            # It ended as a primary; where, tells what was kept or closed from what was written since.
            if _kept(cluster.spec).get("position") == position:
                return NOTHING
            return CLOSED if guard.receipt is not None and dict(guard.receipt.position) == position else TOUCHED
        if recovery.died_as_primary(cluster):
            return TOUCHED
        stands = not cluster.connects()
    else:
        cluster.wait_ready(60)
        with cluster.session() as session:
            row = session.query(
                "SELECT pg_is_in_recovery() AS standby, current_setting('primary_conninfo') = '' AS stands"
            )[0]
        if not row["standby"]:
            # Started by hand, behind the guard's back.
            return TOUCHED
        stands = bool(row["stands"])
    # A return that came to nothing has started what had closed: it has replayed nothing of the other side's yet.
    return CLOSED if stands and guard.opened is not None and not _kept_since(cluster.spec, guard) else NOTHING


def _kept(spec: Spec) -> dict[str, Any]:
    """Return the record of what is kept aside, or nothing when it is not there."""
    kept = storage.read_json(HOME / spec.component / KEPT_FILE) or {}
    return kept if Path(str(kept.get("path"))).exists() else {}


def _kept_since(spec: Spec, guard: GuardState) -> bool:
    """Whether a copy was kept after this side was open last."""
    kept = _kept(spec)
    return bool(kept) and (guard.opened is None or Epoch.parse(str(kept["epoch"])) > guard.opened)


def _stand_down(cluster: Cluster, epoch: str) -> None:
    """Stop what runs here, so that it can be copied; its next start is a closed one."""
    spec = cluster.spec
    with world(spec.component):
        _may_follow(spec.component, spec.side, epoch)
        cluster.fence()
        if cluster.postmaster() is None:
            return
        cluster.interrupt()
        if not cluster.wait_stopped(120):
            raise BasculeError(
                expected=f"the server at {spec.side} to stop, so that its state at the fence can be kept aside",
                found="it still runs",
                state=f"{spec.side} is closed and does not follow; the other side is as it was",
                next_command="see why in the server's log, then run the sync phase",
            )
        cluster.settle_unit()


def keep_aside(cluster: Cluster, epoch: str, guard: GuardState) -> None:
    """Keep a copy of the stopped data directory next to it until decommission; it replaces those of earlier permits."""
    record = HOME / cluster.spec.component / KEPT_FILE
    position = cluster.control().position()
    outlived = not _kept_since(cluster.spec, guard)
    path = cluster.data.with_name(f"{cluster.data.name}.bascule-kept-{position['timeline']}-{epoch.split('.')[0]}")
    while path.exists():
        # Somebody wrote to this side after its fence: that is kept too, and what it was at the fence stays.
        path = path.with_name(f"{path.name}-{position['checkpoint_lsn'].replace('/', '-')}")
    partial = path.with_name(path.name + ".partial")
    for stale in cluster.data.parent.glob(f"{cluster.data.name}.bascule-kept-*.partial"):
        shutil.rmtree(stale)
    size = size_of(cluster.data)
    free = shutil.disk_usage(cluster.data).free
    whole = room(size, shares_blocks=False)
    needed = room(size, restore_point.shares_blocks(cluster.data))
    if free < needed:
        raise BasculeError(
            expected=f"{needed} bytes free beside {cluster.data}, to keep its state at the fence aside",
            found=f"{free} bytes",
            state=f"{cluster.spec.side} is closed and does not follow; the other side is open and has all data",
            next_command=f"free space on {cluster.spec.side}, then run the sync phase",
        )
    # Where a whole copy has no room, one that does not share after all is an error, not a full disk.
    reflink = "--reflink=auto" if free >= whole else "--reflink=always"
    run(["cp", "-a", reflink, f"{cluster.data}/.", str(partial)], timeout=86400)
    run(["sync", "-f", str(partial)], timeout=3600)
    partial.rename(path)
    storage.sync_directory(path.parent)
    storage.write_json(
        record, {"path": str(path), "position": position, "epoch": epoch, "kept_at": now(), "bytes": size}
    )
    for old in cluster.data.parent.glob(f"{cluster.data.name}.bascule-kept-*"):
        if old != path and outlived:
            shutil.rmtree(old)


def size_of(directory: Path) -> int:
    """Return the bytes a directory takes; what vanishes meanwhile does not count."""
    total = 0
    # Not rglob: it stops at a directory that vanishes, and a base backup is renamed under whoever asks how far it is.
    for path, directories, names in os.walk(directory, onerror=_vanished):
        for name in (*directories, *names):
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def _vanished(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _may_follow(component: str, side: str, epoch: str) -> GuardState:
    state = store.read(component, side)
    if state.status != rule.CLOSED or (state.promised is not None and str(state.promised) != epoch):
        raise _refused(state, epoch)
    return state


def _refused(state: GuardState, epoch: str) -> BasculeError:
    return BasculeError(
        expected=f"a side closed for epoch {epoch}",
        found=state.describe(),
        state="it does not follow",
        next_command="ansible-playbook playbooks/status.yml",
    )


def _settled(session: Any) -> str:
    """Return the end of the log once replay stands still."""
    last = ""
    while True:
        now = str(session.value("SELECT pg_last_wal_replay_lsn()::text"))
        if now == last:
            return now
        last = now
        time.sleep(0.1)


def _wait_streaming(session: Any, spec: Spec, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not session.query(STREAMING):
        if time.monotonic() > deadline:
            raise BasculeError(
                expected=f"to stream from {spec.peer_side} within {timeout:g} s",
                found=peer.complaint(spec) or "no connection, although a log-in there succeeds",
                state="this side is closed and stands still",
                next_command="see why in the server's log, then run the sync phase",
            )
        time.sleep(0.1)
