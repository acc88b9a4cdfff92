"""What a database has to do for its schema's migrations: one contract for all engines. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Protocol

from ..errors import BasculeError
from ..run.holder import Holder
from .catalogue import Catalogue, Table
from .planner import Row, Step


class SchemaError(BasculeError):
    """A migration is refused, or the database has said no."""


@dataclass(frozen=True)
class Books:
    """What a database says of its migrations: one line per file that was applied, and who holds the lock.

    made: the tables of the books are there.
    """

    rows: tuple[Row, ...] = ()
    holder: Optional[Holder] = None
    made: bool = True


@dataclass(frozen=True)
class Content:
    """A database at one moment."""

    catalogue: Catalogue
    tables: Mapping[str, Table]


class Store(Protocol):
    """One database. Every method raises SchemaError, and has then changed nothing."""

    label: str
    engine: str

    def books(self) -> Books:
        """Return the books, read in a transaction that cannot write."""

    def catalogue(self) -> Catalogue:
        """Return the catalogue, read in a transaction that cannot write."""

    def content(self, *, digests: bool = False) -> Content:
        """Return catalogue and rows, of one snapshot, read in a transaction that cannot write."""

    def take(self, note: Mapping[str, str], stale: Optional[Holder]) -> str:
        """Take the lock, also from `stale`, which was found dead, and return its token; make the books at first."""

    def renew(self, token: str) -> None:
        """Put off the end of the lease; nothing where a file runs, which holds the lock by itself."""

    def release(self, token: str) -> None:
        """Let the lock go, where it is still ours."""

    def run(self, step: Step, token: str, by: str, marks: Sequence[str] = ()) -> tuple[str, ...]:
        """Run a file and write its line, in one transaction that ends only while the lock is ours.

        Where an engine notes each statement by itself, `marks` are the catalogue's fingerprints after each, as the copy
        had them, and it returns those that it has seen; others return nothing.
        """

    def backup(self, path: Path) -> Content:
        """Write a backup to a new file; return what the database held in the snapshot that it was taken of."""

    def restored(self, path: Path, token: str) -> AbstractContextManager[Store]:
        """Restore a backup into a database that is thrown away at the end."""

    def discard(self, token: str, folder: Optional[Path]) -> None:
        """Throw away what a run that is dead has left of its copy, and of its backup in a folder."""


class OutsideTransactions(Store, Protocol):
    """A database that refuses some statements in a transaction; `files.collect` lets no other have such a file."""

    def begin(self, row: Row, token: str) -> None:
        """Write that a file without a transaction begins."""

    def alone(self, step: Step, token: str) -> None:
        """Run a file without a transaction."""

    def end(self, row: Row, token: str, *, applied: bool) -> None:
        """Write how a file without a transaction has ended: its migration is applied, or it is not."""


class StatementByStatement(Store, Protocol):
    """A database whose definitions end a transaction: a file is noted statement by statement, and goes on after one."""

    def findings(self, data: bytes) -> list[str]:
        """Return what a file may not hold, as the engine's own client reads it."""

    def settle(self, row: Row, token: str, *, ran: bool) -> None:
        """Write whether the statement at which a run was broken off has run."""
