"""What else can happen: a guard is lost while its data is kept, a site is lost for good and comes back later.

A person's word is true here: the side that is given up is fenced until it has given way, and the side that is said to
be the latest is. What only the side had that was given up is exported and counts no more. Only the side that leads is
asked to close, once both are taken over: a guard cannot be above epochs that it has forgotten and nobody else knows.
"""

from __future__ import annotations

from collections.abc import Iterator

from bascule.guard import state as rule
from bascule.guard.state import Epoch

from .world import BOTH, RUN, SIDES, Given, Guards, Move, Moves, World, put

# Epochs that jumped over those of a lost guard go on for so many more.
_LATER = 3


class LostMoves(Moves):
    """The moves, with as many losses."""

    def __init__(
        self, guards: Guards, epochs: tuple[Epoch, ...], writes: int, *, lost_guards: int = 0, lost_sites: int = 0
    ) -> None:
        super().__init__(guards, epochs, writes)
        self._lost_guards = lost_guards
        self._lost_sites = lost_sites

    def epochs(self, world: World) -> tuple[Epoch, ...]:
        """Return the epochs that messages may name, old ones too."""
        states = [self.guards.state(side, world.guards[side]) for side in BOTH]
        asked = {rule.next_epoch(states[0], states[1], RUN), *(receipt.epoch for receipt in world.receipts)}
        return (*self._epochs, *sorted(e for e in asked if e.number > rule.UNHEARD and not self._late(e)))

    def _late(self, epoch: Epoch) -> bool:
        """Say whether the search ends before that epoch."""
        return epoch.number % rule.UNHEARD > _LATER

    def may_close(self, world: World, side: int, epoch: Epoch) -> bool:
        """Say whether a run may ask that side to close: it leads, or has promised so."""
        if 0 in world.guards:
            return False
        states = [self.guards.state(one, world.guards[one]) for one in BOTH]
        return rule.leader(states[0], states[1]) in (None, SIDES[side]) or states[side].promised == epoch

    def after(self, world: World) -> Iterator[Move]:
        """Yield every next moment."""
        yield from super().after(world)
        for side in BOTH:
            if 0 not in world.guards and world.given_up is None and world.lost - world.sites < self._lost_guards:
                gone = world._replace(
                    lost=world.lost + 1,
                    guards=put(world.guards, side, 0),
                    serving=put(world.serving, side, False),
                    spent=put(world.spent, side, None),
                )
                yield f"{SIDES[side]} loses its guard", gone
            yield from self.reopened(world, side)
            if self._lost_sites or world.given_up == 1 - side:
                yield from self.opened_by_word(world, side)
            yield from self.gave_way(world, side)
            yield from self.settled(world, side)
            yield from self.replaced(world, side)

    def _opened(self, world: World, side: int, epoch: Epoch, receipt: Given) -> Iterator[Move]:
        """What has writes that count no more has diverged: it has reached no position."""
        if not world.data[side] & ~world.acknowledged:
            yield from super()._opened(world, side, epoch, receipt)

    def reopened(self, world: World, side: int) -> Iterator[Move]:
        """A person says that the side without its guard is the latest; the other one gives a receipt for it."""
        other = 1 - side
        number = world.guards[other]
        if (
            not world.lost
            or world.guards[side]
            or not number
            or world.serving[other]
            or world.data[side] != world.acknowledged
        ):
            return
        epoch = rule.beyond(self.guards.state(other, number), RUN)
        found = self.guards.close(other, number, epoch, world.data[other])
        if found is None or epoch.number // rule.UNHEARD > self._lost_guards + self._lost_sites:
            return
        shut = self.went_on(world, other, found[0])
        shut = shut._replace(receipts=world.receipts | {found[1]}, permits=put(world.permits, other, False))
        yield f"{SIDES[other]} gives its receipt for the lost guard", shut
        after = self.guards.reopen(side, found[1], number)
        if after is not None:
            for guard in after:
                yield (
                    f"{SIDES[side]} is reopened",
                    self.let_open(shut._replace(guards=put(shut.guards, side, guard)), side, epoch),
                )

    def opened_by_word(self, world: World, side: int) -> Iterator[Move]:
        """A person has fenced the other side for good; this one goes on with what it has."""
        other = 1 - side
        if not world.guards[side] or world.given_up == side:
            return
        if world.given_up is None and world.sites >= self._lost_sites:
            return
        if self._late(rule.beyond(self.guards.state(side, world.guards[side]), RUN)):
            return
        after = self.guards.open_by_word(side, world.guards[side])
        if after is None:
            return
        for guard in after:
            then = self.went_on(world, side, guard)._replace(
                acknowledged=world.data[side],
                serving=put(world.serving, other, False),
                permits=put(world.permits, other, False),
                lost=world.lost + (world.given_up is None),
                sites=world.sites + (world.given_up is None),
                given_up=other,
            )
            epoch = self.guards.state(side, guard).promised
            assert epoch is not None
            yield f"{SIDES[side]} is opened by a word", self.let_open(then, side, epoch)

    def gave_way(self, world: World, side: int) -> Iterator[Move]:
        """The side that was given up is back, is closed, and what only it has is exported."""
        if world.given_up != side:
            return
        after = self.guards.give_way(side, world.guards[side], world.guards[1 - side], world.data[side])
        if after is None or self._late(after[2].epoch):
            return
        begun, done, receipt = after
        back = world._replace(given_up=None, spent=put(world.spent, side, None))
        yield f"{SIDES[side]} begins to give way", self.went_on(back, side, begun)
        yield (
            f"{SIDES[side]} gives way",
            self.went_on(back, side, done)._replace(
                receipts=world.receipts | {receipt}, ways=world.ways | {(side, done)}
            ),
        )

    def settled(self, world: World, side: int) -> Iterator[Move]:
        """The side that serves is told of it, with what the other one's guard said then, or with what it says now."""
        number, other = world.guards[side], 1 - side
        if not number:
            return
        for one, said in world.ways | {(other, world.guards[other])}:
            after = self.guards.settle(side, number, said) if one == other and said else None
            if after is not None and after != number:
                yield f"{SIDES[side]} is told", self.went_on(world, side, after)

    def replaced(self, world: World, side: int) -> Iterator[Move]:
        """An empty machine is put in the place of one that was given up once and has no guard."""
        number = world.guards[1 - side]
        word = self.guards.state(1 - side, number).word
        if world.guards[side] or word is None or word.about != SIDES[side]:
            return
        after = self.guards.adopt(side, 0, rule.CLOSED, number, empty=True)
        if after is not None:
            yield (
                f"{SIDES[side]} is replaced",
                world._replace(
                    guards=put(world.guards, side, after),
                    data=put(world.data, side, 0),
                    serving=put(world.serving, side, False),
                    permits=put(world.permits, side, False),
                    spent=put(world.spent, side, None),
                    given_up=None,
                ),
            )


