"""What the gates and the judge stop in a real ansible-playbook: nothing is frozen or removed on the word of nobody."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.plugins.test_play import PLAN, World, have_moved, never_left, said, verbs_said

from bascule.guard import state as rule
from bascule.guard.state import GuardState


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a world."""
    yield World(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


def gates(world: World, text: str) -> None:
    """Declare further gates."""
    (world.path / "inventory/group_vars/all/plan.yml").write_text(PLAN.replace("unit: x}}", "unit: x}, " + text + "}"))


def test_a_gate_that_cannot_be_right_is_an_error_of_the_plan(world: World) -> None:
    gates(world, "sped: {min: 5, unit: x}")
    rc, output = world.move("40_pretest.yml")
    assert rc == 2
    assert "found no role of this plan puts a sample to it; is speed meant?" in output
    assert said(output) == []
    gates(world, "other: {min: 3, max: 2, unit: x}")
    (world.path / "roles/toy/tasks/other.yml").write_text("- bascule_gate: {name: other, unit: 'y'}\n")
    rc, output = world.move("60_cutover.yml")
    assert rc == 2
    assert "found it is in x, the samples in y" in output
    assert "found min 3 is above max 2" in output
    assert said(output) == []


def test_a_gate_that_nobody_has_sampled_stops_before_the_freeze(world: World) -> None:
    never_left(world, frozen=False)
    gates(world, "never: {max: 3}")
    (world.path / "roles/toy/tasks/never.yml").write_text("- bascule_gate: {name: never}\n")
    for playbook in ("40_pretest.yml", "60_cutover.yml"):
        rc, output = world.move(playbook)
        assert rc == 2
        assert "NO-GO: nobody has put a sample to never" in output
        assert {verb for _, verb in verbs_said(output)} == {"check"}
    assert any(e["data"].get("reason") == "nobody has put a sample to it" for e in world.entries)
    override = json.dumps({"gate_overrides": {"never": "counted by hand"}})
    rc, output = world.move("40_pretest.yml", "-e", override)
    assert rc == 0, output
    assert "Gate never has no sample: counted by hand" in output
    rc, output = world.move("40_pretest.yml", "--limit", "low")
    assert rc == 0, output
    assert "Gate never has no sample: not all components take part" in output


def test_a_move_that_has_begun_goes_on_without_the_samples_of_before(world: World) -> None:
    never_left(world)
    gates(world, "never: {max: 3}")
    (world.path / "roles/toy/tasks/never.yml").write_text("- bascule_gate: {name: never}\n")
    rc, output = world.move("60_cutover.yml")
    assert rc == 0, output
    assert "Gate never has no sample: the move has begun: low, top" in output


def test_a_decommission_removes_nothing_that_was_not_proved_since_its_last_switch(world: World) -> None:
    have_moved(world)
    rc, output = world.move("90_decommission.yml")
    assert rc == 2
    assert verbs_said(output) == []
    assert "low.verify: nothing was verified; top.verify: nothing was verified" in output
    world.environment["ANSIBLE_STDOUT_CALLBACK"] = "bascule_progress"
    rc, output = world.move("70_verify.yml")
    assert rc == 0, output
    del world.environment["ANSIBLE_STDOUT_CALLBACK"]
    for name in ("low", "top"):
        assert f"\n  not compared: {name}: flags: nobody tells them" in output
    later = rule.Epoch(3, "f")
    world.stands("a-tls", "low", GuardState("low", "a-tls", later, rule.OPEN, later))
    rc, output = world.move("90_decommission.yml")
    assert rc == 2
    assert verbs_said(output) == []
    assert "low.opened: epoch 1.d was verified, the side was opened under 3.f" in output
    assert "top." not in output
    override = json.dumps({"proof_overrides": {"low.opened": "compared by hand"}})
    rc, output = world.move("90_decommission.yml", "-e", override)
    assert rc == 0, output
    assert "let pass: compared by hand" in output
    decisions = [e["data"] for e in world.entries if e["kind"] == "decision"]
    assert any("compared by hand" in str(data.get("passed")) for data in decisions)


def test_a_verification_that_compared_nothing_fails_and_names_the_component(world: World) -> None:
    have_moved(world)
    rc, output = world.move("70_verify.yml", "-e", '{"seen": 0}')
    assert rc == 2
    assert "low.rows_compared: 0: nothing was looked at; top.rows_compared: 0: nothing was looked at" in output
    assert "nothing was changed" in output
    # Each verb has come through, and the verification has not.
    rc, output = world.move("status.yml")
    assert rc == 0, output
    assert "Last verb: verify/verify of " in output
    assert ": FAILED\n" in output
    assert "Next: a person must decide: ansible-playbook playbooks/70_verify.yml" in output


LEFT = """
- name: Read what no log carries
  ansible.builtin.set_fact:
    __toy_left: {left_behind: "{{ left | default([]) }}"}
  when: bascule_phase == 'rollback' and inventory_hostname == 'low'
"""


def test_what_a_return_leaves_behind_is_said_before_the_freeze_and_by_the_judge_after_it(world: World) -> None:
    have_moved(world)
    world.state += LEFT
    line = "unlogged table courses.app.cache (8192 bytes) at a-tls"
    rc, output = world.roll_back("-e", json.dumps({"left": [line]}))
    assert rc == 0, output
    warned = re.sub(r"\s+", " ", output).index(f"low: this return leaves behind {line}")
    assert warned < re.sub(r"\s+", " ", output).index("low freeze")
    assert [world.copy(host) for host in ("j-mtp", "j-tls")] == [world.entries] * 2
    kinds = [(e["component"], e["data"].get("event") or e["verb"]) for e in world.entries]
    assert kinds.index(("low", "left_behind")) < kinds.index(("low", "freeze"))
    assert ("top", "left_behind") not in kinds
    # Another controller verifies.
    shutil.rmtree(world.path / "runs")
    rc, output = world.move("70_verify.yml")
    assert rc == 2
    assert f"low.left_behind: not carried by the return: {line}" in re.sub(r"\s+", " ", output)
    assert "top." not in output
    override = json.dumps({"proof_overrides": {"low.left_behind": "a cache"}})
    rc, output = world.move("70_verify.yml", "-e", override)
    assert rc == 0, output


def test_a_return_that_leaves_nothing_says_nothing(world: World) -> None:
    have_moved(world)
    world.state += LEFT
    rc, output = world.roll_back()
    assert rc == 0, output
    assert "leaves behind" not in output
    rc, output = world.move("70_verify.yml")
    assert rc == 0, output
