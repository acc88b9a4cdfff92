"""PostgreSQL by psycopg. Nothing rests on a session: a pooler may lend another server for each transaction.

A batch is REPEATABLE READ: it reads one moment, and where it changes a row that another has changed since, the server
takes it back, and it is tried again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.types.string import TextLoader

from ..books import Dialect
from ..contract import NOTHING, Again, DataError, Migration, RowRefused
from ..declared import Declared
from ..store import Store, counting
from ..transaction import Session

_SAME = (
    "SELECT set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true), "
    "set_config('intervalstyle', 'postgres', true), set_config('bytea_output', 'hex', true), "
    # Rows that a policy hides would be missed without a word.
    "set_config('row_security', 'off', true), set_config('extra_float_digits', '3', true), "
    "set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)"
)
_UNIQUE = """
SELECT (SELECT array_agg(a.attname::text) FROM pg_attribute a WHERE a.attrelid = i.indrelid
        AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
FROM pg_index i WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indisvalid AND i.indimmediate
AND i.indpred IS NULL AND i.indexprs IS NULL"""
_NULLABLE = (
    "SELECT attname::text FROM pg_attribute "
    "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND NOT attnotnull"
)
_TAKES_ALONG = (
    "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint "
    "WHERE contype = 'f' AND confdeltype IN ('c', 'n', 'd') AND confrelid = to_regclass(%s)"
)
# Of what its primary has and a standby has not yet replayed; NULL where nobody may see it.
_LAG = (
    "SELECT coalesce(max(extract(epoch FROM replay_lag)), 0)::float8, "
    "max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))::float8 / 1048576, count(*), count(replay_lsn) "
    "FROM pg_stat_replication"
)
_MEASURES = {
    "active": "SELECT count(*)::float8 FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()",
    "wal_mib": "SELECT sum(size)::float8 / 1048576 FROM pg_ls_waldir()",
}
_LAGS = ("replication_lag_seconds", "replication_lag_mib")
_COUNT_FOR = "2s"


class PostgresqlSession:
    """A transaction of psycopg's."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def ask(self, statement: str, values: Optional[Sequence[Any]] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        done = self.connection.execute(statement.encode(), values)
        return [one.name for one in done.description or ()], done.fetchall()

    def do(self, statement: str, values: Sequence[Any] = ()) -> int:
        return self.connection.execute(statement.encode(), values).rowcount

    def load(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        # Names were quoted for statements with parameters; COPY has none.
        statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN".replace("%%", "%")
        with self.connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for row in rows:
                copy.write_row(row)

    def each(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(statement.encode(), rows)


class PostgresqlStore(Store):
    """One database."""

    dialect = Dialect(
        mark="%s",
        quote='"',
        same="{0}::text IS NOT DISTINCT FROM {1}::text",
        clock="extract(epoch FROM clock_timestamp())::float8",
        blob="bytea",
        home="public.",
        dropped=" ON COMMIT DROP",
    )
    measures = frozenset({*_LAGS, *_MEASURES})
    row_lock = " FOR UPDATE"
    _kept: Optional[psycopg.Connection[Any]] = None

    def __init__(self, declared: Declared, migration: Migration) -> None:
        super().__init__(declared, migration)
        self.label = "PostgreSQL " + " ".join(f"{key}={value}" for key, value in sorted(declared.connection.items()))

    def _connect(self) -> psycopg.Connection[Any]:
        settings = {"connect_timeout": "5", "application_name": "bascule data", **self.declared.connection}
        # A prepared statement would belong to a session.
        connection = psycopg.connect(make_conninfo(**settings), prepare_threshold=None)
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for kind in ("json", "jsonb"):
            # What is read goes back as it was: a mapping of Python's would need another type on the way.
            connection.adapters.register_loader(kind, TextLoader)
        return connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        with self._errors("be read", NOTHING), contextlib.closing(self._connect()) as connection:
            connection.read_only = True
            connection.execute(_SAME.encode(), (f"{self.declared.lock_timeout}s", "0"))
            yield PostgresqlSession(connection)

    @contextlib.contextmanager
    def writing(self, what: str, *, steady: bool = False) -> Iterator[Session]:
        with self._errors(what):
            if self._kept is None or self._kept.closed:
                self._kept = self._connect()
            levels = psycopg.IsolationLevel
            self._kept.isolation_level = levels.REPEATABLE_READ if steady else levels.READ_COMMITTED
            with self._kept.transaction():
                self._kept.execute(_SAME.encode(), (f"{self.declared.lock_timeout}s", "0"))
                yield PostgresqlSession(self._kept)

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()

    @contextlib.contextmanager
    def _errors(self, what: str, state: str = "") -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            code = error.sqlstate or ""
            # Where the server speaks, its first line: what follows quotes rows.
            text = " ".join((error.diag.message_primary or str(error)).split())[-300:]
            if code[:2] == "40" or code == "55P03":
                raise Again(text) from error
            # Data, integrity, a trigger's word; or a value that psycopg has no type for.
            if code[:2] in ("22", "23", "44", "P0") or (not code and isinstance(error, psycopg.ProgrammingError)):
                raise RowRefused(text, error.diag.constraint_name or error.diag.column_name or "") from error
            raise DataError(expected=f"{self.label} to {what}", found=text, state=state) from error

    def uniques(self, session: Session, table: str) -> Optional[tuple[list[set[str]], set[str], list[str]]]:
        name = self.dialect.table(table).replace("%%", "%")
        _, ((there,),) = session.ask("SELECT to_regclass(%s) IS NOT NULL", [name])
        if not there:
            return None
        unique = [set(columns or ()) for (columns,) in session.ask(_UNIQUE, [name])[1]]
        nullable = {column for (column,) in session.ask(_NULLABLE, [name])[1]}
        words = ["SELECT"] if table not in self.migration.writes else ["SELECT", "INSERT, UPDATE"]
        asked = "SELECT has_table_privilege(to_regclass(%s), %s)"
        missing = [word for word in words if not session.ask(asked, [name, word])[1][0][0]]
        return unique, nullable, [f"no privilege to {word}" for word in missing]

    def takes_along(self, session: Session) -> list[str]:
        found = []
        for table in self.migration.writes:
            name = self.dialect.table(table).replace("%%", "%")
            found += [f"{one} → {other}" for one, other in session.ask(_TAKES_ALONG, [name])[1]]
        return found

    def sample(self) -> dict[str, float]:
        found: dict[str, float] = {}
        # What this role may not see is missing in what is returned, and stops a run that has a limit on it.
        if set(_LAGS) & set(self.declared.limits):
            with contextlib.suppress(DataError), self.reading() as session:
                _, ((seconds, mib, standbys, seen),) = session.ask(_LAG)
                if standbys == seen:
                    found |= {_LAGS[0]: seconds, _LAGS[1]: mib or 0.0}
        for name in set(_MEASURES) & set(self.declared.limits):
            with contextlib.suppress(DataError), self.reading() as session:
                found[name] = session.ask(_MEASURES[name])[1][0][0]
        return found

    def count(self, after: str) -> tuple[Optional[int], str]:
        statement, values = counting(self.dialect, self.migration, after)
        with contextlib.suppress(DataError, Again), self.reading() as session:
            session.ask("SELECT set_config('statement_timeout', %s, true)", [_COUNT_FOR])
            return int(session.ask(statement, values)[1][0][0]), "counted"
        if after:
            return None, ""
        asked = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(%s)"
        with self.reading() as session:
            _, ((rows,),) = session.ask(asked, [self.dialect.table(self.migration.table).replace("%%", "%")])
        return (int(rows), "estimated") if rows > 0 else (None, "")
