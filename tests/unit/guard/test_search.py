"""Every state that two sides can come to, with the real guards on real files.

Messages come in any order, again, or never; commands die between any two durable steps; hosts reboot; promises are
taken back; controllers of different epochs work against each other. From whatever state that leaves, a run goes on.
"""

from __future__ import annotations

import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Optional

import pytest

from bascule.errors import GuardRefused
from bascule.guard import lost
from bascule.guard import state as rule
from bascule.guard.state import Epoch, GuardState

from .lost_world import LostMoves, has_a_way
from .world import BOTH, RUN, SIDES, Fault, Guards, Moves, World, put

_MEMORY = Path("/dev/shm")
# Two controllers that read the same guards take the same number; others come later.
EPOCHS = (Epoch(1, "a"), Epoch(1, "b"), Epoch(2, "a"), Epoch(2, "b"))

SETTLE = lost.settle

Seen = dict[World, tuple[Optional[World], str]]


@pytest.fixture
def guards() -> Iterator[Guards]:
    """Guards on files, which lie in memory where there is such a directory: they are written thousands of times."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as directory:
        yield Guards(Path(directory))


def search(guards: Guards, moves: Moves) -> tuple[int, set[str]]:
    """Visit every world, nearest first; return how many there are, and what can happen. A fault tells the way to it."""
    first = moves.first()
    seen: Seen = {first: (None, "users are served here")}
    ways: set[tuple[object, ...]] = set()
    happens: set[str] = set()
    waiting = deque([first])
    while waiting:
        world = waiting.popleft()
        try:
            must_hold(guards, world)
            if (key := (world.guards, world.data, world.permits, world.given_up)) not in ways:
                ways.add(key)
                goes_on(guards, world)
            for move, then in moves.after(world):
                happens.add(move)
                if then not in seen:
                    seen[then] = (world, move)
                    waiting.append(then)
        except Fault as fault:
            raise Fault(f"{fault}\n{_way(seen, world)}") from None
    return len(seen), {re.sub(r"\b(?:here|there|\d+\.\w+)\b", "*", move) for move in happens}


def _way(seen: Seen, world: World) -> str:
    steps: list[str] = []
    before: World | None = world
    while before is not None:
        before, move = seen[before]
        steps.append(move)
    return "\n".join(reversed(steps))


def must_hold(guards: Guards, world: World) -> None:
    """What is true in every state."""
    states = [guards.state(side, world.guards[side]) for side in BOTH]
    if all(world.permits):
        raise Fault("both sides may be open")
    for side in BOTH:
        if world.serving[side] and not world.permits[side]:
            raise Fault(f"{SIDES[side]} serves without a permit")
        if states[side].status == rule.OPEN and not world.permits[side] and world.given_up != side:
            raise Fault(f"{SIDES[side]} is marked as open without a permit")
    if world.lost and 0 in world.guards:
        # Who leads cannot be known; nothing is synced and nothing switched before a person has said it.
        return
    try:
        first = rule.leader(*states)
    except GuardRefused as error:
        raise Fault(error.message()) from None
    if rule.leader(*reversed(states)) != first:
        raise Fault("who leads depends on who is asked first")
    if first is not None and world.data[SIDES.index(first)] != world.acknowledged:
        raise Fault(f"{first} leads with writes {world.data} of {world.acknowledged}")
    if first is None and world.acknowledged and not world.lost and 0 not in world.guards:
        raise Fault("nobody leads although there are writes")


def goes_on(guards: Guards, world: World) -> None:
    """Whatever was left behind: the live side serves again by itself, and a run brings it forward and back."""
    for side in BOTH:
        state = guards.state(side, world.guards[side])
        if state.status == rule.OPEN and guards.freeze(side, world.guards[side], frozen=False) is None:
            raise Fault(f"{SIDES[side]} holds its permit and is not thawed")
        if state.status == rule.CLOSING and world.permits[side]:
            assert state.promised is not None
            back = guards.withdraw(side, world.guards[side], state.promised, frozen=False)
            if back is None or guards.state(side, back).status != rule.OPEN:
                raise Fault(f"{SIDES[side]} has given no receipt and cannot take its promise back")
    if world.given_up is not None or (world.lost and 0 in world.guards):
        if not has_a_way(guards, world):
            raise Fault("nobody can open a side any more")
        return
    if 0 in world.guards:
        return
    states = [guards.state(side, world.guards[side]) for side in BOTH]
    first = rule.leader(*states)
    if first is None and world.lost:
        return
    source = 0 if first is None else SIDES.index(first)
    there = switched(guards, world, source)
    switched(guards, there, 1 - source)


def switched(guards: Guards, world: World, source: int) -> World:
    """Return the world after a run has switched away from the side that leads; every refusal is a dead end."""
    target = 1 - source
    if guards.state(target, world.guards[target]).status != rule.CLOSED:
        world = closed(guards, world, target)
    world = closed(guards, world, source)
    receipt = max(world.receipts, key=lambda r: r.epoch)
    a, b = (guards.state(side, world.guards[side]) for side in (source, target))
    if rule.leader(a, b) not in (SIDES[source], None):
        raise Fault("a side leads no more because it was closed")
    data = put(world.data, target, world.data[source])
    after = guards.open(target, world.guards[target], receipt.epoch, receipt, data[target])
    if after is None:
        raise Fault(f"{SIDES[target]} cannot be opened by a new run")
    if guards.state(target, after).status != rule.OPEN or data[target] != world.acknowledged:
        raise Fault(f"{SIDES[target]} is not open with everything after a new run")
    return world._replace(guards=put(world.guards, target, after), data=data)


def closed(guards: Guards, world: World, side: int) -> World:
    """Return the world after a run has closed a side under an epoch of its own."""
    here, there = (guards.state(one, world.guards[one]) for one in BOTH)
    epoch = rule.next_epoch(here, there, RUN)
    found = guards.close(side, world.guards[side], epoch, world.data[side])
    if found is None:
        raise Fault(f"{SIDES[side]} cannot be closed by a new run")
    return world._replace(guards=put(world.guards, side, found[0]), receipts=world.receipts | {found[1]})


HAPPENS = {
    "prepare takes * over as open",
    "prepare takes * over as closed",
    "* stops",
    "* serves",
    "* takes a write",
    "* is frozen",
    "* is thawed",
    "* is synced",
    "* promises *",
    "* gives its receipt for *",
    "* takes * back",
    "* takes * back, frozen",
    "* begins to open under *",
    "* opens under *",
    "* opens under *, frozen",
}


@pytest.mark.parametrize(
    ("epochs", "writes", "states"),
    [(3, 1, 8_000), (3, 2, 25_000), pytest.param(4, 1, 50_000, marks=pytest.mark.long)],
)
def test_every_state_of_two_sides(guards: Guards, epochs: int, writes: int, states: int) -> None:
    seen, happens = search(guards, Moves(guards, EPOCHS[:epochs], writes))
    assert seen > states, "the search has become smaller"
    assert happens == HAPPENS


GUARD_LOST = {"* loses its guard", "* is reopened", "* gives its receipt for the lost guard"}
SITE_LOST = {
    "* is opened by a word",
    "* is told to open",
    "* begins to give way",
    "* gives way",
    "* is told",
    "* is replaced",
}


@pytest.mark.parametrize(
    ("epochs", "lost_guards", "lost_sites", "states"),
    [
        (2, 1, 0, 4_500),
        (1, 0, 1, 8_500),
        (1, 2, 0, 11_000),
        (2, 0, 1, 25_000),
        pytest.param(1, 1, 1, 65_000, marks=pytest.mark.long),
    ],
)
def test_every_state_after_a_loss(guards: Guards, epochs: int, lost_guards: int, lost_sites: int, states: int) -> None:
    moves = LostMoves(guards, EPOCHS[:epochs], 1, lost_guards=lost_guards, lost_sites=lost_sites)
    seen, happens = search(guards, moves)
    assert seen > states, "the search has become smaller"
    assert happens == HAPPENS | (GUARD_LOST if lost_guards else set()) | (SITE_LOST if lost_sites else set())


def test_the_search_would_see_a_fault(guards: Guards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule, "withdraw", lambda state, epoch, *, frozen: replace(state, status=rule.OPEN))
    with pytest.raises(Fault, match="takes back a permit that it did not have"):
        search(guards, Moves(guards, EPOCHS[:3], writes=1))


def knows(
    settled: Callable[[GuardState, GuardState], Optional[Epoch]],
) -> Callable[[GuardState, GuardState], GuardState]:
    """Return a transition that takes for settled what it should look at."""

    def settle(state: GuardState, other: GuardState) -> GuardState:
        epoch = settled(state, other)
        if state.word is None or epoch is None:
            raise GuardRefused(expected="a word", found="none")
        return state if state.word.settled else replace(state, word=replace(state.word, settled=epoch))

    return settle


@pytest.mark.parametrize(
    ("lost_guards", "lost_sites", "mistake", "words"),
    [
        (0, 1, knows(lambda state, other: state.promised), "at most one open side"),
        (0, 2, knows(lambda state, other: other.gave_way), "nobody can open a side any more"),
        (0, 1, lambda state, other: replace(SETTLE(state, other), status=rule.OPEN), "is marked as open without a"),
        (0, 1, lambda state, other: replace(SETTLE(state, other), promised=other.opened), "a promise was forgotten"),
    ],
    ids=["without a look", "of an earlier word", "opens", "forgets a promise"],
)
def test_the_search_would_see_a_word_that_is_settled_wrongly(
    guards: Guards,
    monkeypatch: pytest.MonkeyPatch,
    lost_guards: int,
    lost_sites: int,
    mistake: Callable[[GuardState, GuardState], GuardState],
    words: str,
) -> None:
    monkeypatch.setattr(lost, "settle", mistake)
    with pytest.raises(Fault, match=words):
        search(guards, LostMoves(guards, EPOCHS[:1], 1, lost_guards=lost_guards, lost_sites=lost_sites))


def test_the_search_would_see_a_settled_word_that_still_holds(guards: Guards, monkeypatch: pytest.MonkeyPatch) -> None:
    gave_up = rule.gave_up
    monkeypatch.setattr(
        rule, "gave_up", lambda a, b: gave_up(replace(a, word=a.word and replace(a.word, settled=None)), b)
    )
    with pytest.raises(Fault, match="a side leads no more because it was closed"):
        search(guards, LostMoves(guards, EPOCHS[:1], 1, lost_guards=1, lost_sites=1))
