"""One transaction of a data migration: the book's row is locked, rows are read, tables and books are written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from operator import itemgetter
from typing import Any, Optional, Protocol

from . import books, keys
from .books import ASIDE, BATCH, BOOK, COLUMNS, IMAGE, Batch, Book, Dialect
from .contract import DataError, Migration, Row

_MANY = 500


class Session(Protocol):
    """A connection of an engine, in a transaction. Its errors are `RowRefused`, `Again` and DataError."""

    def ask(self, statement: str, values: Optional[Sequence[Any]] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the names of the columns, and the rows; without values (None) a `%` is one."""

    def do(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run a statement, and return how many rows it has changed."""

    def load(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add many rows; names are quoted already."""

    def each(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each row of values."""


@dataclass
class Read:
    """Rows of `select`, in the order of the key."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    keys: list[keys.Key]

    def dicts(self) -> Iterable[Row]:
        """Return each row by its columns."""
        return map(dict, map(zip, repeat(self.columns), self.rows))


class Transaction:
    """What the engine does, and what a module's functions are given, between BEGIN and COMMIT."""

    def __init__(self, session: Session, dialect: Dialect, migration: Migration, book: Book) -> None:
        self.session, self.dialect, self.migration, self.book = session, dialect, migration, book
        self.written = 0
        # Where each row of this transaction was changed by `update`.
        self.images: list[tuple[Any, ...]] = []

    def rows(self, after: str = "", limit: int = 0, last: str = "") -> Read:
        """Return rows of `select` beyond a key and up to another; one more than a limit shows a twin at the border."""
        one = self.dialect
        conditions, values = [], []
        for text, sign in ((after, ">"), (last, "<=")):
            if text:
                condition, parameters = one.beyond(self.migration.key, keys.decode(text), sign)
                conditions.append(f"({condition})")
                values += parameters
        statement = f"SELECT * FROM ({one.written(self.migration.select())}) AS bascule"
        statement += f" WHERE {' AND '.join(conditions)}" if conditions else ""
        statement += f" ORDER BY {one.columns(self.migration.key)}"
        if limit:
            statement += f" LIMIT {one.mark}"
            values.append(limit + 1)
        read = self._read(statement, values)
        keys.checked(read.keys, keys.decode(after) if after else None)
        return replace_rows(read, limit) if limit else read

    def at(self, key: str) -> Read:
        """Return the row of `select` that has a key, if there is one."""
        one = self.dialect
        statement = f"SELECT * FROM ({one.written(self.migration.select())}) AS bascule WHERE "
        return self._read(statement + one.equals(self.migration.key), keys.decode(key))

    def _read(self, statement: str, values: Sequence[Any]) -> Read:
        columns, rows = self.session.ask(statement, values)
        if missing := [name for name in self.migration.key if name not in columns]:
            raise DataError(expected="the columns of KEY in what `select` reads", found=f"no {', '.join(missing)}")
        if len(set(columns)) != len(columns):
            raise DataError(expected="each column of `select` once", found=", ".join(columns))
        places = [columns.index(name) for name in self.migration.key]
        found = [(row[places[0]],) for row in rows] if len(places) == 1 else list(map(itemgetter(*places), rows))
        return Read(columns, rows, found)

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        self._mine(table)
        if table == self.migration.table:
            raise DataError(expected="`write` to add no rows to the table that is read", found=f"insert into {table}")
        if rows:
            columns = list(rows[0])
            self.session.load(self.dialect.table(table), list(map(self.dialect.column, columns)), tuples(rows, columns))
            self.written += len(rows)

    def update(self, table: str, rows: Sequence[Row]) -> None:
        self._mine(table)
        if not rows:
            return
        key = self.migration.key_of(table)
        columns = [name for name in rows[0] if name not in key]
        wanted = tuples(rows, [*columns, *key])
        found = tuples(rows, key)
        before = self.held(table, columns, found)
        self.change(table, columns, wanted)
        after = self.held(table, columns, found)
        for place, (one, other) in enumerate(zip(before, after)):
            if one is None:
                # It would be counted as done, and was not.
                raise LookupError(f"{table} has no row with the key of an update")
            if one != other:
                self.images.append((table, keys.encode(found[place]), one, other))
        self.written += len(rows)

    def put(self, table: str, rows: Sequence[Row]) -> None:
        self._mine(table)
        key = self.migration.key_of(table)
        for row in rows:
            columns = [name for name in row if name not in key]
            (known,) = self.held(table, columns, tuples([row], key))
            if known is None:
                self.session.load(
                    self.dialect.table(table), list(map(self.dialect.column, row)), tuples([row], list(row))
                )
            else:
                self.change(table, columns, tuples([row], [*columns, *key]))

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        columns, rows = self.session.ask(statement, values or None)
        return [dict(zip(columns, row)) for row in rows]

    def change(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Set columns of rows, each given by the values of the columns and then of the key."""
        if not columns:
            return
        one = self.dialect
        values = ", ".join(f"{one.column(name)} = {one.mark}" for name in columns)
        found = one.equals(self.migration.key_of(table))
        self.session.each(f"UPDATE {one.table(table)} SET {values} WHERE {found}", rows)

    def held(self, table: str, columns: Sequence[str], found: Sequence[keys.Key]) -> list[Optional[str]]:
        """Return what columns of rows hold, as text, by their keys; None for a row that is not there."""
        one, key = self.dialect, self.migration.key_of(table)
        there: dict[str, str] = {}
        for first in range(0, len(found), _MANY):
            some = found[first : first + _MANY]
            condition = " OR ".join(f"({one.equals(key)})" for _ in some)
            statement = f"SELECT {one.columns([*key, *columns])} FROM {one.table(table)} WHERE {condition}{one.lock}"
            _, rows = self.session.ask(statement, [value for values in some for value in values])
            held = (keys.encode(dict(zip(columns, row[len(key) :]))) for row in rows)
            there |= dict(zip((keys.encode(row[: len(key)]) for row in rows), held))
        return [there.get(keys.encode(values)) for values in found]

    def remove(self, table: str, found: Sequence[keys.Key]) -> None:
        """Take rows away by their keys."""
        one = self.dialect
        self.session.each(f"DELETE FROM {one.table(table)} WHERE {one.equals(self.migration.key_of(table))}", found)

    def compared(self, table: str, rows: Sequence[Row]) -> tuple[list[keys.Key], list[Row]]:
        """Return the keys of rows that a table holds as given, and what it holds under keys whose rows differ.

        The database itself turns what is given into its own types before it compares.
        """
        one, key, columns = self.dialect, self.migration.key_of(table), list(rows[0])
        made = "bascule_data_made"
        self.session.do(
            f"CREATE TEMPORARY TABLE {made}{one.dropped} AS SELECT {one.columns(columns)} FROM {one.table(table)} "
            "WHERE 1 = 0"
        )
        self.session.load(made, list(map(one.column, columns)), tuples(rows, columns))
        names = [one.column(name) for name in columns]
        same = " AND ".join(one.same.format(f"here.{name}", f"made.{name}") for name in names)
        on = " AND ".join(f"here.{name} = made.{name}" for name in map(one.column, key))
        statement = f"SELECT here.*, CASE WHEN {same} THEN 1 ELSE 0 END AS bascule_same FROM {made} AS made "
        titles, found = self.session.ask(f"{statement}JOIN {one.table(table)} AS here ON {on}{one.lock}")
        self.session.do(f"{one.drop} {made}")
        dicts = [dict(zip(titles, row)) for row in found]
        equal = [tuple(row[name] for name in key) for row in dicts if row["bascule_same"]]
        differ = [row for row in dicts if not row.pop("bascule_same")]
        return equal, differ

    def leftover(self, table: str, after: str, limit: int) -> list[Row]:
        """Return rows of a table that is written, in the order of its key."""
        one, key = self.dialect, self.migration.key_of(table)
        condition, values = one.beyond(key, keys.decode(after)) if after else ("1 = 1", [])
        statement = f"SELECT * FROM {one.table(table)} WHERE {condition} ORDER BY {one.columns(key)} LIMIT {one.mark}"
        columns, rows = self.session.ask(statement, [*values, limit])
        return [dict(zip(columns, row)) for row in rows]

    def keep(self, **changed: Any) -> None:
        """Write what has changed in the book."""
        one = self.dialect
        self.book = replace(self.book, **changed)
        values = ", ".join(f"{one.column(name)} = {one.mark}" for name in changed)
        self.session.do(f"UPDATE {one.home}{BOOK} SET {values} WHERE name = {one.mark}", [*changed.values(), self.name])

    def batch(self, number: int, after: str, last: str, found: Sequence[keys.Key], digest: str) -> None:
        """Write down a batch, and what its rows held."""
        one = self.dialect
        values = (self.name, number, after, last, len(found), digest, keys.packed(found))
        columns = ["name", "number", "after", "last", "rows", "digest", "keys"]
        statement = f"INSERT INTO {one.home}{BATCH} ({one.columns(columns)}) VALUES ({one.marks(len(values))})"
        self.session.do(statement, values)
        self.keep_images(number)

    def keep_images(self, number: int) -> None:
        """Write down what rows held, beyond those that are kept already for a batch."""
        if not self.images:
            return
        one = self.dialect
        where = f"name = {one.mark} AND number = {one.mark}"
        _, ((first,),) = self.session.ask(f"SELECT count(*) FROM {one.home}{IMAGE} WHERE {where}", [self.name, number])
        columns = list(map(one.column, ("name", "number", "place", "tbl", "k", "held", "made")))
        lines = [(self.name, number, place, *image) for place, image in enumerate(self.images, int(first))]
        self.session.load(f"{one.home}{IMAGE}", columns, lines)
        self.images = []

    def extend(self, batch: Batch, found: Sequence[keys.Key]) -> None:
        """Write into a batch's line which rows it has now; its digest is that of no reading any more."""
        one = self.dialect
        values = f"{one.column('keys')} = {one.mark}, digest = ''"
        where = f"name = {one.mark} AND number = {one.mark}"
        statement = f"UPDATE {one.home}{BATCH} SET {values} WHERE {where}"
        self.session.do(statement, [keys.packed(found), self.name, batch.number])

    def empty_batches(self) -> None:
        """Let no batch have any row: all are read once more. What rows held before stays."""
        one = self.dialect
        last, found = one.column("last"), one.column("keys")
        statement = f"UPDATE {one.home}{BATCH} SET {last} = after, {found} = {one.mark} WHERE name = {one.mark}"
        self.session.do(statement.replace("= after", f"= {one.column('after')}"), [keys.packed([]), self.name])

    def keys_between(self, after: str, last: str) -> list[keys.Key]:
        """Return the keys of `select` beyond one and up to another."""
        one = self.dialect
        low, values = one.beyond(self.migration.key, keys.decode(after)) if after else ("1 = 1", [])
        high, more = one.beyond(self.migration.key, keys.decode(last), "<=")
        columns = one.columns(self.migration.key)
        statement = f"SELECT {columns} FROM ({one.written(self.migration.select())}) AS bascule WHERE {low} AND {high}"
        return self.session.ask(f"{statement} ORDER BY {columns}", [*values, *more])[1]

    def batches(self, number: int, *, back: bool) -> Optional[Batch]:
        """Return the batch of a number, or the nearest one after it, or before it."""
        one = self.dialect
        sign, order = ("<=", "DESC") if back else (">=", "ASC")
        columns = one.columns(["number", "after", "last", "rows", "digest", "keys"])
        statement = f"SELECT {columns} FROM {one.home}{BATCH} WHERE name = {one.mark} AND number {sign} {one.mark}"
        _, rows = self.session.ask(f"{statement} ORDER BY number {order} LIMIT 1", [self.name, number])
        return Batch(*rows[0]) if rows else None

    def image(self, number: int) -> list[tuple[str, str, str, str]]:
        """Return what the updates of a batch did: table, key, held, made; the last one first."""
        one = self.dialect
        statement = f"SELECT tbl, k, held, made FROM {one.home}{IMAGE} WHERE name = {one.mark} AND number = {one.mark}"
        found = self.session.ask(f"{statement} ORDER BY place DESC", [self.name, number])[1]
        return [(str(table), str(key), str(held), str(made)) for table, key, held, made in found]

    def aside(self, table: str, key: str, why: str) -> None:
        """Keep a row aside; table: '' for one of `select`."""
        one = self.dialect
        self.back(table, key)
        values = (self.name, _id(table, key), table, key, why)
        self.session.do(
            f"INSERT INTO {one.home}{ASIDE} (name, id, tbl, k, reason) VALUES ({one.marks(len(values))})", values
        )

    def back(self, table: str, key: str) -> None:
        """Strike a row off what is aside."""
        one = self.dialect
        statement = f"DELETE FROM {one.home}{ASIDE} WHERE name = {one.mark} AND id = {one.mark}"
        self.session.do(statement, [self.name, _id(table, key)])

    def aside_rows(self) -> list[tuple[str, str, str]]:
        """Return what is aside: table, key and reason."""
        one = self.dialect
        statement = f"SELECT tbl, k, reason FROM {one.home}{ASIDE} WHERE name = {one.mark} ORDER BY tbl, k"
        return [(str(table), str(key), str(why)) for table, key, why in self.session.ask(statement, [self.name])[1]]

    def forget(self, number: Optional[int] = None) -> None:
        """Strike off a batch with its images, or all of them and what is aside."""
        one = self.dialect
        for table in (BATCH, IMAGE) if number is not None else (BATCH, IMAGE, ASIDE):
            statement = f"DELETE FROM {one.home}{table} WHERE name = {one.mark}"
            values: list[Any] = [self.name]
            if number is not None:
                statement += f" AND number = {one.mark}"
                values.append(number)
            self.session.do(statement, values)

    @property
    def name(self) -> str:
        """The migration's name."""
        return self.migration.name

    def _mine(self, table: str) -> None:
        self.migration.key_of(table)
        if table.rpartition(".")[2] in books.TABLES:
            raise DataError(expected="a table that is not of the books", found=table)


class Recorder:
    """Takes what `write` would add, and adds nothing: for a comparison with what is there."""

    def __init__(self, transaction: Transaction) -> None:
        self.query = transaction.query
        self.made: dict[str, list[Row]] = {}

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        if rows:
            self.made.setdefault(table, []).extend(rows)

    def update(self, table: str, rows: Sequence[Row]) -> None:
        """What rows held before stands in the books."""

    def put(self, table: str, rows: Sequence[Row]) -> None:
        raise DataError(expected="`put` in `undo` alone", found=f"put into {table} while rows are written")


def tuples(rows: Sequence[Row], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the values of columns; raise ValueError where a row has other columns than the first."""
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        raise ValueError("rows that are written together have the same columns")
    if len(columns) == 1:
        return [(row[columns[0]],) for row in rows]
    get = itemgetter(*columns)
    return [get(row) for row in rows]


def replace_rows(read: Read, limit: int) -> Read:
    """Return what was read without the one row too many."""
    return Read(read.columns, read.rows[:limit], read.keys[:limit])


def select_book(dialect: Dialect) -> str:
    """Return the statement that reads a book by its name."""
    return f"SELECT {dialect.columns(COLUMNS)} FROM {dialect.home}{BOOK} WHERE name = {dialect.mark}"


def _id(table: str, key: str) -> str:
    return hashlib.sha256(f"{table}\n{key}".encode()).hexdigest()
