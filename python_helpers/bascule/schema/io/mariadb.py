"""MariaDB: a file is read whole by the client, its statements are sent one by one, and each is noted.

A change of rows and its note are one transaction: a kill leaves both or neither. A change of a definition ends every
transaction, so before it the catalogue's fingerprint is noted, and what it shall be after it, as the copy had it: after
a kill the catalogue says which of the two it is. The lock is a row that says who is at work and survives a pooler; the
session that sends statements holds GET_LOCK besides, as no row stays locked through a change of a definition. That one
belongs to a session: behind a pooler that lends sessions (MaxScale, ProxySQL) a run is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pymysql

from ...run.holder import LEASE, Holder
from ...system import moments, pymysql_way
from .. import catalogue as texts
from .. import mariadb_catalogue, mariadb_sql
from ..catalogue import Catalogue, Table
from ..files import UP
from ..mariadb_catalogue import quoted
from ..planner import APPLIED, RUNNING, Row, Step
from ..services import Service
from ..sql import LEDGER, MARIADB
from ..store import Books, Content, SchemaError
from . import mariadb_dump
from .mariadb_client import sent

_LOCK = f"{LEDGER}_lock"
_COLUMNS = (
    "service", "number", "name", "up_sha256", "down_sha256", "state", "at", "by", "before", "after", "done", "ran",
    "whole",
)  # fmt: skip
_NAMES = ", ".join(map(quoted, _COLUMNS))
_REST = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"
_TEXTS = ", ".join(f"{quoted(name)} longtext NOT NULL" for name in (*_COLUMNS[2:10], "ran", "whole"))
_BOOKS = (
    f"CREATE TABLE IF NOT EXISTS {LEDGER} (service varchar(200) NOT NULL, number int NOT NULL, {_TEXTS}, "
    f"done int NOT NULL, PRIMARY KEY (service, number)) {_REST}",
    f"CREATE TABLE IF NOT EXISTS {_LOCK} (id int PRIMARY KEY, token varchar(32) NOT NULL, note longtext NOT NULL, "
    f"since varchar(40) NOT NULL, until double NOT NULL) {_REST}",
)
_CLOCK = "UNIX_TIMESTAMP(SYSDATE(6))"
_HOLDER = f"SELECT token, note, since, until < {_CLOCK} FROM {_LOCK}"
_OURS = f"SELECT 1 FROM {_LOCK} WHERE token = %s FOR UPDATE"
_MADE = "SELECT 1 FROM information_schema.tables WHERE table_schema = database() AND table_name = %s"
_SESSION = "SELECT user, host, command, time FROM information_schema.processlist WHERE id = %s"
# Where rows cannot be taken back, nobody could tell what a statement has done to them.
_BARE = (
    "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = database() "
    "AND table_type = 'BASE TABLE' AND engine NOT IN ('InnoDB', 'SEQUENCE')"
)
# Errors of the server that say names alone; the text of any other may quote a value.
_SAY_NAMES = frozenset(
    {1005, 1007, 1008, 1044, 1045, 1049, 1050, 1051, 1054, 1060, 1061, 1068, 1072, 1091, 1142, 1143, 1146, 1205, 1213,
     1227, 1304, 1305, 1359, 1360, 1370, 1451, 1452, 1698, 1792, 1828, 1829, 1832, 1833, 1834, 4092}
)  # fmt: skip
_OF_SERVER = range(1000, 2000)
_HISTORY = "SYSTEM VERSIONED"


class MariadbStore:
    """One database of a server."""

    engine = MARIADB

    def __init__(self, service: Service, database: str = "") -> None:
        """Take the way to a service's database, or to a copy of it that is called `database`."""
        self.service = service
        self.connection = {**service.copy, "database": database} if database else dict(service.connection)
        self.database = self.connection["database"]
        self.label = "MariaDB " + " ".join(f"{key}={value}" for key, value in sorted(self.connection.items()))
        # Its name holds for the whole server.
        self.lock = f"{LEDGER} {hashlib.sha256(self.database.encode()).hexdigest()[:16]}"

    @contextlib.contextmanager
    def _open(self, what: str, way: Optional[Mapping[str, str]] = None) -> Iterator[pymysql.cursors.Cursor]:
        """Connect; turn every refusal into an error that says what it stopped. What is not committed is taken back."""
        wait = self.service.lock_timeout
        try:
            connection = pymysql.connect(
                **pymysql_way.arguments(self.connection if way is None else way), charset="utf8mb4",
                connect_timeout=5, autocommit=True, program_name="bascule schema",
                init_command=f"SET SESSION lock_wait_timeout = {wait}, innodb_lock_wait_timeout = {wait}",
            )  # fmt: skip
            try:
                with connection.cursor() as cursor:
                    yield cursor
            finally:
                with contextlib.suppress(pymysql.Error):
                    connection.close()
        except pymysql.Error as error:
            raise SchemaError(expected=f"{self.label} to {what}", found=_brief(error)) from error

    @contextlib.contextmanager
    def _reading(self, what: str) -> Iterator[pymysql.cursors.Cursor]:
        """A snapshot that the database itself keeps from writing; definitions have none, they are as they are now."""
        with self._open(what) as cursor:
            cursor.execute("SET SESSION time_zone = '+00:00'")
            # Of the session: a change of a definition would end a transaction that alone was read-only.
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            yield cursor

    @contextlib.contextmanager
    def _writing(self, cursor: pymysql.cursors.Cursor, token: str = "") -> Iterator[None]:
        """One transaction; with a token it goes on only while the lock is ours, and keeps it so until its end."""
        cursor.execute("START TRANSACTION")
        if token and not cursor.execute(_OURS, (token,)):
            raise SchemaError(expected="the lock to be ours until the end", found="another has taken it")
        yield
        cursor.execute("COMMIT")

    def books(self) -> Books:
        with self._reading("tell its migrations") as cursor:
            if not cursor.execute(_MADE, (_LOCK,)):
                return Books(made=False)
            cursor.execute(f"SELECT {_NAMES} FROM {LEDGER} ORDER BY service, number")
            rows = tuple(Row(*row) for row in cursor.fetchall())
            return Books(rows, _holder(cursor))

    def catalogue(self) -> Catalogue:
        with self._reading("tell its catalogue") as cursor:
            return self._catalogue(cursor)

    def content(self, *, digests: bool = False) -> Content:
        with self._reading("tell its content") as cursor:
            return self._content(cursor, digests)

    def take(self, note: Mapping[str, str], stale: Optional[Holder]) -> str:
        token = secrets.token_hex(8)
        with self._open("make the books and take the lock") as cursor:
            if not cursor.execute(_MADE, (_LOCK,)):
                for statement in _BOOKS:
                    cursor.execute(statement)
            # A statement of a dead run goes on in the server until it ends, and its session has this.
            cursor.execute("SELECT IS_USED_LOCK(%s)", (self.lock,))
            if (at_work := _one(cursor)) is not None:
                raise SchemaError(
                    expected=f"no statement of another run to be at work in {self.label}",
                    found=_session(cursor, at_work),
                    next_command=f"wait for it, or KILL {at_work} after a look at what it does",
                )
            with self._writing(cursor):
                cursor.execute(f"{_HOLDER} WHERE id = 1 FOR UPDATE")
                holder = _read_holder(cursor)
                if holder and (not stale or holder.token != stale.token):
                    raise SchemaError(expected=f"nobody else to be at work in {self.label}", found=str(holder))
                values = (token, json.dumps(dict(note)), moments.now(), LEASE)
                cursor.execute(f"REPLACE INTO {_LOCK} VALUES (1, %s, %s, %s, {_CLOCK} + %s)", values)
        return token

    def renew(self, token: str) -> None:
        with self._open("renew the lock") as cursor, self._writing(cursor):
            # Where a change of rows holds it, its transaction keeps the lock by itself.
            if cursor.execute(f"{_OURS} SKIP LOCKED", (token,)):
                cursor.execute(f"UPDATE {_LOCK} SET until = {_CLOCK} + %s WHERE token = %s", (LEASE, token))

    def release(self, token: str) -> None:
        with self._open("let the lock go") as cursor:
            cursor.execute(f"DELETE FROM {_LOCK} WHERE token = %s", (token,))

    def findings(self, data: bytes) -> list[str]:
        return mariadb_sql.findings(sent(data))

    def run(self, step: Step, token: str, by: str, marks: Sequence[str] = ()) -> tuple[str, ...]:
        statements = sent(step.migration.file(step.direction).data)
        with self._open(f"run {step}") as cursor:
            self._alone(cursor)
            self._keeps_rows(cursor, step, statements)
            return _Running(self, cursor, step, token, by).run(statements, marks)

    def _alone(self, cursor: pymysql.cursors.Cursor) -> None:
        """Let this session be the only one that sends statements of files."""
        cursor.execute("SELECT GET_LOCK(%s, 0)", (self.lock,))
        if _one(cursor) != 1:
            cursor.execute("SELECT IS_USED_LOCK(%s)", (self.lock,))
            raise SchemaError("no other session to send statements", _session(cursor, _one(cursor)))

    def _keeps_rows(self, cursor: pymysql.cursors.Cursor, step: Step, statements: Sequence[str]) -> None:
        if any(mariadb_sql.read(one).head in mariadb_sql.ROWS for one in statements) and cursor.execute(_BARE):
            found = ", ".join(f"{name} is {engine}" for name, engine in cursor.fetchall())
            raise SchemaError(
                expected=f"tables of InnoDB, as {step} changes rows: of others nobody can tell what a kill left",
                found=found,
                next_command="ALTER TABLE … ENGINE = InnoDB, in a file of its own before this one",
            )

    def settle(self, row: Row, token: str, *, ran: bool) -> None:
        with self._open(f"write how {row.name} goes on") as cursor, self._writing(cursor, token):
            _note(cursor, replace(row, done=row.done + ran, before="", after=""))

    def _catalogue(self, cursor: pymysql.cursors.Cursor) -> Catalogue:
        answers = {}
        for kind, query in mariadb_catalogue.QUERIES.items():
            cursor.execute(query)
            answers[kind] = cursor.fetchall()
        return mariadb_catalogue.catalogue(self.database, answers)

    def _content(self, cursor: pymysql.cursors.Cursor, digests: bool) -> Content:
        cursor.execute(mariadb_catalogue.COLUMNS)
        columns: dict[str, list[tuple[str, str]]] = {}
        for table, column, kind in cursor.fetchall():
            columns.setdefault(table, []).append((column, kind))
        cursor.execute(mariadb_catalogue.TABLES)
        tables = {}
        for name, kind, _ in cursor.fetchall():
            if digests and kind == _HISTORY:
                raise SchemaError(
                    "tables whose rows are all in a dump", f"{name} is system-versioned: its history is not"
                )
            asked = mariadb_catalogue.digest(name, columns[name])
            cursor.execute(asked if digests else f"SELECT COUNT(*), '', 0 FROM {quoted(name)}")
            rows, digest, unseen = cursor.fetchone() or (0, "", 1)
            if unseen:
                raise SchemaError(expected=f"every row of {name} to be compared", found=f"{unseen} could not be hashed")
            tables[name] = Table(int(rows), str(digest))
        return Content(self._catalogue(cursor), tables)

    def backup(self, path: Path) -> Content:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        before = self.content(digests=True)
        mariadb_dump.dump(self.connection, path, self.label)
        # No snapshot can be handed to the dump: what it holds is known where nobody wrote.
        after = self.content(digests=True)
        moved = [name for name in before.tables if before.tables[name] != after.tables.get(name)]
        moved += texts.differences(before.catalogue, after.catalogue)
        if moved:
            raise SchemaError(
                expected=f"nobody to write to {self.label} while its backup is taken",
                found=f"changed meanwhile: {texts.shown(moved)}",
                next_command="the same command once its writers stand still",
            )
        return after

    @contextlib.contextmanager
    def restored(self, path: Path, token: str) -> Iterator[MariadbStore]:
        copy = MariadbStore(self.service, _copy(token))
        with self._reading("tell its character set") as cursor:
            cursor.execute("SELECT @@character_set_database, @@collation_database")
            charset, collation = cursor.fetchone() or ("utf8mb4", "utf8mb4_general_ci")
        with self._apart(copy) as cursor:
            name = quoted(copy.database)
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET {charset} COLLATE {collation}")
            try:
                mariadb_dump.restore(copy.connection, path, copy.label)
                yield copy
            finally:
                self._drop(token)

    @contextlib.contextmanager
    def _apart(self, copy: MariadbStore) -> Iterator[pymysql.cursors.Cursor]:
        """Connect to where copies are made; refused where a file that names the real database would reach it."""
        with copy._open("make a database for a copy", self._copies()) as cursor:
            asked = "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s"
            if cursor.execute(asked, (self.database,)):
                raise SchemaError(
                    expected=f"an account for copies that does not see the database {self.database}",
                    found="it does: a file that names the database would change it on the trial",
                    next_command="GRANT ALL ON `bascule\\_copy\\_%`.* TO an account of its own: `copy` of the service",
                )
            yield cursor

    def _copies(self) -> dict[str, str]:
        if not self.service.copy:
            raise SchemaError(
                expected=f"`copy` of {self.service.name} in the inventory: an account for copies",
                found="it is not given",
            )
        return dict(self.service.copy)

    def _drop(self, token: str) -> None:
        with self._open("drop a copy", self._copies()) as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {quoted(_copy(token))}")

    def discard(self, token: str, folder: Optional[Path]) -> None:
        if folder:
            (folder / f"{token}.part").unlink(missing_ok=True)
        if self.service.copy:
            self._drop(token)


