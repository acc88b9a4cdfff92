"""Measure one side for an audit: everything that decides whether it can stand in for the other."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ....guard import state as rule
from ....guard.state import GuardState
from ....system.io import dump_notes, storage
from ....system.io.process import run
from ... import compatibility, conf, hba, lsn
from ...spec import STREAMING, Spec
from ..cluster import databases, host, settings, tls
from ..cluster.cluster import Cluster
from ..cluster.psql import Session
from . import before, data_directory, restore_point, slot, state
from .follow import size_of
from .prepare import free_bytes, user_databases

_SETTINGS = (
    "archive_mode",
    "listen_addresses",
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_slot_wal_keep_size",
    "max_wal_senders",
    "max_worker_processes",
    "server_version_num",
    "shared_preload_libraries",
    "ssl",
    "synchronous_standby_names",
    "wal_level",
)


def audit(spec: Spec, seconds: float, controller_time: float | None = None) -> dict[str, Any]:
    """Return everything an audit compares; takes `seconds` to see how fast the log grows."""
    # First of all: what follows takes a while, and the clocks of both sides are compared.
    offset = None if controller_time is None else time.time() - controller_time
    settings.require_read(spec)
    cluster = Cluster(spec)
    partial = Path(f"{spec.data}.bascule-seed")
    found = {
        **state.read(spec, keep=False),
        "managers": host.managers(spec),
        "libc": run(["getconf", "GNU_LIBC_VERSION"], timeout=20, check=False).stdout.strip(),
        "icu": _icu(),
        "architecture": platform.machine(),
        "locales": run(["locale", "-a"], timeout=20, check=False).stdout.split(),
        "version_major": _major(cluster),
        # What a base backup under way, or an interrupted one, has taken is there for it.
        "free_bytes": free_bytes(str(cluster.data.parent)) + (size_of(partial) if partial.exists() else 0),
        "size_bytes": size_of(cluster.data) if cluster.exists() else 0,
        "clock_offset": offset,
        "clock_asked": controller_time,
        "foreign_databases": user_databases(cluster),
        "extensions_available": _extensions(spec),
        "libraries": _libraries(spec),
        "minor": _minor(spec),
        "effective": settings.effective(spec),
        "own_settings": settings.own(spec),
        # One that is yet to be sized is, when both sides are known.
        "log_kept_bytes": None if slot.open_ended(spec) else conf.bytes_of(spec.max_slot_wal_keep_size),
        "log_known_bytes": slot.known(cluster),
        "slot_hours": spec.slot_hours,
        "shut_out": hba.shut_out(hba.without(cluster.hba_now(), spec.component), spec.clients),
        **(restore_point.measure(cluster.data, dump_notes.DIRECTORY) if spec.method == STREAMING else {}),
        "restore_point": spec.restore_point,
        "dumps": spec.safety_dump,
        "misplaced": data_directory.misplaced(cluster.data),
        "place_wanted": data_directory.way_out(cluster.data),
        "wal_link": (cluster.data / "pg_wal").is_symlink(),
        "checksums": cluster.control().checksums if cluster.exists() else False,
    }
    if found["running"]:
        with cluster.session() as session:
            # For whoever looks for a log or a socket later; what Bascule goes by was compared with the plan.
            found["layout"] = {**settings.says(session), **host.process(spec.data)}
            found["misplaced_files"] = settings.unread_by_server(session, spec)
            found.update(_measure(session, spec, seconds))
            found["left_out"] = databases.left_out(cluster, session)
            names = databases.names(session)
        found["databases"] = [_database(cluster, name) for name in names]
    return found


def not_replicated(spec: Spec) -> list[str]:
    """Return, in words, what the databases of a side hold that no log carries; fail where they cannot be asked."""
    cluster = Cluster(spec)
    found = []
    with cluster.session() as session:
        names = databases.names(session)
    for name in names:
        with cluster.session(database=name) as session:
            found += compatibility.unlogged({"name": name, **_unlogged(session)})
    return found


def left_behind(spec: Spec, guard: GuardState) -> list[str] | None:
    """Return, in words, what a return would leave behind at this side, which it closes; None where it is not open.

    A return is a way out of an emergency: a database that does not answer is named, and stops nothing.
    """
    cluster = Cluster(spec)
    if guard.status != rule.OPEN or cluster.postmaster() is None:
        return None
    try:
        with cluster.session() as session:
            names = databases.names(session)
    except BasculeError as error:
        return [f"what is in no log of the databases at {spec.side}, which did not tell: {error.found}"]
    found = []
    for name in names:
        try:
            with cluster.session(database=name) as session:
                found += compatibility.left_behind({"name": name, **_unlogged(session)}, spec.side)
        except BasculeError as error:
            found.append(f"what is in no log of database {name} at {spec.side}, which did not tell: {error.found}")
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
        "auto_settings": _auto_settings(session),
        "tablespaces": [
            str(row["name"])
            for row in session.query(
                "SELECT spcname AS name FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''"
            )
        ],
        "prepared_transactions": session.value("SELECT count(*) FROM pg_prepared_xacts"),
        "long_transactions": [
            str(row["text"])
            for row in session.query(
                "SELECT format('pid %s of %s in %s since %s s', pid, usename, datname, "
                "extract(epoch FROM clock_timestamp() - xact_start)::bigint) AS text FROM pg_stat_activity "
                "WHERE xact_start < clock_timestamp() - interval '5 minutes' AND application_name <> 'bascule' "
                "AND backend_type = 'client backend' ORDER BY xact_start"
            )
        ],
        "logical_slots": [
            str(row["name"])
            for row in session.query(
                "SELECT slot_name AS name FROM pg_replication_slots WHERE slot_type = 'logical' AND NOT temporary"
            )
        ],
        "other_slots": before.other_slots(session, spec),
        "sessions": session.query(
            "SELECT a.usename AS username, a.datname AS database, host(a.client_addr) AS address, s.ssl, s.version, "
            "count(*) AS count FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) "
            "WHERE a.backend_type = 'client backend' AND a.client_addr IS NOT NULL "
            f"AND a.usename <> '{spec.replication_user}' GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3"
        ),
        "md5_roles": _md5_roles(session),
        "tls_wanting": "" if recovery else _tls_wanting(spec),
        "superuser": session.value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"),
        "replication_role": _role(session, spec),
        "other_standbys": [
            str(row["name"])
            for row in session.query(
                f"SELECT application_name AS name FROM pg_stat_replication WHERE application_name <> '{spec.slot}'"
            )
        ],
        # Over what its statistics have seen: a sample of seconds may meet a quiet moment.
        "wal_average_bytes_per_second": slot.average(session),
        "wal_bytes_per_second": int((lsn.parse(last) - lsn.parse(first)) / elapsed),
    }


def _tls_wanting(spec: Spec) -> str:
    """Return why a standby could not trust this server; one that is not reached at its address is named elsewhere."""
    try:
        return tls.complaint(spec)
    except BasculeError:
        return ""


def _md5_roles(session: Session) -> list[str]:
    """Return the roles that no line with SCRAM lets in; who is no superuser may not look."""
    if not session.value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        return []
    rows = session.query("SELECT rolname AS name FROM pg_authid WHERE rolpassword LIKE 'md5%' ORDER BY 1")
    return [str(row["name"]) for row in rows]


def _auto_settings(session: Session) -> list[str]:
    """Return what ALTER SYSTEM has set: the file itself, as what waits for a restart is in no setting yet."""
    able = session.value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    source = "pg_file_settings" if able else "pg_settings"
    query = f"SELECT DISTINCT name FROM {source} WHERE sourcefile LIKE '%postgresql.auto.conf' ORDER BY 1"
    return [str(row["name"]) for row in session.query(query)]


def _role(session: Session, spec: Spec) -> dict[str, Any] | None:
    found = session.query(
        "SELECT rolsuper AS super, rolconnlimit AS connections, "
        "coalesce(rolvaliduntil < clock_timestamp(), false) AS expired "
        f"FROM pg_roles WHERE rolname = '{spec.replication_user}'"
    )
    return found[0] if found else None


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
            **_unlogged(session),
            "stale_collations": [
                str(c["text"])
                for c in session.query(
                    "SELECT format('%s (recorded %s, library %s)', c.collname, c.collversion, "
                    "pg_collation_actual_version(c.oid)) AS text FROM pg_collation c WHERE c.collversion IS NOT NULL "
                    "AND c.collversion IS DISTINCT FROM pg_collation_actual_version(c.oid) "
                    "AND EXISTS (SELECT FROM pg_attribute a WHERE a.attcollation = c.oid)"
                )
            ],
            "collations": {
                str(c["name"]): str(c["version"])
                for c in session.query(
                    "SELECT DISTINCT c.collname AS name, pg_collation_actual_version(c.oid) AS version "
                    "FROM pg_collation c JOIN pg_attribute a ON a.attcollation = c.oid "
                    "WHERE pg_collation_actual_version(c.oid) IS NOT NULL"
                )
            },
            "icu_columns": session.value(
                "SELECT count(*) FROM pg_attribute a JOIN pg_collation c ON a.attcollation = c.oid "
                "JOIN pg_class t ON t.oid = a.attrelid WHERE c.collprovider = 'i' AND t.relkind IN ('r', 'p', 'm', 'i')"
            ),
            "subscriptions": session.value(
                "SELECT count(*) FROM pg_subscription WHERE subenabled AND subdbid = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            ),
        }


def _unlogged(session: Session) -> dict[str, Any]:
    return {
        "unlogged_tables": session.query(
            "SELECT c.oid::regclass::text AS name, pg_relation_size(c.oid) AS bytes FROM pg_class c "
            "WHERE c.relpersistence = 'u' AND c.relkind = 'r' ORDER BY 1"
        ),
        "unlogged_sequences": [
            str(row["name"])
            for row in session.query(
                "SELECT c.oid::regclass::text AS name FROM pg_class c "
                "WHERE c.relpersistence = 'u' AND c.relkind = 'S' ORDER BY 1"
            )
        ],
    }


def _extensions(spec: Spec) -> dict[str, list[str]]:
    """Return which versions of which extensions can be installed here."""
    directory = Path(_asked(spec, "--sharedir", f"/usr/share/postgresql/{spec.version}")) / "extension"
    found: dict[str, set[str]] = {}
    if not directory.is_dir():
        return {}
    names = sorted(os.listdir(directory))
    for name in names:
        if name.endswith(".control"):
            found[name[: -len(".control")]] = set()
    for name in names:
        extension, separator, versions = name.partition("--")
        if separator and name.endswith(".sql") and extension in found:
            found[extension].add(versions[: -len(".sql")].rsplit("--", 1)[-1])
    return {extension: sorted(versions) for extension, versions in found.items()}


def _libraries(spec: Spec) -> list[str]:
    directory = Path(_asked(spec, "--pkglibdir", f"/usr/lib/postgresql/{spec.version}/lib"))
    return sorted(path.stem for path in directory.glob("*.so")) if directory.is_dir() else []


def _asked(spec: Spec, option: str, debian: str) -> str:
    """Return a directory of the installation; only one that is not Debian's has to be asked for it."""
    if not spec.layout.get("programs"):
        return debian
    return run([f"{spec.programs}/pg_config", option], timeout=20).stdout.strip()


def _minor(spec: Spec) -> str:
    words = run([f"{spec.programs}/postgres", "--version"], timeout=20, check=False).stdout.split()
    return words[2] if len(words) > 2 else ""


def _icu() -> str:
    for line in run(["ldconfig", "-p"], timeout=20, check=False).stdout.splitlines():
        if "libicuuc.so." in line:
            return line.split()[0]
    return ""


def _major(cluster: Cluster) -> str:
    text = storage.read_text(cluster.data / "PG_VERSION")
    if text is None:
        raise BasculeError(
            expected=f"a PostgreSQL cluster {cluster.spec.version}/{cluster.spec.cluster} on {cluster.spec.side}",
            found=f"no {cluster.data}",
            next_command=f"an empty cluster there, with {cluster.spec.config_file}; then audit again",
        )
    return text.strip()
