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
from bascule.vpn.io import probe, trainer
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
    store.adopt("vpn", "vpn-a", "open")
    assert [mode("frozen")["changed"] for _ in range(2)] == [True, False]
    assert [mode("thawed")["changed"] for _ in range(2)] == [True, False]
    assert not mode("fenced")["changed"]
    assert call("bascule_vpn_close", **ABOUT, epoch="1.a", other_guard=None)["receipt"]["epoch"] == "1.a"
    assert mode("fenced")["mode"] == "closed"
    asked: dict[str, Any] = {"epoch": "2.b", "receipt": RECEIPT, "word": None, "other_address": "192.0.2.2"}
    assert call("bascule_vpn_open", **ABOUT, **asked)["guard"]["frozen"]
    assert mode("thawed")["changed"]


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
    about: dict[str, Any] = {**ABOUT, "behind": ["10.1.0.20"], "forwarding": True}
    first = call("bascule_vpn_info", **about, other={}, other_side="")
    assert (first["faults"], first["differences"], first["guard"]["status"]) == ([], [], "unknown")
    assert call("bascule_vpn_info", **about, other=first["vpn"], other_side="vpn-b")["differences"] == []
    nothing = {**first["vpn"], "config": {}}
    assert len(call("bascule_vpn_info", **about, other=nothing, other_side="vpn-b")["differences"]) == 5


@pytest.mark.parametrize(("expect", "seen", "fails"), [("closed", "silent", True), ("any", "silent", False)])
def test_a_port_is_asked(monkeypatch: pytest.MonkeyPatch, expect: str, seen: str, fails: bool) -> None:
    monkeypatch.setattr(probe, "ask", lambda *_: seen)
    asked: dict[str, Any] = {"address": "192.0.2.1", "port": 51820, "expect": expect}
    if fails:
        with pytest.raises(VpnError, match=r"192.0.2.1:51820 is silent, which proves nothing"):
            call("bascule_vpn_probe", **asked)
    else:
        assert call("bascule_vpn_probe", **asked)["seen"] == seen


def test_a_trainer_comes_in_by_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"handshake": True, "seconds": 0.1, "reached": ["a:1"], "reached_without": [], "silent": []}
    monkeypatch.setattr(trainer, "attempt", lambda *_: found)
    asked: dict[str, Any] = {
        "config": "/x", "public_key": "k", "address": "192.0.2.1", "port": 51820, "expect": "open", "timeout": 1,
        "places": [{"address": "10.1.0.20", "port": "443"}], "endpoint": "vpn.example.org",
    }  # fmt: skip
    monkeypatch.setattr(reach, "addresses", lambda _: ["192.0.2.1"])
    assert call("bascule_vpn_reach", **asked) == {"attempt": found}
    assert call("bascule_vpn_reach", check=True, **asked) == {}
    for addresses in (["192.0.2.9"], ["192.0.2.1", "192.0.2.9"], []):
        monkeypatch.setattr(reach, "addresses", lambda _, now=addresses: now)
        with pytest.raises(VpnError, match=r"vpn\.example\.org is .* here, not 192\.0\.2\.1"):
            call("bascule_vpn_reach", **asked)
    monkeypatch.setattr(reach, "addresses", lambda _: ["192.0.2.1"])
    with pytest.raises(VpnError, match="has answered a handshake"):
        call("bascule_vpn_reach", **{**asked, "expect": "closed"})
