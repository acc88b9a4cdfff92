"""Several zones in one component: one state each, and no moment at which all of them change."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from bascule.dns import apply, facts, planner, zones
from bascule.dns import state as zone_state
from bascule.dns.planner import Change, DnsRefused, Zone
from bascule.dns.records import RRset, ServerView, parse_records
from bascule.errors import BasculeError, PlanError
from bascule.guard.state import GuardState
from bascule.system.domain_names import placed

from .world import SIDES, Server

MAIN, REVERSE = "example.org", "2.0.192.in-addr.arpa"
DECLARED = [
    {"name": "courses", "type": "A", "values": {"ns-a": "192.0.2.1", "ns-b": "198.51.100.1"}},
    {"name": "1", "zone": REVERSE, "type": "PTR", "values": {"ns-a": "a.example.net.", "ns-b": "b.example.net."}},
]
RECORDS = parse_records(DECLARED, MAIN, SIDES, [REVERSE])
ZONES = [Zone(name, "names", [one for one in RECORDS if one.zone == name], SIDES) for name in (MAIN, REVERSE)]

Asked = Sequence[tuple[Sequence[ServerView], Sequence[ServerView]]]
NOBODY: Asked = [([], []), ([], [])]


class Killed(Exception):
    """The controller is gone."""


class Sites:
    """Two zones, each at servers of its own in memory; a controller may be killed before any of its updates."""

    def __init__(self, order: Sequence[Zone] = ZONES, hosts: Sequence[str] = ("ns-a",)) -> None:
        self.zones = list(order)
        self.left: int | None = None
        self.servers = {
            (zone.name, host): Server(
                host, {one.key: RRset(one.name, one.type, 300, one.values["ns-a"]) for one in zone.records}
            )
            for zone in order
            for host in hosts
        }
        self.hosts = list(hosts)

    def write(self, change: Change) -> None:
        """Update one server, or be killed before."""
        if self.left is not None:
            if not self.left:
                raise Killed
            self.left -= 1
        self.servers[change.zone, change.host].update(change)

    def parts(self) -> list[apply.Part]:
        """Return the zones with the way to their servers."""

        def reader(zone: Zone) -> apply.Reader:
            return lambda host: self.servers[zone.name, host].view()

        return [apply.Part(zone, self.hosts, reader(zone), self.write) for zone in self.zones]

    def move(self, to: str, decision: str, *, kill: int | None = None, lenient: bool = False) -> apply.Outcome:
        """Move the records as the role does; `kill`: after how many updates the controller is gone."""
        self.left = kill
        source = next(side for side in SIDES if side != to)
        try:
            return apply.carry_out(
                self.parts(),
                lambda zone, found: planner.plan_switch(zone, found, source, to, decision, "now"),
                allow_unreachable=lenient,
                check_mode=False,
            )
        finally:
            self.left = None

    def prepare(self, *, kill: int | None = None) -> apply.Outcome:
        """Lower the times to live."""
        self.left = kill
        try:
            return apply.carry_out(
                self.parts(),
                lambda zone, found: planner.plan_prepare(zone, found, *SIDES, ttl=5, now=1000),
                allow_unreachable=False,
                check_mode=False,
            )
        finally:
            self.left = None

    def look(self) -> list[planner.Survey]:
        """Ask all."""
        return apply.look_at_all(self.parts())

    def says(self) -> list[str]:
        """Return the side that each server says; nothing else may be found at any."""
        told = []
        for (name, _), server in self.servers.items():
            zone = next(zone for zone in self.zones if zone.name == name)
            held = {key: rrset.values for key, rrset in server.rrsets.items()}
            (side,) = [side for side in SIDES if held == {one.key: one.values[side] for one in zone.records}]
            told.append(side)
        return told

    def guards(self) -> dict[str, str]:
        """Return the status of each side, as status is told it."""
        told = facts.facts(self.zones, self.look(), 0, {})["guards"]
        return {name: GuardState.from_dict(side).status for name, side in told.items()}

    def wrong(self) -> list[str]:
        """Return what verify finds."""
        found = self.look()
        told: list[str] = facts.look(self.zones, found, NOBODY, facts.active(found), {}, False)["wrong"]
        return told

    def must_be_honest(self) -> None:
        """Refuse anything that calls a component switched of which a zone is elsewhere."""
        states = {server.state for server in self.servers.values()}
        opened = [name for name, status in self.guards().items() if status == "open"]
        epochs = {zone_state.from_text(text or "", "names", SIDES).rank() for text in states}
        if len(epochs) > 1:
            assert opened == []
            assert "opening" in self.guards().values()
            assert self.wrong() != []
        else:
            assert len(opened) == 1
            assert set(self.says()) == set(opened)
            assert self.wrong() == []


def prepared(order: Sequence[Zone] = ZONES, hosts: Sequence[str] = ("ns-a",)) -> Sites:
    """Return zones that prepare has been through."""
    made = Sites(order, hosts)
    made.prepare()
    return made


ORDERS = [ZONES, ZONES[::-1]]


@pytest.mark.parametrize(("order", "count"), [(ZONES, 3), (ZONES[::-1], 2)])
def test_all_kills_in_all_directions_end_where_the_last_run_leads(order: Sequence[Zone], count: int) -> None:
    """Controllers one after the other, each killed between two updates or not at all, forward or back."""
    runs = list(itertools.product(SIDES, (1, None)))
    for steps in itertools.product(runs, repeat=count):
        made = prepared(order)
        for number, (to, kill) in enumerate(steps):
            with suppress(Killed):
                made.move(to, f"d{number}", kill=kill)
            made.must_be_honest()
        for to in SIDES:
            made.move(to, f"last {to}")
            assert made.says() == [to, to], steps
            made.must_be_honest()
            assert made.move(to, "again").done == []


def test_a_switch_that_reached_one_zone_is_seen_halfway_and_goes_on_or_back() -> None:
    """Neither side is open; the records that were left behind are named, and nothing keeps the next run."""
    for to, said in (("ns-b", ["ns-b", "ns-b"]), ("ns-a", ["ns-a", "ns-a"])):
        made = prepared()
        with pytest.raises(Killed):
            made.move("ns-b", "d1", kill=1)
        assert made.says() == ["ns-b", "ns-a"]
        assert made.guards() == {"ns-a": "closed", "ns-b": "opening"}
        assert made.wrong() == [
            f"ns-a: 1.{REVERSE}./PTR says a.example.net. (TTL 5), not b.example.net.",
            f"{REVERSE} was not reached by the switch to ns-b under epoch 1.d1",
        ]
        found = made.look()
        told = facts.look(ZONES, found, NOBODY, "ns-b", {}, False)
        assert (told["faults"], len(told["late"])) == ([], 1)
        made.move(to, "d2")
        assert made.says() == said
        assert made.guards() == {side: "open" if side == to else "closed" for side in SIDES}


def writes(made: Sites, to: str, decision: str) -> list[Change]:
    """Return what a controller would write now."""
    source = next(side for side in SIDES if side != to)
    return [
        change
        for zone, found in zip(made.zones, made.look(), strict=True)
        for change in planner.plan_switch(zone, found, source, to, decision, "now")
    ]


def interleaved(first: Sequence[Change], second: Sequence[Change]) -> Iterable[list[Change]]:
    """Yield every order in which two controllers can write, each in its own order."""
    total = len(first) + len(second)
    for places in itertools.combinations(range(total), len(first)):
        one, other = iter(first), iter(second)
        yield [next(one) if number in places else next(other) for number in range(total)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("begun", [None, 0, 1])
@pytest.mark.parametrize("ways", list(itertools.product(SIDES, repeat=2)))
def test_two_controllers_in_any_order(order: Sequence[Zone], begun: int | None, ways: tuple[str, str]) -> None:
    """Both have decided before either writes, from where a third one stopped: each update is refused or right."""

    def start() -> Sites:
        made = prepared(order)
        with suppress(Killed):
            made.move("ns-b", "d0", kill=begun)
        return made

    first, second = (writes(start(), to, f"d{number}") for number, to in enumerate(ways, start=1))
    count = 0
    for schedule in interleaved(first, second):
        made = start()
        for change in schedule:
            with suppress(DnsRefused):
                made.write(change)
            made.must_be_honest()
        count += 1
        for to in SIDES:
            made.move(to, f"last {to}")
            assert made.says() == [to, to]
            made.must_be_honest()
    assert count


def test_servers_and_zones_together() -> None:
    """Two servers for each of two zones, a kill before each update, and the way back from there."""
    for kill in range(5):
        made = prepared(hosts=SIDES)
        with suppress(Killed):
            made.move("ns-b", "d1", kill=kill)
        assert made.says() == ["ns-b"] * kill + ["ns-a"] * (4 - kill)
        # A zone is reached when one of its servers is; the others are brought up, as ever.
        assert made.guards()["ns-b"] == ("closed" if not kill else "opening" if kill < 3 else "open")
        assert bool(made.wrong()) == (0 < kill < 4)
        made.move("ns-a", "d2")
        assert made.says() == ["ns-a"] * 4
        assert made.wrong() == []


def test_a_zone_whose_server_refuses_is_named_and_the_other_one_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run brings it up; nobody was told that all has moved."""
    made = prepared()
    server = made.servers[MAIN, "ns-a"]

    def refuses(change: Change) -> None:
        raise BasculeError(expected="the update to be taken", found="REFUSED")

    monkeypatch.setattr(server, "update", refuses)
    with pytest.raises(DnsRefused) as caught:
        made.move("ns-b", "d1")
    assert f"{MAIN}: ns-a: expected: the update to be taken; found: REFUSED" in caught.value.found
    assert f"{MAIN}: ns-a points to ns-a" in caught.value.state
    assert f"{REVERSE}: ns-a points to ns-b under epoch 1.d1" in caught.value.state
    assert made.says() == ["ns-a", "ns-b"]
    made.must_be_honest()
    monkeypatch.undo()
    assert [change.zone for change in made.move("ns-b", "d2").done] == [MAIN]
    made.must_be_honest()


