"""The modules hand their arguments to the helpers and their results out."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.bascule.vpn.state import VpnError

from bascule.errors import GuardRefused
from bascule.guard.io import store
from bascule.system.io import reach
from bascule.vpn.io import probe, trainer, way_in
from bascule.vpn.io import side as vpn_side
from bascule.vpn.io.wireguard import WireGuard

from .world import FakeHost

VPN = {"kind": "wireguard", "name": "wg0", "port": 51820}
ABOUT: dict[str, Any] = {"component": "vpn", "side": "vpn-a", "vpn": VPN}
RECEIPT = {"component": "vpn", "side": "vpn-b", "epoch": "2.b", "position": {}, "issued_at": "now"}


@pytest.fixture(autouse=True)
def _here(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host of every side is the stand-in, and the other side refuses."""
    monkeypatch.setattr(
        vpn_side, "server", lambda options, _=None: WireGuard(options["name"], options["port"], host, host.root)
    )
    monkeypatch.setattr(vpn_side.Side.__init__, "__defaults__", (False, lambda *_: "refused", host))


def call(name: str, /, check: bool = False, **params: Any) -> dict[str, Any]:
    """Run a module's main."""
    module = importlib.import_module(name)
    result: dict[str, Any] = module.main(SimpleNamespace(params=params, check_mode=check))
    return result


def mode(state: str) -> dict[str, Any]:
    """Run bascule_vpn_mode."""
    return call("bascule_vpn_mode", **ABOUT, state=state)


def test_a_side_goes_through_a_life() -> None:
    assert mode("prepared")["mode"] == "open"
    assert mode("ready")["guard"]["status"] == "unknown"
    store.adopt("vpn", "vpn-a", "open")
    assert [mode("frozen")["changed"] for _ in range(2)] == [True, False]
    assert [mode("thawed")["changed"] for _ in range(2)] == [True, False]
    assert not mode("fenced")["changed"]
    assert call("bascule_vpn_close", **ABOUT, epoch="1.a", other_guard=None)["receipt"]["epoch"] == "1.a"
    assert mode("fenced")["mode"] == "closed"
    asked: dict[str, Any] = {"epoch": "2.b", "receipt": RECEIPT, "word": None, "other_address": "192.0.2.2"}
    assert call("bascule_vpn_open", **ABOUT, **asked)["guard"]["frozen"]
    assert mode("thawed")["changed"]


def test_a_side_that_could_not_start_is_not_ready(host: FakeHost) -> None:
    (host.root / "etc/wireguard/wg0.conf").unlink()
    with pytest.raises(VpnError, match="ready to start"):
        mode("ready")


def test_a_word_opens_the_side_that_is_left() -> None:
    store.adopt("vpn", "vpn-a", "closed")
    word = {"about": "vpn-b", "epoch": "1001.w", "by": "Nadia", "fenced": "it is off", "given_at": "now"}
    asked: dict[str, Any] = {"epoch": "1001.w", "receipt": None, "word": word, "other_address": "192.0.2.2"}
    assert call("bascule_vpn_open", **ABOUT, **asked)["guard"]["status"] == "open"


def test_a_side_that_is_back_is_closed_only_for_one_that_has_given_it_up() -> None:
    store.adopt("vpn", "vpn-a", "open")
    other = {"component": "vpn", "side": "vpn-b", "status": "closed"}
    with pytest.raises(GuardRefused):
        call("bascule_vpn_close", **ABOUT, epoch="1.a", other_guard=other)


def test_both_sides_are_measured_and_compared() -> None:
    about: dict[str, Any] = {
        **ABOUT,
        "behind": ["10.1.0.20"],
        "forwarding": True,
        "other_guard": {},
        "other_address": "",
    }
    first = call("bascule_vpn_info", **about, other={}, other_side="")
    assert (first["faults"], first["differences"], first["guard"]["status"]) == ([], [], "unknown")
    assert call("bascule_vpn_info", **about, other=first["vpn"], other_side="vpn-b")["differences"] == []
    nothing = {**first["vpn"], "config": {}}
    assert len(call("bascule_vpn_info", **about, other=nothing, other_side="vpn-b")["differences"]) == 5


