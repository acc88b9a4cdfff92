"""What an order (up, down, to N) makes of the files and of what a database says it has. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from .files import DOWN, UP, Migration

APPLIED = "applied"
# A file without a transaction has begun, and nothing says yet that it has ended.
RUNNING = {UP: "running up", DOWN: "running down"}


@dataclass(frozen=True)
class Row:
    """One line of a database's books.

    state: APPLIED, or one of RUNNING. before, after: fingerprints of the catalogue around a file without a transaction,
    or around the one statement of which nobody knows yet whether it ran; `after` is empty where no copy was tried.
    ran, done: where a file is noted statement by statement, digests of those that have begun, as a list in JSON, and
    how many of them have ended. whole: the fingerprint before the first one, without the order of columns.
    """

    service: str
    number: int
    name: str
    up_sha256: str
    down_sha256: str
    state: str = APPLIED
    at: str = ""
    by: str = ""
    before: str = ""
    after: str = ""
    done: int = 0
    ran: str = ""
    whole: str = ""


@dataclass(frozen=True)
class Step:
    """One file to run."""

    migration: Migration
    direction: str

    def __str__(self) -> str:
        return f"{self.migration.service} {self.migration.file(self.direction).name}"


@dataclass(frozen=True)
class History:
    """A service's files and its lines in the books, found to fit together.

    applied: how many migrations are applied, counted from the first. unsettled: a line whose file has begun without a
    transaction and is not known to have ended. notes: what is worth a word and refuses nothing.
    """

    service: str
    migrations: tuple[Migration, ...]
    applied: int
    unsettled: Optional[Row] = None
    notes: tuple[str, ...] = ()

    @property
    def pending(self) -> tuple[Migration, ...]:
        """What is not applied yet."""
        return self.migrations[self.applied :]


def history(service: str, migrations: Sequence[Migration], rows: Iterable[Row]) -> tuple[History, tuple[str, ...]]:
    """Return how files and books fit together, and where they do not: books may hold the first N files and no other."""
    own = sorted((row for row in rows if row.service == service), key=lambda row: row.number)
    wrong, notes = [], []
    unsettled = None
    for place, row in enumerate(own):
        label = f"{row.number:03d}_{row.name}"
        if row.number != place + 1:
            wrong.append(f"{service}: the database has {label}, and not the one before it")
            break
        if place >= len(migrations):
            wrong.append(f"{service}: the database has {label}, and its folder has no such file")
            continue
        file = migrations[place]
        if row.name != file.name:
            wrong.append(f"{service}: the database has {label}, and the file of that number is {file.up.name}")
        elif row.up_sha256 != file.up.sha256 and not (row.ran and row.state == RUNNING[UP]):
            # Of a file that stopped between two statements, those that have run must be the same: the run looks.
            wrong.append(f"{service}: {file.up.name} was edited after it was applied (at {row.at} by {row.by})")
        elif row.down_sha256 != file.down.sha256:
            notes.append(
                f"{service}: {file.down.name} is another than when {label} was applied; it is tried on a copy first"
            )
        if row.state != APPLIED:
            unsettled = row
            if place != len(own) - 1:
                wrong.append(f"{service}: {label} is {row.state}, and later ones are in the books")
    applied = len(own) - (1 if unsettled and unsettled.state == RUNNING[UP] else 0)
    return History(service, tuple(migrations), applied, unsettled, tuple(notes)), tuple(wrong)


def steps(one: History, wanted: int) -> tuple[Step, ...]:
    """Return the files that lead from what is applied to the first `wanted` migrations, in their order."""
    if wanted >= one.applied:
        return tuple(Step(migration, UP) for migration in one.migrations[one.applied : wanted])
    return tuple(Step(migration, DOWN) for migration in reversed(one.migrations[wanted : one.applied]))


def held_up(one: History, planned: Sequence[Step]) -> str:
    """Return why a plan cannot begin: a file that stopped between two statements has to go on first."""
    row = one.unsettled
    if row is None or not row.ran:
        return ""
    way = UP if row.state == RUNNING[UP] else DOWN
    first = planned[0] if planned else None
    if first and first.migration.number == row.number and first.direction == way:
        return ""
    return (
        f"{one.service}: {row.number:03d}_{row.name} is {row.state}, and {row.done} of its statements have run; "
        f"bascule schema {one.service} {way} goes on with it, and nothing else can come first"
    )


def target(one: History, order: str, number: int = 0) -> tuple[int, str]:
    """Return how many migrations an order wants applied, and why it cannot be.

    Args:
        order: `up`, `down` (the last one) or `to`. number: for `to`, the number that is to be the last applied one.
    """
    if order == UP:
        return len(one.migrations), ""
    if order == DOWN:
        return max(0, one.applied - 1), ""
    if not 0 <= number <= len(one.migrations):
        return one.applied, f"{one.service}: no file has number {number}; there are {len(one.migrations)}"
    return number, ""


def settled(row: Row, fingerprint: str) -> Optional[bool]:
    """Return whether a file without a transaction has done its work, told by the catalogue; None where that is open."""
    if fingerprint == row.before:
        return False
    if row.after and fingerprint == row.after:
        return True
    return None


def word(name: str, planned: Iterable[Step], lost: Iterable[str]) -> str:
    """Return what a person has to say to let a plan destroy data: it names who loses, and ends with the plan."""
    text = "\n".join([*(f"{step} {step.migration.file(step.direction).sha256}" for step in planned), *sorted(lost)])
    return f"{name}/{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def order(names: Iterable[str], depends_on: Mapping[str, Iterable[str]]) -> list[str]:
    """Return services so that each comes after those it depends on; by name where that leaves a choice.

    The dependencies are free of circles: `services.read` has looked.
    """
    wanted, placed = sorted(names), []
    while wanted:
        ready = next(name for name in wanted if not set(depends_on.get(name, ())) & set(wanted))
        placed.append(ready)
        wanted.remove(ready)
    return placed