def test_what_is_refused_in_several_zones_is_named_at_once_and_nothing_moves() -> None:
    made = prepared()
    made.servers[MAIN, "ns-a"].up = False
    server = made.servers[REVERSE, "ns-a"]
    (key,) = server.rrsets
    server.rrsets[key] = replace(server.rrsets[key], values=frozenset({"somebody.else."}))
    with pytest.raises(DnsRefused) as caught:
        made.move("ns-b", "d1")
    assert f"{MAIN}: ns-a: does not answer" in caught.value.found
    assert f"{REVERSE}: ns-a: {key} says somebody.else." in caught.value.found
    assert len(server.updates) == 1, "prepare's"


def test_the_way_back_brings_the_zones_that_answer_and_names_the_silent_one() -> None:
    made = prepared()
    made.move("ns-b", "d1")
    made.servers[REVERSE, "ns-a"].up = False
    with pytest.raises(DnsRefused, match="every authoritative server"):
        made.move("ns-a", "d2")
    assert made.says() == ["ns-b", "ns-b"], "forward and without leave nothing moves"
    with pytest.raises(DnsRefused, match=f"{REVERSE}: no server of this zone answers, and it stays as it is"):
        made.move("ns-a", "d2", lenient=True)
    assert made.says() == ["ns-a", "ns-b"]
    told = facts.facts(ZONES, made.look(), 0, {})
    assert told["unseen"] == f"no server of {REVERSE} answers"
    assert told["silent"] == {f"ns-a ({REVERSE})": "does not answer"}
    made.servers[REVERSE, "ns-a"].up = True
    made.must_be_honest()
    assert [change.zone for change in made.move("ns-a", "d3", lenient=True).done] == [REVERSE]
    made.must_be_honest()
    for server in made.servers.values():
        server.up = False
    with pytest.raises(DnsRefused, match="every authoritative server"):
        made.move("ns-b", "d4", lenient=True)


