"""Real DNS messages between the client and a small server in a thread: queries, signed updates, prerequisites."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.tsigkeyring
import dns.update
import pytest

from bascule.dns.io import servers as io_dns
from bascule.dns.io.servers import DnsError, Key
from bascule.dns.planner import Change, DnsRefused
from bascule.dns.records import RRset, ServerView

from .world import RECORDS

SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
RING = dns.tsigkeyring.from_text({"bascule.": SECRET})
STATE = '{"a":"' + "b" * 300 + '\\"c"}'
OLD = RRset("courses.example.org.", "A", 300, frozenset({"192.0.2.1"}))
NEW = RRset("courses.example.org.", "A", 5, frozenset({"198.51.100.1"}))
CHANGE = Change("ns-a", "127.0.0.1", (OLD,), (NEW,), None, STATE)


class Zone:
    """What the server says, and what it was told."""

    def __init__(self) -> None:
        self.answers = {
            ("example.org.", "SOA"): "example.org. 60 IN SOA ns.example.org. hm.example.org. 7 1 1 1 1",
            ("courses.example.org.", "A"): "courses.example.org. 300 IN A 192.0.2.1",
            ("www.example.org.", "CNAME"): "www.example.org. 60 IN CNAME Entrance-A.example.org.",
        }
        self.rcode = dns.rcode.NOERROR
        # What updates are answered with.
        self.update_rcode: int = dns.rcode.NOERROR
        self.flags = dns.flags.AA
        self.updates: list[dns.update.UpdateMessage] = []
        # The names that the key may update; None is all.
        self.allowed: set[str] | None = None

    def respond(self, wire: bytes) -> bytes:
        """Answer one message."""
        message = dns.message.from_wire(wire, keyring=RING)
        response = dns.message.make_response(message)
        response.flags |= self.flags
        response.set_rcode(self.rcode)
        if isinstance(message, dns.update.UpdateMessage):
            if self.update_rcode:
                response.set_rcode(dns.rcode.Rcode(self.update_rcode))
            if not message.had_tsig:
                response.set_rcode(dns.rcode.REFUSED)
            if self.allowed is not None and {rrset.name.to_text() for rrset in message.update} - self.allowed:
                response.set_rcode(dns.rcode.REFUSED)
            self.updates.append(message)
        else:
            question = message.question[0]
            text = self.answers.get((question.name.to_text(), dns.rdatatype.to_text(question.rdtype)))
            if text:
                name, ttl, _, kind, value = text.split(" ", 4)
                response.answer.append(dns.rrset.from_text(name, int(ttl), "IN", kind, value))
        return response.to_wire()


@pytest.fixture
def zone() -> Zone:
    """A zone."""
    return Zone()


@pytest.fixture
def port(zone: Zone) -> Iterator[int]:
    """Serve the zone on one port, UDP and TCP."""

    class Udp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request[1].sendto(zone.respond(self.request[0]), self.client_address)

    class Tcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            length = int.from_bytes(self.rfile.read(2), "big")
            answer = zone.respond(self.rfile.read(length))
            self.wfile.write(len(answer).to_bytes(2, "big") + answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tcp) as tcp:
        number = tcp.server_address[1]
        with socketserver.ThreadingUDPServer(("127.0.0.1", number), Udp) as udp:
            threads = [threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.01}) for s in (tcp, udp)]
            for thread in threads:
                thread.start()
            try:
                yield number
            finally:
                tcp.shutdown()
                udp.shutdown()
                for thread in threads:
                    thread.join()


def read(port: int) -> Any:
    """Ask the server."""
    return io_dns.read_server("ns-a", "127.0.0.1", "example.org", RECORDS, port=port, timeout=1)


def test_a_server_is_read(zone: Zone, port: int) -> None:
    """Serial, records in one spelling, and the state out of its strings."""
    parts = " ".join(f'"{part}"' for part in ('{\\"a\\":', "1}"))
    zone.answers["_bascule.example.org.", "TXT"] = f"_bascule.example.org. 0 IN TXT {parts}"
    view = read(port)
    assert (view.error, view.serial, view.state_text) == ("", 7, '{"a":1}')
    assert (view.primary, view.to_dict()["primary"]) == ("ns.example.org.", "ns.example.org.")
    assert view.rrsets["www.example.org./CNAME"].values == {"entrance-a.example.org."}
    assert view.rrsets["courses.example.org./A"].ttl == 300


@pytest.mark.parametrize(
    ("rcode", "flags", "why"),
    [
        (dns.rcode.REFUSED, dns.flags.AA, "REFUSED"),
        (dns.rcode.SERVFAIL, dns.flags.AA, "SERVFAIL"),
        (dns.rcode.NOERROR, 0, "not authoritative"),
    ],
)
def test_a_bad_answer_is_no_answer(zone: Zone, port: int, rcode: int, flags: int, why: str) -> None:
    """It becomes the view's error, so that it cannot be taken for "no record"."""
    zone.rcode, zone.flags = dns.rcode.Rcode(rcode), dns.flags.Flag(flags)
    view = read(port)
    assert why in view.error
    assert not view.rrsets


