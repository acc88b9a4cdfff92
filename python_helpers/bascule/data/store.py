"""A database that a data migration changes, by SQL: its lock, its transactions. Each engine's file has the rest."""

from __future__ import annotations

import contextlib
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from ..run.holder import LEASE, Holder
from ..system.moments import now
from .books import BOOK, COLUMNS, Book, Dialect
from .contract import DataError, Migration
from .declared import Declared
from .keys import decode
from .transaction import Session, Transaction, select_book


class Store(ABC):
    """One database and one migration. Every method raises DataError, and has then changed nothing."""

    dialect: Dialect
    label: str
    # Which limits can be measured.
    measures: frozenset[str]
    # Seconds that others get between two batches, for each second of a batch.
    breath = 0.0
    # At the end of the statement that reads the book of a run.
    row_lock = ""

    def __init__(self, declared: Declared, migration: Migration) -> None:
        self.declared, self.migration = declared, migration

    @abstractmethod
    def reading(self) -> contextlib.AbstractContextManager[Session]:
        """A transaction that the database itself keeps from writing, on a connection of its own."""

    @abstractmethod
    def writing(self, what: str, *, steady: bool = False) -> contextlib.AbstractContextManager[Session]:
        """A transaction that is committed at the end, on the connection that a run keeps; `steady`: of one moment."""

    @abstractmethod
    def close(self) -> None:
        """End the connection."""

    @abstractmethod
    def uniques(self, session: Session, table: str) -> Optional[tuple[list[set[str]], set[str], list[str]]]:
        """Return what a table has: unique sets of columns, columns that may be NULL, and what else is wrong.

        None where there is no such table.
        """

    @abstractmethod
    def takes_along(self, session: Session) -> list[str]:
        """Return the references that would take other rows along when a row that was written is removed."""

    @abstractmethod
    def sample(self) -> dict[str, float]:
        """Measure what can be limited."""

    @abstractmethod
    def count(self, after: str) -> tuple[Optional[int], str]:
        """Return how many rows of `select` lie beyond a key, and how that is known: `counted`, `estimated` or ''."""

    def made(self, session: Session) -> bool:
        """Whether the books are there."""
        return self.uniques(session, f"{self.dialect.home}{BOOK}") is not None

    def wrong(self) -> list[str]:
        """Return what does not fit between the module and the database; changes nothing."""
        found: list[str] = []
        tables = {**self.migration.writes, self.migration.table: self.migration.key}
        with self.reading() as session:
            for table, key in tables.items():
                said = self.uniques(session, table)
                if said is None:
                    found.append(f"there is no table {table}")
                    continue
                unique, nullable, missing = said
                if not any(one <= set(key) for one in unique):
                    found.append(f"{table}: its key ({', '.join(key)}) is not unique by an index of its own")
                found += [f"{table}: {name} of its key may be NULL" for name in key if name in nullable]
                found += [f"{table}: {word}" for word in missing]
            if not found:
                Transaction(session, self.dialect, self.migration, Book("", "")).rows(limit=1)
        unmeasured = sorted(set(self.declared.limits) - self.measures)
        return found + [f"limit {name} cannot be measured here" for name in unmeasured]

    def look(self) -> tuple[Optional[Book], Optional[Holder], list[tuple[str, str, str]]]:
        """Return the book, who holds its lock, and what is aside."""
        with self.reading() as session:
            book = self._book(session) if self.made(session) else None
            if book is None:
                return None, None, []
            _, ((clock,),) = session.ask(f"SELECT {self.dialect.clock}")
            aside = Transaction(session, self.dialect, self.migration, book).aside_rows()
        holder = (
            Holder(book.token, json.loads(book.note), book.since, book.until < float(clock)) if book.token else None
        )
        return book, holder, aside

    def _book(self, session: Session, lock: str = "") -> Optional[Book]:
        _, rows = session.ask(select_book(self.dialect) + lock, [self.migration.name])
        return Book(**dict(zip(COLUMNS, rows[0]))) if rows else None

    def take(self, note: Mapping[str, Any], stale: Optional[Holder]) -> str:
        """Take the lock, also from `stale`, which was found dead, and return its token; make the books at first."""
        one, token = self.dialect, secrets.token_hex(8)
        with self.writing("take the lock") as session:
            if not self.made(session):
                for statement in one.creation():
                    session.do(statement)
        with self.writing("take the lock") as session:
            if self._book(session) is None:
                fresh = Book(self.migration.name, self.migration.sha256)
                names = [name for name in COLUMNS if name != "total"]
                statement = f"INSERT INTO {one.home}{BOOK} ({one.columns(names)}) VALUES ({one.marks(len(names))})"
                session.do(statement, [getattr(fresh, name) for name in names])
            statement = (
                f"UPDATE {one.home}{BOOK} SET token = {one.mark}, note = {one.mark}, since = {one.mark}, "
                f"until = {one.clock} + {LEASE} WHERE name = {one.mark} AND token = {one.mark}"
            )
            if stale and stale.over:
                # It may have been renewed since it was looked at.
                statement += f" AND until < {one.clock}"
            values = [token, json.dumps(dict(note)), now(), self.migration.name, stale.token if stale else ""]
            if session.do(statement, values) != 1:
                raise DataError(expected=f"nobody else to be at work in {self.label}", found="another was quicker")
        return token

    def renew(self, token: str) -> None:
        """Put off the end of the lease."""
        self._own(token, f"until = {self.dialect.clock} + {LEASE}")

    def release(self, token: str) -> None:
        """Let the lock go, where it is still ours."""
        self._own(token, "token = ''")

    def _own(self, token: str, change: str) -> None:
        one = self.dialect
        statement = f"UPDATE {one.home}{BOOK} SET {change} WHERE name = {one.mark} AND token = {one.mark}"
        with self.writing("keep the lock") as session:
            session.do(statement, [self.migration.name, token])

    def ask_for(self, **wanted: Any) -> bool:
        """Write what a person wants of a run (`wanted`, `asked`); False where there is none."""
        one = self.dialect
        values = ", ".join(f"{name} = {one.mark}" for name in wanted)
        statement = f"UPDATE {one.home}{BOOK} SET {values} WHERE name = {one.mark}"
        with self.writing("take the order") as session:
            return self.made(session) and session.do(statement, [*wanted.values(), self.migration.name]) == 1

    @contextlib.contextmanager
    def transaction(self, token: str) -> Iterator[Transaction]:
        """One transaction of the run that holds the lock; its book is locked from the start to the end."""
        with self.writing("change rows", steady=True) as session:
            book = self._book(session, self.row_lock)
            if book is None or book.token != token:
                raise DataError(expected="the lock to be ours until the end", found="another has taken it")
            one = Transaction(session, self.dialect, self.migration, book)
            one.keep(until=float(session.ask(f"SELECT {self.dialect.clock}")[1][0][0]) + LEASE)
            yield one

    @contextlib.contextmanager
    def look_through(self, book: Optional[Book] = None) -> Iterator[Transaction]:
        """One transaction that cannot write."""
        with self.reading() as session:
            yield Transaction(session, self.dialect, self.migration, book or Book(self.migration.name, ""))

    def empty(self, transaction: Transaction) -> list[str]:
        """Return which of the tables that are written hold no row."""
        found = []
        for table in self.migration.writes:
            _, rows = transaction.session.ask(f"SELECT 1 FROM {self.dialect.table(table)} LIMIT 1")
            found += [] if rows else [table]
        return found


def counting(dialect: Dialect, migration: Migration, after: str) -> tuple[str, Sequence[Any]]:
    """Return the statement that counts the rows of `select` beyond a key."""
    statement = f"SELECT count(*) FROM ({dialect.written(migration.select())}) AS bascule"
    if not after:
        return statement, ()
    condition, values = dialect.beyond(migration.key, decode(after))
    return f"{statement} WHERE {condition}", values
