"""The no-op update of the audit and a whole move, asked of BIND, Knot and PowerDNS themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bascule.dns import apply as dns_apply
from bascule.dns import planner
from bascule.dns.io import servers as io_dns
from bascule.dns.io.servers import DnsError, Key
from bascule.dns.planner import DnsRefused, Zone
from bascule.dns.records import ServerView, parse_records, serial_moved

from . import real
from .real import Running

KEY = Key("bascule", real.SECRET)
# Seconds for one answer: other tests may keep the machine busy.
PATIENCE = 20.0
SIDES = ("ns-a", "ns-b")
DECLARED = [
    {"name": "courses", "type": "A", "values": {"ns-a": "203.0.113.1", "ns-b": "198.51.100.1"}},
    {"name": "both", "type": "A", "values": {"ns-a": ["192.0.2.1", "192.0.2.2"], "ns-b": "192.0.2.2"}},
    {"name": "six", "type": "AAAA", "values": {"ns-a": "2001:DB8::5", "ns-b": "2001:db8:0::0006"}},
    {"name": "www", "type": "CNAME", "values": {"ns-a": "entrance-a.example.net.", "ns-b": "entrance-b"}},
    {"name": "@", "type": "MX", "values": {"ns-a": "10 mail-a", "ns-b": ["10 mail-b", "20 mail.example.net."]}},
    {"name": "_sip._tcp", "type": "SRV", "values": {"ns-a": "0 5 5060 sip-a", "ns-b": "0 5 5060 sip-b"}},
    {"name": "text", "type": "TXT", "values": {"ns-a": "site a", "ns-b": "site b"}},
    {"name": "caa", "type": "CAA", "values": {"ns-a": '0 issue "a.example.net"', "ns-b": '0 issue "b.example.net"'}},
    {"name": "*.apps", "type": "A", "values": {"ns-a": "203.0.113.1", "ns-b": "198.51.100.1"}},
    {"name": "7.113.0.203", "type": "PTR", "values": {"ns-a": "host-a.example.net.", "ns-b": "host-b"}},
]
RECORDS = parse_records(DECLARED, real.ZONE, SIDES)
ZONE = Zone(real.ZONE, "names", RECORDS, SIDES)


@pytest.fixture(params=["bind", "knot", "powerdns", "bind signed", "knot signed", "powerdns signed"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """Run one server."""
    kind, _, signed = str(request.param).partition(" ")
    with real.serving(kind, tmp_path / kind, signed=bool(signed)) as running:
        yield running


def read(server: Running, host: str = "ns-a") -> ServerView:
    """Ask the server."""
    return io_dns.read_server(host, server.address, real.ZONE, RECORDS, port=server.port, timeout=PATIENCE)


def carry_out(
    server: Running, plan: Callable[[planner.Zone, planner.Survey], list[planner.Change]]
) -> dns_apply.Outcome:
    """Carry a plan out as the role does."""
    part = dns_apply.Part(
        ZONE,
        ["ns-a"],
        lambda host: read(server, host),
        lambda change: io_dns.apply(change, real.ZONE, KEY, port=server.port, timeout=PATIENCE),
    )
    return dns_apply.carry_out([part], plan, allow_unreachable=False, check_mode=False)


def move(server: Running, to: str, decision: str = "d1") -> dns_apply.Outcome:
    """Move the records as the role does."""
    other = next(side for side in SIDES if side != to)
    return carry_out(
        server, lambda zone, found: planner.plan_switch(zone, found, other, to, decision, "2026-12-01T00:00:00Z")
    )


def prepare(server: Running) -> dns_apply.Outcome:
    """Take the zone over as the role does."""
    return carry_out(server, lambda zone, found: planner.plan_prepare(zone, found, *SIDES, 5, 1000))


def test_the_audit_changes_nothing_and_finds_nothing(server: Running) -> None:
    """Not even the serial moves, before prepare and after it."""
    before = read(server)
    assert planner.wrong_answers(ZONE, before, "ns-a") == []
    assert io_dns.refusal(before, real.ZONE, KEY, port=server.port, timeout=PATIENCE) == ""
    assert read(server) == before
    prepare(server)
    prepared = read(server)
    assert io_dns.refusal(prepared, real.ZONE, KEY, port=server.port, timeout=PATIENCE) == ""
    assert read(server) == prepared


def test_a_move_and_the_way_back(server: Running) -> None:
    """Every type, the state with it, the serial moved; done twice it changes nothing."""
    first = read(server)
    prepare(server)
    assert {rrset.ttl for rrset in read(server).rrsets.values()} == {5}
    for to, decision in (("ns-b", "d1"), ("ns-a", "d2")):
        before = read(server)
        assert move(server, to, decision).done
        after = read(server)
        assert planner.wrong_answers(ZONE, after, to) == []
        newest = planner.survey(ZONE, [after]).newest
        assert newest is not None
        assert newest.active() == to
        assert serial_moved(before.serial or 0, after.serial or 0)
        assert move(server, to, decision).done == []
        assert read(server) == after
    retired = carry_out(server, lambda zone, found: planner.plan_retire(zone, found, "ns-a"))
    assert retired.done
    assert read(server).rrsets == first.rrsets


@pytest.mark.parametrize("kind", ["bind", "knot", "powerdns"])
def test_a_move_of_two_zones_that_ends_between_them_goes_on_and_back(kind: str, tmp_path: Path) -> None:
    """A forward and a reverse zone, each by an update of its own; the server refuses what was overtaken in each."""
    hosts = {"ns-a": "host-a.example.net.", "ns-b": "host-b.example.net."}
    declared = [DECLARED[0], {"name": "7", "zone": real.REVERSE, "type": "PTR", "values": hosts}]
    records = parse_records(declared, real.ZONE, SIDES, [real.REVERSE])
    zones = [Zone(one.zone, "names", [one], SIDES) for one in records]
    with real.serving(kind, tmp_path / kind, reverse=True) as running:
        sent: list[planner.Change] = []
        limit = [9]

        def part(zone: Zone) -> dns_apply.Part:
            def ask(host: str) -> ServerView:
                return io_dns.read_server(
                    host, running.address, zone.name, zone.records, port=running.port, timeout=PATIENCE
                )

            def send(change: planner.Change) -> None:
                if len(sent) >= limit[0]:
                    raise InterruptedError
                io_dns.apply(change, zone.name, KEY, port=running.port, timeout=PATIENCE)
                sent.append(change)

            return dns_apply.Part(zone, ["ns-a"], ask, send)

        parts = [part(zone) for zone in zones]

        def go(plan: Callable[[Zone, planner.Survey], list[planner.Change]]) -> dns_apply.Outcome:
            return dns_apply.carry_out(parts, plan, allow_unreachable=False, check_mode=False)

        def says() -> list[set[str]]:
            found = dns_apply.look_at_all(parts)
            return [{value for rrset in one.views[0].rrsets.values() for value in rrset.values} for one in found]

        go(lambda zone, found: planner.plan_prepare(zone, found, *SIDES, 5, 1000))
        first = says()
        limit[0] = 3
        with pytest.raises(InterruptedError):
            go(lambda zone, found: planner.plan_switch(zone, found, *SIDES, "d1", "now"))
        halfway = dns_apply.look_at_all(parts)
        assert says() == [{"198.51.100.1"}, {"host-a.example.net."}]
        assert planner.guards(zones, halfway)["ns-b"].status == "opening"
        limit[0] = 9
        done = go(lambda zone, found: planner.plan_switch(zone, found, *SIDES, "d2", "now")).done
        assert [change.zone for change in done] == [real.REVERSE]
        assert says() == [{"198.51.100.1"}, {"host-b.example.net."}]
        with pytest.raises(DnsRefused, match="changed in between"):
            io_dns.apply(sent[2], real.ZONE, KEY, port=running.port, timeout=PATIENCE)
        go(lambda zone, found: planner.plan_switch(zone, found, *SIDES[::-1], "d3", "now"))
        assert says() == first
        assert planner.guards(zones, dns_apply.look_at_all(parts))["ns-a"].status == "open"


def overtaken(server: Running) -> list[planner.Change]:
    """Return changes that were decided from what the server does not hold (any more)."""
    view = read(server)
    (change,) = planner.plan_switch(ZONE, planner.survey(ZONE, [view]), *SIDES, "d1", "2026-12-01T00:00:00Z")
    first, second, *rest = change.before

    def before(of_first: set[str], of_second: set[str]) -> planner.Change:
        told = (replace(first, values=frozenset(of_first)), replace(second, values=frozenset(of_second)), *rest)
        return replace(change, before=told)

    return [
        replace(change, state_before=None),
        replace(change, state_before="{}"),
        before({"203.0.113.9"}, {"192.0.2.1", "192.0.2.2"}),
        before({"203.0.113.1"}, {"192.0.2.1", "192.0.2.2", "192.0.2.3"}),
        before({"203.0.113.1"}, {"192.0.2.1"}),
    ]


def test_an_overtaken_decision_is_refused_by_the_server(server: Running) -> None:
    """Another state, or a record that somebody has changed: nothing of the update is carried out."""
    prepare(server)
    view = read(server)
    for change in overtaken(server):
        with pytest.raises(DnsRefused, match="changed in between"):
            io_dns.apply(change, real.ZONE, KEY, port=server.port, timeout=PATIENCE)
        assert read(server) == view


def test_a_wrong_key_is_named_as_one(server: Running) -> None:
    """By its name, and by its secret."""
    view = read(server)
    (change,) = planner.plan_prepare(ZONE, planner.survey(ZONE, [view]), *SIDES, 5, 1000)
    for key in (Key("other", real.SECRET), Key("bascule", "b3RoZXJvdGhlcm90aGVy")):
        assert f"ns-a does not know the key {key.name}" in io_dns.refusal(
            view, real.ZONE, key, port=server.port, timeout=PATIENCE
        )
        with pytest.raises(DnsError):
            io_dns.apply(change, real.ZONE, key, port=server.port, timeout=PATIENCE)
    assert read(server) == view


def serve(kind: str, tmp_path: Path, **more: Any) -> AbstractContextManager[Running]:
    """Run one server."""
    return real.serving(kind, tmp_path / str(more.get("port", kind)), **more)


def test_a_spelling_that_a_server_compares_by_its_letters_is_named(tmp_path: Path) -> None:
    """PowerDNS keeps an address as it was typed, and says another one: the prerequisite would never hold."""
    text = real.TEXT.replace("2001:db8::5", "2001:db8:0:0::5")
    with serve("powerdns", tmp_path, text=text) as server:
        view = read(server)
        assert planner.wrong_answers(ZONE, view, "ns-a") == []
        assert io_dns.refusal(view, real.ZONE, KEY, port=server.port, timeout=PATIENCE) == (
            "ns-a keeps six.example.org./AAAA in a spelling of its own and compares it by its letters (NXRRSET): "
            "write it there as six.example.org. 300 AAAA 2001:db8::5"
        )


def test_a_mail_host_without_an_address_is_named_before_bind_refuses_the_move(tmp_path: Path) -> None:
    """Seen: the audit passes, as it adds nothing, and the move is refused when users wait for it."""
    values = {"ns-a": "10 mail-a", "ns-b": ["10 mail-b", "20 nobody", "30 mail-c", "40 mail.example.net."]}
    records = parse_records([{"name": "@", "type": "MX", "values": values}, DECLARED[0]], real.ZONE, SIDES)
    with serve("bind", tmp_path) as server:
        view = io_dns.read_server("ns-a", server.address, real.ZONE, records, port=server.port, timeout=PATIENCE)
        assert io_dns.refusal(view, real.ZONE, KEY, port=server.port, timeout=PATIENCE) == ""
        said = io_dns.homeless(view, real.ZONE, records, server.port, PATIENCE)
        assert [line.split(" for ")[0] for line in said] == [
            f"ns-a: example.org./MX names {host}.example.org." for host in ("mail-c", "nobody")
        ]
        (mail, _) = records
        after = (replace(view.rrsets[mail.key], values=mail.values["ns-b"]),)
        change = planner.Change("ns-a", server.address, (view.rrsets[mail.key],), after, None, "{}")
        with pytest.raises(DnsError, match="REFUSED"):
            io_dns.apply(change, real.ZONE, KEY, port=server.port, timeout=PATIENCE)
    assert io_dns.homeless(view, real.ZONE, records[1:], server.port) == []


def test_a_policy_that_names_records_is_told_by_them(tmp_path: Path) -> None:
    """BIND lets the key change one name only."""
    with serve("bind", tmp_path, names="grant bascule name courses.example.org. A;") as server:
        said = io_dns.refusal(read(server), real.ZONE, KEY, port=server.port, timeout=PATIENCE)
        assert said.startswith("ns-a takes no update of both.example.org./A, six.example.org./AAAA")
        assert "_bascule.example.org./TXT signed with the key bascule (REFUSED)" in said


def test_a_hidden_primary_is_told_and_its_secondary_is_asked(tmp_path: Path) -> None:
    """BIND: the audit tells a secondary from the primary, and looks at both; the update reaches both."""
    hidden, seen = real.free_port(), real.free_port()
    with (
        serve("bind", tmp_path, port=hidden, notify=seen) as primary,
        serve("bind", tmp_path, port=seen, primary=hidden) as secondary,
    ):
        view = read(secondary, "ns-b")
        said = io_dns.refusal(view, real.ZONE, KEY, port=secondary.port, timeout=PATIENCE)
        assert "ns-b takes no update signed with the key bascule" in said
        assert "where it is a secondary (its SOA names ns1.example.org. as the primary)" in said
        prepare(primary)
        move(primary, "ns-b")
        deadline = time.monotonic() + 60
        while planner.wrong_answers(ZONE, view, "ns-b") and time.monotonic() < deadline:
            time.sleep(0.1)
            view = read(secondary, "ns-b")
        assert planner.wrong_answers(ZONE, view, "ns-b") == []
        assert planner.behind(planner.survey(ZONE, [read(primary)]), [view]) == []


def test_a_secondary_that_forwards_updates_is_said_to_be_none(tmp_path: Path) -> None:
    """BIND answers as the primary does: only that both name one primary tells."""
    hidden, seen = real.free_port(), real.free_port()
    with (
        serve("bind", tmp_path, port=hidden, notify=seen) as primary,
        serve("bind", tmp_path, port=seen, primary=hidden, forward=True) as secondary,
    ):
        views = [read(primary), read(secondary, "ns-b")]
        assert [
            io_dns.refusal(view, real.ZONE, KEY, port=port, timeout=PATIENCE)
            for view, port in zip(views, (hidden, seen), strict=True)
        ] == ["", ""]
        assert len(planner.one_primary(views)) == 1
