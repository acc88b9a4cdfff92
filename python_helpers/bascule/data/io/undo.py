"""Undo a data migration: take away what it made, give back what rows held, keep what was written since.

Nothing is guessed. A row that is as it was made goes; one that was changed or added since is handed to the module's
`undo`, which carries it back; what it cannot map, and what nobody can decide, stays and is named.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Optional

from .. import keys, masking
from ..books import FINISHED, PAUSED, RUNNING, UNDOING, UNDONE, Batch
from ..contract import NOTHING, Again, DataError, NeedsWord, Row, RowRefused, Since
from ..transaction import Read, Recorder, Transaction
from .engine import Engine

_PAGE = 500
_TRIES = 60
_UNMAPPED = "it was {} since, and `undo` cannot map it"
_BOTH = "it differs from what the source gives now, and the source was changed as well"
_HELD, _GONE = "it was changed since, and keeps that", "it is not there any more"
_SETTLED = frozenset({_BOTH, _UNMAPPED.format("changed")})


@dataclass
class Undone:
    """What an undo has done. kept: table, key as it may be shown, and why it stays."""

    removed: int = 0
    restored: int = 0
    carried: int = 0
    kept: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, other: Undone) -> None:
        """Count what a transaction has done, once it is committed."""
        self.removed += other.removed
        self.restored += other.restored
        self.carried += other.carried


class Undo:
    """The undo of one engine's migration."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.migration, self.store = engine, engine.migration, engine.store
        # What is committed, and what the transaction at hand has done.
        self.done, self.now = Undone(), Undone()

    def word(self) -> str:
        """Return the word that lets exactly this migration be undone."""
        said = f"{self.migration.name}\n{self.migration.sha256}\n{self.store.label}"
        return f"{self.migration.name}/{hashlib.sha256(said.encode()).hexdigest()[:8]}"

    def run(self, confirm: str) -> Undone:
        """Undo all batches, the last one first; one that was broken off goes on."""
        book = self.engine.fits(RUNNING, PAUSED, FINISHED, UNDOING)
        with self.store.reading() as session:
            along = self.store.takes_along(session)
        if along:
            raise DataError(
                expected="no reference that takes others along (ON DELETE CASCADE, SET NULL) when a made row goes",
                found="; ".join(along),
                state=NOTHING,
                next_command="make it RESTRICT by a schema migration, and give the same command again",
            )
        if confirm != self.word():
            raise NeedsWord(
                expected=f"--confirm {self.word()}, as this takes back {book.rows if book else 0} rows",
                found=confirm or "no confirmation",
                state=NOTHING,
                next_command=f"bascule data {self.migration.name} undo --confirm {self.word()}",
            )
        with self.engine.locked() as token:
            self._do(token, lambda one: one.keep(state=UNDOING, wanted="", said=""))
            while batch := self._last(token):
                self._batch(token, batch)
            for table in reversed(list(self.migration.writes)):
                after: Optional[str] = ""
                while after is not None:
                    after = self._page(token, table, after)
            self._do(token, self._end)
        return self.done

    def _do(self, token: str, step: Callable[[Transaction], None]) -> None:
        """Do a step in one transaction, as often as the database takes it back for another's sake."""
        for tries in range(_TRIES):
            self.now = Undone()
            try:
                with self.store.transaction(token) as one:
                    step(one)
            except Again:
                time.sleep(0.05 * tries)
                continue
            self.done.add(self.now)
            return
        raise DataError(expected="a step of the undo to be taken", found="it was taken back each time")

    def _last(self, token: str) -> Optional[Batch]:
        with self.store.transaction(token) as one:
            return one.batches(one.book.number, back=True)

    def _batch(self, token: str, batch: Batch) -> None:
        """Undo a batch whole; where the database refuses that for some row, row by row: that one stays."""

        def whole(one: Transaction) -> None:
            self._restore(one, batch)
            self._remove(one, batch, keys.unpacked(batch.keys))
            self._strike(one, batch)

        try:
            self._do(token, whole)
            return
        except RowRefused:
            pass
        for key in keys.unpacked(batch.keys):
            try:
                self._do(token, partial(self._remove, batch=batch, only=[key]))
            except RowRefused as error:
                why = f"the database refuses to take it away: {masking.reason(error)}"
                self._do(token, partial(self._name, batch=batch, only=[key], why=why))
        self._do(token, partial(self._restore, batch=batch))
        self._do(token, partial(self._strike, batch=batch))

    def _strike(self, one: Transaction, batch: Batch) -> None:
        one.forget(batch.number)
        one.keep(number=batch.number - 1)

    def _restore(self, one: Transaction, batch: Batch) -> None:
        """Give back what rows held before a batch has updated them, where they still hold what it has made."""
        for table, key, held, made in one.image(batch.number):
            found, before = tuple(keys.decode(key)), keys.decode(held)
            (current,) = one.held(table, list(before), [found])
            if current == made:
                one.change(table, list(before), [(*before.values(), *found)])
                self.now.restored += 1
            elif current != held:
                one.aside(table, key, _HELD if current else _GONE)

    def _made(
        self, one: Transaction, batch: Batch, only: list[keys.Key]
    ) -> tuple[bool, list[tuple[str, list[keys.Key], list[Row]]]]:
        """Return whether the source is as it was, and of each table what is as it was made, and what differs."""
        if batch.after == batch.last or not only:
            return True, []
        read, wanted = one.rows(batch.after, last=batch.last), set(only)
        # What is aside was never written: a row of that key is another's.
        wanted -= {tuple(keys.decode(key)) for table, key, _ in one.aside_rows() if not table}
        places = [place for place, key in enumerate(read.keys) if key in wanted]
        chosen = Read(read.columns, [read.rows[place] for place in places], [read.keys[place] for place in places])
        recorder = Recorder(one)
        self.migration.write(recorder, self.engine.transformed(chosen)[0])
        tables = [table for table in reversed(list(self.migration.writes)) if table in recorder.made]
        found = [(table, *one.compared(table, recorder.made[table])) for table in tables]
        return keys.digest(read.rows) == batch.digest, found

    def _remove(self, one: Transaction, batch: Batch, only: list[keys.Key]) -> None:
        untouched, found = self._made(one, batch, only)
        for table, equal, differ in found:
            one.remove(table, equal)
            self.now.removed += len(equal)
            if untouched:
                self._carry(one, table, "changed", differ)
            else:
                for row in differ:
                    one.aside(table, self._key(table, row), _BOTH)

    def _name(self, one: Transaction, batch: Batch, only: list[keys.Key], why: str) -> None:
        """Name the rows of a key that stay."""
        untouched, found = self._made(one, batch, only)
        for table, equal, differ in found:
            for key in equal + [tuple(keys.decode(self._key(table, row))) for row in differ]:
                # What is settled is handed to no one: the source would lose what is newer there.
                one.aside(table, keys.encode(key), why if untouched else _BOTH)

    def _carry(self, one: Transaction, table: str, kind: str, rows: list[Row]) -> None:
        """Let the module carry rows back; take away those that it has, and name the others."""
        since = [Since(table, kind, row) for row in rows]
        left = {self._key(table, other.row) for other in self.migration.undo(one, since)} if since else set()
        for row in rows:
            key = self._key(table, row)
            if key in left:
                one.aside(table, key, _UNMAPPED.format(kind))
            else:
                one.remove(table, [tuple(keys.decode(key))])
                one.back(table, key)
                self.now.carried += 1

    def _page(self, token: str, table: str, after: str) -> Optional[str]:
        """Carry back what was added to a table since; return after which key to go on, None at its end."""
        with self.store.transaction(token) as one:
            if table not in keys.decode(one.book.empty):
                self.engine.say(f"{table} held rows before the run: what is left in it stays as it is")
                return None
            rows = one.leftover(table, after, _PAGE)
            named = {key for other, key, why in one.aside_rows() if other == table and why in _SETTLED}
        new = [row for row in rows if self._key(table, row) not in named]
        try:
            self._do(token, partial(self._carry, table=table, kind="new", rows=new))
        except RowRefused:
            for row in new:
                try:
                    self._do(token, partial(self._carry, table=table, kind="new", rows=[row]))
                except RowRefused as error:
                    why = f"the database refuses to carry it back: {masking.reason(error)}"
                    self._do(token, partial(self._stay, table=table, row=row, why=why))
        return self._key(table, rows[-1]) if len(rows) == _PAGE else None

    def _stay(self, one: Transaction, table: str, row: Row, why: str) -> None:
        one.aside(table, self._key(table, row), why)

    def _end(self, one: Transaction) -> None:
        for table, key, why in one.aside_rows():
            if table:
                self.done.kept.append((table, masking.key(keys.decode(key)), why))
        one.forget()
        one.keep(state=UNDONE, cursor="", number=0, rows=0, written=0, aside=0, seconds=0.0)

    def _key(self, table: str, row: Row) -> str:
        return keys.encode([row[name] for name in self.migration.key_of(table)])