class _Running:
    """One file, statement by statement, in the session that holds the lock."""

    def __init__(self, store: MariadbStore, cursor: pymysql.cursors.Cursor, step: Step, token: str, by: str) -> None:
        self.store, self.cursor, self.step, self.token = store, cursor, step, token
        self.state = RUNNING[step.direction]
        one = step.migration
        cursor.execute(f"SELECT {_NAMES} FROM {LEDGER} WHERE service = %s AND number = %s", (one.service, one.number))
        found = cursor.fetchone()
        self.row = Row(*found) if found else None
        self.begun = self.row if self.row and self.row.state == self.state else None
        fits = self.row is None if step.direction == UP else self.row is not None and self.row.state == APPLIED
        if not fits and self.begun is None:
            raise SchemaError(f"{step} to be next by the books", "its line says otherwise")
        self.fresh = Row(
            one.service, one.number, one.name, one.up.sha256, one.down.sha256, self.state, moments.now(), by, ran="[]"
        )  # fmt: skip

    def run(self, statements: Sequence[str], marks: Sequence[str]) -> tuple[str, ...]:
        """Run what has not run yet; return the fingerprint after each statement that ran now."""
        digests = [hashlib.sha256(one.encode()).hexdigest() for one in statements]
        row = self.begun or self.fresh
        ran = json.loads(row.ran)[: row.done]
        if ran != digests[: row.done]:
            raise SchemaError(
                expected=f"the first {row.done} statements of {self.step} as they have run",
                found="they were edited since",
                next_command="give them back as they were; those after them may be mended",
            )
        # The rest may be another than when it began.
        row = replace(row, up_sha256=self.fresh.up_sha256, down_sha256=self.fresh.down_sha256)
        first = self.store._catalogue(self.cursor)
        found = texts.fingerprint(first)
        if not self.begun:
            row = replace(row, whole=texts.fingerprint(first, texts.NOT_AFTER_DOWN))
        seen = [""] * row.done
        for place, statement in enumerate(statements):
            if place < row.done:
                # What a session keeps is set again.
                if mariadb_sql.read(statement).head == mariadb_sql.SETTING:
                    self.cursor.execute(statement)
                continue
            row = replace(row, ran=json.dumps(digests[: place + 1]))
            found = self._one(statement, row, found, marks[place] if place < len(marks) else "")
            row = replace(row, done=place + 1)
            seen.append(found)
        self._end(row)
        return tuple(seen)

    def _one(self, statement: str, row: Row, found: str, after: str) -> str:
        """Run one statement and note it; return the fingerprint after it."""
        said = mariadb_sql.read(statement)
        noted = replace(row, done=row.done + 1, before="", after="")
        try:
            if said.head not in mariadb_sql.DEFINITIONS:
                self._rows(statement, said.head, noted)
                return found
            with self.store._writing(self.cursor, self.token):
                _note(self.cursor, replace(row, before=found, after=after))
            self._still_alone()
            self.cursor.execute(statement)
            with self.store._writing(self.cursor, self.token):
                _note(self.cursor, noted)
            return self._fingerprint()
        except pymysql.Error as error:
            with contextlib.suppress(pymysql.Error):
                self.cursor.execute("ROLLBACK")
            if said.head in mariadb_sql.DEFINITIONS and _of_server(error):
                self._nothing_came(row, found)
            elif not row.done:
                self._never_begun(row)
            raise SchemaError(
                expected=f"{self.store.label} to run {self.step}, statement {row.done + 1} ({said})",
                found=_brief(error),
            ) from error

    def _rows(self, statement: str, head: str, noted: Row) -> None:
        """Change rows and note it, in one transaction."""
        self._still_alone()
        with self.store._writing(self.cursor, self.token):
            self.cursor.execute(statement)
            # A SELECT leaves rows to be taken.
            self.cursor.fetchall()
            self.cursor.execute("SELECT @@in_transaction")
            if _one(self.cursor) != 1:
                raise SchemaError(
                    expected=f"statement {noted.done} ({head}) to stay in its transaction",
                    found="something in it has ended that, so nobody could tell after a kill whether it ran",
                )
            _note(self.cursor, noted)

    def _still_alone(self) -> None:
        self.cursor.execute("SELECT IS_USED_LOCK(%s) = CONNECTION_ID()", (self.store.lock,))
        if _one(self.cursor) != 1:
            raise SchemaError("one session from the first to the last statement", "a pooler has lent another, or KILL")

    def _nothing_came(self, row: Row, found: str) -> None:
        """Note that a definition which was refused has left nothing, where the catalogue says so."""
        with contextlib.suppress(SchemaError, pymysql.Error):
            if self._fingerprint() == found:
                if row.done:
                    with self.store._writing(self.cursor, self.token):
                        _note(self.cursor, replace(row, before="", after=""))
                else:
                    self._never_begun(row)

    def _never_begun(self, row: Row) -> None:
        """Take back the line of a file of which no statement has run."""
        with contextlib.suppress(SchemaError, pymysql.Error), self.store._writing(self.cursor, self.token):
            if row.state == RUNNING[UP]:
                _forget(self.cursor, row)
            elif self.row:
                _note(self.cursor, replace(self.row, state=APPLIED, before="", after="", done=0, ran="", whole=""))

    def _end(self, row: Row) -> None:
        with self.store._writing(self.cursor, self.token):
            if row.state == RUNNING[UP]:
                ended = replace(row, state=APPLIED, at=moments.now(), before="", after="", done=0, ran="", whole="")
                _note(self.cursor, ended)
            else:
                _forget(self.cursor, row)

    def _fingerprint(self) -> str:
        return texts.fingerprint(self.store._catalogue(self.cursor))