def has_a_way(guards: Guards, world: World) -> bool:
    """Say whether a person can get an open side with everything, where a guard or a side is lost."""
    if world.given_up is not None:
        side, number = world.given_up, world.guards[1 - world.given_up]
        if guards.give_way(side, world.guards[side], number, world.data[side]) is not None:
            return True
        # The opening was interrupted: the word, given again, ends it, and the one that is back gives way to that.
        return guards.state(1 - side, number).status != rule.OPEN and guards.open_by_word(1 - side, number) is not None
    side = world.guards.index(0)
    other = 1 - side
    number = world.guards[other]
    latest = world.data[side] == world.acknowledged, world.data[other] == world.acknowledged
    if latest[0] and guards.adopt(side, 0, rule.OPEN, number) is not None:
        return True
    if latest[0]:
        epoch = rule.beyond(guards.state(other, number), RUN)
        found = guards.close(other, number, epoch, world.data[other])
        if found is not None and guards.reopen(side, found[1], number) is not None:
            return True
    word = guards.state(other, number).word
    if word is not None and word.about == SIDES[side] and not word.settled:
        # Until it is told that the lost side has given way, only a copy of that side's guard helps.
        return True
    if not latest[1]:
        return False
    if guards.state(other, number).status == rule.OPEN:
        return guards.adopt(side, 0, rule.CLOSED, number, empty=True) is not None
    return guards.open_by_word(other, number) is not None