def test_each_zone_keeps_its_own_times_to_live() -> None:
    """Lowered, counted and given back by zone; the caches are free when those of every zone are."""
    made = Sites()
    server = made.servers[REVERSE, "ns-a"]
    server.rrsets = {key: replace(rrset, ttl=3600) for key, rrset in server.rrsets.items()}
    with pytest.raises(Killed):
        made.prepare(kill=1)
    told = facts.facts(ZONES, made.look(), 1100, {})
    assert (told["guards"], told["ttl_left"]) == ({}, None), "one zone was not taken over"
    with pytest.raises(DnsRefused, match=f"the state of the switch in {REVERSE} at every server"):
        made.move("ns-b", "d1")
    made.prepare()
    told = facts.facts(ZONES, made.look(), 1100, {})
    assert (told["ttl_left"], len(told["guards"])) == (3500, 2)
    assert facts.facts(ZONES, made.look(), 1100, {REVERSE: 1090})["ttl_left"] == 3590
    states = [zone_state.from_text(server.state or "", "names", SIDES) for server in made.servers.values()]
    assert [dict(state.ttls) for state in states] == [{RECORDS[0].key: 300}, {RECORDS[1].key: 3600}]
    made.move("ns-b", "d1")
    apply.carry_out(
        made.parts(),
        lambda zone, found: planner.plan_retire(zone, found, "ns-b"),
        allow_unreachable=False,
        check_mode=False,
    )
    assert [rrset.ttl for server in made.servers.values() for rrset in server.rrsets.values()] == [300, 3600]
    assert made.says() == ["ns-b", "ns-b"]


