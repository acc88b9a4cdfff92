"""What the name servers are told, and what is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.dns import apply, planner
from bascule.dns import state as zone_state
from bascule.dns.apply import Outcome
from bascule.dns.planner import Change, DnsRefused, Survey
from bascule.dns.records import ServerView
from bascule.errors import BasculeError, GuardRefused
from bascule.guard.state import Epoch

from .world import RECORDS, SIDES, ZONE, World, rrsets

Plan = Callable[[Survey], list[Change]]
OLD, NEW = {"192.0.2.1", "entrance-a.example.org."}, {"198.51.100.1", "entrance-b.example.org."}


def prepare(now: int = 1000) -> Plan:
    """Return the plan of prepare."""
    return lambda found: planner.plan_prepare(ZONE, found, *SIDES, ttl=5, now=now)


def switch(source: str, target: str, decision: str = "d1") -> Plan:
    """Return the plan of a switch."""
    return lambda found: planner.plan_switch(ZONE, found, source, target, decision, "now")


def retire(stays: str) -> Plan:
    """Return the plan of retire."""
    return lambda found: planner.plan_retire(ZONE, found, stays)


def run(world: World, plan: Plan, *, check: bool = False, lenient: bool = False) -> Outcome:
    """Carry a plan out in a world."""
    part = apply.Part(ZONE, SIDES, world.read, world.write)
    return apply.carry_out([part], lambda _, found: plan(found), allow_unreachable=lenient, check_mode=check)


@pytest.fixture
def world() -> World:
    """A world that prepare has been through."""
    prepared = World()
    run(prepared, prepare())
    return prepared


def test_prepare_lowers_and_remembers() -> None:
    """Every server has the lowered times to live, the state knows the old ones, and a second run does nothing."""
    world = World()
    assert len(run(world, prepare(), check=True).done) == 2
    assert world.servers["ns-a"].state is None
    run(world, prepare())
    for server in world.servers.values():
        assert {rrset.ttl for rrset in server.rrsets.values()} == {5}
        assert server.state is not None
        assert zone_state.from_text(server.state, "names", SIDES).ttls == {record.key: 300 for record in RECORDS}
    assert not run(world, prepare(now=2000)).done


@pytest.mark.parametrize("late", [0.0, 3.0, 1000.0])
def test_a_server_that_signs_beside_the_update_is_asked_until_it_says_it(late: float) -> None:
    """BIND with `inline-signing` says done before the zone that it serves holds it; what it never says is an error."""
    world, seconds, told = World(), [0.0], [0.0]
    old = {host: world.read(host) for host in SIDES}

    def read(host: str) -> ServerView:
        return world.read(host) if seconds[0] >= told[0] + late else old[host]

    def write(change: Change) -> None:
        world.write(change)
        told[0] = seconds[0]

    def sleep(time: float) -> None:
        assert time <= 0.05
        seconds[0] += time

    def go() -> Outcome:
        return apply.carry_out(
            [apply.Part(ZONE, SIDES, read, write)],
            lambda _, found: prepare()(found),
            allow_unreachable=False,
            check_mode=False,
            sleep=sleep,
            clock=lambda: seconds[0],
        )

    if late < 100:
        outcome = go()
        assert outcome.found[0].views == [world.read(host) for host in SIDES]
        assert late <= seconds[0] <= late + 0.1
    else:
        with pytest.raises(DnsRefused, match="ns-a does not say what it was told; ns-b does not say what it was told"):
            go()
        assert 19 < seconds[0] < 21


def test_switch_moves_all_records_at_all_servers_at_once(world: World) -> None:
    """One update per server carries all records and the state; a second run does nothing."""
    outcome = run(world, switch("ns-a", "ns-b"))
    assert [len(change.after) for change in outcome.done] == [2, 2]
    assert [world.values(host) for host in SIDES] == [NEW, NEW]
    assert outcome.found[0].newest is not None
    assert outcome.found[0].newest.active() == "ns-b"
    assert {s.state for s in world.servers.values()} == {world.servers["ns-a"].state}
    assert not run(world, switch("ns-a", "ns-b", "d2")).done


def test_back_is_forward_with_the_sides_swapped(world: World) -> None:
    """There and back, with a higher epoch each time."""
    run(world, switch("ns-a", "ns-b"))
    outcome = run(world, switch("ns-b", "ns-a", "d2"))
    assert [world.values(host) for host in SIDES] == [OLD, OLD]
    assert outcome.found[0].newest is not None
    assert outcome.found[0].newest.rank() == Epoch(2, "d2")


def test_retire_gives_the_times_to_live_back(world: World) -> None:
    """And a second run does nothing."""
    run(world, switch("ns-a", "ns-b"))
    with pytest.raises(DnsRefused, match="expected: the records to point to ns-a; found: they point to ns-b"):
        run(world, retire("ns-a"))
    run(world, retire("ns-b"))
    assert {rrset.ttl for server in world.servers.values() for rrset in server.rrsets.values()} == {300}
    assert [world.values(host) for host in SIDES] == [NEW, NEW]
    assert not run(world, retire("ns-b")).done


def test_a_switch_before_prepare_is_refused() -> None:
    """There is no state to decide from."""
    with pytest.raises(DnsRefused, match="20_prepare"):
        run(World(), switch("ns-a", "ns-b"))


@pytest.mark.parametrize("plan", [switch("ns-a", "ns-b"), prepare(), retire("ns-a")])
def test_a_change_by_somebody_else_is_refused(world: World, plan: Plan) -> None:
    """Nothing is changed anywhere, and the message names server, record, and both values."""
    server = world.servers["ns-b"]
    server.rrsets["courses.example.org./A"] = replace(
        server.rrsets["courses.example.org./A"], values=frozenset({"203.0.113.9"})
    )
    before = [list(s.updates) for s in world.servers.values()]
    with pytest.raises(DnsRefused, match=r"ns-b: courses.example.org./A says 203.0.113.9 \(TTL 5\), not 192.0.2.1"):
        run(world, plan)
    assert [list(s.updates) for s in world.servers.values()] == before


def test_a_server_that_is_away_stops_the_way_forward(world: World) -> None:
    """The other server is not touched."""
    world.servers["ns-b"].up = False
    with pytest.raises(DnsRefused, match="ns-b: does not answer"):
        run(world, switch("ns-a", "ns-b"))
    assert world.values("ns-a") == OLD


def test_the_way_back_goes_on_without_it_and_brings_it_up_later(world: World) -> None:
    """Loudly; when it is back, the same run updates it and it alone."""
    run(world, switch("ns-a", "ns-b"))
    world.servers["ns-b"].up = False
    outcome = run(world, switch("ns-b", "ns-a", "d2"), lenient=True)
    assert "going on without ns-b" in outcome.warnings[0]
    assert (world.values("ns-a"), world.values("ns-b")) == (OLD, NEW)
    world.servers["ns-b"].up = True
    late = run(world, switch("ns-b", "ns-a", "d3"), lenient=True)
    assert [change.host for change in late.done] == ["ns-b"]
    assert world.values("ns-b") == OLD
    assert world.servers["ns-a"].state == world.servers["ns-b"].state


def test_the_way_back_needs_one_server(world: World) -> None:
    """Nobody answering is no success."""
    for server in world.servers.values():
        server.up = False
    with pytest.raises(DnsRefused, match="every authoritative server"):
        run(world, switch("ns-a", "ns-b"), lenient=True)


def test_a_lost_answer_is_told_and_continued(world: World) -> None:
    """The update was carried out; the next run sees that and brings up what is missing."""
    world.servers["ns-a"].mute = True
    with pytest.raises(DnsRefused, match=r"state now: ns-a points to ns-b under epoch 1.d1; ns-b points to ns-b"):
        run(world, switch("ns-a", "ns-b"))
    assert not run(world, switch("ns-a", "ns-b", "d2")).done


def test_an_overtaken_decision_is_refused_by_the_server(world: World) -> None:
    """Two controllers plan from the same state; the second update fails at its prerequisite."""
    found = apply.look(ZONE, SIDES, world.read)
    ours = planner.plan_switch(ZONE, found, "ns-a", "ns-b", "d1", "now")
    theirs = planner.plan_switch(ZONE, found, "ns-a", "ns-b", "d2", "now")
    world.write(theirs[0])
    with pytest.raises(DnsRefused):
        world.write(ours[0])


def test_a_state_of_another_component_is_refused(world: World) -> None:
    """A zone serves one component."""
    text = (world.servers["ns-a"].state or "").replace('"names"', '"others"')
    world.servers["ns-a"].state = text
    with pytest.raises(GuardRefused, match="the state of names"):
        run(world, switch("ns-a", "ns-b"))


@pytest.mark.parametrize("text", ["", "{}", "null", "[]", '{"format": 2}', '{"format":1,"sides":[],"ttls":{}}'])
def test_a_state_that_cannot_be_read_is_refused(text: str) -> None:
    """Never guessed."""
    with pytest.raises(GuardRefused, match="never guesses"):
        zone_state.from_text(text, "names", SIDES)


def test_the_state_fits_the_strings_of_a_record() -> None:
    """255 bytes each, nothing lost."""
    text = zone_state.to_text(
        zone_state.move(zone_state.adopt("names", *SIDES), *SIDES, epoch=Epoch(1, "f" * 16), now="2030-01-01T00:00:00Z")
    )
    parts = zone_state.split_text(text)
    assert "".join(parts) == text
    assert max(map(len, parts)) <= 255


def test_differences_between_servers_are_named(world: World) -> None:
    """With what each server says."""
    world.servers["ns-b"].rrsets = rrsets(ttl=300)
    views = [world.read(host) for host in SIDES]
    assert "courses.example.org./A: ns-a says 192.0.2.1 (TTL 5), ns-b says 192.0.2.1 (TTL 300)" in planner.differences(
        ZONE, views
    )


def test_an_interrupted_switch_is_no_fault(world: World) -> None:
    """So that the same playbook may be run again; somebody else's change still is one."""
    world.servers["ns-b"].up = False
    run(world, switch("ns-a", "ns-b"), lenient=True)
    found = apply.look(ZONE, SIDES, world.read)
    assert planner.faults(ZONE, found, "ns-a") == ["ns-b: does not answer"]
    world.servers["ns-b"].up = True
    assert planner.faults(ZONE, apply.look(ZONE, SIDES, world.read), "ns-a") == []
    world.servers["ns-b"].rrsets = rrsets("ns-b")
    assert len(planner.faults(ZONE, apply.look(ZONE, SIDES, world.read), "ns-a")) == 2


