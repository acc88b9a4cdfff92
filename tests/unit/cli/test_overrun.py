"""The time to commit in real playbooks: said by status, and a return that only the plan's own answer makes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.test_phases import CONFIRM, bascule
from tests.unit.plugins.test_play import ELSEWHERE, PLAN, World, have_moved, never_left

from bascule.run.outcome import Status

OVER = "plan_commit_within: 0.001\n"
# What a return would lose, where a test gives it.
LEFT = """
- name: Say what a return would leave behind
  ansible.builtin.set_fact:
    __toy_left: {left_behind: "{{ left | default([]) }}"}
"""
FAILS = ("-e", "fail_at=low.verify")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world after a cutover, where the verbs answer."""
    made = World(tmp_path)
    made.state = ELSEWHERE + LEFT
    made.answer_verbs()
    never_left(made, frozen=False)
    code, said = bascule(made, "run", "cutover", "-i", "inventory", *CONFIRM)
    assert code == Status.DONE, said
    have_moved(made)
    yield made
    shutil.rmtree(tmp_path, ignore_errors=True)


def declare(world: World, text: str) -> None:
    """Give the plan what it says of the time to commit."""
    (world.path / "inventory/group_vars/all/plan.yml").write_text(PLAN + text)


def overrun(world: World, *words: str) -> tuple[int, str]:
    """Run the command, which asks nobody."""
    code, said = bascule(world, "overrun", "-i", "inventory", *words)
    return code, " ".join(said.split())


def gone_back(world: World) -> list[str]:
    """Return who has begun a freeze on the way back."""
    return [
        e["component"] for e in world.entries if (e["kind"], e["phase"], e["verb"]) == ("begin", "rollback", "freeze")
    ]


def test_the_plan_has_a_return_made_when_the_time_is_over_and_a_check_has_failed(world: World) -> None:
    declare(world, OVER + "plan_on_overrun: return\n")
    code, said = overrun(world)
    assert code == Status.NO_GO, said
    assert "nothing has failed, a person decides" in said
    assert gone_back(world) == []
    bascule(world, "run", "verify", "-i", "inventory", *FAILS)
    code, said = overrun(world, "-e", '{"left": ["rows of an unlogged table"]}')
    assert code == Status.NO_GO, said
    assert "low leaves behind rows of an unlogged table" in said
    assert gone_back(world) == []
    code, said = overrun(world)
    assert code == Status.DONE, said
    assert sorted(gone_back(world)) == ["low", "top"]
    by = [e["data"]["by"] for e in world.entries if e["data"].get("decision") == "GO" and e["phase"] == "rollback"]
    assert by[-1].startswith("the plan (plan_on_overrun), run by ")


@pytest.mark.long
def test_until_then_and_without_the_plans_answer_a_person_decides(world: World) -> None:
    declare(world, "plan_commit_within: 90\nplan_on_overrun: return\n")
    bascule(world, "run", "verify", "-i", "inventory", *FAILS)
    _, said = bascule(world, "status", "-i", "inventory")
    assert "Time to commit: 1 h 29 min left to commit" in said
    assert "low: its last verification has failed; proposed: bascule rollback, without loss, which the plan" in said
    assert overrun(world)[0] == Status.NO_GO
    declare(world, OVER)
    # Nobody has typed the name of the site, and no plan answers for that.
    code, said = overrun(world)
    assert code == Status.NO_GO, said
    assert "the name of the site that shall be active after rollback" in said
    declare(world, OVER + "plan_on_overrun: return\n")
    code, said = overrun(world, "--limit", "low")
    assert code == Status.NO_GO, said
    assert "top is left out by --limit" in said
    world.are_down("a-mtp")
    code, said = overrun(world)
    assert code == Status.PERSON, said
    assert "no way into a-mtp" in said
    assert gone_back(world) == []
    (world.hosts / "a-mtp.down").unlink()
    assert bascule(world, "run", "verify", "-i", "inventory")[0] == Status.DONE
    assert bascule(world, "commit", "-i", "inventory", *CONFIRM)[0] == Status.DONE
    assert overrun(world)[0] == Status.NO_GO
    assert "Time to commit" not in bascule(world, "status", "-i", "inventory")[1]
