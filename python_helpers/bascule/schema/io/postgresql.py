"""PostgreSQL: files by psql, books and lock by psycopg.

Each statement of ours stands in a transaction of its own and uses nothing of a session, so all but pg_dump goes through
a pooler that lends a server for a transaction. The lock is a row. While a file runs, its transaction holds that row
locked, and it begins only if the row has our token: once a lock was taken over, the one before can change nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import psycopg
from psycopg import sql as compose
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from ...errors import CommandFailed
from ...run.holder import LEASE, Holder
from ...system.io.process import run
from ..catalogue import Catalogue, Table
from ..files import UP
from ..planner import Row, Step
from ..postgresql_catalogue import CATALOGUE, TABLES
from ..services import Service
from ..sql import LEDGER, POSTGRESQL
from ..store import Books, Content, SchemaError

_BOOKS = f"public.{LEDGER}"
_LOCK = f"public.{LEDGER}_lock"
_CREATE = (
    f"CREATE TABLE IF NOT EXISTS {_BOOKS} (service text NOT NULL, number integer NOT NULL, name text NOT NULL, "
    "up_sha256 text NOT NULL, down_sha256 text NOT NULL, state text NOT NULL, at timestamptz NOT NULL, "
    "by text NOT NULL, before text NOT NULL, after text NOT NULL, PRIMARY KEY (service, number))",
    f"CREATE TABLE IF NOT EXISTS {_LOCK} (id integer PRIMARY KEY CHECK (id = 1), token text NOT NULL, "
    "note jsonb NOT NULL, since timestamptz NOT NULL, until timestamptz NOT NULL)",
)
_COLUMNS = "service, number, name, up_sha256, down_sha256, state, at::text AS at, by, before, after"
_HOLDER = f"SELECT token, note, since::text AS since, until < clock_timestamp() AS over FROM {_LOCK}"
# How values are written as text must not depend on who asks.
_SAME = (
    "SET LOCAL search_path = pg_catalog",
    "SET LOCAL row_security = off",
    "SET LOCAL extra_float_digits = 3",
    "SET LOCAL datestyle = 'ISO, YMD'",
    "SET LOCAL intervalstyle = 'postgres'",
    "SET LOCAL timezone = 'UTC'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL lc_monetary = 'C'",
)
# The names that libpq gives its keywords in the environment: nothing stands in an argument list.
_VARIABLES = {
    "service": "PGSERVICE",
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "passfile": "PGPASSFILE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}
_LIKE = (
    "SELECT pg_encoding_to_char(encoding) AS encoding, datcollate AS sorted, datctype AS typed "
    "FROM pg_database WHERE datname = current_database()"
)
_DROP = compose.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
_DAY = 86400.0


class PostgresqlStore:
    """One database of a server."""

    engine = POSTGRESQL

    def __init__(self, service: Service, database: str = "") -> None:
        """Take the ways to a service's database, or to a copy of it that is called `database`."""
        self.service = service
        copy = {**service.copy, "dbname": database}
        self.connection = copy if database else dict(service.connection)
        self.direct = copy if database else dict(service.direct)
        self.label = "PostgreSQL " + " ".join(f"{key}={value}" for key, value in sorted(self.connection.items()))

    @contextlib.contextmanager
    def _open(self, what: str, way: Optional[Mapping[str, str]] = None) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """Connect; turn every refusal into an error that says what it stopped. What is not committed is taken back."""
        try:
            settings = {"connect_timeout": "5", "application_name": "bascule schema", **(way or self.connection)}
            # A prepared statement would belong to a session.
            connection = psycopg.connect(make_conninfo(**settings), row_factory=dict_row, prepare_threshold=None)
            try:
                yield connection
            finally:
                connection.close()
        except psycopg.Error as error:
            raise SchemaError(expected=f"{self.label} to {what}", found=_brief(error)) from error

    @contextlib.contextmanager
    def _reading(
        self, what: str, way: Optional[Mapping[str, str]] = None
    ) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """A transaction that the database itself keeps from writing."""
        with self._open(what, way) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            for statement in _SAME:
                connection.execute(statement.encode())
            yield connection

    @contextlib.contextmanager
    def _writing(self, what: str, token: str = "") -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """One transaction; with a token it begins only while the lock is ours, and keeps it so until its end."""
        with self._open(what) as connection:
            connection.execute("SET LOCAL lock_timeout = '5s'")
            if token and not connection.execute(_ours(), {"token": token}).fetchone():
                raise SchemaError(expected="the lock to be ours until the end", found="another has taken it")
            yield connection
            connection.commit()

    def books(self) -> Books:
        with self._reading("tell its migrations") as connection:
            there = connection.execute("SELECT to_regclass(%s) IS NOT NULL AS there", (_LOCK,)).fetchone()
            if not there or not there["there"]:
                return Books(made=False)
            rows = connection.execute(f"SELECT {_COLUMNS} FROM {_BOOKS} ORDER BY service, number".encode()).fetchall()
            return Books(tuple(Row(**row) for row in rows), _holder(connection))

    def catalogue(self) -> Catalogue:
        with self._reading("tell its catalogue") as connection:
            return _catalogue(connection)

    def content(self, *, digests: bool = False) -> Content:
        with self._reading("tell its content") as connection:
            return _content(connection, digests)

    def take(self, note: Mapping[str, str], stale: Optional[Holder]) -> str:
        token = secrets.token_hex(8)
        with self._writing("make the books and take the lock") as connection:
            there = connection.execute("SELECT to_regclass(%s) IS NOT NULL AS there", (_LOCK,)).fetchone()
            if not there or not there["there"]:
                for statement in _CREATE:
                    connection.execute(statement.encode())
            # What runs without a transaction holds no row: it is found by its session.
            # A run that was broken off has let its lock go, but its line is unsettled.
            unsettled = connection.execute(f"SELECT 1 FROM {_BOOKS} WHERE state <> 'applied'".encode()).fetchone()
            session = _application("%") if unsettled else _application(stale.token) if stale else ""
            busy = (
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE %s "
                "AND state IS DISTINCT FROM 'idle'"
            )
            if session and (row := connection.execute(busy, (session,)).fetchone()):
                raise SchemaError(
                    expected="what a dead run began to have ended", found=f"backend {row['pid']} is at it"
                )
            values = {
                "token": token,
                "note": json.dumps(dict(note)),
                "stale": stale.token if stale else "",
                "lease": LEASE,
            }
            taken = connection.execute(
                f"INSERT INTO {_LOCK} AS held VALUES (1, %(token)s, %(note)s, clock_timestamp(), "
                "clock_timestamp() + %(lease)s * interval '1 second') ON CONFLICT (id) DO UPDATE SET "
                "(token, note, since, until) = (excluded.token, excluded.note, excluded.since, excluded.until) "
                "WHERE held.token = %(stale)s".encode(),
                values,
            )
            if taken.rowcount != 1:
                raise SchemaError(expected=f"nobody else to be at work in {self.label}", found=str(_holder(connection)))
        return token

    def renew(self, token: str) -> None:
        with self._open("renew the lock") as connection:
            skip = f"SELECT id FROM {_LOCK} WHERE token = %(token)s FOR UPDATE SKIP LOCKED"
            update = (
                f"UPDATE {_LOCK} SET until = clock_timestamp() + %(lease)s * interval '1 second' WHERE id IN ({skip})"
            )
            connection.execute(update.encode(), {"token": token, "lease": LEASE})
            connection.commit()

    def release(self, token: str) -> None:
        with self._writing("let the lock go") as connection:
            connection.execute(f"DELETE FROM {_LOCK} WHERE token = %s".encode(), (token,))

    def run(self, step: Step, token: str, by: str, marks: Sequence[str] = ()) -> tuple[str, ...]:
        one = step.migration
        key = compose.SQL("service = {} AND number = {}").format(one.service, one.number)
        if step.direction == UP:
            values = [one.service, one.number, one.name, one.up.sha256, one.down.sha256, "applied", by, "", ""]
            literals = [compose.Literal(value) for value in values]
            literals.insert(6, compose.Literal("now"))
            line = compose.SQL("INSERT INTO {} VALUES ({})").format(
                compose.SQL(_BOOKS), compose.SQL(", ").join(literals)
            )
        else:
            # A second one divides by nothing: the line was not there.
            line = compose.SQL(
                "WITH gone AS (DELETE FROM {} WHERE {} RETURNING 1) SELECT 1 / (SELECT count(*) FROM gone)"
            ).format(compose.SQL(_BOOKS), key)
        before = "\n".join(
            [
                f"SET LOCAL lock_timeout = '{self.service.lock_timeout}s';",
                _mine(token),
                "SELECT pg_catalog.set_config('bascule.transaction', pg_catalog.txid_current()::text, true);",
            ]
        )
        same = (
            "SELECT 1 WHERE pg_catalog.current_setting('bascule.transaction', true) = pg_catalog.txid_current()::text"
        )
        after = "\n".join(
            [
                "RESET SESSION AUTHORIZATION; RESET ROLE;",
                _demand(same, "the file has ended its transaction"),
                # What a file has set for its session would stay with whoever a pooler lends that to next.
                "RESET ALL;",
                f"{line.as_string(None)};",
            ]
        )
        files = {"before.sql": before.encode(), one.file(step.direction).name: one.file(step.direction).data}
        self._psql(step, token, {**files, "bookkeeping.sql": after.encode()}, ["--single-transaction"])
        return ()

    def _psql(self, step: Step, token: str, files: Mapping[str, bytes], options: list[str]) -> None:
        """Give whole files to psql, one after the other in one session; the bytes are those that were checked."""
        with tempfile.TemporaryDirectory(prefix="bascule-schema-") as folder:
            argv = ["psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", *options]
            # The lines of a file and the values of rows stay out of messages.
            argv.append("--set=VERBOSITY=terse")
            for name, data in files.items():
                Path(folder, name).write_bytes(data)
                argv.append(f"--file={name}")
            try:
                run(
                    argv,
                    env={**_environment(self.connection), "PGAPPNAME": _application(token)},
                    cwd=folder,
                    timeout=_DAY,
                )
            except CommandFailed as error:
                raise SchemaError(expected=f"{self.label} to run {step}", found=error.found) from error

    def begin(self, row: Row, token: str) -> None:
        with self._writing(f"write that {row.name} begins", token) as connection:
            values = (row.service, row.number, row.name, row.up_sha256, row.down_sha256, row.state)
            connection.execute(
                f"INSERT INTO {_BOOKS} VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp(), %s, %s, %s) "
                "ON CONFLICT (service, number) DO UPDATE SET (state, at, by, before, after) = "
                "(excluded.state, excluded.at, excluded.by, excluded.before, excluded.after)".encode(),
                (*values, row.by, row.before, row.after),
            )

    def alone(self, step: Step, token: str) -> None:
        file = step.migration.file(step.direction)
        self._psql(step, token, {"before.sql": _mine(token).encode(), file.name: file.data}, [])

    def end(self, row: Row, token: str, *, applied: bool) -> None:
        with self._writing(f"write how {row.name} ended", token) as connection:
            update = (
                f"UPDATE {_BOOKS} SET state = 'applied', at = clock_timestamp()" if applied else f"DELETE FROM {_BOOKS}"
            )
            where = " WHERE service = %s AND number = %s AND state = %s"
            connection.execute((update + where).encode(), (row.service, row.number, row.state))

    def backup(self, path: Path) -> Content:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with self._reading("be dumped", self.direct) as connection:
            snapshot = connection.execute("SELECT pg_export_snapshot() AS id").fetchone()
            argv = ["pg_dump", "--no-password", "--format=custom", f"--file={path}"]
            self._tool([*argv, f"--snapshot={snapshot['id'] if snapshot else ''}"], self.direct, "be dumped")
            content = _content(connection, digests=True)
        with path.open("rb") as written:
            os.fsync(written.fileno())
        return content

    def _tool(self, argv: list[str], way: Mapping[str, str], what: str) -> None:
        try:
            run(argv, env=_environment(way), timeout=_DAY)
        except CommandFailed as error:
            raise SchemaError(expected=f"{self.label} to {what}", found=error.found) from error

    @contextlib.contextmanager
    def restored(self, path: Path, token: str) -> Iterator[PostgresqlStore]:
        name = _copy(token)
        copy = PostgresqlStore(self.service, name)
        identifier = compose.Identifier(name)
        with self._reading("tell its encoding") as connection:
            like = connection.execute(_LIKE.encode()).fetchone() or {}
        with self._open("make a database for a copy", self.service.copy) as connection:
            connection.autocommit = True
            make = "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}"
            connection.execute(compose.SQL(make).format(identifier, like["encoding"], like["sorted"], like["typed"]))
            try:
                argv = [
                    "pg_restore",
                    "--no-password",
                    "--exit-on-error",
                    "--no-owner",
                    "--no-privileges",
                    "--no-subscriptions",
                ]
                copy._tool([*argv, f"--dbname={name}", str(path)], copy.direct, "be restored into")
                yield copy
            finally:
                self._drop(connection, token)

    def _drop(self, connection: psycopg.Connection[dict[str, Any]], token: str) -> None:
        connection.execute(_DROP.format(compose.Identifier(_copy(token))))

    def discard(self, token: str, folder: Optional[Path]) -> None:
        if folder:
            (folder / f"{token}.part").unlink(missing_ok=True)
        with self._open("drop a dead run's copy", self.service.copy) as connection:
            connection.autocommit = True
            self._drop(connection, token)