def test_silence_is_no_answer() -> None:
    """Nobody listens there."""
    view = io_dns.read_server("ns-a", "127.0.0.1", "example.org", RECORDS, port=1, timeout=0.2)
    assert "does not answer" in view.error


def test_a_resolver_need_not_be_authoritative(zone: Zone, port: int) -> None:
    """It is asked as a client asks."""
    zone.flags = dns.flags.RA
    view = io_dns.read_resolver("resolver", "127.0.0.1", "example.org", RECORDS, port=port, timeout=1)
    assert view.rrsets["courses.example.org./A"].values == {"192.0.2.1"}


def test_an_update_is_signed_and_carries_everything(zone: Zone, port: int) -> None:
    """Prerequisites: the exact records and no state yet; then all records and the state in strings of 255 bytes."""
    io_dns.apply(CHANGE, "example.org", Key("bascule", SECRET), port=port)
    message = zone.updates[0]
    assert message.opcode() == dns.opcode.UPDATE
    assert message.had_tsig
    required = [(rrset.name.to_text(), [item.to_text() for item in rrset]) for rrset in message.prerequisite]
    assert ("courses.example.org.", ["192.0.2.1"]) in required
    assert any(name == "_bascule.example.org." and not values for name, values in required)
    texts = [item for rrset in message.update for item in rrset if rrset.name.to_text() == "_bascule.example.org."]
    assert b"".join(texts[-1].strings).decode() == STATE
    assert max(map(len, texts[-1].strings)) <= 255


def test_the_old_state_is_the_prerequisite(zone: Zone, port: int) -> None:
    """Exactly, value by value."""
    change = Change("ns-a", "127.0.0.1", (OLD,), (NEW,), STATE, "{}")
    io_dns.apply(change, "example.org", Key("bascule", SECRET), port=port)
    states = [r for r in zone.updates[0].prerequisite if r.name.to_text() == "_bascule.example.org."]
    assert b"".join(next(iter(states[0])).strings).decode() == STATE


@pytest.mark.parametrize(
    ("rcode", "error", "why"),
    [
        (dns.rcode.NXRRSET, DnsRefused, "changed in between"),
        (dns.rcode.YXRRSET, DnsRefused, "changed in between"),
        (dns.rcode.NOTAUTH, DnsError, "NOTAUTH"),
        (dns.rcode.REFUSED, DnsError, "REFUSED"),
    ],
)
def test_a_refused_update_is_told(zone: Zone, port: int, rcode: int, error: type[Exception], why: str) -> None:
    """And that nothing was changed."""
    zone.rcode = dns.rcode.Rcode(rcode)
    with pytest.raises(error, match=why) as caught:
        io_dns.apply(CHANGE, "example.org", Key("bascule", SECRET), port=port)
    assert "nothing was changed at ns-a" in str(caught.value)


def test_the_zone_names_its_servers(zone: Zone, port: int) -> None:
    zone.answers["example.org.", "NS"] = "example.org. 60 IN NS NS1.example.org."
    assert io_dns.name_servers("127.0.0.1", "example.org", port=port, timeout=1) == ["ns1.example.org."]
    del zone.answers["example.org.", "NS"]
    assert io_dns.name_servers("127.0.0.1", "example.org", port=port, timeout=1) == []