def test_caches_forget_when_the_old_time_to_live_is_over(world: World) -> None:
    """Counted from the moment of lowering; not lowered is unknown, not zero."""
    state = apply.look(ZONE, SIDES, world.read).newest
    assert state is not None
    assert [planner.seconds_until_forgotten(state, now) for now in (1000, 1299, 1300, 5000)] == [300, 1, 0, 0]
    assert planner.seconds_until_forgotten(zone_state.adopt("names", *SIDES), 0) is None


def test_serials_must_move_when_the_records_did(world: World) -> None:
    """Compared with what capture kept."""
    captured = {"active": "ns-a", "serials": {"ns-a": 2, "ns-b": 2}}
    found = apply.look(ZONE, SIDES, world.read)
    assert planner.unmoved(ZONE, found, "ns-a", captured) == []
    assert len(planner.unmoved(ZONE, found, "ns-b", captured)) == 2
    run(world, switch("ns-a", "ns-b"))
    assert planner.unmoved(ZONE, apply.look(ZONE, SIDES, world.read), "ns-b", captured) == []


def test_waiting_for_a_resolver_ends(world: World) -> None:
    """With what is still wrong, or at once when all is right."""
    view = world.read("ns-a")
    assert apply.await_answer(ZONE, lambda: [view], "ns-a", 0) == []
    assert len(apply.await_answer(ZONE, lambda: [view], "ns-b", 0)) == 2


