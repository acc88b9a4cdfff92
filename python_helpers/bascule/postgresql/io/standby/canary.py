"""The canary: a row in a table of Bascule's own, written at the open side, that has to come out at the other one.

The cluster's owner writes it on the open side's own host, in the database `postgres`. Nobody else may read it.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

from ....errors import BasculeError
from ....guard import state as rule
from ....guard.io import store
from ....system import polling
from ... import lsn
from ...rows import literal
from ..cluster.cluster import Cluster, load_spec, streaming_standby, world
from ..cluster.psql import Session

SCHEMA = "bascule"
TABLE = f"{SCHEMA}.canary"
_OURS = "Bascule: its canary, removed at the decommission"
_NEXT = "ansible-playbook playbooks/70_verify.yml"
_LONGEST_PAUSE = 1.0


def write(component: str, side: str, wait: float) -> dict[str, Any]:
    """Write a canary at the open side, and wait until the other side says that it has replayed it.

    Args:
        component: the database.
        side: the open side.
        wait: for how many seconds the other side is waited for.

    Returns:
        `mark`, by which it is known at the other side; `seconds`, nothing where it was not replayed in time.

    Raises:
        BasculeError: the side is not open to users, or the server refuses the row.
    """
    spec = load_spec(component, side)
    cluster = Cluster(spec)
    mark = secrets.token_hex(16)
    # Nobody closes or freezes this side meanwhile.
    with world(component), cluster.session() as session:
        guard = store.read(component, side)
        if guard.status != rule.OPEN or guard.frozen:
            raise _error(f"{side} to be open to users", guard.describe())
        if session.query("SELECT 1 AS one FROM pg_publication WHERE puballtables"):
            raise _error(
                f"a database postgres of {side} that publishes none of Bascule's tables",
                "a publication FOR ALL TABLES, whose subscribers would stop at a table they do not have",
            )
        begun = time.monotonic()
        session.execute(statements(component, mark))
        end = lsn.parse(str(session.value("SELECT pg_current_wal_lsn()::text AS lsn")))
    with cluster.session() as session:
        while True:
            standby = streaming_standby(session, spec)
            seconds = time.monotonic() - begun
            if standby and standby["replay"] and lsn.parse(str(standby["replay"])) >= end:
                return {"mark": mark, "seconds": round(seconds, 3)}
            if seconds > wait:
                return {"mark": mark, "seconds": None}
            time.sleep(polling.pause(seconds, _LONGEST_PAUSE))


def statements(component: str, mark: str) -> list[str]:
    """Return what writes the row: one for each component, so that it never grows."""
    return [
        # A lock that somebody keeps, or a standby that is waited for, holds up nobody here.
        "SET lock_timeout = '5s'",
        "SET synchronous_commit = local",
        "BEGIN READ WRITE",
        # Nobody's triggers on changes of the schema see it.
        "SET LOCAL session_replication_role = replica",
        f"SELECT pg_advisory_xact_lock(hashtext({literal(TABLE)}))",
        f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
        f"CREATE TABLE IF NOT EXISTS {TABLE} (component text PRIMARY KEY, mark text NOT NULL, "
        "written_at timestamptz NOT NULL)",
        f"COMMENT ON TABLE {TABLE} IS {literal(_OURS)}",
        f"INSERT INTO {TABLE} VALUES ({literal(component)}, {literal(mark)}, clock_timestamp()) "
        "ON CONFLICT (component) DO UPDATE SET mark = excluded.mark, written_at = excluded.written_at",
        "COMMIT",
    ]


def is_seen(component: str, side: str, mark: str) -> bool:
    """Say whether the row with this mark is to be read at the closed side, which replays the log of the open one.

    Raises:
        BasculeError: the side is not closed, or no standby.
    """
    cluster = Cluster(load_spec(component, side))
    guard = store.read(component, side)
    if guard.status != rule.CLOSED:
        raise _error(f"{side} to be closed", guard.describe())
    with cluster.session() as session:
        if not session.value("SELECT pg_is_in_recovery() AS standby"):
            raise _error(f"a standby at {side}", "a server that replays no log")
        if not _is_there(session):
            return False
        row = f"SELECT 1 AS one FROM {TABLE} WHERE component = {literal(component)} AND mark = {literal(mark)}"
        return bool(session.query(row))


def remove(session: Session) -> list[str]:
    """Take the table away, and its schema where nothing else is in it; return what was removed. Others' is left."""
    if not _is_there(session):
        return []
    session.execute(["SET lock_timeout = '5s'", f"DROP TABLE {TABLE}"])
    empty = (
        f"SELECT 1 AS one FROM pg_namespace n WHERE nspname = {literal(SCHEMA)} AND NOT EXISTS "
        "(SELECT FROM pg_depend d WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid)"
    )
    if session.query(empty):
        session.execute(f"DROP SCHEMA {SCHEMA}")
    return [f"table {TABLE}"]


def _is_there(session: Session) -> bool:
    ours = f"obj_description(to_regclass({literal(TABLE)}), 'pg_class')"
    return bool(session.value(f"SELECT coalesce({ours} = {literal(_OURS)}, false) AS ours"))


def _error(expected: str, found: str) -> BasculeError:
    return BasculeError(expected=expected, found=found, state="no canary was written or seen", next_command=_NEXT)
