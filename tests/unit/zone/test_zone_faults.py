"""Several zones in one component, one of which is refused, was added or removed, or cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from bascule.dns import apply, facts, planner, zones
from bascule.dns import state as zone_state
from bascule.dns.planner import DnsRefused, Zone
from bascule.dns.records import RRset
from bascule.errors import BasculeError

from .test_zones import MAIN, NOBODY, ORDERS, RECORDS, REVERSE, SERVED, ZONES, Killed, Sites, prepared
from .world import SIDES, Server


def foreign_record(server: Server) -> None:
    (key,) = server.rrsets
    server.rrsets[key] = replace(server.rrsets[key], values=frozenset({"somebody.else."}))


def unreadable(server: Server) -> None:
    server.state = (server.state or "").replace('"names"', '"others"')


def without_state(server: Server) -> None:
    foreign_record(server)
    server.state = None


@pytest.mark.parametrize("spoil", [foreign_record, unreadable, without_state])
@pytest.mark.parametrize("zone", [MAIN, REVERSE])
def test_the_way_back_brings_all_zones_but_the_one_that_is_refused(spoil: Callable[[Server], None], zone: str) -> None:
    """A record at the lost site must not stay because of a fault in another zone."""
    made = prepared()
    made.move("ns-b", "d1")
    server = made.servers[zone, "ns-a"]
    spoil(server)
    updates = len(server.updates)
    with pytest.raises(BasculeError):
        made.move("ns-a", "d2")
    (other,) = {MAIN, REVERSE} - {zone}
    assert len(made.servers[other, "ns-a"].updates) == 2, "without leave nothing moves"
    with pytest.raises(DnsRefused, match=f"{zone}: .* stays as it is: expected: "):
        made.move("ns-a", "d2", lenient=True)
    assert len(made.servers[other, "ns-a"].updates) == 3
    assert len(server.updates) == updates
    told = facts.facts(ZONES, made.look(), 0, {})
    assert told["active"] == "ns-a"
    assert made.wrong() != []


def test_a_zone_whose_state_cannot_be_read_is_told_and_hides_no_other() -> None:
    made = prepared()
    unreadable(made.servers[REVERSE, "ns-a"])
    told = facts.facts(ZONES, made.look(), 0, {})
    assert told["unseen"] == f"no server of {REVERSE} has a state that can be read"
    assert "the state of names" in told["silent"][f"ns-a ({REVERSE})"]
    assert told["active"] == "ns-a"
    unreadable(made.servers[MAIN, "ns-a"])
    told = facts.facts(ZONES, made.look(), 0, {})
    assert (told["guards"], sorted(told["unread"])) == ({}, list(SIDES)), "not read is not unprepared"


def test_a_zone_that_nobody_answers_for_is_wrong_also_on_the_way_back() -> None:
    made = prepared()
    made.servers[REVERSE, "ns-a"].up = False
    told = facts.look(ZONES, made.look(), NOBODY, "ns-a", {}, True)
    assert told["wrong"] == [f"no server of {REVERSE} answers"]


@pytest.mark.parametrize("hosts", [("ns-a",), SIDES])
@pytest.mark.parametrize("kill", [1, 2, 3])
def test_prepare_moves_no_record_of_a_switch_that_is_halfway(hosts: Sequence[str], kill: int) -> None:
    made = prepared(hosts=hosts)
    if kill >= len(made.servers):
        return
    with pytest.raises(Killed):
        made.move("ns-b", "d1", kill=kill)
    before = made.says()
    with pytest.raises(DnsRefused, match="run the cutover or the rollback first"):
        made.prepare()
    assert made.says() == before
    made.move("ns-a", "d2")
    assert made.prepare().done == []


@pytest.mark.parametrize("stays", SIDES)
@pytest.mark.parametrize("to", SIDES)
@pytest.mark.parametrize("order", ORDERS)
def test_a_zone_that_is_declared_after_a_move_is_taken_over_by_the_next_switch(
    order: Sequence[Zone], to: str, stays: str
) -> None:
    """No deadlock, and no side is told to be open, until all zones say the same."""
    made = Sites(order)
    server = made.servers[REVERSE, "ns-a"]
    made.zones = [ZONES[0]]
    made.prepare()
    made.move("ns-b", "d1")
    made.zones = list(order)
    server.rrsets = {key: replace(rrset, values=RECORDS[1].values[stays]) for key, rrset in server.rrsets.items()}
    assert made.guards() == {"ns-a": "closed", "ns-b": "opening"}
    assert any(f"{REVERSE} was not taken over before the component moved to ns-b" in text for text in made.wrong())
    assert server.state is None
    made.move(to, "d2")
    assert made.says() == [to, to]
    made.must_be_honest()
    apply.carry_out(
        made.parts(),
        lambda zone, found: planner.plan_retire(zone, found, to),
        allow_unreachable=False,
        check_mode=False,
    )
    assert {rrset.ttl for server in made.servers.values() for rrset in server.rrsets.values()} == {300}


def test_a_zone_that_says_no_side_is_not_taken_over_by_a_switch() -> None:
    made = Sites()
    made.zones = [ZONES[0]]
    made.prepare()
    made.move("ns-b", "d1")
    made.zones = list(ZONES)
    foreign_record(made.servers[REVERSE, "ns-a"])
    with pytest.raises(DnsRefused, match=f"the state of the switch in {REVERSE}"):
        made.move("ns-a", "d2")
    with pytest.raises(DnsRefused, match=f"{REVERSE}: it is refused and stays as it is"):
        made.move("ns-a", "d2", lenient=True)
    assert zone_state.from_text(made.servers[MAIN, "ns-a"].state or "", "names", SIDES).active() == "ns-a"
    assert made.servers[REVERSE, "ns-a"].state is None


def test_a_zone_that_is_declared_no_more_is_not_forgotten_halfway() -> None:
    made = prepared()
    kept = facts.captured(ZONES, made.look())
    with pytest.raises(Killed):
        made.move("ns-b", "d1", kill=1)
    made.zones = [replace(ZONES[0], name="Example.ORG.")]
    made.servers["Example.ORG.", "ns-a"] = made.servers[MAIN, "ns-a"]
    told = facts.look(made.zones, made.look(), NOBODY[:1], "ns-b", kept, False)["wrong"]
    assert [text.partition(" was captured")[0] for text in told] == [f"the zone {REVERSE}"]
    old = {"active": "ns-a", "serials": {"ns-a": 1}}
    assert facts.look(made.zones, made.look(), NOBODY[:1], "ns-b", old, False)["wrong"] == []


def test_a_serial_of_before_there_were_further_zones_is_of_the_own_zone_alone() -> None:
    main, reverse = zones.served({**SERVED, "update": "signed"}, {})
    assert (main.zone.further, reverse.zone.further) == (False, True)
    kept = {"active": "ns-a", "serials": {"ns-a": 2}}
    made = prepared([main.zone, reverse.zone])
    told = [len(planner.unmoved(zone, one, "ns-b", kept)) for zone, one in zip(made.zones, made.look(), strict=True)]
    assert told == [1, 0]


def test_a_record_that_is_declared_after_prepare_is_prepared_by_the_next_one() -> None:
    made = prepared(ZONES[:1])
    more = replace(RECORDS[0], name="new.example.org.")
    made.zones = [replace(ZONES[0], records=[*ZONES[0].records, more])]
    server = made.servers[MAIN, "ns-a"]
    server.rrsets[more.key] = RRset(more.name, more.type, 900, more.values["ns-a"])
    retire = [planner.plan_retire(made.zones[0], made.look()[0], "ns-a")]
    assert [[rrset.ttl for rrset in change.after] for (change,) in retire] == [[300, 900]], "it is left as it is"
    made.prepare()
    assert zone_state.from_text(server.state or "", "names", SIDES).ttls == {RECORDS[0].key: 300, more.key: 900}
    server.rrsets[more.key] = replace(server.rrsets[more.key], ttl=5)
    server.state = (server.state or "").replace(f'"{more.key}":900', '"other./A":900')
    made.prepare()
    assert {rrset.ttl for rrset in server.rrsets.values()} == {5}