@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(st.sampled_from(["up", "down", "mute"]), min_size=2, max_size=2)), max_size=8
    )
)
def test_any_schedule_ends_in_agreement(steps: list[tuple[bool, list[str]]]) -> None:
    """Servers go away, answers get lost: no server ever mixes two sides, and one run with all of them up agrees."""
    world = World()
    run(world, prepare())
    for number, (forward, how) in enumerate(steps):
        for server, word in zip(world.servers.values(), how, strict=True):
            server.up, server.mute = word != "down", word == "mute"
        source, target = SIDES if forward else SIDES[::-1]
        with contextlib.suppress(BasculeError):
            run(world, switch(source, target, f"d{number}"), lenient=not forward)
        assert all(world.values(host) in (OLD, NEW) for host in SIDES)
    for server in world.servers.values():
        server.up, server.mute = True, False
    run(world, switch(*SIDES, "last"))
    assert [world.values(host) for host in SIDES] == [NEW, NEW]
    assert world.servers["ns-a"].state == world.servers["ns-b"].state


def test_the_state_is_read_in_either_spelling() -> None:
    """Without a character that providers take differently, whatever the names hold."""
    state = zone_state.adopt("na'mes; 100%27 \\ of them", *SIDES)
    text = zone_state.to_text(replace(state, pending="switch"))
    bare = zone_state.quoteless(text)
    assert not set(bare) & set('"\\;')
    assert zone_state.quoted(bare) == zone_state.quoted(text) == text
    read = zone_state.from_text(bare, "na'mes; 100%27 \\ of them", SIDES)
    assert (read.pending, read.active()) == ("switch", "ns-a")


