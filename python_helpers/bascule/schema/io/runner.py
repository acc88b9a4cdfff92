"""Run an order on the databases of services: look, lock, prove a backup, try on the copy, run, look again."""

from __future__ import annotations

import contextlib
import getpass
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Optional, cast

from ...errors import BasculeError
from ...run.io import lease, presence
from ...system import moments
from .. import catalogue, files, planner, sql
from ..catalogue import Catalogue
from ..files import DOWN, UP, Migration
from ..planner import RUNNING, History, Row, Step
from ..services import Service
from ..store import Books, OutsideTransactions, SchemaError, StatementByStatement, Store
from .mariadb import MariadbStore
from .postgresql import PostgresqlStore
from .sqlite import SqliteStore

Say = Callable[[str], None]
_NOTHING = "nothing was changed"
_TAKEN_BACK = "it was taken back"


class NeedsWord(SchemaError):
    """A plan would destroy data, and nobody has said yet that it may.

    word: what lets it. destroys: the data, and how many rows have it.
    """

    word = ""
    destroys: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Order:
    """What is asked for. what: `up`, `down` or `to`, with `number`. confirm: the word that lets it destroy data."""

    what: str
    number: int = 0
    confirm: str = ""


@dataclass(frozen=True)
class Look:
    """What files and databases say. steps: the plan, in its order, each with the database it runs in."""

    histories: Mapping[str, History]
    books: Mapping[str, Books]
    steps: tuple[tuple[Step, Store], ...] = ()


@dataclass(frozen=True)
class Tried:
    """What a trial on copies has found: data that is lost, with its rows, and the catalogue after each step.

    marks: of each step, the fingerprints after its statements, where the engine notes them one by one.
    """

    lost: Mapping[str, int] = field(default_factory=dict)
    after: tuple[Catalogue, ...] = ()
    marks: tuple[tuple[str, ...], ...] = ()


