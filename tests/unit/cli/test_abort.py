"""`bascule abort`: the freeze is undone and nothing else; after a switch has begun it names the rollback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.test_phases import bascule
from tests.unit.plugins.test_play import ELSEWHERE, World, have_moved, never_left

from bascule.run.outcome import Status

BACK = ("-i", "inventory", "-e", "confirm=montpellier")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world in which a cutover has frozen, and failed."""
    made = World(tmp_path)
    made.state = ELSEWHERE
    made.answer_verbs()
    never_left(made, frozen=True)
    yield made
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_a_freeze_is_undone(world: World) -> None:
    confirm = ("-e", "confirm=toulouse", "-e", "fail_at=top.sync")
    assert bascule(world, "run", "cutover", "-i", "inventory", *confirm)[0] == Status.HELD
    code, said = bascule(world, "abort", *BACK)
    assert code == Status.DONE, said
    assert [end for end in world.outcomes() if end[0] == "thaw"] == [("thaw", "low", "ok"), ("thaw", "top", "ok")]


def test_after_a_switch_of_one_component_it_is_refused_and_the_rollback_is_named(world: World) -> None:
    have_moved(world, names=("low",))
    code, said = bascule(world, "abort", *BACK, "-e", "only_before_switch=")
    assert code == Status.NO_GO, said
    told = " ".join(said.split())
    assert "low: a-mtp closed 1" in told
    assert "top:" not in told.partition("state now")[0].partition("found")[2]
    assert "next safe command: bascule rollback" in told
    assert not [entry for entry in world.entries if entry["kind"] == "begin"]
    assert bascule(world, "rollback", *BACK)[0] == Status.DONE
