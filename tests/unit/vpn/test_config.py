"""What a configuration says, and what peers would notice; no secret comes out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from bascule.guard.state import GuardState
from bascule.vpn import managers, state, wireguard

from .world import ANNA, BEN, CONFIG, PRIVATE, SERVER, SHARED


def facts(text: str = CONFIG, key: str = SERVER) -> tuple[dict[str, Any], list[str]]:
    """Read a configuration."""
    return wireguard.facts(wireguard.parse(text), key)


def test_a_configuration_is_read_without_its_secrets() -> None:
    found, faults = facts()
    assert faults == []
    assert (found["public_key"], found["port"], found["addresses"]) == (SERVER, "51820", ["10.99.0.1/24"])
    assert found["peers"][ANNA]["allowed_ips"] == ["10.98.0.0/24", "10.99.0.2/32"]
    assert found["peers"][BEN] == {"allowed_ips": ["10.99.0.3/32"]}
    assert "secret" not in f"{found} {wireguard.parse(CONFIG)}"


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("[Peer]", "[Pear]", "neither Interface nor Peer"),
        ("ListenPort = 51820", "ListenPort: 51820", "line 4: not understood"),
        ("ListenPort = 51820", "Endpoint = 192.0.2.1:1", "line 4: not understood"),
        ("ListenPort = 51820", "SaveConfig = TRUE", "SaveConfig is on"),
        (f"PublicKey = {BEN}", f"PublicKey = {ANNA}", "peer 2 of its configuration has the key of another one"),
        (f"PublicKey = {BEN}", "", "peer 2 of its configuration has no key"),
        ("10.98.0.0/24", "secret.example", f"AllowedIPs of peer {ANNA} is not understood"),
        ("10.99.0.1/24", "10.99.0.1/240", "Address is not understood"),
    ],
)
def test_what_is_wrong_is_named_and_never_quoted(before: str, after: str, fault: str) -> None:
    assert before in CONFIG
    faults = " ".join(facts(CONFIG.replace(before, after))[1])
    assert fault in faults
    assert "secret" not in faults


def test_no_peer_is_a_fault() -> None:
    assert "has no peer" in facts(CONFIG.partition("[Peer]")[0])[1][0]


def test_what_is_written_otherwise_is_the_same() -> None:
    other = CONFIG.replace("10.99.0.2/32, 10.98.0.0/24", "10.98.0.7/24\nallowedips=10.99.0.2  # Anna").replace(
        "[Peer]", "# a peer\n [ Peer ]"
    )
    assert wireguard.differences(facts()[0], facts(other)[0], "b") == []


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        ("ListenPort = 51820", "ListenPort = 51821", "its ListenPort is 51820, at b it is 51821"),
        ("10.99.0.1/24", "10.99.0.254/24", "its Address is 10.99.0.1/24, at b it is 10.99.0.254/24"),
        (f"PublicKey = {BEN}", "PublicKey = C", "peer C of b is not known here"),
        (f"PublicKey = {BEN}", "PublicKey = C", f"peer {BEN} is not known at b"),
        (SHARED, "another", f"peer {ANNA} has another PresharedKey than at b"),
        ("10.98.0.0/24", "10.97.0.0/24", f"peer {ANNA} has another AllowedIPs than at b"),
    ],
)
def test_what_peers_would_notice_is_a_difference(before: str, after: str, difference: str) -> None:
    assert before in CONFIG
    assert difference in wireguard.differences(facts()[0], facts(CONFIG.replace(before, after))[0], "b")


def test_another_key_of_the_server_is_a_difference() -> None:
    assert wireguard.differences(facts()[0], facts(key="T")[0], "b") == [
        f"its public key is {SERVER}, at b it is T",
    ]
    assert len(wireguard.differences(facts()[0], {}, "b")) == 5, "nothing is like everything"


def test_hooks_may_differ_and_are_named() -> None:
    other = facts(CONFIG.replace("[Peer]", "PostUp = nft add rule secret\n[Peer]", 1))[0]
    assert wireguard.differences(facts()[0], other, "b") == []
    assert wireguard.notes(facts()[0], other, "b") == ["PostUp differs from the one at b: see that both do the same"]
    assert "secret" not in str(other)


def test_what_runs_is_compared_with_its_file() -> None:
    running = {ANNA: "10.99.0.2/32 10.98.0.0/24", BEN: "10.99.0.3/32"}
    assert wireguard.running_faults(facts()[0], SERVER, "51820", running) == []
    found = wireguard.running_faults(facts()[0], "T", "1", {ANNA: "(none)", "C": "10.1.0.0/16"})
    assert [text.split(",")[0] for text in found] == [
        "it runs with another key than its file has",
        "it runs at port 1",
        f"peer {ANNA} has other AllowedIPs now than in its file",
        f"peer {BEN} is in its file",
        "peer C is let in now",
    ]


def test_the_answers_of_wg_are_read() -> None:
    assert wireguard.allowed_ips("k\t10.0.0.1/32 10.0.0.2/32\nl\t(none)\n") == {
        "k": "10.0.0.1/32 10.0.0.2/32",
        "l": "(none)",
    }
    both = "k\t0\nl\t1700000000\n"
    assert wireguard.last_handshake(both, "l") == 1700000000
    assert wireguard.last_handshake(both, "k") == wireguard.last_handshake("", "k") == 0, "of that peer alone"


TRAINER = f"""
[Interface]
PrivateKey = {PRIVATE}
Address = 10.99.0.2/24
DNS = 10.99.0.1
PostUp = rm -rf /
[Peer]
PublicKey = {SERVER}
PresharedKey = {SHARED}
AllowedIPs = 0.0.0.0/0
Endpoint = vpn.example.org:51820
"""


def test_an_attempt_carries_only_what_is_tried_and_runs_no_hook() -> None:
    text, faults = wireguard.client(wireguard.parse(TRAINER), SERVER, "192.0.2.1:51820", ["10.1.0.20"])
    assert faults == []
    assert "AllowedIPs = 10.1.0.20/32\n" in text
    assert "Endpoint = 192.0.2.1:51820\n" in text
    assert f"PresharedKey = {SHARED}\n" in text
    assert not [word for word in ("PostUp", "DNS", "0.0.0.0/0") if word in text]
    assert wireguard.parse(text).faults == ()


def test_a_trainer_that_cannot_try_is_told_why() -> None:
    assert wireguard.client(wireguard.parse(TRAINER), BEN, "x:1", [])[1] == ["it has no peer with the server's key"]
    for key, name in ((PRIVATE, "PrivateKey"), (SHARED, "PresharedKey of peer 1")):
        for bad in (f"{key}=", key[:-1], key.replace("x", "-"), ""):
            text, why = wireguard.client(wireguard.parse(TRAINER.replace(key, bad)), SERVER, "x:1", [])
            assert (text, why) == ("", [f"its {name} is missing, or no key of WireGuard"])
    assert wireguard.client(wireguard.parse(TRAINER), SERVER, "x:1", ["wiki"])[1] == [
        "wiki of vpn_switchover_behind is not understood"
    ]
    narrow = wireguard.parse(TRAINER.replace("0.0.0.0/0", "10.99.0.0/24"))
    assert wireguard.client(narrow, SERVER, "x:1", ["10.1.0.20"])[1] == ["its AllowedIPs do not lead to 10.1.0.20"]


@pytest.mark.parametrize(
    ("path", "text", "managed"),
    [
        ("/etc/systemd/network/wg.netdev", "[NetDev]\nName=wg0\nKind=wireguard\n", True),
        ("/etc/systemd/network/wg.netdev", "[NetDev]\nName=wg01\n", False),
        ("/etc/systemd/network/wg.network", "[Match]\nName=wg0\n", False),
        ("/etc/NetworkManager/system-connections/x", "[connection]\ninterface-name=wg0\n", True),
        ("/etc/network/interfaces", "auto lo wg0\n", True),
        ("/etc/network/interfaces", "iface wg0 inet static\n", True),
        ("/etc/network/interfaces", "iface eth0 inet dhcp\n# wg0\n", False),
        ("/etc/network/interfaces", "iface e inet dhcp\n  post-up ip link add dev wg0 type wireguard\n", True),
        ("/etc/network/interfaces", "iface e inet dhcp\n  post-up ip -4 link add wg01 type wireguard\n", False),
    ],
)
def test_who_else_brings_the_interface_up_is_named(path: str, text: str, managed: bool) -> None:
    assert bool(managers.managed({path: text}, "wg0")) == managed


def test_the_table_of_sockets_is_read() -> None:
    table = "  sl  local_address rem_address   st\n   12: 00000000:CA6C 00000000:0000 07 0\n"
    table += "  13: 0100007F:CA6D 0100007F:0035 01 0\n"
    six = "  sl  local\n 13: 00000000000000000000000000000000:0035 0000:0000 07\n"
    assert state.udp_ports(table, six, None) == {51820, 53}


@pytest.mark.parametrize("field", ["running", "enabled", "masked", "interface", "bound", "configured"])
def test_a_side_is_closed_only_when_nothing_is_left(field: str) -> None:
    closed = state.Seen(running=False, enabled=False, masked=True, interface=False, bound=False, configured=False)
    assert (closed.mode, closed.not_closed()) == ("closed", [])
    left = state.Seen(**{**asdict(closed), field: not getattr(closed, field)})
    assert (left.mode, len(left.not_closed())) == ("stopped", 1)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ({"ActiveState": "active", "UnitFileState": "enabled"}, (True, True, False)),
        ({"ActiveState": "failed", "UnitFileState": "masked"}, (False, False, True)),
        ({"ActiveState": "deactivating", "UnitFileState": "masked-runtime"}, (True, False, False)),
        ({}, (True, False, False)),
    ],
)
def test_what_systemd_shows_is_read(shown: dict[str, str], expected: tuple[bool, bool, bool]) -> None:
    """What is not known counts as running; a mask that a start of the host removes is none."""
    seen = state.seen(shown, interface=False, bound=False, configured=False)
    assert (seen.running, seen.enabled, seen.masked) == expected


@pytest.mark.parametrize(
    ("expect", "found", "fault"),
    [
        ("closed", "refused", None),
        ("closed", "silent", "which proves nothing"),
        ("closed", "answered", "answers"),
        ("open", "silent", None),
        ("open", "answered", None),
        ("open", "refused", "refuses"),
        ("any", "refused", None),
        ("any", "silent", None),
    ],
)
def test_only_a_refusal_proves_that_a_side_is_closed(expect: str, found: str, fault: str | None) -> None:
    said = state.probe_fault(expect, found, "192.0.2.1:51820")
    assert said is None if fault is None else fault in str(said)


@pytest.mark.parametrize(
    ("mode", "seen", "unused", "fault"),
    [
        ("closed", "refused", "", ""),
        ("stopped", "silent", "", "x does not refuse although nothing runs there"),
        ("closed", "answered", "", "x does not refuse although nothing runs there"),
        ("open", "refused", "refused", "x refuses although it runs there"),
        ("open", "silent", "refused", ""),
        ("open", "silent", "silent", "the fence of x is not proved possible: UDP port 9 there"),
        ("open", "answered", "answered", "the fence of x is not proved possible: UDP port 9 there"),
    ],
)
def test_an_open_side_has_to_be_one_that_could_be_seen_to_refuse(mode: str, seen: str, unused: str, fault: str) -> None:
    found = state.proof_faults(mode, seen, "x", 9, unused)
    assert bool(found) == bool(fault)
    assert fault in " ".join(found)
    assert state.proof_faults("open", "silent", "x", 0, "") == [], (
        "declared: only the port of the server is let through"
    )


def test_an_attempt_is_judged() -> None:
    good = {"handshake": True, "seconds": 0.1, "reached": ["a:1"], "reached_without": [], "silent": []}
    assert state.attempt_faults("open", good, "x") == []
    assert state.attempt_faults("closed", good, "x") == ["x has answered a handshake after 0.1 s"]
    assert state.attempt_faults("any", good, "x") == []
    none = {**good, "handshake": False, "reached": []}
    assert state.attempt_faults("closed", none, "x") == []
    assert state.attempt_faults("any", none, "x") == []
    assert state.attempt_faults("open", none, "x") == ["x answers no handshake"]
    assert state.attempt_faults("open", {**good, "reached_without": ["a:1"]}, "x") == [
        "a:1 is reached without the tunnel as well"
    ]
    assert state.attempt_faults("open", {**good, "reached": []}, "x") == ["nothing behind it was tried"]
    assert state.attempt_faults("open", {**good, "reached": [], "silent": ["no way"]}, "x") == ["no way"]


@pytest.mark.parametrize(
    ("found", "active", "passive", "leads"),
    [
        (["192.0.2.1"], ["192.0.2.1"], ["192.0.2.2"], True),
        (["192.0.2.1", "2001:db8::1"], ["192.0.2.1"], ["192.0.2.2"], True),
        (["2001:DB8:0::1"], ["2001:db8::1"], [], True),
        (["192.0.2.1"], ["192.0.2.1", "2001:db8::1"], ["192.0.2.2", "2001:db8::2"], True),
        (["192.0.2.1", "2001:db8::2"], ["192.0.2.1"], ["192.0.2.2", "2001:db8::2"], False),
        (["192.0.2.1", "192.0.2.9"], ["192.0.2.1"], [], False),
        (["192.0.2.2"], ["192.0.2.1"], ["192.0.2.2"], False),
        (["2001:db8::1"], ["192.0.2.1"], [], False),
        ([], ["192.0.2.1"], [], False),
        (["192.0.2.1"], [], [], False),
    ],
)
def test_a_name_has_to_lead_to_the_active_side(
    found: list[str], active: list[str], passive: list[str], leads: bool
) -> None:
    assert (state.endpoint_faults("vpn.example.org", found, active, passive) == []) == leads


def sides(*said: tuple[str, bool, str]) -> tuple[dict[str, GuardState], dict[str, str]]:
    """Return guards and modes of both sides, out of status, frozen and mode of each."""
    guards = {name: GuardState("vpn", name, status=one[0], frozen=one[1]) for name, one in zip("ab", said)}
    return guards, {name: one[2] for name, one in zip("ab", said)}


@pytest.mark.parametrize(
    ("here", "there", "fault"),
    [
        (("open", False, "open"), ("closed", False, "closed"), ""),
        (("closed", False, "closed"), ("open", False, "open"), ""),
        (("unknown", False, "open"), ("unknown", False, "closed"), "a was not taken over"),
        (("closing", False, "closed"), ("opening", False, "closed"), "the guard of a says closing"),
        (
            ("open", False, "stopped"),
            ("closed", False, "closed"),
            "the guard of a says open, and its server is stopped",
        ),
        (
            ("open", False, "open"),
            ("closed", False, "stopped"),
            "the guard of b says closed, and its server is stopped",
        ),
        (("open", True, "closed"), ("closed", False, "closed"), "a is frozen"),
        (("closed", False, "closed"), ("closed", False, "closed"), "the guards of both sides say closed"),
        (("unknown", False, "open"), ("unknown", False, "open"), "the servers of both sides run"),
    ],
)
def test_it_is_one_side_alone_that_has_to_serve(here: Any, there: Any, fault: str) -> None:
    found = state.service_faults(*sides(here, there))
    assert bool(found) == bool(fault)
    assert fault in " ".join(found)


@pytest.mark.parametrize(
    ("here", "there", "goes_on"),
    [
        (("open", True, "closed"), ("closed", False, "closed"), True),
        (("closing", False, "stopped"), ("closed", False, "closed"), True),
        (("closed", False, "closed"), ("open", True, "closed"), True),
        (("closed", False, "closed"), ("closed", False, "stopped"), False),
        (("closed", False, "closed"), ("open", False, "stopped"), False),
        (("open", True, "open"), ("closed", False, "closed"), False),
        (("unknown", False, "closed"), ("unknown", False, "closed"), False),
    ],
)
def test_a_move_that_was_interrupted_is_told_from_a_server_that_broke(here: Any, there: Any, goes_on: bool) -> None:
    assert state.interrupted(*sides(here, there)) == goes_on


def test_an_address_of_six_has_brackets() -> None:
    assert state.endpoint("2001:db8::1", 1) == "[2001:db8::1]:1"
    assert state.endpoint("192.0.2.1", 1) == "192.0.2.1:1"