def test_a_zone_that_is_added_after_a_move_has_to_point_where_the_component_is() -> None:
    """It is taken over where the others stand, and never moved by being taken over."""
    made = Sites()
    alone = Sites(ZONES[:1])
    alone.servers[MAIN, "ns-a"] = made.servers[MAIN, "ns-a"]
    alone.prepare()
    alone.move("ns-b", "d1")
    with pytest.raises(DnsRefused, match=r"says a\.example\.net\."):
        made.prepare()
    assert made.servers[REVERSE, "ns-a"].state is None
    server = made.servers[REVERSE, "ns-a"]
    server.rrsets = {key: replace(rrset, values=RECORDS[1].values["ns-b"]) for key, rrset in server.rrsets.items()}
    made.prepare()
    made.must_be_honest()
    assert made.guards()["ns-b"] == "open"


def test_serials_are_kept_and_compared_by_zone() -> None:
    made = prepared()
    kept = facts.captured(ZONES, made.look())
    assert kept["serials"] == {MAIN: {"ns-a": 2}, REVERSE: {"ns-a": 2}}
    assert set(kept["records"][REVERSE]["ns-a"]) == {RECORDS[1].key}
    with pytest.raises(Killed):
        made.move("ns-b", "d1", kill=1)
    found = made.look()
    assert [len(planner.unmoved(zone, one, "ns-b", kept)) for zone, one in zip(ZONES, found, strict=True)] == [0, 1]


def test_a_secondary_of_a_zone_that_was_not_reached_has_what_that_zone_says() -> None:
    """It is no fault of its transfers, and keeps nobody from going on."""
    made = prepared()
    with pytest.raises(Killed):
        made.move("ns-b", "d1", kill=1)
    found = made.look()
    followers: Asked = [([replace(one.views[0], host="second")], []) for one in found]
    told = facts.look(ZONES, found, followers, "ns-b", {}, False)
    assert told["faults"] == []
    assert [line.partition(":")[0] for line in told["late"]] == ["ns-a"]


SERVED: dict[str, Any] = {
    "component": "names",
    "zone": MAIN,
    "records": DECLARED,
    "from": SIDES[0],
    "to": SIDES[1],
    "servers": {"ns-a": "192.0.2.53"},
    "secondaries": {"second": "192.0.2.54"},
    "resolvers": {"near": "192.0.2.80"},
    "port": 53,
    "update": "manual",
    "further_zones": [{"name": f"{REVERSE}."}],
}


def test_a_further_zone_takes_from_the_component_what_it_does_not_say() -> None:
    main, reverse = zones.served(SERVED, {})
    assert (reverse.servers, reverse.secondaries, reverse.update) == (main.servers, main.secondaries, "manual")
    assert [[one.key for one in part.zone.records] for part in (main, reverse)] == [[one.key] for one in RECORDS]
    own: dict[str, Any] = {"name": REVERSE, "servers": {"ns": "192.0.2.99"}, "update": "signed", "tsig_name": "k"}
    first, second = zones.served({**SERVED, "further_zones": [own]}, {f"{REVERSE}.": {"tsig_secret": "c2VjcmV0"}})
    assert (first.zone.name, second.zone.name) == (REVERSE, MAIN), "nobody waits for a person before it is told"
    assert (first.servers, first.secondaries) == ({"ns": "192.0.2.99"}, {})
    assert first.settings == {"tsig_name": "k", "tsig_secret": "c2VjcmV0"}
    assert "c2VjcmV0" not in repr(first)
    assert (first.resolvers, first.port) == (SERVED["resolvers"], 53)
    own |= {"resolvers": {}, "port": 5353}
    first, second = zones.served({**SERVED, "further_zones": [own]}, {})
    assert (first.resolvers, first.port, second.resolvers, second.port) == ({}, 5353, SERVED["resolvers"], 53)


