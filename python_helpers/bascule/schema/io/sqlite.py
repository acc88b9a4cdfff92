"""SQLite, by Python's own module and not by its command line.

A file goes to the library whole. Its authorizer then refuses what would end the transaction or leave the database
(COMMIT, SAVEPOINT, ATTACH) or touch the books, and no dot command exists that could: with `sqlite3` on standard input,
each of these would rest on our reading of the file alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote

from ...run.holder import LEASE, Holder
from ...system.moments import now
from .. import catalogue as texts
from ..catalogue import Catalogue, Table
from ..files import UP
from ..planner import APPLIED, Row, Step
from ..sql import LEDGER, SQLITE
from ..store import Books, Content, SchemaError

_LOCK = f"{LEDGER}_lock"
_COLUMNS = ("service", "number", "name", "up_sha256", "down_sha256", "state", "at", "by", "before", "after")
_BOOKS = (
    f"CREATE TABLE IF NOT EXISTS {LEDGER} (service TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, "
    "up_sha256 TEXT NOT NULL, down_sha256 TEXT NOT NULL, state TEXT NOT NULL, at TEXT NOT NULL, by TEXT NOT NULL, "
    '"before" TEXT NOT NULL, "after" TEXT NOT NULL, PRIMARY KEY (service, number))',
    f"CREATE TABLE IF NOT EXISTS {_LOCK} (id INTEGER PRIMARY KEY CHECK (id = 1), token TEXT NOT NULL, "
    "note TEXT NOT NULL, since TEXT NOT NULL, until REAL NOT NULL)",
)
# https://www.sqlite.org/c3ref/c_alter_table.html
_LEAVES = frozenset({sqlite3.SQLITE_SAVEPOINT, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})
_WAIT = 5.0


class SqliteStore:
    """One file."""

    engine = SQLITE

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.label = f"SQLite {path}"

    @contextlib.contextmanager
    def _open(self, mode: str, what: str) -> Iterator[sqlite3.Connection]:
        """Open the file, which has to exist; a refusal of the library becomes an error that says what it stopped."""
        try:
            address = f"file:{quote(str(self.path.absolute()))}?mode={mode}"
            connection = sqlite3.connect(address, uri=True, timeout=_WAIT, isolation_level=None)
            # A text need not be UTF-8 to be a row.
            connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            try:
                yield connection
            finally:
                connection.close()
        except (sqlite3.Error, ValueError) as error:
            raise SchemaError(expected=f"{self.label} to {what}", found=str(error)) from error

    @contextlib.contextmanager
    def _reading(self, what: str) -> Iterator[sqlite3.Connection]:
        with self._open("ro", what) as connection:
            connection.execute("PRAGMA query_only = 1")
            connection.execute("BEGIN")
            yield connection

    @contextlib.contextmanager
    def _writing(self, what: str, token: str = "") -> Iterator[sqlite3.Connection]:
        """One transaction; with a token, it ends only while the lock is ours. An error takes it back."""
        with self._open("rw", what) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            if token:
                self._ours(connection, token)
            connection.execute("COMMIT")

    def _ours(self, connection: sqlite3.Connection, token: str) -> None:
        if not connection.execute(f"SELECT 1 FROM {_LOCK} WHERE token = ?", (token,)).fetchone():
            raise SchemaError(expected="the lock to be ours until the end", found="another has taken it")

    def books(self) -> Books:
        with self._reading("tell its migrations") as connection:
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (_LOCK,)).fetchone():
                return Books(made=False)
            names = ", ".join(f'"{name}"' for name in _COLUMNS)
            rows = connection.execute(f"SELECT {names} FROM {LEDGER} ORDER BY service, number").fetchall()
            return Books(tuple(Row(*row) for row in rows), _holder(connection))

    def catalogue(self) -> Catalogue:
        with self._reading("tell its catalogue") as connection:
            return _catalogue(connection)

    def content(self, *, digests: bool = False) -> Content:
        with self._reading("tell its content") as connection:
            return _content(connection, digests)

    def take(self, note: Mapping[str, str], stale: Optional[Holder]) -> str:
        token = secrets.token_hex(8)
        with self._writing("make the books and take the lock") as connection:
            for statement in _BOOKS:
                connection.execute(statement)
            holder = _holder(connection)
            if holder and (not stale or holder.token != stale.token):
                raise SchemaError(expected=f"nobody else to be at work in {self.label}", found=str(holder))
            values = (token, json.dumps(dict(note)), now(), time.time() + LEASE)
            connection.execute(f"INSERT OR REPLACE INTO {_LOCK} VALUES (1, ?, ?, ?, ?)", values)
        return token

    def renew(self, token: str) -> None:
        with self._writing("renew the lock") as connection:
            connection.execute(f"UPDATE {_LOCK} SET until = ? WHERE token = ?", (time.time() + LEASE, token))

    def release(self, token: str) -> None:
        with self._writing("let the lock go") as connection:
            connection.execute(f"DELETE FROM {_LOCK} WHERE token = ?", (token,))

    def run(self, step: Step, token: str, by: str, marks: Sequence[str] = ()) -> tuple[str, ...]:
        one = step.migration
        script = one.file(step.direction).data.decode("utf-8-sig")
        with self._open("rw", f"run {step}") as connection:
            broken = _broken_references(connection)
            connection.set_authorizer(_only_within())
            # executescript would end a transaction that was begun before.
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}")
            connection.set_authorizer(None)
            if not connection.in_transaction:
                raise SchemaError(expected=f"{step} to leave its transaction open", found="it has ended it")
            if added := _broken_references(connection) - broken:
                raise SchemaError(
                    expected=f"{step} to keep all references", found=f"{len(added)} rows refer to nothing"
                )
            self._ours(connection, token)
            if step.direction == UP:
                row = (one.service, one.number, one.name, one.up.sha256, one.down.sha256, APPLIED, now(), by, "", "")
                connection.execute(f"INSERT INTO {LEDGER} VALUES ({', '.join('?' * len(row))})", row)
            else:
                key = (one.service, one.number)
                if connection.execute(f"DELETE FROM {LEDGER} WHERE service = ? AND number = ?", key).rowcount != 1:
                    raise SchemaError(expected=f"{step} to be in the books", found="it is not")
            connection.execute("COMMIT")
        return ()

    def backup(self, path: Path) -> Content:
        with self._reading("be copied") as source:
            content = _content(source, digests=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with contextlib.closing(sqlite3.connect(path)) as target:
                    source.backup(target)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return content

    @contextlib.contextmanager
    def restored(self, path: Path, token: str) -> Iterator[SqliteStore]:
        folder = path.parent / f"{token}.copy"
        folder.mkdir(mode=0o700)
        try:
            copy = SqliteStore(str(folder / "copy"))
            shutil.copyfile(path, copy.path)
            with copy._reading("be sound") as connection:
                said = connection.execute("PRAGMA integrity_check").fetchall()
            if said != [("ok",)]:
                raise SchemaError(expected=f"the restored {path.name} to be sound", found=str(said[:3]))
            yield copy
        finally:
            shutil.rmtree(folder)

    def discard(self, token: str, folder: Optional[Path]) -> None:
        if folder:
            (folder / f"{token}.part").unlink(missing_ok=True)
            shutil.rmtree(folder / f"{token}.copy", ignore_errors=True)


def _only_within() -> Any:
    """Return an authorizer: the first BEGIN is ours, and a file stays within its transaction and its database."""
    begun = False

    def allowed(action: int, one: Optional[str], two: Optional[str], _database: Any, _trigger: Any) -> int:
        nonlocal begun
        if action == sqlite3.SQLITE_TRANSACTION and not begun:
            begun = True
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_TRANSACTION or action in _LEAVES:
            return sqlite3.SQLITE_DENY
        books = any(str(name or "").startswith(LEDGER) for name in (one, two))
        # A change of any table reads and checks the whole schema.
        harmless = action in (sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION)
        return sqlite3.SQLITE_DENY if books and not harmless else sqlite3.SQLITE_OK

    return allowed


def _holder(connection: sqlite3.Connection) -> Optional[Holder]:
    row = connection.execute(f"SELECT token, note, since, until FROM {_LOCK}").fetchone()
    return Holder(row[0], json.loads(row[1]), row[2], row[3] < time.time()) if row else None


def _broken_references(connection: sqlite3.Connection) -> set[tuple[Any, ...]]:
    return set(connection.execute("PRAGMA foreign_key_check").fetchall())


def _content(connection: sqlite3.Connection, digests: bool) -> Content:
    found = _catalogue(connection)
    return Content(found, {name: _rows(connection, name, digests) for kind, name in found if kind == texts.TABLE})


def _catalogue(connection: sqlite3.Connection) -> Catalogue:
    found: dict[tuple[str, str], str] = {}
    query = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    for kind, name, table, sql in connection.execute(query).fetchall():
        if name.startswith(LEDGER) or table.startswith(LEDGER):
            continue
        found[(kind, name)] = table
        if kind == "table":
            columns = connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)).fetchall()
            for _, column, declared, *rest in columns:
                found[(texts.COLUMN, f"{name}.{column}")] = texts.column(name, declared, repr(rest))
            found[(texts.ORDER, name)] = ", ".join(column[1] for column in columns)
            keys = connection.execute("SELECT * FROM pragma_foreign_key_list(?)", (name,)).fetchall()
            found[("references", name)] = repr(sorted(repr(key[2:]) for key in keys))
            # What the columns say already is left out; checks and options stand in the text alone.
            found[("options", name)] = repr(sorted(_checks(sql)))
            found[("keys", name)] = _keys(connection, name)
        elif sql:
            found[(f"{kind} definition", name)] = " ".join(sql.split())
    return found


def _keys(connection: sqlite3.Connection, table: str) -> str:
    """Return the indexes that no statement of their own made: of UNIQUE and PRIMARY KEY."""
    lines = []
    for _, index, *said in connection.execute("SELECT * FROM pragma_index_list(?)", (table,)).fetchall():
        if said[1] != "c":
            columns = connection.execute("SELECT name FROM pragma_index_info(?)", (index,)).fetchall()
            lines.append(repr((said, columns)))
    return repr(sorted(lines))


def _checks(sql: str) -> list[str]:
    """Return what a CREATE TABLE says that no pragma does, each for itself: from one of the words below on."""
    words = sql.replace("(", " ( ").replace(")", " ) ").replace(",", " , ").split()
    marks = {"CHECK", "COLLATE", "GENERATED", "STRICT", "WITHOUT", "AUTOINCREMENT", "CONFLICT", "DEFERRABLE"}
    found = []
    for place, word in enumerate(words):
        if word.upper() in marks:
            depth, end = 0, place + 1
            while end < len(words) and (depth or words[end] not in (",", ")")):
                depth += {"(": 1, ")": -1}.get(words[end], 0)
                end += 1
            found.append(" ".join(words[place:end]))
    return found


def _rows(connection: sqlite3.Connection, table: str, digests: bool) -> Table:
    quoted = '"' + table.replace('"', '""') + '"'
    if not digests:
        return Table(int(connection.execute(f"SELECT count(*) FROM {quoted}").fetchone()[0]))
    count, total = 0, 0
    for row in connection.execute(f"SELECT * FROM {quoted}"):
        # The representation tells 1 from '1' and NULL from 'None', and where a column ends.
        total += int.from_bytes(hashlib.sha256(repr(row).encode("utf-8", "surrogatepass")).digest(), "big")
        count += 1
    return Table(count, f"{total % (1 << 256):064x}")
