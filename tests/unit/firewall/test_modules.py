"""The modules hand their arguments to the helpers and their results out."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.bascule.firewall.io import side as firewall_side

from bascule.errors import GuardRefused
from bascule.guard.io import store
from bascule.guard.io.fence_settings import read as fence_settings

from .conftest import Host

RULES = [{"name": "ssh", "port": 22, "verdict": "accept"}, {"name": "web", "port": 443, "verdict": "drop"}]
ABOUT: dict[str, Any] = {"component": "edge", "side": "fw-a"}


@pytest.fixture(autouse=True)
def _here(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host of every side is the private network."""
    monkeypatch.setattr(firewall_side, "Table", lambda *_: host.table())
    monkeypatch.setattr(firewall_side.Side.__init__, "__defaults__", ((), False, host.runner))


def call(name: str, /, check: bool = False, **params: Any) -> dict[str, Any]:
    """Run a module's main."""
    module = importlib.import_module(name)
    result: dict[str, Any] = module.main(SimpleNamespace(params=params, check_mode=check))
    return result


def rules(state: str, **more: Any) -> dict[str, Any]:
    """Run bascule_firewall_rules."""
    return call("bascule_firewall_rules", **ABOUT, rules=RULES, state=state, undo_seconds=60, **more)


def switch(state: str, epoch: str, **more: Any) -> dict[str, Any]:
    """Run bascule_firewall_switch."""
    given = {"receipt": None, "word": None, "other_guard": None, **more}
    return call("bascule_firewall_switch", **ABOUT, state=state, epoch=epoch, **given)


def test_a_side_goes_through_a_life(host: Host) -> None:
    assert [rules("prepared")["changed"] for _ in range(2)] == [True, False]
    settings = fence_settings("edge", store.GUARD_DIRECTORY.parent)
    assert settings is not None
    assert settings["kind"] == "firewall"
    store.adopt("edge", "fw-a", "open")
    assert rules("applied", check=True)["token"] == ""
    done = rules("applied")
    assert (done["role"], done["changed"]) == ("active", True)
    host.table().confirm(done["token"])
    assert not rules("applied")["changed"]
    assert rules("measured")["faults"] == []
    assert switch("closed", "1.a", check=True)["receipt"]["epoch"] == "1.a"
    receipt = switch("closed", "1.a")["receipt"]
    assert receipt["epoch"] == "1.a"
    with pytest.raises(GuardRefused):
        switch("open", "2.b", receipt=receipt)
    other = {**receipt, "side": "fw-b", "epoch": "2.b"}
    assert switch("open", "2.b", receipt=other)["guard"]["frozen"]


def test_a_word_opens_the_side_that_is_left() -> None:
    store.adopt("edge", "fw-a", "closed")
    word = {"about": "fw-b", "epoch": "1001.w", "by": "Nadia", "fenced": "it is off", "given_at": "now"}
    assert switch("open", "1001.w", word=word)["guard"]["status"] == "open"


def test_a_side_that_is_back_is_closed_only_for_one_that_has_given_it_up() -> None:
    store.adopt("edge", "fw-a", "open")
    with pytest.raises(GuardRefused):
        switch("closed", "1.a", other_guard={"component": "edge", "side": "fw-b", "status": "closed"})


def test_a_kernel_that_does_not_take_the_rules_is_named(host: Host) -> None:
    host.fails = "--check"
    found = rules("measured")["faults"]
    assert len(found) == 1
    assert "does not take the rules" in found[0]


def test_a_port_is_asked_from_where_the_module_runs() -> None:
    given: dict[str, Any] = {
        "address": "127.0.0.1",
        "rules": RULES[:1],
        "side": "fw-a",
        "role": "passive",
        "asked_from": "here",
    }
    found = call("bascule_firewall_probe", **given)
    assert (found["checked"], found["wrong"], found["not_proved"]) == (1, [], [])
