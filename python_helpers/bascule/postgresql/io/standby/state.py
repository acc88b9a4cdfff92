"""Read what one side really is: guard, control file, server, replication."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ....guard.io import store
from ....guard.state import GuardState
from ....system.io import age_keys, storage, units
from ... import control as control_file
from ... import lsn
from ...spec import DUMP_RESTORE, Spec
from ..cluster.cluster import HOME, SPEC_FILE, STREAMING, Cluster, streaming_standby
from ..cluster.psql import Session, SqlError
from ..dump import safety_dump
from ..dump.restore import REHEARSED_FILE, RESTORED_FILE
from ..switchover import fence_probe, sight
from .follow import FOLLOW_FILE, KEPT_FILE
from .prepare import SEED_FILE

# How much is asked side by side.
_ASKED = 4


def read(spec: Spec, *, keep: bool = True) -> dict[str, Any]:
    """Return the truth of this side; nothing is changed but, with `keep`, the record of who is let in where it is open.

    It is read before every verb, so that a fence is tried only by whom an open side has let in a moment before.
    """
    cluster = Cluster(spec)
    guard = store.read(spec.component, spec.side)
    prepared = storage.read_json(HOME / spec.component / SPEC_FILE) is not None
    # What waits for other programs and for the other side is asked side by side: users may wait for all of it.
    with ThreadPoolExecutor(_ASKED) as threads:
        knocks = threads.submit(sight.look, spec, guard, keep=keep) if prepared else None
        dump = threads.submit(safety_dump.state, spec, guard)
        running = threads.submit(units.is_running, spec.unit_name("equality"))
        found = threads.submit(_cluster, cluster, spec).result()
        asked = {
            "knocks": knocks.result() if knocks else {},
            "safety_dump": dump.result(),
            "equality_running": running.result(),
        }
    return {**_known(cluster, spec, guard), **asked, "prepared": prepared, "sampled_at": time.time(), **found}


def _known(cluster: Cluster, spec: Spec, guard: GuardState) -> dict[str, Any]:
    """Return what lies in files."""
    home = HOME / spec.component
    return {
        "side": spec.side,
        "component": spec.component,
        "guard": guard.to_dict(),
        "hba_mode": cluster.hba_mode(),
        "start_mode": cluster.start_mode(),
        "standby_signal": cluster.has_signal(),
        "kept": storage.read_json(home / KEPT_FILE),
        "follow": storage.read_json(home / FOLLOW_FILE),
        "fence_probe": fence_probe.record(spec),
        "seed": storage.read_json(home / SEED_FILE),
        "recipient": age_keys.own_recipient(),
        "method": spec.method,
        "rehearsed": storage.read_json(home / REHEARSED_FILE),
        "restored": storage.read_json(home / RESTORED_FILE),
    }


def _cluster(cluster: Cluster, spec: Spec) -> dict[str, Any]:
    """Return what the control file says, and the server where it runs."""
    state: dict[str, Any] = {
        "exists": cluster.exists(),
        "running": False,
        "in_recovery": False,
        "streaming": False,
        "end_lsn": "",
    }
    if not state["exists"]:
        return state
    control = cluster.control()
    state["control"] = {
        "system_id": control.system_id,
        "state": control.state,
        "timeline": control.timeline,
        "newest_timeline": control.newest_timeline,
        "checkpoint_lsn": control.checkpoint_lsn,
        "checksums": control.checksums,
    }
    newest = control.newest_timeline
    state["history"] = control_file.parse_history(
        storage.read_text(cluster.data / "pg_wal" / f"{newest:08X}.history") or ""
    )
    state["end_lsn"] = lsn.render(max(lsn.parse(control.checkpoint_lsn), lsn.parse(control.min_recovery_lsn)))
    if cluster.postmaster() is None:
        return state
    try:
        with cluster.session(timeout=10) as session:
            state.update(_server(session, spec))
    except SqlError as error:
        state["error"] = error.found
    return state


def _server(session: Session, spec: Spec) -> dict[str, Any]:
    row = session.query(
        "SELECT pg_is_in_recovery() AS in_recovery, extract(epoch FROM clock_timestamp())::float AS clock, "
        "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS end_lsn"
    )[0]
    found: dict[str, Any] = {"running": True, **row}
    if row["in_recovery"]:
        receiver = session.query(
            "SELECT status, received_tli AS timeline, slot_name AS slot, "
            "extract(epoch FROM clock_timestamp() - last_msg_receipt_time)::float AS silent, "
            "pg_wal_lsn_diff(latest_end_lsn, pg_last_wal_replay_lsn())::bigint AS behind FROM pg_stat_wal_receiver"
        )
        found["received_lsn"] = session.value("SELECT pg_last_wal_receive_lsn()::text")
        found["receiver"] = receiver[0] if receiver else None
        found["streaming"] = bool(session.query(STREAMING))
        found["replay_age"] = session.value(
            "SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float"
        )
    else:
        found["size_bytes"] = int(session.value("SELECT sum(pg_database_size(oid)) FROM pg_database"))
        if spec.method == DUMP_RESTORE:
            return found
        found["standby"] = _standby(session, spec)
        slot = session.query(
            "SELECT active, wal_status AS status, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS kept "
            f"FROM pg_replication_slots WHERE slot_name = '{spec.slot}'"
        )
        found["slot"] = slot[0] if slot else None
    return found


def _standby(session: Session, spec: Spec) -> dict[str, Any] | None:
    """Ask for the standby; one that streams says within a moment how far it is behind."""
    deadline = time.monotonic() + 2
    while True:
        row = streaming_standby(session, spec)
        if not row or row["lag"] is not None or time.monotonic() > deadline:
            return row
        time.sleep(0.1)