class Runner:
    """The services of one order, in the order of their dependencies."""

    def __init__(self, name: str, services: Mapping[str, Service], say: Say) -> None:
        """`name` is a service, or `all`; `services` are all that are declared; `say` is told what happens."""
        chosen = list(services) if name == "all" else [name]
        if name != "all" and name not in services:
            raise SchemaError(expected=f"a service: all, {', '.join(services)}", found=name, state=_NOTHING)
        self.name, self.say, self.declared = name, say, services
        # What the last order has kept, and what data its plan destroys, with how many rows.
        self.backups: list[Path] = []
        self.destroys: Mapping[str, int] = {}
        depends = {one: services[one].depends_on for one in services}
        self.services = {one: services[one] for one in planner.order(services, depends) if one in chosen}
        self.store: dict[str, Store] = {}
        stores: dict[str, Store] = {}
        for own, service in self.services.items():
            store = _store(service)
            self.store[own] = stores.setdefault(store.label, store)

    @property
    def _stores(self) -> list[Store]:
        # Locks are taken in one order by everybody.
        return sorted({store.label: store for store in self.store.values()}.values(), key=lambda store: store.label)

    def look(self, order: Optional[Order] = None) -> Look:
        """Read files and books, and plan; raise SchemaError with all that does not fit together. Changes nothing."""
        wrong: list[str] = []
        books: dict[str, Books] = {}
        for store in self._stores:
            try:
                books[store.label] = store.books()
            except SchemaError as error:
                wrong.append(error.brief())
        histories, steps = {}, []
        for name, service in self.services.items():
            migrations, said = files.collect(name, service.engine, _read(service))
            wrong += said
            rows = books.get(self.store[name].label, Books()).rows
            histories[name], said = planner.history(name, migrations, rows)
            wrong += said
        for name in self.services if not order or order.what != DOWN else reversed(self.services):
            one, planned = histories[name], tuple[Step, ...]()
            if order:
                wanted, why = planner.target(one, order.what, order.number)
                planned = planner.steps(one, wanted)
                wrong += [said for said in (why, planner.held_up(one, planned)) if said]
                steps += [(step, self.store[name]) for step in planned]
            wrong += _unfit(self.store[name], dict.fromkeys([*one.pending, *(step.migration for step in planned)]))
        if any(step.direction == UP for step, _ in steps):
            wrong += self._behind()
        if wrong:
            raise SchemaError(
                expected=f"files and databases of {self.name} that fit together", found="; ".join(wrong), state=_NOTHING
            )
        return Look(histories, books, tuple(steps))

    def _behind(self) -> list[str]:
        """Return which services that are not asked for, and are depended on, are not where their files are."""
        wrong = []
        needed = [one for service in self.services.values() for one in service.depends_on]
        for name in needed:
            if name in self.services:
                continue
            needed += [one for one in self.declared[name].depends_on if one not in needed]
            one = Runner(name, self.declared, self.say).look().histories[name]
            if one.pending or one.unsettled:
                wrong.append(
                    f"{name}, which {self.name} depends on, has {one.applied} of {len(one.migrations)} files applied; "
                    f"run bascule schema {name} up first"
                )
        return wrong

    def run(self, order: Order) -> int:
        """Do what is asked; return how many files ran. An error says what state everything is in."""
        first = self.look(order)
        if not first.steps and not any(one.unsettled for one in first.histories.values()):
            return 0
        # What changes before any file runs.
        did: list[str] = []
        try:
            with contextlib.ExitStack() as stack:
                tokens = {store.label: self._locked(store, first, stack, did) for store in self._stores}
                found = self.look().histories
                settled = [self._settle(self.store[name], one.unsettled, tokens, did) for name, one in found.items()]
                look = self.look(order)
                tried = self._try(look, tokens, order)
                # The copies are not needed any more, and are gone before anything runs.
                return sum(settled) + self._really(look, tokens, tried)
        except SchemaError as error:
            if error.state in ("", _NOTHING):
                error.state = f"{_NOTHING}, except: {'; '.join(did)}" if did else _NOTHING
                error.args = (error.message(),)
            raise

    def _locked(self, store: Store, look: Look, stack: contextlib.ExitStack, did: list[str]) -> str:
        """Take a database's lock, keep it until the end, and let it go then."""
        holder = look.books[store.label].holder
        stale = holder if holder and lease.gone(holder) else None
        if holder and not stale:
            raise SchemaError(
                expected=f"nobody else to be at work in {store.label}",
                found=str(holder),
                next_command=f"bascule schema {self.name} status",
            )
        if stale:
            self.say(f"{store.label}: the lock of {stale} is taken over; its process is gone")
            store.discard(stale.token, self._folder(store))
        token = store.take({**presence.process(os.getpid()), "user": getpass.getuser()}, stale)
        stack.callback(_release, store, token)
        if not look.books[store.label].made:
            did.append(f"the tables {sql.LEDGER} and {sql.LEDGER}_lock were made, empty, in {store.label}")
        stack.enter_context(lease.kept(store, token))
        return token

    def _settle(self, store: Store, row: Optional[Row], tokens: Mapping[str, str], did: list[str]) -> int:
        """Write down what has become of a file without a transaction whose run was killed."""
        if row is None:
            return 0
        # Between two statements there is nothing to be settled.
        done = planner.settled(row, catalogue.fingerprint(store.catalogue())) if row.before else False
        if done is None:
            where = f"statement {row.done + 1} of " if row.ran else ""
            raise SchemaError(
                expected=f"the catalogue as it was before {where}{row.number:03d}_{row.name}, or as its copy was after",
                found=f"it is {row.state}, and the catalogue is another",
                next_command="drop what it has left (such as an invalid index), and give the same command again",
            )
        if row.ran:
            if row.before:
                cast(StatementByStatement, store).settle(row, tokens[store.label], ran=done)
            said = f"{row.service} {row.number:03d}_{row.name}: it was {row.state}, goes on after statement "
            self.say(f"{said}{row.done + done}")
            return 0
        cast(OutsideTransactions, store).end(row, tokens[store.label], applied=done == (row.state == RUNNING[UP]))
        said = f"{row.service} {row.number:03d}_{row.name}: it was {row.state}, and had {'' if done else 'not '}ended"
        did.append(said)
        self.say(said)
        return int(done)

    def _try(self, look: Look, tokens: Mapping[str, str], order: Order) -> Optional[Tried]:
        """Prove a backup and try the plan on what was restored of it; None where no production is touched."""
        touched = list(dict.fromkeys(store for _, store in look.steps))
        back = any(step.direction == DOWN for step, _ in look.steps)
        production = any(one.production for name, one in self.services.items() if self.store[name] in touched)
        if not (back or production):
            return None
        with contextlib.ExitStack() as stack:
            # The backup of a plan that does not run is no backup of anything.
            unused = stack.enter_context(contextlib.ExitStack())
            copies = {store: self._proved_copy(store, tokens[store.label], stack, unused) for store in touched}
            copied = {copy.label: tokens[store.label] for store, copy in copies.items()}
            whole = {(row.service, row.number): row.whole for one in look.histories.values() if (row := one.unsettled)}
            tried = rehearse([(step, copies[store]) for step, store in look.steps], copied, whole)
            ways = (DOWN, UP, DOWN) if back else (UP, DOWN, UP)
            self.say(f"tried on the restored copy: {' → '.join(ways)}, with equal catalogues")
            for what, rows in sorted(tried.lost.items()):
                self.say(f"destroys {what}: {rows} rows")
            needed = planner.word(self.name, [step for step, _ in look.steps], tried.lost)
            if (back or tried.lost) and order.confirm != needed:
                why = f"takes back {len(look.steps)} file(s)" if back else "destroys data"
                error = NeedsWord(
                    expected=f"--confirm {needed}, as this {why}",
                    found=order.confirm or "no confirmation",
                    next_command=f"the same command with --confirm {needed}, after a look at what it destroys",
                )
                error.word, error.destroys = needed, tried.lost
                raise error
            self.destroys = tried.lost
            unused.pop_all()
            for store in touched:
                self._keep(store, tokens[store.label])
        return tried

    def _folder(self, store: Store) -> Optional[Path]:
        """Return the folder for a database's backups; None where nobody has said one."""
        said = [one.backups for name, one in self.services.items() if self.store[name] is store and one.backups]
        return Path(said[0]) if said else None

    def _keep(self, store: Store, token: str) -> None:
        """Give a backup its name: what has none was never proved, or its plan did not run."""
        if folder := self._folder(store):
            name = next(name for name in self.services if self.store[name] is store)
            kept = folder / f"{name}-{moments.now().replace(':', '')}.{store.engine}"
            (folder / f"{token}.part").rename(kept)
            self.backups.append(kept)
            self.say(f"backup {kept}")

    def _proved_copy(
        self, store: Store, token: str, stack: contextlib.ExitStack, unused: contextlib.ExitStack
    ) -> Store:
        """Take a backup of a database, restore it, and compare catalogue and every row."""
        folder = self._folder(store)
        try:
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bascule-schema-")))
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / f"{token}.part"
            unused.callback(path.unlink, missing_ok=True)
            taken = store.backup(path)
            copy = stack.enter_context(store.restored(path, token))
        except OSError as error:
            raise SchemaError(expected=f"a backup of {store.label}", found=str(error)) from error
        found = copy.content(digests=True)
        differ = catalogue.differences(taken.catalogue, found.catalogue, catalogue.NOT_IN_A_COPY)
        differ += [f"rows of {table}" for table in taken.tables if taken.tables[table] != found.tables.get(table)]
        if differ:
            raise SchemaError(expected=f"the restored copy of {store.label} to be equal", found=catalogue.shown(differ))
        rows = sum(table.rows for table in taken.tables.values())
        self.say(f"{store.label}: backup restored and compared, {len(taken.tables)} tables with {rows} rows")
        return copy

    def _really(self, look: Look, tokens: Mapping[str, str], tried: Optional[Tried]) -> int:
        done: list[str] = []
        expected: dict[Store, Catalogue] = {}
        for place, (step, store) in enumerate(look.steps):
            try:
                if tried:
                    expected[store] = tried.after[place]
                then = catalogue.fingerprint(expected[store]) if tried else ""
                perform(store, step, tokens[store.label], then, tried.marks[place] if tried else ())
            except SchemaError as error:
                state = error.state or _became(store, step)
                nothing = not done and state == _TAKEN_BACK
                raise SchemaError(
                    error.expected,
                    error.found,
                    state=_NOTHING if nothing else f"{_ran(done)}{step}: {state}",
                    next_command=error.next_command or f"bascule schema {self.name} status",
                ) from error
            done.append(str(step))
            self.say(f"ran {step}")
        for store, after in expected.items():
            if differ := catalogue.differences(after, store.catalogue(), catalogue.NOT_IN_A_COPY):
                raise SchemaError(
                    expected=f"{store.label} to be what its copy became, and nobody else to change it",
                    found=catalogue.shown(differ),
                    state=f"{_ran(done)}all of the plan",
                    next_command=f"bascule schema {self.name} status",
                )
        return len(done)


