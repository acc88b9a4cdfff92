"""Read what one side really is: guard, control file, server, replication; and, for an audit, much more."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from ..errors import BasculeError
from ..postgresql import control as control_file
from ..postgresql import lsn
from ..postgresql.spec import Spec
from . import files, guard_store, units
from .pg_cluster import HOME, SPEC_FILE, STREAMING, Cluster, streaming_standby
from .pg_follow import FOLLOW_FILE, KEPT_FILE, size_of
from .pg_prepare import SEED_FILE, free_bytes, managers, user_databases
from .process import run
from .psql import Session, SqlError

_SETTINGS = (
    "listen_addresses",
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_wal_senders",
    "max_worker_processes",
    "server_version_num",
    "ssl",
    "wal_level",
)


def read(spec: Spec) -> dict[str, Any]:
    """Return the truth of this side; nothing is changed."""
    cluster = Cluster(spec)
    home = HOME / spec.component
    state: dict[str, Any] = {
        "side": spec.side,
        "component": spec.component,
        "guard": guard_store.read(spec.component, spec.side).to_dict(),
        "prepared": files.read_json(home / SPEC_FILE) is not None,
        "exists": cluster.exists(),
        "running": False,
        "in_recovery": False,
        "streaming": False,
        "end_lsn": "",
        "hba_mode": cluster.hba_mode(),
        "start_mode": cluster.start_mode(),
        "standby_signal": cluster.has_signal(),
        "kept": files.read_json(home / KEPT_FILE),
        "follow": files.read_json(home / FOLLOW_FILE),
        "seed": files.read_json(home / SEED_FILE),
        "equality_running": units.is_running(spec.unit_name("equality")),
        "sampled_at": time.time(),
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
        files.read_text(cluster.data / "pg_wal" / f"{newest:08X}.history") or ""
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
        found["receiver"] = receiver[0] if receiver else None
        found["streaming"] = bool(session.query(STREAMING))
        found["replay_age"] = session.value(
            "SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float"
        )
    else:
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


def audit(spec: Spec, seconds: float) -> dict[str, Any]:
    """Return everything an audit compares; takes `seconds` to see how fast the log grows."""
    cluster = Cluster(spec)
    found = {
        **read(spec),
        "managers": managers(spec.data),
        "libc": run(["getconf", "GNU_LIBC_VERSION"], timeout=20, check=False).stdout.strip(),
        "icu": _icu(),
        "architecture": platform.machine(),
        "locales": run(["locale", "-a"], timeout=20, check=False).stdout.split(),
        "version_major": _major(cluster),
        "free_bytes": free_bytes(spec.data),
        "size_bytes": size_of(cluster.data) if cluster.exists() else 0,
        "clock": time.time(),
        "foreign_databases": user_databases(cluster),
        "extensions_available": _extensions(spec),
        "wal_link": (cluster.data / "pg_wal").is_symlink(),
        "checksums": cluster.control().checksums if cluster.exists() else False,
    }
    if found["running"]:
        with cluster.session() as session:
            found.update(_measure(session, spec, seconds))
            names = session.query("SELECT datname AS name FROM pg_database WHERE datallowconn AND NOT datistemplate")
        found["databases"] = [_database(cluster, str(row["name"])) for row in names]
    return found


def _measure(session: Session, spec: Spec, seconds: float) -> dict[str, Any]:
    recovery = session.value("SELECT pg_is_in_recovery()")
    position = "pg_last_wal_replay_lsn()" if recovery else "pg_current_wal_lsn()"
    first, begun = str(session.value(f"SELECT {position}::text")), time.monotonic()
    time.sleep(seconds)
    last = str(session.value(f"SELECT {position}::text"))
    elapsed = max(time.monotonic() - begun, 0.001)
    names = ", ".join(f"'{name}'" for name in _SETTINGS)
    return {
        "settings": {
            str(row["name"]): str(row["setting"])
            for row in session.query(f"SELECT name, setting FROM pg_settings WHERE name IN ({names})")
        },
        "auto_settings": [
            str(row["name"])
            for row in session.query("SELECT name FROM pg_settings WHERE sourcefile LIKE '%postgresql.auto.conf'")
        ],
        "tablespaces": [
            str(row["name"])
            for row in session.query(
                "SELECT spcname AS name FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''"
            )
        ],
        "prepared_transactions": session.value("SELECT count(*) FROM pg_prepared_xacts"),
        "long_transactions": session.value(
            "SELECT count(*) FROM pg_stat_activity WHERE xact_start < clock_timestamp() - interval '5 minutes' "
            "AND application_name <> 'bascule'"
        ),
        "other_standbys": [
            str(row["name"])
            for row in session.query(
                f"SELECT application_name AS name FROM pg_stat_replication WHERE application_name <> '{spec.slot}'"
            )
        ],
        "wal_bytes_per_second": int((lsn.parse(last) - lsn.parse(first)) / elapsed),
    }


def _database(cluster: Cluster, name: str) -> dict[str, Any]:
    with cluster.session(database=name) as session:
        row = session.query(
            "SELECT datname AS name, pg_encoding_to_char(encoding) AS encoding, datcollate AS collate, "
            "datctype AS ctype, "
            "datlocprovider::text AS provider, datcollversion AS collation_version, "
            "pg_database_collation_actual_version(oid) AS collation_actual, pg_database_size(oid) AS bytes "
            "FROM pg_database WHERE datname = current_database()"
        )[0]
        extensions = session.query("SELECT extname AS name, extversion AS version FROM pg_extension")
        return {
            **row,
            "extensions": {str(e["name"]): str(e["version"]) for e in extensions},
            "unlogged": session.value("SELECT count(*) FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r'"),
            "subscriptions": session.value(
                "SELECT count(*) FROM pg_subscription WHERE subenabled AND subdbid = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            ),
        }


def _extensions(spec: Spec) -> list[str]:
    directory = Path(f"/usr/share/postgresql/{spec.version}/extension")
    if not directory.is_dir():
        return []
    return sorted(name[: -len(".control")] for name in os.listdir(directory) if name.endswith(".control"))


def _icu() -> str:
    for line in run(["ldconfig", "-p"], timeout=20, check=False).stdout.splitlines():
        if "libicuuc.so." in line:
            return line.split()[0]
    return ""


def _major(cluster: Cluster) -> str:
    text = files.read_text(cluster.data / "PG_VERSION")
    if text is None:
        raise BasculeError(
            expected=f"a PostgreSQL cluster {cluster.spec.version}/{cluster.spec.cluster} on {cluster.spec.side}",
            found=f"no {cluster.data}",
            next_command=f"pg_createcluster {cluster.spec.version} {cluster.spec.cluster}",
        )
    return text.strip()
