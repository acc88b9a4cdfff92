"""Run a data migration batch by batch: look, lock, read, transform, write and note in one transaction, again."""

from __future__ import annotations

import contextlib
import getpass
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ...errors import BasculeError
from ...run.holder import Holder
from ...run.io import lease, presence
from .. import keys, masking, pacing
from ..books import FINISHED, PAUSE, PAUSED, RUNNING, UNDONE, Book
from ..contract import NOTHING, Again, DataError, RowRefused
from ..pacing import Pace
from ..store import Store
from ..transaction import Read, Transaction

Say = Callable[[str], None]
# How often a batch is tried that the database takes back for another's sake.
_TRIES = 60
# How often the whole is looked through for rows that came in below the cursor.
_PASSES = 10
_POLL = 0.5
_SAMPLE = 1.0
_TOLD = 5.0
_TWICE = 50


@dataclass
class Dry:
    """What a dry run has found."""

    rows: int = 0
    made: int = 0
    seconds: float = 0.0
    aside: dict[str, int] = field(default_factory=dict)


class Engine:
    """One migration on one database."""

    def __init__(self, store: Store, say: Say) -> None:
        """`say` is told what happens, without a value of any row."""
        self.store, self.migration, self.declared, self.say = store, store.migration, store.declared, say
        self.pace = Pace(self.declared.seconds, *self.declared.rows, self.declared.rows[0])
        self._sampled, self._told, self._checked = 0.0, 0.0, False
        # The row that the database has refused, and why.
        self._refused: Optional[tuple[str, str]] = None

    @property
    def _name(self) -> str:
        return self.migration.name

    def look(self) -> tuple[Optional[Book], Optional[Holder], list[tuple[str, str, str]]]:
        """Return the book, who is at work, and what is aside; changes nothing."""
        return self.store.look()

    def gone(self, holder: Holder) -> bool:
        """Whether who holds the lock is gone."""
        return lease.gone(holder)

    def order(self, **wanted: Any) -> None:
        """Write what a person wants of a run: `wanted` or `asked`."""
        try:
            for tries in range(_TRIES):
                try:
                    self.store.ask_for(**wanted)
                    return
                except Again:
                    time.sleep(0.05 * tries)
        finally:
            self.store.close()
        raise DataError(expected=f"{self.store.label} to take the order", found="its line is locked", state=NOTHING)

    def fits(self, *states: str) -> Optional[Book]:
        """Return the book; raise DataError where module, database and what is half done do not fit. Changes nothing."""
        book, holder, _ = self.store.look()
        if holder and not lease.gone(holder):
            raise DataError(
                expected=f"nobody else to be at work on {self._name} in {self.store.label}",
                found=str(holder),
                state=NOTHING,
                next_command=f"bascule data {self._name} status",
            )
        if book and book.half_done and book.sha256 != self.migration.sha256:
            raise DataError(
                expected="the module as it was when the run began",
                found=f"{self.declared.module} was edited; the run is {book.state} after {book.number} batches",
                state=NOTHING,
                next_command="bring the file back as it was; or, with it, undo the run, and then edit it",
            )
        state = book.state if book else ""
        if state not in states:
            raise DataError(f"a run that is {' or '.join(filter(None, states))}", state or "none", NOTHING)
        with _untouched():
            wrong = self.store.wrong()
        if wrong:
            raise DataError(
                expected=f"module and database of {self._name} that fit", found="; ".join(wrong), state=NOTHING
            )
        return book

    def dry(self) -> Dry:
        """Transform what a run would read, in a transaction that cannot write, and count."""
        book = self.fits("", RUNNING, PAUSED, FINISHED, UNDONE)
        after = book.cursor if book and book.state in (RUNNING, PAUSED, FINISHED) else ""
        found, begun = Dry(), time.monotonic()
        with _untouched(), self.store.look_through(book) as one:
            while (read := one.rows(after, self.declared.rows[1])).rows:
                self._same_twice(read)
                made, failed = self.transformed(read)
                found.rows += len(read.rows)
                found.made += len(made)
                for _, why in failed:
                    found.aside[why] = found.aside.get(why, 0) + 1
                after = keys.encode(read.keys[-1])
        found.seconds = time.monotonic() - begun
        return found

    def validate(self) -> list[str]:
        """Return what the module and the books find wrong; changes nothing."""
        book, _, aside = self.store.look()
        with _untouched(), self.store.look_through(book) as one:
            wrong = [str(line) for line in self.migration.validate(one)]
        if book is None or book.state != FINISHED:
            wrong.append(f"the run is {book.state if book else 'not begun'}, and not {FINISHED}")
        return wrong + ([f"{len(aside)} rows are aside"] if aside else [])

    def run(self, *, again: bool = False) -> Book:
        """Run until all rows are done; go on where a run was broken off. An error says what state things are in."""
        book = self.fits("", RUNNING, PAUSED, FINISHED, UNDONE)
        if book and book.wanted == PAUSE:
            raise DataError(
                expected="a run that nobody has paused",
                found=f"{self._name} is paused",
                state=NOTHING,
                next_command=f"bascule data {self._name} resume",
            )
        if again and self.migration.table not in self.migration.writes:
            raise DataError(
                expected="--again for rows that are changed where they are",
                found=f"{self._name} adds rows, and would add them twice; `run` alone takes what has come since",
                state=NOTHING,
            )
        with self.locked() as token:
            self._begin(token, again)
            for _ in range(_PASSES):
                self._all(token)
                late = self._sweep(token)
                if not late:
                    break
                self.say(f"{late} rows came in below the cursor, and were done; looking again")
            else:
                self.say("rows go on coming in: stop who writes them, and run once more")
            return self._kept(token, state=FINISHED, said="")

    @contextlib.contextmanager
    def locked(self) -> Iterator[str]:
        """Hold the migration's lock; a failure says what is kept."""
        _, holder, _ = self.store.look()
        stale = holder if holder and lease.gone(holder) else None
        if stale:
            self.say(f"the lock of {stale} is taken over; its process is gone")
        try:
            token = self.store.take({**presence.process(os.getpid()), "user": getpass.getuser()}, stale)
            try:
                yield token
            finally:
                # What cannot be reached any more lets go by itself: the lease ends.
                with contextlib.suppress(BasculeError, Again):
                    self.store.release(token)
        except (RowRefused, Again) as error:
            found = masking.reason(error)
            raise DataError(f"{self.store.label} to take a transaction", found, self._state()) from error
        except DataError as error:
            following = error.next_command or self._next()
            raise type(error)(error.expected, error.found, self._state(), following) from error
        finally:
            self.store.close()

    def _state(self) -> str:
        try:
            book, _, _ = self.store.look()
        except BasculeError:
            return "not known, as the database does not answer; what was done stands in its books"
        if book is None or not book.number:
            return f"{NOTHING} but the books"
        return f"{book.state}: {book.rows} rows in {book.number} batches are done, the next was taken back"

    def _next(self) -> str:
        return f"bascule data {self._name} status; the same command goes on where it stopped"

    def _begin(self, token: str, again: bool) -> None:
        with self.store.transaction(token) as one:
            book = one.book
            if book.state == UNDONE or not book.number:
                one.forget()
                empty = keys.encode(self.store.empty(one))
                fresh = {"cursor": "", "number": 0, "rows": 0, "written": 0, "aside": 0, "seconds": 0.0}
                one.keep(**fresh, empty=empty, sha256=self.migration.sha256, total=None, counted="")
            elif again and book.state == FINISHED:
                one.empty_batches()
                for table, key, _ in one.aside_rows():
                    one.back(table, key)
                one.keep(cursor="", aside=0)
            one.keep(state=RUNNING, said="")
            book = one.book
        total, how = self.store.count(book.cursor)
        done = book.rows
        self.pace.size = min(max(book.size, self.pace.low), self.pace.high)
        self._kept(token, total=None if total is None else done + total, counted=how)

    def _all(self, token: str) -> None:
        """Do all rows beyond the cursor."""
        tries = 0
        while True:
            self._wait_for_health(token)
            wanted, begun, read = self.pace.rows(), time.monotonic(), None
            try:
                with self.store.transaction(token) as one:
                    asked = one.book.wanted == PAUSE
                    self.pace.asked = one.book.asked
                    if not asked:
                        read = one.rows(one.book.cursor, self.pace.rows())
                        if read.rows:
                            self._batch(one, read, begun)
                if asked:
                    self._wait_for_resume(token)
                    continue
            except RowRefused as error:
                tries = 0
                if read is None or not read.rows:
                    raise
                if len(read.rows) == 1:
                    values = read.rows[0]
                    self._refused = (keys.encode(read.keys[0]), masking.reason(error, values))
                else:
                    self.pace.refused(len(read.rows))
                continue
            except Again:
                tries += 1
                if tries > _TRIES:
                    raise
                time.sleep(min(0.05 * tries, 1.0))
                continue
            tries = 0
            if not read or not read.rows:
                return
            took = time.monotonic() - begun
            self.pace.took(min(len(read.rows), wanted), took)
            self._tell(one.book)
            if one.book.aside >= self.declared.aside:
                raise DataError(
                    expected=f"fewer than {self.declared.aside} rows aside",
                    found=f"{one.book.aside}: rather the module is wrong than the rows",
                    next_command=f"bascule data {self._name} rows aside",
                )
            if self.store.breath:
                time.sleep(self.store.breath * took)

    def _batch(self, one: Transaction, read: Read, begun: float) -> None:
        book, last = one.book, keys.encode(read.keys[-1])
        digest = keys.digest(read.rows)
        aside = self._write(one, read)
        one.batch(book.number + 1, book.cursor, last, read.keys, digest)
        one.keep(
            cursor=last,
            number=book.number + 1,
            rows=book.rows + len(read.rows),
            written=book.written + one.written,
            aside=book.aside + aside,
            seconds=book.seconds + time.monotonic() - begun,
            size=self.pace.size,
        )

    def _write(self, one: Transaction, read: Read) -> int:
        """Write what rows become; return how many were put aside."""
        if not self._checked:
            self._same_twice(read)
            self._checked = True
        made, failed = self.transformed(read)
        if self._refused and len(read.rows) == 1 and keys.encode(read.keys[0]) == self._refused[0]:
            made, failed = [], [self._refused]
        self._refused = None
        try:
            if made:
                self.migration.write(one, made)
        except (BasculeError, RowRefused, Again):
            raise
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise RowRefused(str(error)) from error
        for key, why in failed:
            one.aside("", key, why)
        return len(failed)

    def transformed(self, read: Read) -> tuple[list[Any], list[tuple[str, str]]]:
        """Return what rows become, and keys and reasons of those that `transform` refuses."""
        made, failed, transform = [], [], self.migration.transform
        for place, row in enumerate(read.dicts()):
            try:
                result = transform(row)
            except Exception as error:
                failed.append((keys.encode(read.keys[place]), masking.reason(error, read.rows[place])))
                continue
            if result is not None:
                made.append(result)
        return made, failed

    def _same_twice(self, read: Read) -> None:
        """Refuse a `transform` that throws dice: what it made could never be found again."""
        some = Read(read.columns, read.rows[:_TWICE], read.keys[:_TWICE])
        if self.transformed(some) != self.transformed(some):
            raise DataError(
                expected="`transform` to make the same of the same row (an identifier from the row, as by uuid5)",
                found="another result the second time",
            )

    def _sweep(self, token: str) -> int:
        """Do the rows that came in below the cursor after it had passed; return how many."""
        number, found = 0, 0
        while True:
            with self.store.transaction(token) as one:
                batch = one.batches(number + 1, back=False)
                there = one.keys_between(batch.after, batch.last) if batch and batch.after != batch.last else []
            if batch is None:
                return found
            known = keys.unpacked(batch.keys)
            if there != known:
                passed = set(known)
                for key in there:
                    if key not in passed:
                        self.alone(token, keys.encode(key), batch.number)
                        found += 1
            number = batch.number

    def alone(self, token: str, key: str, number: int = 0) -> bool:
        """Do one row by its key, late (of a batch's range) or aside; return whether it was done and not put aside."""
        refused: Optional[str] = None
        for _ in range(_TRIES):
            values: Sequence[Any] = ()
            try:
                with self.store.transaction(token) as one:
                    read = one.at(key)
                    values = read.rows[0] if read.rows else ()
                    self._refused = (key, refused) if refused is not None else None
                    failed = self._write(one, read) if read.rows else 0
                    batch = one.batches(number, back=False) if number else None
                    late = bool(read.rows and batch)
                    if batch and read.rows:
                        one.extend(batch, sorted_in(one.keys_between(batch.after, batch.last), batch.keys, read.keys))
                    if not failed:
                        one.back("", key)
                    book = one.book
                    aside = len([1 for table, _, _ in one.aside_rows() if not table])
                    changed = bool(one.images)
                    if changed:
                        one.batch(book.number + 1, key, key, [], "")
                    one.keep(
                        number=book.number + changed,
                        aside=aside,
                        rows=book.rows + late,
                        written=book.written + one.written,
                    )
                return not failed
            except RowRefused as error:
                refused = masking.reason(error, values)
            except Again:
                time.sleep(0.05)
        raise DataError(expected="a row to be done", found=f"{_TRIES} attempts were taken back")

    def retry(self) -> tuple[int, int]:
        """Try what is aside again, row by row; return how many were done, and how many stay."""
        self.fits(RUNNING, PAUSED, FINISHED)
        with self.locked() as token:
            found = [key for table, key, _ in self.store.look()[2] if not table]
            done = sum(self.alone(token, key) for key in found)
            return done, len(found) - done

    def _kept(self, token: str, **changed: Any) -> Book:
        for tries in range(_TRIES):
            try:
                with self.store.transaction(token) as one:
                    one.keep(**changed)
                return one.book
            except Again:
                time.sleep(0.05 * tries)
        raise DataError(expected=f"{self.store.label} to take a line of the books", found="it was taken back each time")

    def _wait_for_health(self, token: str) -> None:
        if not self.declared.limits or time.monotonic() - self._sampled < _SAMPLE:
            return
        said = ""
        while why := pacing.exceeded(dict(self.declared.limits), self.store.sample()):
            if said != "; ".join(why):
                said = "; ".join(why)
                self.say(f"waits: {said}")
            # The lease is renewed by it as well.
            book = self._kept(token, said=f"waits by itself: {said}")
            if book.wanted == PAUSE:
                break
            time.sleep(_POLL)
        if said:
            self._kept(token, said="")
            self.say("goes on")
        self._sampled = time.monotonic()

    def _wait_for_resume(self, token: str) -> None:
        self.say("paused, as was asked for")
        while self._kept(token, state=PAUSED).wanted == PAUSE:
            time.sleep(_POLL)
        self._kept(token, state=RUNNING)
        self.say("resumed")

    def _tell(self, book: Book) -> None:
        if time.monotonic() - self._told >= _TOLD:
            self._told = time.monotonic()
            self.say(progress(book))


@contextlib.contextmanager
def _untouched() -> Iterator[None]:
    """Let an error of what only reads say that nothing was changed."""
    try:
        yield
    except (RowRefused, Again) as error:
        raise DataError("what is read to be readable", masking.reason(error), NOTHING) from error
    except DataError as error:
        raise type(error)(error.expected, error.found, NOTHING, error.next_command) from error


def progress(book: Book) -> str:
    """Return a line that says how far a run is."""
    left = pacing.remaining(book.rows, book.total, book.seconds, book.counted)
    size = book.asked or book.size
    return f"{book.rows} rows done, {book.aside} aside, {size} in a batch; {left}"


def sorted_in(there: list[keys.Key], known: bytes, new: list[keys.Key]) -> list[keys.Key]:
    """Return which keys of a range are done: those that were known, and new ones, in the order of the database."""
    done = {*keys.unpacked(known), *new}
    gone = [key for key in keys.unpacked(known) if key not in set(there)]
    return [key for key in there if key in done] + gone