def _became(store: Store, step: Step) -> str:
    """Return what has become of a file that failed: an answer may be lost after the database has done the work."""
    one = step.migration
    try:
        rows = [row for row in store.books().rows if (row.service, row.number) == (one.service, one.number)]
    except SchemaError:
        return "it is not known whether it ran, as the database does not answer"
    for row in rows:
        if row.ran and row.state == RUNNING[step.direction]:
            return f"{row.done} of its statements have run; the same command goes on after them"
    there = bool(rows)
    return "it ran, and its line is written" if there == (step.direction == UP) else _TAKEN_BACK


def _ran(done: Sequence[str]) -> str:
    return f"ran: {', '.join(done)}; " if done else ""


def rehearse(
    steps: Sequence[tuple[Step, Store]], tokens: Mapping[str, str], whole: Mapping[tuple[str, int], str]
) -> Tried:
    """Run a plan on copies, run it back, and run it again; the catalogues have to come back each time.

    `whole` is, by service and number, the fingerprint before a file of which only the rest is run here.
    """
    lost: dict[str, int] = {}
    stores = {store.label: store for _, store in steps}
    start = {label: store.content() for label, store in stores.items()}
    around: list[tuple[Catalogue, Catalogue]] = []
    marks = []
    for step, store in steps:
        before = store.catalogue()
        marks.append(_on_copy(store, step, tokens))
        around.append((before, store.catalogue()))
    for label, store in stores.items():
        end = store.content()
        lost |= catalogue.lost(start[label].catalogue, end.catalogue, start[label].tables, end.tables)
    for (step, store), (before, _) in zip(reversed(steps), reversed(around)):
        back = Step(step.migration, DOWN if step.direction == UP else UP)
        _on_copy(store, back, tokens)
        what, found = f"{back} to undo {step} on the copy", store.catalogue()
        if begun := whole.get((step.migration.service, step.migration.number)):
            if catalogue.fingerprint(found, catalogue.NOT_AFTER_DOWN) != begun:
                raise SchemaError(expected=what, found="the catalogue is another than before the file began")
        else:
            _equal(what, before, found, catalogue.NOT_AFTER_DOWN)
    for (step, store), (_, after) in zip(steps, around):
        _on_copy(store, step, tokens)
        # A column that was dropped and given back stands at the end from then on.
        moved = catalogue.NOT_AFTER_DOWN if any(one.direction == DOWN for one, _ in steps) else frozenset()
        _equal(f"{step} to do the same again on the copy", after, store.catalogue(), moved)
    return Tried(lost, tuple(after for _, after in around), tuple(marks))


