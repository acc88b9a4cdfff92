"""Ask a server whether its indexes and heaps are whole (amcheck), without leaving anything in its databases.

Where the extension is not there already, it is created in a transaction that is rolled back: nobody else ever sees it,
and no database is changed. Only checks that let others write are used.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import Any

from ...rows import quote
from ..cluster.psql import Session, SqlError

_DAY = 86400.0
# A transaction that has written holds back what others may clean up: it does not live long.
_BATCH_SECONDS = 5.0
_DAMAGE = ("XX001", "XX002")
_USER = (
    "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)' "
    "AND c.relpersistence = 'p'"
)
_INDEXES = (
    "SELECT c.oid::bigint AS oid, concat_ws('.', n.nspname, c.relname) AS name, true AS index FROM pg_index i "
    "JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam "
    "JOIN pg_namespace n ON n.oid = c.relnamespace "
    f"WHERE a.amname = 'btree' AND c.relkind = 'i' AND i.indisvalid AND i.indisready AND {_USER} ORDER BY 2"
)
_HEAPS = (
    "SELECT c.oid::bigint AS oid, concat_ws('.', n.nspname, c.relname) AS name, false AS index FROM pg_class c "
    "JOIN pg_am a ON a.oid = c.relam JOIN pg_namespace n ON n.oid = c.relnamespace "
    f"WHERE a.amname = 'heap' AND c.relkind IN ('r', 'm') AND {_USER} ORDER BY 2"
)


class Checker:
    """Checks the indexes and heaps of one database."""

    def __init__(self, session: Session, database: str) -> None:
        self._session = session
        self._database = database
        self._schema = ""
        self._until = 0.0
        self.found: dict[str, Any] = {"indexes": 0, "tables": 0, "findings": [], "skipped": []}

    def run(self) -> dict[str, Any]:
        """Check everything; return how much was checked, what was found, and what was left out and why."""
        session = self._session
        session.execute(["SET lock_timeout = '10s'", "SET statement_timeout = 0"])
        if session.value("SELECT pg_is_in_recovery()"):
            return self._skip("a standby can not be checked this way")
        own = session.value(
            "SELECT extnamespace::regnamespace::text AS name FROM pg_extension WHERE extname = 'amcheck'"
        )
        if not own and not session.query("SELECT 1 AS one FROM pg_available_extensions WHERE name = 'amcheck'"):
            return self._skip("amcheck is not installed on this host (postgresql-contrib)")
        self._schema = str(own or "")
        heaps = int(session.value("SELECT current_setting('server_version_num')")) >= 140000
        things = session.query(_INDEXES) + (session.query(_HEAPS) if heaps else [])
        if not heaps:
            self._skip("heaps can be checked from version 14 on")
        try:
            for thing in things:
                self._check(thing, created=not own)
        finally:
            self._end()
        return self.found

    def _check(self, thing: dict[str, Any], *, created: bool) -> None:
        name = f"{self._database}.{thing['name']}"
        try:
            self._begin(created=created)
            if thing["index"]:
                # The session gives one answer per query; the function itself returns nothing.
                self._session.query(
                    f"SELECT {self._schema}.bt_index_check({thing['oid']}::oid::regclass, true)::text AS done",
                    timeout=_DAY,
                )
                self.found["indexes"] += 1
                return
            faults = self._session.query(
                "SELECT count(*) AS faults, min(blkno) AS block, min(msg) AS message "
                f"FROM {self._schema}.verify_heapam({thing['oid']}::oid::regclass, check_toast => true)",
                timeout=_DAY,
            )[0]
            self.found["tables"] += 1
            if faults["faults"]:
                first = f"the first in block {faults['block']}: {faults['message']}"
                self.found["findings"].append(f"table {name}: {faults['faults']} faults, {first}")
        except SqlError as error:
            self._end()
            text = " ".join(error.found.removeprefix("ERROR:").split())[:300]
            if error.code in _DAMAGE:
                self.found["findings"].append(f"{'index' if thing['index'] else 'table'} {name}: {text}")
                self.found["indexes" if thing["index"] else "tables"] += 1
            elif error.code:
                self.found["skipped"].append(f"{name}: {text}")
            else:
                raise

    def _begin(self, *, created: bool) -> None:
        if not created:
            return
        if self._until and time.monotonic() < self._until:
            return
        self._end()
        self._schema = quote(f"bascule_{secrets.token_hex(6)}")
        # Nobody's triggers on changes of the schema see what is rolled back anyway.
        self._session.execute(
            [
                "BEGIN READ WRITE",
                "SET LOCAL session_replication_role = replica",
                f"CREATE SCHEMA {self._schema}",
                f"CREATE EXTENSION amcheck SCHEMA {self._schema}",
            ]
        )
        self._until = time.monotonic() + _BATCH_SECONDS

    def _end(self) -> None:
        if self._until:
            self._until = 0.0
            with contextlib.suppress(SqlError):
                self._session.execute("ROLLBACK")

    def _skip(self, reason: str) -> dict[str, Any]:
        self.found["skipped"].append(f"{self._database}: {reason}")
        return self.found
