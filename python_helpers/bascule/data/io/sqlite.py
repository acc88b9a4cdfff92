"""SQLite by Python's own module. One writer at a time: between two batches others get their turn."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote

from ..books import Dialect
from ..contract import NOTHING, Again, DataError, Migration, RowRefused
from ..declared import Declared
from ..store import Store, counting
from ..transaction import Session

_COUNT_FOR = 2.0
_BREATH = 0.05


class SqliteSession:
    """A transaction of sqlite3's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def ask(self, statement: str, values: Optional[Sequence[Any]] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        done = self.connection.execute(statement, values or ())
        return [one[0] for one in done.description or ()], done.fetchall()

    def do(self, statement: str, values: Sequence[Any] = ()) -> int:
        return self.connection.execute(statement, values).rowcount

    def load(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        marks = ", ".join("?" * len(columns))
        self.connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

    def each(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        self.connection.executemany(statement, rows)


class SqliteStore(Store):
    """One file."""

    dialect = Dialect(
        mark="?",
        quote='"',
        same="{0} IS {1}",
        clock="((julianday('now') - 2440587.5) * 86400.0)",
        blob="blob",
    )
    measures = frozenset({"wal_mib", "load"})
    breath = _BREATH
    _kept: Optional[sqlite3.Connection] = None

    def __init__(self, declared: Declared, migration: Migration) -> None:
        super().__init__(declared, migration)
        self.path = Path(declared.file)
        self.label = f"SQLite {declared.file}"

    def _connect(self, mode: str) -> sqlite3.Connection:
        address = f"file:{quote(str(self.path.absolute()))}?mode={mode}"
        connection = sqlite3.connect(address, uri=True, timeout=self.declared.lock_timeout, isolation_level=None)
        # A text need not be UTF-8 to be a row.
        connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        connection.execute("PRAGMA foreign_keys = 1")
        return connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        with self._errors("be read", NOTHING), contextlib.closing(self._connect("ro")) as connection:
            connection.execute("PRAGMA query_only = 1")
            connection.execute("BEGIN")
            yield SqliteSession(connection)

    @contextlib.contextmanager
    def writing(self, what: str, *, steady: bool = False) -> Iterator[Session]:
        with self._errors(what):
            if self._kept is None:
                self._kept = self._connect("rw")
            self._kept.execute("BEGIN IMMEDIATE")
            try:
                yield SqliteSession(self._kept)
                self._kept.execute("COMMIT")
            except BaseException:
                if self._kept.in_transaction:
                    self._kept.execute("ROLLBACK")
                raise

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    @contextlib.contextmanager
    def _errors(self, what: str, state: str = "") -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, OverflowError) as error:
            raise RowRefused(str(error)) from error
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Again(str(error)) from error
            raise DataError(expected=f"{self.label} to {what}", found=str(error), state=state) from error

    def uniques(self, session: Session, table: str) -> Optional[tuple[list[set[str]], set[str], list[str]]]:
        name = table.rpartition(".")[2]
        _, columns = session.ask("SELECT name, [notnull], pk FROM pragma_table_info(?)", [name])
        if not columns:
            return None
        primary = {column for column, _, place in columns if place}
        asked = "SELECT name FROM pragma_index_list(?) WHERE [unique] AND NOT partial"
        unique = [primary] if primary else []
        for (index,) in session.ask(asked, [name])[1]:
            found = [column for (column,) in session.ask("SELECT name FROM pragma_index_info(?)", [index])[1]]
            unique += [set(found)] if None not in found else []
        kind = dict(session.ask("SELECT name, type FROM pragma_table_info(?)", [name])[1])
        # A primary key of another kind than this one may hold NULL, in SQLite alone.
        rowid = primary if [kind[one].upper() for one in primary] == ["INTEGER"] else set()
        nullable = {column for column, notnull, _ in columns if not notnull and column not in rowid}
        writable = table not in self.migration.writes or os.access(self.path, os.W_OK)
        return unique, nullable, [] if writable else ["no privilege to write the file"]

    def takes_along(self, session: Session) -> list[str]:
        found = []
        for (name,) in session.ask("SELECT name FROM sqlite_schema WHERE type = 'table'")[1]:
            asked = "SELECT [table] FROM pragma_foreign_key_list(?) WHERE on_delete NOT IN ('NO ACTION', 'RESTRICT')"
            for (other,) in session.ask(asked, [name])[1]:
                found += [f"{name} → {other}"] if other in self.migration.writes else []
        return found

    def sample(self) -> dict[str, float]:
        wal = Path(f"{self.path}-wal")
        return {"load": os.getloadavg()[0], "wal_mib": wal.stat().st_size / (1 << 20) if wal.exists() else 0.0}

    def count(self, after: str) -> tuple[Optional[int], str]:
        statement, values = counting(self.dialect, self.migration, after)
        ends = time.monotonic() + _COUNT_FOR
        try:
            with contextlib.closing(self._connect("ro")) as connection:
                connection.set_progress_handler(lambda: time.monotonic() > ends, 100000)
                return int(connection.execute(statement, values).fetchone()[0]), "counted"
        except sqlite3.OperationalError:
            return None, ""