def perform(database: Store, step: Step, token: str, after: str = "", marks: Sequence[str] = ()) -> tuple[str, ...]:
    """Run one file; `after` is the fingerprint that its copy had then, where one was tried, `marks` within the file."""
    by = getpass.getuser()
    one = step.migration
    if one.file(step.direction).transaction:
        return database.run(step, token, by, marks)
    store = cast(OutsideTransactions, database)
    before = catalogue.fingerprint(store.catalogue())
    state = RUNNING[step.direction]
    row = Row(one.service, one.number, one.name, one.up.sha256, one.down.sha256, state, "", by, before, after)
    store.begin(row, token)
    try:
        store.alone(step, token)
    except SchemaError as error:
        with _open_end(state, "it has failed"):
            back = planner.settled(row, catalogue.fingerprint(store.catalogue())) is False
            if back:
                store.end(row, token, applied=step.direction == DOWN)
        if back:
            raise SchemaError(error.expected, error.found, _TAKEN_BACK, error.next_command) from error
        raise SchemaError(
            error.expected,
            error.found,
            state=f"it is {state}, and has left something in the catalogue",
            next_command="drop what it has left (such as an invalid index), and give the same command again",
        ) from error
    with _open_end(state, "it has run"):
        store.end(row, token, applied=step.direction == UP)
    return ()


@contextlib.contextmanager
def _open_end(state: str, what: str) -> Iterator[None]:
    """Let an error that comes after a file without a transaction say that its line is still open."""
    try:
        yield
    except SchemaError as error:
        raise SchemaError(
            error.expected,
            error.found,
            state=f"{what}, and its line may still say {state}",
            next_command="the same command again, which settles it by the catalogue",
        ) from error


def _on_copy(store: Store, step: Step, tokens: Mapping[str, str]) -> tuple[str, ...]:
    try:
        return perform(store, step, tokens[store.label])
    except SchemaError as error:
        raise SchemaError(f"{step} to run on the restored copy", error.found, _NOTHING) from error


def _equal(what: str, one: Catalogue, other: Catalogue, without: frozenset[str]) -> None:
    if differ := catalogue.differences(one, other, without):
        raise SchemaError(expected=what, found=catalogue.shown(differ))


def _store(service: Service) -> Store:
    if service.engine == sql.SQLITE:
        return SqliteStore(service.file)
    return MariadbStore(service) if service.engine == sql.MARIADB else PostgresqlStore(service)


def _unfit(store: Store, migrations: Iterable[Migration]) -> list[str]:
    """Return what files may not hold, where the engine's own client reads them."""
    if store.engine != sql.MARIADB:
        return []
    wrong = []
    for one in migrations:
        for file in (one.up, one.down):
            try:
                found = cast(StatementByStatement, store).findings(file.data)
            except SchemaError as error:
                found = [error.found]
            wrong += [f"{one.service}: {file.name}: {said}" for said in found]
    return wrong


def _read(service: Service) -> dict[str, bytes]:
    """Return the SQL files of a service, each read once."""
    try:
        found = [path for path in Path(service.folder).iterdir() if path.suffix == ".sql"]
        return {path.name: path.read_bytes() for path in found}
    except OSError as error:
        raise SchemaError(expected=f"the files of {service.name}", found=str(error), state=_NOTHING) from error


def _release(store: Store, token: str) -> None:
    # What cannot be reached any more lets go by itself: the lease ends.
    with contextlib.suppress(BasculeError):
        store.release(token)