def test_what_a_provider_left_halfway_is_of_either_side_and_brought_up(world: World) -> None:
    """Without the mark it would be somebody else's change; a value of neither side is one in any case."""
    run(world, switch("ns-a", "ns-b"))
    server = world.servers["ns-a"]
    key = RECORDS[0].key
    server.rrsets[key] = replace(server.rrsets[key], values=RECORDS[0].values["ns-a"])
    with pytest.raises(DnsRefused, match="somebody else changed the zone"):
        run(world, switch("ns-a", "ns-b"))
    state = zone_state.from_text(server.state or "", "names", SIDES)
    server.state = zone_state.quoteless(zone_state.to_text(replace(state, pending="switch")))
    found = apply.look(ZONE, SIDES, world.read)
    assert planner.faults(ZONE, found, "ns-b") == []
    assert planner.unfinished(ZONE, found) == [
        "ns-a: the switch of example.org has begun there and was not seen to end"
    ]
    assert planner.guards([ZONE], [found])["ns-b"].status == "opening"
    assert planner.wrong_answers(ZONE, found.views[0], "ns-b") != [], "users are told the old one until then"
    server.rrsets[key] = replace(server.rrsets[key], values=frozenset({"203.0.113.99"}))
    with pytest.raises(DnsRefused, match="declared for neither side"):
        run(world, switch("ns-a", "ns-b"))
    server.rrsets[key] = replace(server.rrsets[key], values=RECORDS[0].values["ns-a"])
    assert len(run(world, switch("ns-a", "ns-b")).done) == 1
    assert world.values("ns-a") == NEW
    assert server.state == world.servers["ns-b"].state
    assert planner.guards([ZONE], [apply.look(ZONE, SIDES, world.read)])["ns-b"].status == "open"


def test_a_secondary_has_the_newest_state_in_either_spelling(world: World) -> None:
    found = apply.look(ZONE, SIDES, world.read)
    view = replace(found.views[1], state_text=zone_state.quoteless(world.servers["ns-b"].state or ""))
    assert planner.behind(found, [view]) == []
    assert planner.behind(found, [replace(view, state_text=None)]) != []
