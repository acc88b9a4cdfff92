"""What a provider is told and asked, with a provider in memory; a real one is asked in test_hosted_real.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from bascule.dns import hosted, planner
from bascule.dns import state as zone_state
from bascule.dns.hosted import Content, Planned, ProviderError
from bascule.dns.io import provider as io_provider
from bascule.dns.planner import Change, DnsRefused
from bascule.dns.records import RRset, ServerView
from bascule.errors import PlanError

from .world import RECORDS, SIDES, World
from .world import ZONE as SIGNED

ZONE = replace(SIGNED, quoteless=True)
HOST = "ns-a"
STATE = "_bascule.example.org./TXT"


class Memory:
    """A provider in memory that publishes at once to one server of the world."""

    def __init__(self, world: World) -> None:
        self.server = world.servers[HOST]
        self.own = dict(self.server.rrsets)
        self.others = {"mail.example.org./A": "192.0.2.9"}
        self.told: list[list[str]] = []
        self.readable = True
        # What happens at a call: its number to what is done instead of it.
        self.faults: dict[int, Callable[[Sequence[RRset]], None]] = {}

    def read(self) -> Content:
        """Tell all."""
        if not self.readable:
            raise ProviderError(expected="an answer", found="none")
        return Content(dict(self.own), dict(self.others))

    def put(self, wanted: Sequence[RRset], dry: bool = False) -> None:
        """Take it, and publish it."""
        if dry:
            return
        self.told.append([rrset.key for rrset in wanted])
        self.faults.get(len(self.told), self.take)(wanted)

    def take(self, wanted: Sequence[RRset]) -> None:
        """Do what was told."""
        self.own.update({rrset.key: rrset for rrset in wanted})
        self.server.rrsets = {key: self.own[key] for key in self.server.rrsets}
        if STATE in self.own:
            (text,) = self.own[STATE].values
            self.server.state = text.replace('" "', "").strip('"')


@pytest.fixture
def world() -> World:
    """Two servers, of which the provider is behind one."""
    return World()


@pytest.fixture
def memory(world: World) -> Memory:
    """Make the provider."""
    return Memory(world)


def prepare(world: World) -> Change:
    """Return what prepare wants of the server."""
    return planner.plan_prepare(ZONE, planner.survey(ZONE, [world.read(HOST)]), *SIDES, 5, 1000)[0]


def bring(
    world: World, memory: Memory, change: Change, *, seconds: float = 0.0, sleep: Callable[[float], None] | None = None
) -> None:
    """Carry a change out."""
    hosted.carry_out(change, ZONE, "prepare", memory, world.read, lambda _: None, seconds, sleep or (lambda _: None))


def test_the_intent_is_written_before_the_records_and_the_end_after_them(world: World, memory: Memory) -> None:
    states: list[str] = []

    def noted(wanted: Sequence[RRset]) -> None:
        memory.take(wanted)
        states.append(world.servers[HOST].state or "")

    memory.faults = {1: noted}
    change = prepare(world)
    bring(world, memory, change)
    assert memory.told == [[STATE], [record.key for record in RECORDS], [STATE]]
    assert zone_state.from_text(states[0], "names", SIDES).pending == "prepare"
    assert world.servers[HOST].state == change.state_after
    bring(world, memory, change)
    assert len(memory.told) == 3, "what it holds is not told again"


@pytest.mark.parametrize("step", [1, 2, 3])
def test_nothing_is_guessed_of_a_provider_that_does_not_answer_any_more(
    world: World, memory: Memory, step: int
) -> None:
    """Whether it did what it was told is not known; the next run reads first, and goes on."""

    def dies(wanted: Sequence[RRset]) -> None:
        memory.take(wanted)
        memory.readable = False
        raise ProviderError(expected="an answer", found="a time-out")

    memory.faults = {step: dies}
    with pytest.raises(ProviderError, match="a time-out; state now: unknown what of it the provider carried out"):
        bring(world, memory, prepare(world))
    memory.readable = True
    again = prepare(world) if step < 3 else None
    if again:
        bring(world, memory, again)
    state = zone_state.from_text(world.servers[HOST].state or "", "names", SIDES)
    assert (state.pending, set(state.ttls.values())) == ("", {300}), "the times to live of before are not lost"
    assert {rrset.ttl for rrset in world.servers[HOST].rrsets.values()} == {5}


@pytest.mark.parametrize("step", [1, 2])
def test_caches_are_counted_anew_where_nobody_saw_when_it_was_published(
    world: World, memory: Memory, step: int
) -> None:
    def dies(wanted: Sequence[RRset]) -> None:
        memory.take(wanted)
        memory.readable = False
        raise ProviderError(expected="an answer", found="a time-out")

    memory.faults = {step: dies}
    with pytest.raises(ProviderError):
        bring(world, memory, prepare(world))
    memory.readable = True
    survey = planner.survey(ZONE, [world.read(HOST)])
    (change,) = planner.plan_prepare(ZONE, survey, *SIDES, 5, 9000)
    bring(world, memory, change)
    state = zone_state.from_text(world.servers[HOST].state or "", "names", SIDES)
    assert (state.lowered_at, set(state.ttls.values()), state.pending) == (9000, {300}, "")
    assert planner.plan_prepare(ZONE, planner.survey(ZONE, [world.read(HOST)]), *SIDES, 5, 9999) == []


def test_a_server_that_publishes_too_late_has_caches_counted_anew(world: World, memory: Memory) -> None:
    """The next prepare is refused until it has published, and then counts from there."""
    memory.faults = dict.fromkeys(range(1, 5), lambda wanted: memory.own.update({one.key: one for one in wanted}))
    with pytest.raises(ProviderError, match="to publish within 0 s"):
        bring(world, memory, prepare(world))
    with pytest.raises(DnsRefused, match="wait until the server has published"):
        hosted.refuse_unpublished(ZONE, planner.survey(ZONE, [world.read(HOST)]), memory)
    memory.faults = {}
    memory.take([])
    survey = planner.survey(ZONE, [world.read(HOST)])
    assert planner.halfway(survey) == [f"{HOST}: prepare has begun there and was not seen to end; run it again"]
    (change,) = planner.plan_prepare(ZONE, survey, *SIDES, 5, 9000)
    bring(world, memory, change)
    state = zone_state.from_text(world.servers[HOST].state or "", "names", SIDES)
    assert (state.lowered_at, set(state.ttls.values()), state.pending) == (9000, {300}, "")


def test_a_lost_answer_counts_by_what_the_provider_holds(world: World, memory: Memory) -> None:
    def lost(wanted: Sequence[RRset]) -> None:
        memory.take(wanted)
        raise ProviderError(expected="an answer", found="a time-out")

    def refused(wanted: Sequence[RRset]) -> None:
        raise ProviderError(expected="an answer", found="403")

    memory.faults = {1: lost, 2: lost, 3: refused}
    with pytest.raises(ProviderError, match=r"403; state now: asked again, the provider does not hold _bascule"):
        bring(world, memory, prepare(world))


def test_others_that_change_meanwhile_are_named(world: World, memory: Memory) -> None:
    def both(wanted: Sequence[RRset]) -> None:
        memory.take(wanted)
        memory.others["mail.example.org./A"] = "192.0.2.10"

    memory.faults = {2: both}
    with pytest.raises(DnsRefused, match=r"changed in between: mail.example.org./A"):
        bring(world, memory, prepare(world))


def test_a_provider_that_takes_a_change_and_does_not_hold_it_is_named(world: World, memory: Memory) -> None:
    memory.faults = {2: lambda wanted: None}
    with pytest.raises(ProviderError, match=r"courses.example.org./A is not 192.0.2.1 \(TTL 5\)"):
        bring(world, memory, prepare(world))


def test_a_provider_that_holds_another_value_than_the_server_says_is_not_overwritten(
    world: World, memory: Memory
) -> None:
    key = RECORDS[0].key
    memory.own[key] = replace(memory.own[key], values=frozenset({"203.0.113.99"}))
    change, said = prepare(world), r"is 203.0.113.99 \(TTL 300\) at the provider, and ns-a says 192.0.2.1"
    with pytest.raises(DnsRefused, match=said):
        bring(world, memory, change)
    with pytest.raises(DnsRefused, match=said):
        hosted.rehearse(change, ZONE, memory)
    assert memory.told == []


def test_publishing_is_waited_for(world: World, memory: Memory) -> None:
    old, waited = world.read(HOST), [0.0]
    change = prepare(world)

    def read(host: str) -> ServerView:
        return old if waited[0] < 6 else world.read(host)

    def sleep(seconds: float) -> None:
        waited[0] += seconds

    hosted.carry_out(change, ZONE, "prepare", memory, read, lambda _: None, 60, sleep=sleep, clock=lambda: waited[0])
    assert waited == [6.0]


def test_a_change_that_is_on_its_way_is_not_overlooked(world: World, memory: Memory) -> None:
    """A server that still says the old state needs no change for a return, and moves afterwards."""
    bring(world, memory, prepare(world))
    survey = planner.survey(ZONE, [world.read(HOST)])
    hosted.refuse_unpublished(ZONE, survey, memory)
    (move,) = planner.plan_switch(ZONE, survey, *SIDES, "d1", "2026-11-20T09:00:00Z")
    memory.own[STATE] = hosted.state_rrset(ZONE.name, move.state_after, 5)
    assert planner.plan_switch(ZONE, survey, SIDES[1], SIDES[0], "d2", "2026-11-20T09:05:00Z") == []
    with pytest.raises(DnsRefused, match=r"another one at the provider than at ns-a.*wait until the server has"):
        hosted.refuse_unpublished(ZONE, survey, memory)


def test_a_plan_is_held_to_what_is_wanted() -> None:
    """More, less, other: each is named; as wanted is nothing to say."""
    one = RRset("courses.example.org.", "A", 5, frozenset({"192.0.2.1"}))
    other = replace(one, ttl=60)
    assert hosted.objections([Planned("update", one.key, one)], {}, [one]) == []
    assert hosted.objections([], {one.key: one}, [one]) == []
    assert hosted.objections([], {one.key: other}, [one]) == [f"it would leave {one.key} as it is, not {one.shown()}"]
    assert hosted.objections([Planned("update", one.key, other)], {}, [one]) == [
        f"it would make {one.key} say 192.0.2.1 (TTL 60), not 192.0.2.1 (TTL 5)"
    ]
    assert hosted.objections([Planned("delete", one.key, None)], {}, [one]) == [
        f"it would make {one.key} say nothing, not 192.0.2.1 (TTL 5)"
    ]
    assert hosted.objections([Planned("delete", "mail.example.org./A", None)], {one.key: one}, [one]) == [
        "it would delete mail.example.org./A, which is not to change"
    ]


def test_secrets_are_in_no_text() -> None:
    made = io_provider.settings({"class": "a.B", "host": "h"}, {"api_key": "hush", "more": {"tokens": ["quiet"]}})
    assert made.without_secrets("GET /?token=quiet with hush") == "GET /?token=(not shown) with (not shown)"
    odd = io_provider.settings({"class": "a.B"}, {"token": "a+b/c d="})
    for spelled in ("a%2Bb%2Fc%20d%3D", "a%2Bb/c%20d%3D", "a%2Bb%2Fc+d%3D"):
        assert odd.without_secrets(f"url: /?token={spelled}") == "url: /?token=(not shown)"
    assert "hush" not in repr(made) + str(made)
    with pytest.raises(PlanError) as error:
        io_provider.settings({"class": "a.B"}, "hush")
    assert "hush" not in error.value.message()
