"""When a decommission may begin in a real ansible-playbook, and what is left to go back to afterwards: nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.plugins.test_play import ROOT, World, have_moved, verbs_said


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a world."""
    yield World(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


# What may be removed is decided in tests/unit/run/test_position.py.
@pytest.mark.parametrize("moved", [("top",), pytest.param((), marks=pytest.mark.long)])
def test_a_decommission_removes_nothing_while_something_stands_elsewhere(world: World, moved: tuple[str, ...]) -> None:
    have_moved(world, names=moved)
    rc, output = world.move("90_decommission.yml")
    assert rc == 2
    assert verbs_said(output) == []
    assert "low: a-tls closed, not open to users" in output
    assert "nothing was removed" in output


def test_after_a_decommission_nobody_is_shut_out_for_a_way_back_that_is_gone(world: World) -> None:
    have_moved(world)
    rc, output = world.move("70_verify.yml")
    assert rc == 0, output
    rc, output = world.move("90_decommission.yml")
    assert rc == 0, output
    assert verbs_said(output) == [("top", "retire"), ("low", "retire")]
    shutil.rmtree(world.path / "runs")
    run = next((world.hosts / "j-tls/journal").iterdir()).name
    world.environment["BASCULE_RUN"] = run
    rc, output = world.roll_back()
    assert rc == 2
    assert verbs_said(output) == []
    assert "there is no way back" in output
    rc, output = world.run(playbook=ROOT / "playbooks/status.yml")
    assert "Next: none: there is no way back after a decommission" in output
    rc, output = world.move("90_decommission.yml")
    assert rc == 0, output
