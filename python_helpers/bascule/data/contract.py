"""What a data migration's module has to say: where it reads, what it writes, five functions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from ..errors import BasculeError

POSTGRESQL, SQLITE, MARIADB = "postgresql", "sqlite", "mariadb"
ENGINES = (POSTGRESQL, SQLITE, MARIADB)
FUNCTIONS = ("select", "transform", "write", "validate", "undo")
NOTHING = "nothing was changed"
Row = dict[str, Any]


class DataError(BasculeError):
    """A data migration is refused, or the database has said no."""


class NeedsWord(DataError):
    """An undo would take rows away, and nobody has said yet that it may."""


class RowRefused(Exception):
    """The database, or `write`, refuses what is written for some row of a batch; the batch was taken back.

    about: names of the database (a constraint, a column), which are no values.
    """

    def __init__(self, text: str, about: str = "") -> None:
        super().__init__(text)
        self.about = about


class Again(Exception):
    """A deadlock, or a row that another has changed: the database took the batch back, and it is tried again."""


class Writer(Protocol):
    """What `write`, `validate` and `undo` are given. It reaches no table that the module does not name."""

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Add rows, each with the same columns; one that is there already is refused."""

    def update(self, table: str, rows: Sequence[Row]) -> None:
        """Change rows found by the table's key; what they held before is kept for an undo."""

    def put(self, table: str, rows: Sequence[Row]) -> None:
        """Add rows, or change those that are there: for `undo`, to carry back what is newer."""

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return what a statement reads."""


@dataclass(frozen=True)
class Since:
    """A row that an undo finds, and that the migration did not leave so.

    kind: `changed` (it was made by the migration) or `new`.
    """

    table: str
    kind: str
    row: Row


@dataclass(frozen=True)
class Migration:
    """A module that was read.

    table, key: what is read, and the columns that order it and tell its rows apart. writes: the tables that may be
    written, with their keys, referred-to ones first. sha256: of the module's bytes.
    """

    name: str
    engine: str
    table: str
    key: tuple[str, ...]
    writes: Mapping[str, tuple[str, ...]]
    sha256: str
    select: Callable[[], str]
    transform: Callable[[Row], Any]
    write: Callable[[Writer, list[Any]], None]
    validate: Callable[[Writer], Sequence[str]]
    undo: Callable[[Writer, list[Since]], Sequence[Since]]

    def key_of(self, table: str) -> tuple[str, ...]:
        """Return the key of a table that is read or written; raise DataError for any other."""
        found = self.writes.get(table) or (self.key if table == self.table else None)
        if not found:
            raise DataError(expected=f"a table of WRITES: {', '.join(self.writes)}", found=table)
        return found


def read(name: str, engine: str, said: Mapping[str, Any], sha256: str) -> Migration:
    """Return the migration of a module's names; raise DataError with everything that is wrong.

    Args:
        name: the migration's name. engine: what the inventory says. said: the module's names.
    """
    wrong: list[str] = []
    if said.get("ENGINE") != engine:
        wrong.append(f"ENGINE is {said.get('ENGINE')!r}, and the inventory says {engine}")
    table = said.get("TABLE")
    if not isinstance(table, str) or not table:
        wrong.append("TABLE, the table that is read, is not given")
    key = _columns(said.get("KEY"))
    if not key:
        wrong.append('KEY, the columns that tell the rows apart, is not given: ("id",)')
    writes = said.get("WRITES")
    keys = {str(one): _columns(columns) for one, columns in writes.items()} if isinstance(writes, Mapping) else {}
    if not keys or not all(keys.values()):
        wrong.append('WRITES, each table that is written with its key, is not given: {"users": ("id",)}')
    wrong += [f"{one}() is not there" for one in FUNCTIONS if not callable(said.get(one))]
    if wrong:
        raise DataError(expected=f"a data migration in the module of {name}", found="; ".join(wrong), state=NOTHING)
    found = {one: columns for one, columns in keys.items() if columns}
    functions = {one: said[one] for one in FUNCTIONS}
    return Migration(name, engine, str(table), key or (), found, sha256, **functions)


def _columns(given: Any) -> Optional[tuple[str, ...]]:
    if not isinstance(given, (tuple, list)) or not given or not all(isinstance(one, str) and one for one in given):
        return None
    return tuple(given) if len(set(given)) == len(given) else None