def _ours() -> str:
    return f"SELECT 1 FROM {_LOCK} WHERE token = %(token)s FOR UPDATE"


def _mine(token: str) -> str:
    """Return a statement that fails where the lock is not ours."""
    return _demand(
        compose.SQL(_ours().replace("%(token)s", "{}")).format(token).as_string(None), "the lock was taken over"
    )


def _copy(token: str) -> str:
    return f"bascule_copy_{token}"


def _application(token: str) -> str:
    return f"bascule schema {token}"


def _demand(query: str, otherwise: str) -> str:
    """Return a statement that fails where a query finds no row."""
    return (
        f"DO $bascule$ BEGIN PERFORM * FROM ({query}) AS found; IF NOT FOUND THEN "
        f"RAISE EXCEPTION 'bascule: {otherwise}'; END IF; END $bascule$;"
    )


def _environment(way: Mapping[str, str]) -> dict[str, str]:
    return {"PGCONNECT_TIMEOUT": "5", **{_VARIABLES[key]: value for key, value in way.items()}}


def _brief(error: psycopg.Error) -> str:
    # Where the server speaks, its first line: what follows quotes statements and values of rows.
    return " ".join((error.diag.message_primary or str(error)).split())[-600:]


def _holder(connection: psycopg.Connection[dict[str, Any]]) -> Optional[Holder]:
    row = connection.execute(_HOLDER.encode()).fetchone()
    return Holder(row["token"], row["note"], row["since"], row["over"]) if row else None


def _catalogue(connection: psycopg.Connection[dict[str, Any]]) -> Catalogue:
    return {(row["kind"], row["name"]): row["text"] for row in connection.execute(CATALOGUE.encode()).fetchall()}


def _content(connection: psycopg.Connection[dict[str, Any]], digests: bool) -> Content:
    """Return the catalogue and the rows of each table, in the connection's transaction."""
    tables = {}
    for row in connection.execute(TABLES.encode()).fetchall():
        place = compose.SQL("{}.{}").format(compose.Identifier(row["schema"]), compose.Identifier(row["relation"]))
        digest = "sum(hashtextextended(one::text, 0)::numeric)::text" if digests else "NULL"
        query = compose.SQL("SELECT count(*) AS rows, {} AS digest FROM ONLY {} AS one")
        counted = connection.execute(query.format(compose.SQL(digest), place)).fetchone()
        if counted:
            tables[row["name"]] = Table(counted["rows"], counted["digest"] or "")
    return Content(_catalogue(connection), tables)