def test_who_drives_this_host_must_not_come_through_the_tunnel(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way_in, "came_from", lambda: "10.99.0.2")
    host.route = "10.99.0.2 dev wg0 src 10.99.0.1"
    about: dict[str, Any] = {
        **ABOUT,
        "behind": [],
        "forwarding": True,
        "other": {},
        "other_guard": {},
        "other_side": "vpn-b",
    }
    found = call("bascule_vpn_info", **about, other_address="10.98.0.1")["faults"]
    assert [text.split(" is reached")[0] for text in found] == [
        "the way by which this host is driven, 10.99.0.2,",
        "the other side, 10.98.0.1,",
    ]


def test_both_sides_are_asked_whether_one_alone_serves() -> None:
    store.adopt("vpn", "vpn-a", "open")
    about: dict[str, Any] = {
        **ABOUT,
        "behind": [],
        "forwarding": True,
        "other_side": "vpn-b",
        "other_address": "192.0.2.2",
    }
    alone = call("bascule_vpn_info", **about, other={}, other_guard={})
    assert (alone["service"], alone["interrupted"]) == ([], False)
    closed = {"component": "vpn", "side": "vpn-b", "status": "closed"}
    other = {**alone["vpn"], "mode": "closed"}
    assert call("bascule_vpn_info", **about, other=other, other_guard=closed)["service"] == []
    both = call("bascule_vpn_info", **about, other=alone["vpn"], other_guard=closed)
    assert both["service"] == [
        "the guard of vpn-b says closed, and its server is open",
        "the servers of both sides run",
    ]


@pytest.mark.parametrize(("expect", "seen", "fails"), [("closed", "silent", True), ("any", "silent", False)])
def test_a_port_is_asked(monkeypatch: pytest.MonkeyPatch, expect: str, seen: str, fails: bool) -> None:
    monkeypatch.setattr(probe, "ask", lambda *_, **__: seen)
    asked: dict[str, Any] = {"address": "192.0.2.1", "port": 51820, "expect": expect, "mode": "", "unused_port": 51821}
    if fails:
        with pytest.raises(VpnError, match=r"192.0.2.1:51820 is silent, which proves nothing"):
            call("bascule_vpn_probe", **asked)
    else:
        found = call("bascule_vpn_probe", **asked)
        assert (found["seen"], found["faults"]) == (seen, [])


def test_an_open_side_is_asked_at_a_port_that_nobody_listens_at(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ask(_: str, port: int) -> str:
        asked.append(port)
        return "silent"

    monkeypatch.setattr(probe, "ask", ask)
    about: dict[str, Any] = {"address": "192.0.2.1", "port": 51820, "expect": "any", "unused_port": 51821}
    assert "not proved possible" in call("bascule_vpn_probe", **about, mode="open")["faults"][0]
    assert call("bascule_vpn_probe", **{**about, "unused_port": 0}, mode="open")["faults"] == []
    assert len(call("bascule_vpn_probe", **about, mode="closed")["faults"]) == 1
    assert asked == [51820, 51821, 51820, 51820]


def test_a_trainer_comes_in_by_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"handshake": True, "seconds": 0.1, "reached": ["a:1"], "reached_without": [], "silent": []}
    monkeypatch.setattr(trainer, "attempt", lambda *_: found)
    asked: dict[str, Any] = {
        "config": "/x", "public_key": "k", "address": "192.0.2.1", "port": 51820, "expect": "open", "timeout": 1,
        "passive_address": "192.0.2.2",
        "places": [{"address": "10.1.0.20", "port": "443"}], "endpoint": "vpn.example.org",
    }  # fmt: skip
    known = {"vpn.example.org": ["192.0.2.1"]}
    monkeypatch.setattr(reach, "addresses", lambda name: known.get(name, [name]))
    assert call("bascule_vpn_reach", **asked) == {"attempt": found, "endpoint": []}
    assert call("bascule_vpn_reach", check=True, **asked) == {}
    assert call("bascule_vpn_reach", **{**asked, "endpoint": ""})["endpoint"] == []
    known["vpn.example.org"] = ["192.0.2.2"]
    assert call("bascule_vpn_reach", **asked)["endpoint"] == ["vpn.example.org is 192.0.2.2 here, not 192.0.2.1"]
    with pytest.raises(VpnError, match="has answered a handshake"):
        call("bascule_vpn_reach", **{**asked, "expect": "closed"})