def _note(cursor: pymysql.cursors.Cursor, row: Row) -> None:
    marks = ", ".join(["%s"] * len(_COLUMNS))
    values = [getattr(row, name) for name in _COLUMNS]
    cursor.execute(f"REPLACE INTO {LEDGER} ({_NAMES}) VALUES ({marks})", values)


def _forget(cursor: pymysql.cursors.Cursor, row: Row) -> None:
    cursor.execute(f"DELETE FROM {LEDGER} WHERE service = %s AND number = %s", (row.service, row.number))


def _one(cursor: pymysql.cursors.Cursor) -> Any:
    row = cursor.fetchone()
    return row[0] if row else None


def _holder(cursor: pymysql.cursors.Cursor) -> Optional[Holder]:
    cursor.execute(_HOLDER)
    return _read_holder(cursor)


def _read_holder(cursor: pymysql.cursors.Cursor) -> Optional[Holder]:
    row = cursor.fetchone()
    return Holder(row[0], json.loads(row[1]), row[2], bool(row[3])) if row else None


def _session(cursor: pymysql.cursors.Cursor, number: Any) -> str:
    """Say whose a session is; what it runs may hold values."""
    cursor.execute(_SESSION, (number,))
    row = cursor.fetchone()
    whose = f" of {row[0]}@{row[1]}, {row[2]} since {row[3]} s" if row else ""
    return f"session {number}{whose}"


def _copy(token: str) -> str:
    return f"bascule_copy_{token}"


def _of_server(error: pymysql.Error) -> bool:
    return bool(error.args) and error.args[0] in _OF_SERVER


def _brief(error: pymysql.Error) -> str:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = " ".join(str(error.args[-1] if error.args else error).split())[-600:]
    if code in _SAY_NAMES or not _of_server(error):
        return f"{text} ({code})" if code else text
    return f"error {code} of the server, whose text may quote values: {text.partition(chr(39))[0].strip()} …"
