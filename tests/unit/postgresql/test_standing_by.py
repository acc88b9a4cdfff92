"""The agents of a switch are started at the freeze, and taken by the switch of the same sides only."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "plugins/action/bascule_postgresql_switch.py"
SIDES = {"from": "db-mtp", "to": "db-tls"}


class StandIn:
    """Stands in for the connection to an agent."""

    made: list[StandIn]

    def __init__(self, target: str, script: str, label: str, hold: object) -> None:
        self.target, self.label = target, label
        self.alive, self.ended = True, False
        StandIn.made.append(self)

    def is_alive(self) -> bool:
        return self.alive

    def drop(self) -> None:
        self.ended = True


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the action's module with nothing that stands by."""
    spec = importlib.util.spec_from_file_location("bascule_switch_under_test", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    StandIn.made = []
    monkeypatch.setattr(module.connections, "Agent", StandIn)
    return module


def _scope(component: str = "accounts_db") -> Any:
    return SimpleNamespace(component=component, target=lambda host: host)


def _stand_by(plugin: ModuleType, component: str = "accounts_db") -> list[StandIn]:
    before = len(StandIn.made)
    action = SimpleNamespace(check_mode=False)
    said = plugin.ActionModule.act(action, {"action": "stand_by", "epoch": "", **SIDES}, _scope(component))
    assert said == {"changed": False}
    return StandIn.made[before:]


def test_the_switch_takes_the_agents_that_stand_by_once(plugin: ModuleType) -> None:
    waiting = _stand_by(plugin)
    assert [(agent.target, agent.label) for agent in waiting] == [("db-mtp", "old"), ("db-tls", "new")]
    assert plugin._standing_by(SIDES, _scope()) == waiting
    assert plugin._standing_by(SIDES, _scope()) == []
    assert not any(agent.ended for agent in waiting)


def test_those_of_another_component_or_direction_are_not_taken(plugin: ModuleType) -> None:
    waiting = _stand_by(plugin)
    assert plugin._standing_by(SIDES, _scope("other_db")) == []
    assert plugin._standing_by({"from": "db-tls", "to": "db-mtp"}, _scope()) == []
    assert all(agent.ended for agent in waiting)


@pytest.mark.parametrize("lost", [0, 1])
def test_one_whose_connection_has_ended_is_started_anew_with_the_other(plugin: ModuleType, lost: int) -> None:
    waiting = _stand_by(plugin)
    waiting[lost].alive = False
    assert plugin._standing_by(SIDES, _scope()) == []
    assert all(agent.ended for agent in waiting)


def test_those_that_have_said_nothing_for_long_are_started_anew(
    plugin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = _stand_by(plugin)
    monkeypatch.setattr(plugin, "_LONGEST", -1)
    assert plugin._standing_by(SIDES, _scope()) == []
    assert all(agent.ended for agent in waiting)


def test_a_second_freeze_ends_those_of_the_first(plugin: ModuleType) -> None:
    first = _stand_by(plugin)
    second = _stand_by(plugin)
    assert all(agent.ended for agent in first)
    assert plugin._standing_by(SIDES, _scope()) == second


def test_nothing_is_started_in_check_mode(plugin: ModuleType) -> None:
    action = SimpleNamespace(check_mode=True)
    plugin.ActionModule.act(action, {"action": "stand_by", "epoch": "", **SIDES}, _scope())
    assert StandIn.made == []
