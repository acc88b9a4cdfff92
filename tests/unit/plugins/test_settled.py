"""What only points is retired when all of it answers, and keeps nobody's way back from being asked for."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.dns import state as zone_state
from bascule.errors import BasculeError
from bascule.plugin import standing
from bascule.plugin.standing import Component
from bascule.run import context
from bascule.run.position import Side

ROOT = Path(__file__).resolve().parents[3]
GUARDS = {name: side.to_dict() for name, side in zone_state.adopt("names", "ns-b", "ns-a").sides.items()}


def settled(monkeypatch: pytest.MonkeyPatch, state: dict[str, Any]) -> dict[str, Any]:
    """Judge one component of names with what its verb `state` has registered."""
    spec = importlib.util.spec_from_file_location("settled_under_test", ROOT / "plugins/action/bascule_settled.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(standing, "journalled", lambda scope: ([], {}))
    monkeypatch.setattr(standing, "must_be_proved", lambda *_: [])
    about = SimpleNamespace(from_host="ns-a", to_host="ns-b")
    monkeypatch.setattr(context, "announce", lambda *_: about)
    names = {"component_role": "dns_switchover", "__dns_switchover_state": {"guards": GUARDS, **state}}
    scope = SimpleNamespace(
        announced=SimpleNamespace(direction="forward"),
        in_play=["names"],
        get=lambda name: None,
        hostvars={"names": names, "ns-a": {}, "ns-b": {}},
    )
    told: dict[str, Any] = module.ActionModule.__new__(module.ActionModule).act({}, scope)
    return told


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"unseen": "no server of example.net answers"}, "no server of example.net answers"),
        ({"silent": {"ns-a": "does not answer"}}, "ns-a: does not answer"),
    ],
)
def test_nothing_is_retired_while_a_zone_or_server_of_names_is_silent(
    monkeypatch: pytest.MonkeyPatch, state: dict[str, Any], why: str
) -> None:
    """It could not be retired, and everybody's way back would be gone by then."""
    assert settled(monkeypatch, {"unseen": "", "silent": {}}) == {"overridden": []}
    with pytest.raises(BasculeError, match=f"names: {why}") as caught:
        settled(monkeypatch, state)
    assert caught.value.state == "nothing was removed"


def test_names_that_were_retired_hold_up_no_way_back() -> None:
    names = Component("names", Side("a", "A", None), Side("b", "B", None), points_only=True, retired=True, given_up="")
    assert standing.obstacle(names, False) == ""
    assert "no way back" in standing.obstacle(replace(names, points_only=False), False)