def refusal(port: int, view: ServerView | None = None) -> str:
    """Ask whether the server would take the updates of a move."""
    return io_dns.refusal(view or read(port), "example.org", Key("bascule", SECRET), port=port, timeout=1)


@pytest.mark.parametrize("state", [None, STATE])
def test_a_primary_is_asked_for_every_record_that_a_move_changes_and_left_as_it_is(
    zone: Zone, port: int, state: str | None
) -> None:
    """An empty update passes where a policy speaks of names, whatever the key may change of them."""
    view = replace(read(port), state_text=state)
    zone.updates.clear()
    assert refusal(port, view) == ""
    (update,) = zone.updates
    # What is removed of a record is none of its values, whatever case its letters have; nothing is added.
    records = [r for r in update.prerequisite if r.rdtype in (dns.rdatatype.A, dns.rdatatype.CNAME)]
    asked = [r for r in update.update if r.rdtype in (dns.rdatatype.A, dns.rdatatype.CNAME)]
    assert [r.name.to_text() for r in asked] == ["courses.example.org.", "www.example.org."]
    assert {r.deleting for r in update.update} == {dns.rdataclass.NONE}
    assert all(not set(one) & set(held) for one, held in zip(asked, records, strict=True))
    # And of the state: it is another one, or there is none.
    (required,) = [r for r in update.prerequisite if r.name.to_text() == "_bascule.example.org."]
    (removed,) = [r for r in update.update if r.name.to_text() == "_bascule.example.org."]
    assert removed.deleting == dns.rdataclass.NONE
    assert (required.deleting == dns.rdataclass.NONE) is (state is None)
    assert not set(removed) & set(required)


def test_what_a_key_may_not_update_is_named(zone: Zone, port: int) -> None:
    zone.allowed = {"courses.example.org."}
    assert refusal(port) == (
        "ns-a takes no update of www.example.org./CNAME, _bascule.example.org./TXT signed with the key bascule"
        " (REFUSED): let the key update them there"
    )
    zone.allowed = set()
    assert "ns-a takes no update signed with the key bascule (REFUSED): where it is a secondary" in refusal(port)
    assert "its SOA names ns.example.org. as the primary" in refusal(port)


def test_a_server_that_changes_while_it_is_asked_is_no_secondary(zone: Zone, port: int) -> None:
    view = read(port)
    zone.update_rcode = dns.rcode.NXRRSET
    zone.answers["courses.example.org.", "A"] = "courses.example.org. 300 IN A 192.0.2.9"
    assert refusal(port, view) == "ns-a changed while it was asked (NXRRSET): audit again"
    zone.rcode = dns.rcode.SERVFAIL
    assert "ns-a does not answer any more (127.0.0.1 answers SERVFAIL" in refusal(port, view)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (dns.tsig.PeerBadKey, "ns-a does not know the key bascule, or lets it update nothing (BADKEY)"),
        (dns.tsig.PeerBadSignature, "ns-a does not know the key bascule by this secret (PeerBadSignature)"),
        (
            dns.tsig.PeerBadTime,
            "the clock of ns-a and the controller's differ too much for a signed update (PeerBadTime)",
        ),
    ],
)
def test_a_wrong_key_and_a_wrong_clock_are_told_from_a_secondary(
    zone: Zone, port: int, monkeypatch: pytest.MonkeyPatch, error: type[Exception], said: str
) -> None:
    view = read(port)

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("dns.query.tcp", refuse)
    assert refusal(port, view) == said


def test_a_server_that_takes_no_tcp_is_no_secondary(zone: Zone, port: int) -> None:
    assert "ns-a does not answer an update" in refusal(1, read(port))


def test_a_lost_answer_is_unknown() -> None:
    """Not success, not failure."""
    with pytest.raises(DnsError, match="unknown whether the server carried it out"):
        io_dns.apply(CHANGE, "example.org", Key("bascule", SECRET), port=1, timeout=0.5)


def test_the_secret_is_in_no_text() -> None:
    """Neither in an error nor in a representation."""
    with pytest.raises(DnsError) as caught:
        io_dns.apply(CHANGE, "example.org", Key("bascule", "not base64 at all!"), port=1)
    assert "not base64" not in str(caught.value)
    assert SECRET not in repr(Key("bascule", SECRET))
