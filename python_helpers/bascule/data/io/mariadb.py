"""MariaDB by PyMySQL. Where a table is changed in place, what a batch reads stays locked until its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import pymysql

from ...system import pymysql_way
from ..books import Dialect
from ..contract import NOTHING, Again, DataError, Migration, RowRefused
from ..declared import Declared
from ..store import Store, counting
from ..transaction import Session

# https://mariadb.com/kb/en/mariadb-error-codes/: a value, a rule, a reference, a trigger's word.
_ROW = frozenset({1048, 1062, 1264, 1265, 1292, 1366, 1406, 1451, 1452, 1644, 4025})
_AGAIN = frozenset({1020, 1205, 1213})
_UNIQUE = (
    "SELECT index_name, column_name FROM information_schema.statistics WHERE table_schema = database() "
    "AND table_name = %s AND non_unique = 0 AND sub_part IS NULL"
)
_PARTS = (
    "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = database() "
    "AND table_name = %s AND sub_part IS NOT NULL"
)
_TAKES_ALONG = (
    "SELECT table_name, referenced_table_name FROM information_schema.referential_constraints "
    "WHERE constraint_schema = database() AND delete_rule IN ('CASCADE', 'SET NULL')"
)
_ACTIVE = "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'Threads_running'"
# A value that does not fit is refused and not cut; times are in UTC.
_SESSION = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', "
_COUNT_FOR = 2


class MariadbSession:
    """A transaction of PyMySQL's."""

    def __init__(self, connection: pymysql.Connection[Any]) -> None:
        self.connection = connection

    def ask(self, statement: str, values: Optional[Sequence[Any]] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)
            return [one[0] for one in cursor.description or ()], list(cursor.fetchall())

    def do(self, statement: str, values: Sequence[Any] = ()) -> int:
        with self.connection.cursor() as cursor:
            return int(cursor.execute(statement, values))

    def load(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        marks = ", ".join(["%s"] * len(columns))
        with self.connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

    def each(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with self.connection.cursor() as cursor:
            for row in rows:
                cursor.execute(statement, row)


class MariadbStore(Store):
    """One database of a server."""

    dialect = Dialect(
        mark="%s",
        quote="`",
        # A collation may hold 'a' and 'A' for the same.
        same="CAST({0} AS BINARY) <=> CAST({1} AS BINARY)",
        clock="UNIX_TIMESTAMP(SYSDATE(6))",
        blob="longblob",
        text="longtext",
        rest=" ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        lock=" FOR UPDATE",
        tuples=False,
        drop="DROP TEMPORARY TABLE",
    )
    measures = frozenset({"active"})
    row_lock = " FOR UPDATE"
    _kept: Optional[pymysql.Connection[Any]] = None

    def __init__(self, declared: Declared, migration: Migration) -> None:
        super().__init__(declared, migration)
        self.label = "MariaDB " + " ".join(f"{key}={value}" for key, value in sorted(declared.connection.items()))

    def _connect(self) -> pymysql.Connection[Any]:
        way = pymysql_way.arguments(self.declared.connection)
        wait = f"innodb_lock_wait_timeout = {self.declared.lock_timeout}"
        return pymysql.connect(
            **way, charset="utf8mb4", connect_timeout=5, init_command=_SESSION + wait, autocommit=False
        )

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        with self._errors("be read", NOTHING), contextlib.closing(self._connect()) as connection:
            session = MariadbSession(connection)
            session.do("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            session.do("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            yield session

    @contextlib.contextmanager
    def writing(self, what: str, *, steady: bool = False) -> Iterator[Session]:
        with self._errors(what):
            if self._kept is None:
                self._kept = self._connect()
            in_place = self.migration.table in self.migration.writes
            level = ("SERIALIZABLE" if in_place else "REPEATABLE READ") if steady else "READ COMMITTED"
            session = MariadbSession(self._kept)
            session.do(f"SET TRANSACTION ISOLATION LEVEL {level}")
            session.do("START TRANSACTION")
            try:
                yield session
                self._kept.commit()
            except BaseException:
                # A connection that is gone has taken everything back by itself.
                with contextlib.suppress(pymysql.Error):
                    self._kept.rollback()
                raise

    def close(self) -> None:
        if self._kept is not None:
            with contextlib.suppress(pymysql.Error):
                self._kept.close()
            self._kept = None

    @contextlib.contextmanager
    def _errors(self, what: str, state: str = "") -> Iterator[None]:
        try:
            yield
        except pymysql.Error as error:
            code, text = error.args[0] if error.args else 0, str(error.args[-1])[:300]
            if code in _AGAIN:
                raise Again(text) from error
            if code in _ROW or isinstance(error, (pymysql.DataError, pymysql.IntegrityError)):
                raise RowRefused(text) from error
            raise DataError(expected=f"{self.label} to {what}", found=text, state=state) from error

    def uniques(self, session: Session, table: str) -> Optional[tuple[list[set[str]], set[str], list[str]]]:
        name = table.rpartition(".")[2]
        asked = "FROM information_schema.{} WHERE table_schema = database() AND table_name = %s"
        _, there = session.ask(f"SELECT engine {asked.format('tables')}", [name])
        if not there:
            return None
        unique: dict[str, set[str]] = {}
        for index, column in session.ask(_UNIQUE, [name])[1]:
            unique.setdefault(index, set()).add(column)
        # Of a column's beginning alone nothing is known of the column.
        for (index,) in session.ask(_PARTS, [name])[1]:
            unique.pop(index, None)
        _, columns = session.ask(f"SELECT column_name {asked.format('columns')} AND is_nullable = 'YES'", [name])
        engine = str(there[0][0])
        wrong = [] if engine.lower() == "innodb" else [f"its engine {engine} has no transactions; InnoDB has"]
        return list(unique.values()), {column for (column,) in columns}, wrong

    def takes_along(self, session: Session) -> list[str]:
        found = session.ask(_TAKES_ALONG)[1]
        return [f"{one} → {other}" for one, other in found if other in self.migration.writes]

    def sample(self) -> dict[str, float]:
        with contextlib.suppress(DataError), self.reading() as session:
            # This connection is one of them.
            return {"active": float(session.ask(_ACTIVE)[1][0][0]) - 1}
        return {}

    def count(self, after: str) -> tuple[Optional[int], str]:
        statement, values = counting(self.dialect, self.migration, after)
        with contextlib.suppress(DataError, RowRefused, Again), self.reading() as session:
            limited = f"SET STATEMENT max_statement_time = {_COUNT_FOR} FOR {statement}"
            return int(session.ask(limited, values)[1][0][0]), "counted"
        return None, ""
