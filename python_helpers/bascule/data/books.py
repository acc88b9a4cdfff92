"""The books of data migrations, which lie in the database that changes: what each is at, and the statements. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Optional

# A run that is at work or was broken off; one that waits for `resume`; all rows done; an undo that goes on; undone.
RUNNING, PAUSED, FINISHED, UNDOING, UNDONE = "running", "paused", "finished", "undoing", "undone"
# What a person has asked a run for.
PAUSE = "pause"


@dataclass(frozen=True)
class Book:
    """Where a migration is.

    cursor: the key of the last row, as `keys.encode` writes it. number: of the last batch. seconds: what batches took.
    total: rows at the start, and `counted` how that is known. size, asked: rows of a batch, and what a person has set.
    wanted: what a person asks for. said: what a run waits for. empty: tables that were empty at first. until: end of
    the lock's lease. sha256: of the module.
    """

    name: str
    sha256: str
    state: str = RUNNING
    cursor: str = ""
    number: int = 0
    rows: int = 0
    written: int = 0
    aside: int = 0
    seconds: float = 0.0
    total: Optional[int] = None
    counted: str = ""
    size: int = 0
    asked: int = 0
    wanted: str = ""
    said: str = ""
    empty: str = "[]"
    token: str = ""
    note: str = "{}"
    since: str = ""
    until: float = 0.0

    @property
    def half_done(self) -> bool:
        """Whether the module must stay what it is."""
        return self.state in (UNDOING, FINISHED) or (self.state in (RUNNING, PAUSED) and bool(self.number))


COLUMNS = tuple(one.name for one in fields(Book))


@dataclass(frozen=True)
class Batch:
    """A batch that was written: what was read, between which keys, and a digest of it."""

    number: int
    after: str
    last: str
    rows: int
    digest: str
    keys: bytes


@dataclass(frozen=True)
class Dialect:
    """How an engine writes what all of them have.

    mark: of a parameter. quote: around names. same: compares values, NULL with NULL as well, of two expressions.
    clock: the seconds since 1970. name, text, blob: types. home: before our tables' names. rest: after the columns of
    a table. lock: at the end of a statement that keeps what it reads. tuples: rows are compared as such with an index.
    dropped: after a temporary table's name, so that it goes with its transaction. drop: takes it away.
    """

    mark: str
    quote: str
    same: str
    clock: str
    blob: str
    text: str = "text"
    name: str = "varchar(100)"
    home: str = ""
    rest: str = ""
    lock: str = ""
    tuples: bool = True
    dropped: str = ""
    drop: str = "DROP TABLE"

    def table(self, name: str) -> str:
        """Return the name of a table, quoted part by part."""
        return ".".join(self.column(part) for part in name.split("."))

    def column(self, name: str) -> str:
        """Return a quoted name."""
        quoted = self.quote + name.replace(self.quote, self.quote * 2) + self.quote
        # A client that fills in parameters by '%' reads it in names as well.
        return quoted.replace("%", "%%") if self.mark == "%s" else quoted

    def columns(self, names: Sequence[str]) -> str:
        """Return quoted names."""
        return ", ".join(map(self.column, names))

    def marks(self, number: int) -> str:
        """Return so many marks of parameters."""
        return ", ".join([self.mark] * number)

    def written(self, statement: str) -> str:
        """Return a person's statement as the client takes it where there are parameters besides."""
        return statement.strip().rstrip(";").replace("%", "%%") if self.mark == "%s" else statement.strip().rstrip(";")

    def beyond(self, key: Sequence[str], values: Sequence[Any], sign: str = ">") -> tuple[str, list[Any]]:
        """Return a condition `key > values`, as rows are compared, and its parameters."""
        if len(key) == 1:
            return f"{self.column(key[0])} {sign} {self.mark}", list(values)
        if self.tuples:
            return f"({self.columns(key)}) {sign} ({self.marks(len(key))})", list(values)
        # The first part alone is what an index finds; the rest says what row comparison means.
        ways, parameters = [], [values[0]]
        for place in range(len(key)):
            last = place == len(key) - 1
            signs = ["="] * place + [sign if last else sign.rstrip("=")]
            ways.append(" AND ".join(f"{self.column(one)} {is_} {self.mark}" for one, is_ in zip(key, signs)))
            parameters += list(values[: place + 1])
        first = f"{self.column(key[0])} {sign.rstrip('=')}= {self.mark}"
        return f"{first} AND (({') OR ('.join(ways)}))", parameters

    def equals(self, key: Sequence[str]) -> str:
        """Return a condition that finds one row by its key."""
        return " AND ".join(f"{self.column(one)} = {self.mark}" for one in key)

    def creation(self) -> list[str]:
        """Return the statements that make the books, where they are not there."""
        number, real = "bigint NOT NULL", "double precision NOT NULL"
        name, text = f"{self.name} NOT NULL", f"{self.text} NOT NULL"
        kinds = {"name": name, "seconds": real, "until": real, "total": "bigint"}
        kinds |= dict.fromkeys(("number", "rows", "written", "aside", "size", "asked"), number)
        book = {one: kinds.get(one, text) for one in COLUMNS}
        batch = {"name": name, "number": number, "after": text, "last": text, "rows": number, "digest": text}
        batch |= {"keys": f"{self.blob} NOT NULL"}
        aside = {"name": name, "id": name, "tbl": text, "k": text, "reason": text}
        image = {"name": name, "number": number, "place": number, "tbl": text, "k": text, "held": text, "made": text}
        return [
            self._made(BOOK, book, ("name",)),
            self._made(BATCH, batch, ("name", "number")),
            self._made(ASIDE, aside, ("name", "id")),
            self._made(IMAGE, image, ("name", "number", "place")),
        ]

    def _made(self, table: str, columns: dict[str, str], key: Sequence[str]) -> str:
        lines = [f"{self.column(name)} {kind}" for name, kind in columns.items()]
        lines.append(f"PRIMARY KEY ({self.columns(key)})")
        return f"CREATE TABLE IF NOT EXISTS {self.home}{table} ({', '.join(lines)}){self.rest}"


BOOK, BATCH, ASIDE, IMAGE = "bascule_data", "bascule_data_batch", "bascule_data_aside", "bascule_data_image"
TABLES = (BOOK, BATCH, ASIDE, IMAGE)