def test_what_is_wrong_in_further_zones_is_named_at_once_without_a_secret() -> None:
    further: list[dict[str, Any]] = [
        {},
        {"name": "Example.ORG."},
        {"name": "b.example", "update": "pigeon", "servers": {}, "color": "red"},
        {"name": "c.example", "tsig_name": "key"},
        {"name": "d.example", "tsig_name": "key"},
        {"name": "f.example", "tsig_algorithm": "hmac-sha512"},
        {"name": "g.example", "port": 0, "resolvers": []},
        {"name": "h.example", "tsig_algorithm": "hmac-pigeon"},
    ]
    secrets = {
        "d.example": {"tsig_secret": "hush!"},
        "e.example": {"password": "hush!"},
        "f.example": {"tsig_secret": "aHVzaA=="},
        "g.example": {"provider_secrets": {"api_key": "hush!"}},
    }
    with pytest.raises(PlanError) as caught:
        zones.served({**SERVED, "further_zones": further}, secrets)
    found = "; ".join(zones.faults(MAIN, further, secrets))
    assert found.startswith(caught.value.found), "no secret keeps another zone from its way back"
    for text in (
        "further zone 1 (without a name): a name is needed",
        "further zone 2 (Example.ORG.): declared twice",
        "(b.example): color is none of name, port, servers",
        "(b.example): servers is no table",
        "(b.example): update 'pigeon' is none of signed, octodns, manual",
        "(c.example): the key key has no tsig_secret",
        "(d.example): its tsig_secret is no base64 (not shown)",
        "e.example is no further zone",
        "e.example: password is none of tsig_secret, provider_secrets",
        "(f.example): it has tsig_secret and tsig_algorithm, and no tsig_name",
        "(g.example): it has provider_secrets, and no provider",
        "(g.example): port 0 is no port",
        "(g.example): resolvers is no table",
        "(h.example): tsig_algorithm 'hmac-pigeon' is none of hmac-sha1",
    ):
        assert text in found, text
    assert "hush" not in found
    assert "aHVzaA" not in found
    assert zones.faults(MAIN, "x", {}) != []
    assert zones.faults(MAIN, [], {"x": "hush"}) == [
        "dns_switchover_further_secrets is no table of zones, each with its secrets (not shown)"
    ]


@pytest.mark.parametrize(
    ("name", "said", "wanted"),
    [
        ("courses", "", (MAIN, "courses.example.org.")),
        ("@", "", (MAIN, "example.org.")),
        ("Courses.Example.org", "", (MAIN, "courses.example.org.")),
        ("1.2.0.192.in-addr.arpa", "", (REVERSE, "1.2.0.192.in-addr.arpa.")),
        ("1", f"{REVERSE}.", (REVERSE, "1.2.0.192.in-addr.arpa.")),
        ("_sip._tcp", MAIN, (MAIN, "_sip._tcp.example.org.")),
        ("www.sub.example.org.", "", ("sub.example.org", "www.sub.example.org.")),
        ("sub", "", ("sub.example.org", "sub.example.org.")),
    ],
)
def test_a_record_lies_in_the_longest_zone(name: str, said: str, wanted: tuple[str, str]) -> None:
    assert placed(name, said, [MAIN, REVERSE, "sub.example.org"]) == wanted


@pytest.mark.parametrize(
    ("name", "said", "why"),
    [
        ("a.b", "", "a final dot"),
        ("1.3.0.192.in-addr.arpa", "", "a final dot"),
        ("courses.example.net.", "", "below one of"),
        ("www", "example.net", "one of the zones"),
        ("www.sub", MAIN, r"in the zone sub\.example\.org\."),
        ("courses.example.org.", REVERSE, "below"),
        ("courses.example.org", REVERSE, r"ends with the zone example\.org\. and would become"),
    ],
)
def test_a_record_of_which_nobody_can_tell_the_zone_is_refused(name: str, said: str, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        placed(name, said, [MAIN, REVERSE, "sub.example.org"])


def test_a_zone_without_a_record_is_refused() -> None:
    with pytest.raises(PlanError, match=f"no record lies in the zone {REVERSE}"):
        parse_records(DECLARED[:1], MAIN, SIDES, [REVERSE])
