"""A small world around the real guards: two sides, what they serve and hold, and every receipt ever given.

The guards are those of `bascule.guard.io.store`, on real files. What a command does to a file depends on the file and
on its arguments alone, so that each combination is run once and remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional

from bascule.errors import GuardRefused
from bascule.guard import state as rule
from bascule.guard.io import store
from bascule.guard.state import ADOPTED, Epoch, GuardState, Receipt, Word

COMPONENT = "accounts_db"
SIDES = ("here", "there")
BOTH = (0, 1)
NOW = "2026-01-01T00:00:00+00:00"
# Above every epoch of the search: what a run takes that finds the world as the search left it.
RUN = "run"
_ISSUED = re.compile(r'"issued_at": "[^"]*"')


class Fault(AssertionError):
    """The rule let something happen that must never happen."""


class Killed(BaseException):
    """The command dies here."""


class Given(NamedTuple):
    """A receipt: whose it is, for which epoch, which writes the side held, and whether it gave the other one up."""

    side: int
    epoch: Epoch
    writes: int
    over: Optional[Epoch] = None


class World(NamedTuple):
    """Everything that is so at one moment; writes are bits.

    A permit begins when a side is let open and ends when it gives a receipt. `spent` is the highest epoch under which a
    side was let open or took a promise back. `lost` counts what was lost, `sites` the sites among it; `ways` are the
    guards with which a side has given way, which somebody may still carry to the other one.
    """

    guards: tuple[int, int]
    serving: tuple[bool, bool]
    data: tuple[int, int]
    permits: tuple[bool, bool]
    spent: tuple[Optional[Epoch], Optional[Epoch]]
    receipts: frozenset[Given]
    acknowledged: int
    lost: int
    given_up: Optional[int] = None
    sites: int = 0
    ways: frozenset[tuple[int, int]] = frozenset()


Move = tuple[str, World]


class Guards:
    """The guards' files, each known by a number; 0 is no file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / f"{COMPONENT}.json"
        self._texts: list[str] = [""]
        self._numbers: dict[str, int] = {"": 0}
        self._there = 0
        self._done: dict[tuple[object, ...], Optional[tuple[int, Optional[Receipt]]]] = {}
        self._states: dict[tuple[int, int], GuardState] = {}

    def state(self, side: int, number: int) -> GuardState:
        """Return the guard that stands in the file."""
        if (side, number) not in self._states:
            self._put(number)
            self._states[side, number] = store.read(COMPONENT, SIDES[side], root=self._directory)
        return self._states[side, number]

    def promise(self, side: int, number: int, epoch: Epoch) -> Optional[int]:
        """Begin to close, and die; to promise long before is the same."""

        def run() -> None:
            with store.closing(COMPONENT, SIDES[side], epoch, root=self._directory):
                raise Killed

        def before() -> None:
            with store.promising(COMPONENT, SIDES[side], epoch, root=self._directory):
                raise Killed

        found = self._run(run, "promise", side, number, epoch)
        if found != self._run(before, "promise before", side, number, epoch):
            raise Fault(f"promising {epoch} early or late is not the same: {self._texts[number]}")
        return found and found[0]

    def close(self, side: int, number: int, epoch: Epoch, writes: int) -> Optional[tuple[int, Given]]:
        """Close a side that holds these writes, to the end; return the new guard and the receipt."""

        def run() -> Receipt:
            with store.closing(COMPONENT, SIDES[side], epoch, root=self._directory) as guard:
                return guard.closed({"writes": str(writes)})

        found = self._run(run, "close", side, number, epoch, writes)
        if found is None:
            return None
        number, receipt = found
        if receipt is None:
            raise Fault("a side was closed without a receipt")
        return number, _given(receipt)

    def begin(self, side: int, number: int, epoch: Epoch, receipt: Given, writes: int) -> Optional[int]:
        """Begin to open a side that holds these writes, and die."""
        return self._open(side, number, epoch, receipt, writes, None)

    def open(
        self, side: int, number: int, epoch: Epoch, receipt: Given, writes: int, *, frozen: bool = False
    ) -> Optional[int]:
        """Open a side that holds these writes, to the end."""
        return self._open(side, number, epoch, receipt, writes, frozen)

    def _open(
        self, side: int, number: int, epoch: Epoch, receipt: Given, writes: int, frozen: Optional[bool]
    ) -> Optional[int]:
        reached = writes & receipt.writes == receipt.writes

        def run() -> None:
            # Its position is asked about by the caller alone.
            message = Receipt(COMPONENT, SIDES[receipt.side], receipt.epoch, {}, NOW, receipt.over).to_dict()
            with store.opening(
                COMPONENT, SIDES[side], epoch, message, reached=lambda: reached, root=self._directory
            ) as guard:
                if frozen is None:
                    raise Killed
                guard.opened(frozen=frozen)

        found = self._run(run, "open", side, number, epoch, receipt._replace(writes=0), reached, frozen)
        return found and found[0]

    def withdraw(self, side: int, number: int, epoch: Epoch, *, frozen: bool) -> Optional[int]:
        """Take a promise back."""

        def run() -> None:
            with store.withdrawing(COMPONENT, SIDES[side], epoch, frozen=frozen, root=self._directory):
                pass

        found = self._run(run, "withdraw", side, number, epoch, frozen)
        return found and found[0]

    def open_by_word(self, side: int, number: int) -> Optional[tuple[int, int]]:
        """Open a side by the word that the other one is lost; return the guards that begun and ended opening leaves."""
        word = _word(1 - side, rule.beyond(self.state(side, number), RUN))

        def run(finish: bool) -> None:
            with store.opening_by_word(COMPONENT, SIDES[side], word, root=self._directory) as guard:
                if not finish:
                    raise Killed
                guard.opened()

        begun = self._run(lambda: run(False), "word", side, number, False)
        done = self._run(lambda: run(True), "word", side, number, True)
        return begun and done and (begun[0], done[0])

    def reopen(self, side: int, receipt: Given, other: int) -> Optional[tuple[int, int]]:
        """Open a side without a guard, with the receipt that the other one has given since its guard was `other`."""
        peer = self.state(1 - side, other)
        message = Receipt(COMPONENT, SIDES[receipt.side], receipt.epoch, {}, NOW, receipt.over)

        def run(finish: bool) -> None:
            word = _word(side, receipt.epoch)
            with store.reopening(COMPONENT, SIDES[side], word, message, peer, root=self._directory) as guard:
                if not finish:
                    raise Killed
                guard.opened()

        begun = self._run(lambda: run(False), "reopen", side, 0, other, receipt._replace(writes=0), False)
        done = self._run(lambda: run(True), "reopen", side, 0, other, receipt._replace(writes=0), True)
        return begun and done and (begun[0], done[0])

    def give_way(self, side: int, number: int, other: int, writes: int) -> Optional[tuple[int, int, Given]]:
        """Close a side that is back; return the guards that begun and ended closing leaves, and the receipt."""
        peer = self.state(1 - side, other)
        epoch = rule.next_epoch(self.state(side, number), peer, RUN)

        def run(finish: bool) -> Optional[Receipt]:
            with store.giving_way(COMPONENT, SIDES[side], peer, epoch, root=self._directory) as guard:
                if not finish:
                    raise Killed
                return guard.closed({"writes": str(writes)})

        begun = self._run(lambda: run(False), "give way", side, number, other, writes, False)
        done = self._run(lambda: run(True), "give way", side, number, other, writes, True)
        if not begun or not done or done[1] is None:
            return None
        return begun[0], done[0], _given(done[1])

    def settle(self, side: int, number: int, other: int) -> Optional[int]:
        """Tell a side that the other one, whose guard was `other` then, has given way to its word."""
        peer = self.state(1 - side, other)

        def run() -> None:
            before = store.read(COMPONENT, SIDES[side], root=self._directory)
            would, _ = store.settled(COMPONENT, SIDES[side], peer, root=self._directory, check=True)
            for changes in (would != before, False):
                if (would, changes) != store.settled(COMPONENT, SIDES[side], peer, root=self._directory):
                    raise Fault("to be told again, or in check mode, is not the same")

        found = self._run(run, "settle", side, number, other)
        return found and found[0]

    def freeze(self, side: int, number: int, *, frozen: bool) -> Optional[int]:
        """Mark a side as frozen or thawed."""

        def run() -> None:
            would, _ = store.frozen(COMPONENT, SIDES[side], frozen, root=self._directory, check=True)
            if would != store.frozen(COMPONENT, SIDES[side], frozen, root=self._directory)[0]:
                raise Fault("check mode says something else than what is done")

        found = self._run(run, "freeze", side, number, frozen)
        return found and found[0]

    def adopt(self, side: int, number: int, status: str, other: int, *, empty: bool = False) -> Optional[int]:
        """Take a side over beside the other side's guard."""
        peer = self.state(1 - side, other)

        def run() -> None:
            given: dict[str, Any] = {"other": peer, "empty": empty, "root": self._directory}
            would, _ = store.adopt(COMPONENT, SIDES[side], status, check=True, **given)
            if would != store.adopt(COMPONENT, SIDES[side], status, **given)[0]:
                raise Fault("check mode says something else than what is done")

        found = self._run(run, "adopt", side, number, status, other, empty)
        return found and found[0]

    def _run(self, run: Callable[[], Optional[Receipt]], *key: object) -> Optional[tuple[int, Optional[Receipt]]]:
        """Run the command on the file whose number is the key's third, unless it has been run; None is a refusal."""
        if key not in self._done:
            number = key[2]
            assert isinstance(number, int)
            self._put(number)
            receipt = None
            try:
                receipt = run()
            except Killed:
                self._done[key] = self._take(), None
            except GuardRefused:
                if self._take() != number:
                    raise Fault("a command was refused and changed the guard") from None
                self._done[key] = None
            else:
                self._done[key] = self._take(), receipt
        return self._done[key]

    def _put(self, number: int) -> None:
        if number == self._there:
            return
        if number:
            self._path.write_text(self._texts[number], encoding="utf-8")
        else:
            self._path.unlink()
        self._there = number

    def _take(self) -> int:
        """Return the file's number; times of day are made equal, so that equal guards are equal files."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = ""
        text = _ISSUED.sub(f'"issued_at": "{NOW}"', text)
        if text not in self._numbers:
            self._numbers[text] = len(self._texts)
            self._texts.append(text)
        self._there = self._numbers[text]
        return self._there


def _given(receipt: Receipt) -> Given:
    return Given(SIDES.index(receipt.side), receipt.epoch, int(receipt.position["writes"]), receipt.over)


def _word(about: int, epoch: Epoch) -> Word:
    return Word(SIDES[about], epoch, "Nadia", "power cut at the PDU", NOW)


class Moves:
    """What can happen next. Every message may come at any time, again, or never; every command may die anywhere."""

    def __init__(self, guards: Guards, epochs: tuple[Epoch, ...], writes: int) -> None:
        self.guards = guards
        self._epochs = epochs
        self._all_writes = (1 << writes) - 1

    def first(self) -> World:
        """Users are served here; nothing is prepared."""
        return World((0, 0), (True, False), (0, 0), (True, False), (None, None), frozenset(), 0, 0)

    def after(self, world: World) -> Iterator[Move]:
        """Yield every next moment."""
        for side in BOTH:
            yield from self._prepared(world, side)
            if world.guards[side] == 0:
                continue
            yield from self._served(world, side)
            yield from self._carried_over(world, side)
            for epoch in self.epochs(world):
                yield from self._closed(world, side, epoch)
                for receipt in world.receipts:
                    yield from self._opened(world, side, epoch, receipt)

    def epochs(self, world: World) -> tuple[Epoch, ...]:
        """Return the epochs that messages may name."""
        return self._epochs

    def may_close(self, world: World, side: int, epoch: Epoch) -> bool:
        """Say whether somebody may ask that side to close: here, anybody anything."""
        return True

    def _prepared(self, world: World, side: int) -> Iterator[Move]:
        """Prepare takes over what has no guard: the side that serves as open, until a guard is lost the first one."""
        if world.guards[side]:
            return
        other = world.guards[1 - side]
        for status in (rule.OPEN, rule.CLOSED):
            if not world.lost and (status == rule.OPEN) != (side == 0):
                continue
            after = self.guards.adopt(side, 0, status, other)
            if after is None:
                continue
            then = world._replace(guards=put(world.guards, side, after))
            if status == rule.OPEN:
                then = self.let_open(then, side, ADOPTED)
            else:
                then = then._replace(permits=put(then.permits, side, False))
            yield f"prepare takes {SIDES[side]} over as {status}", then

    def _served(self, world: World, side: int) -> Iterator[Move]:
        name, guard = SIDES[side], self.guards.state(side, world.guards[side])
        if world.serving[side]:
            # An end of service is a reboot as well: the boot fence lets only start what may.
            yield f"{name} stops", world._replace(serving=put(world.serving, side, False))
            bit = (world.acknowledged | world.data[0] | world.data[1]) + 1
            if bit & self._all_writes:
                yield (
                    f"{name} takes a write",
                    world._replace(
                        acknowledged=world.acknowledged | bit, data=put(world.data, side, world.data[side] | bit)
                    ),
                )
        elif world.given_up == side:
            return
        elif guard.status == rule.OPENING or (guard.status == rule.OPEN and not guard.frozen):
            yield f"{name} serves", world._replace(serving=put(world.serving, side, True))
        for frozen in (True, False):
            after = self.guards.freeze(side, world.guards[side], frozen=frozen)
            if after is None or after == world.guards[side]:
                continue
            then = world._replace(guards=put(world.guards, side, after))
            if frozen:
                then = then._replace(serving=put(world.serving, side, False))
            yield f"{name} is {'frozen' if frozen else 'thawed'}", then

    def _carried_over(self, world: World, source: int) -> Iterator[Move]:
        """A sync brings the passive side up to date: never over the leader, never into a side that is not closed."""
        target = 1 - source
        if 0 in world.guards or world.data[source] == world.data[target]:
            return
        a, b = (self.guards.state(side, world.guards[side]) for side in (source, target))
        if b.status == rule.CLOSED and rule.leader(a, b) == SIDES[source]:
            yield f"{SIDES[target]} is synced", world._replace(data=put(world.data, target, world.data[source]))

    def _closed(self, world: World, side: int, epoch: Epoch) -> Iterator[Move]:
        name, number = SIDES[side], world.guards[side]
        before = self.guards.state(side, number)
        promised = self.guards.promise(side, number, epoch) if self.may_close(world, side, epoch) else None
        if promised is not None and promised != number:
            yield f"{name} promises {epoch}", self.went_on(world, side, promised)
        if (
            promised is not None
            and not world.serving[side]
            and (found := self.guards.close(side, number, epoch, world.data[side]))
        ):
            after, receipt = found
            if any((r.side, r.epoch) == (side, epoch) and r != receipt for r in world.receipts) and not world.lost:
                raise Fault(f"{name} gives two receipts for {epoch}")
            then = self.went_on(world, side, after)
            if receipt not in world.receipts:
                spent = world.spent[side]
                if spent is not None and epoch <= spent:
                    raise Fault(f"{name} gives a receipt for {epoch}, under which it was open or which is burnt")
                then = then._replace(receipts=world.receipts | {receipt}, permits=put(world.permits, side, False))
            if then != world:
                yield f"{name} gives its receipt for {epoch}", then
        for frozen in (False, True):
            after_it = self.guards.withdraw(side, number, epoch, frozen=frozen)
            if after_it is None:
                continue
            if not world.permits[side] and world.given_up != side:
                raise Fault(f"{name} takes back a permit that it did not have: {before.describe()}")
            then = self.went_on(world, side, after_it)._replace(spent=put(world.spent, side, epoch))
            yield f"{name} takes {epoch} back{', frozen' if frozen else ''}", then

    def _opened(self, world: World, side: int, epoch: Epoch, receipt: Given) -> Iterator[Move]:
        number, name = world.guards[side], SIDES[side]
        begun = self.guards.begin(side, number, epoch, receipt, world.data[side])
        if begun is None:
            return
        if world.given_up == side:
            # It is fenced by hand: what its guard says lets nobody in.
            yield f"{name} is told to open", self.went_on(world, side, begun)
            return
        then = self.let_open(self.went_on(world, side, begun), side, epoch)
        if then != world:
            yield f"{name} begins to open under {epoch}", then
        for frozen in (False, True):
            after = self.guards.open(side, number, epoch, receipt, world.data[side], frozen=frozen)
            if after is None:
                raise Fault(f"{name} begins to open under {epoch} and does not come to its end")
            done = self.went_on(then, side, after)
            if frozen:
                done = done._replace(serving=put(world.serving, side, False))
            if done != world:
                yield f"{name} opens under {epoch}{', frozen' if frozen else ''}", done

    def went_on(self, world: World, side: int, after: int) -> World:
        """Return the world with that guard, which must not have forgotten a promise."""
        before, now = (self.guards.state(side, number) for number in (world.guards[side], after))
        if before.promised is not None and (now.promised is None or now.promised < before.promised):
            raise Fault(f"a promise was forgotten: {before.describe()}; now {now.describe()}")
        return world._replace(guards=put(world.guards, side, after))

    def let_open(self, world: World, side: int, epoch: Epoch) -> World:
        """Return the world in which that side was let open, which must hold everything acknowledged."""
        if world.data[side] != world.acknowledged:
            raise Fault(f"{SIDES[side]} opens under {epoch} with writes {world.data[side]} of {world.acknowledged}")
        return world._replace(permits=put(world.permits, side, True), spent=put(world.spent, side, epoch))


def put(pair: tuple[Any, Any], side: int, value: Any) -> tuple[Any, Any]:
    """Return the pair with one side's value changed."""
    return (value, pair[1]) if side == 0 else (pair[0], value)
