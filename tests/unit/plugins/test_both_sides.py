"""Both sides have to answer before a move or a return freezes anything, in a real ansible-playbook."""

from __future__ import annotations

import pytest

from .test_play import ELSEWHERE, World, have_moved, never_left, verbs_said, world

__all__ = ["world"]


@pytest.mark.parametrize("playbook", ["rollback.yml", "60_cutover.yml"])
def test_a_machine_whose_guard_lies_elsewhere_is_asked_before_anything_is_frozen(world: World, playbook: str) -> None:
    """The guard of a guest is read through an API: that says nothing of the way into its node."""
    (have_moved if playbook == "rollback.yml" else never_left)(world)
    world.state = ELSEWHERE
    left, entered = ("a-tls", "a-mtp") if playbook == "rollback.yml" else ("a-mtp", "a-tls")
    world.are_down(entered)
    rc, output = world.move(playbook)
    assert rc == 2, output
    assert verbs_said(output) == [], "nothing was frozen"
    assert f"low: no way into {entered} (exit status 255: no route to {entered})" in output
    if playbook == "rollback.yml":
        assert f"would have cut off the users of low, top at {left}" in output


def test_what_has_arrived_does_not_need_the_machine_it_came_from(world: World) -> None:
    have_moved(world)
    world.state = ELSEWHERE
    world.are_down("a-mtp")
    rc, output = world.move("60_cutover.yml")
    assert rc == 0, output
    assert ("low", "thaw") in verbs_said(output)


@pytest.mark.parametrize("playbook", ["rollback.yml", "60_cutover.yml"])
def test_where_both_sides_answer_all_of_the_way_runs(world: World, playbook: str) -> None:
    never_left(world)
    rc, output = world.move(playbook)
    assert rc == 0, output
    verbs = [verb for name, verb in verbs_said(output) if name == "low"]
    assert [verb for verb in verbs if verb not in ("check", "capture")] == ["freeze", "sync", "switch", "thaw"]
    assert "is only let in again" not in output


@pytest.mark.parametrize(
    "silent",
    [
        ("a-mtp",),
        ("j-tls",),
        ("j-mtp",),
        pytest.param(("a-mtp", "j-mtp"), marks=pytest.mark.long),
    ],
)
def test_who_is_served_is_not_shut_out_by_a_way_back_that_cannot_come_through(
    world: World, silent: tuple[str, ...]
) -> None:
    have_moved(world)
    world.are_down(*silent)
    rc, output = world.roll_back()
    assert rc == 2
    assert verbs_said(output) == [], "nothing was frozen"
    assert "both sides of every component that moves, and the journal of both sites, to answer" in output
    assert "the rollback has changed nothing" in output


def test_one_that_cannot_come_through_keeps_all_of_them_where_they_are(world: World) -> None:
    have_moved(world, names=("low",))
    world.are_down("a-tls")
    rc, output = world.roll_back()
    assert rc == 2
    assert verbs_said(output) == []
    assert "low: no answer for a-tls" in output
