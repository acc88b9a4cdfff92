"""Playbooks hold the play shape and nothing else: what a phase does is which verbs it calls, in which order."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bascule.run import order, preflight
from bascule.run.verbs import AWAY, DIRECTIONS, STANDING_BY_GROUP, VERBS, WATCHED_GROUP, has

from .tree import COMPONENT_ROLES, PLAYBOOKS, ROLES, load

PLAY_KEYS = {
    "name", "hosts", "gather_facts", "strategy", "order", "serial", "tags", "tasks", "any_errors_fatal",
    "ignore_unreachable",
}  # fmt: skip
# Samples that disturb one another are taken one layer after the other: a proof boot slows the link that is measured.
MEASURING = {"check"}
# These tell what is known, and call no verb that does anything.
TELLING = {"status", "report"}
# These move no component and stand beside the phases: one role on the controller, by the entry that their name ends in.
BESIDE = {"schema_status", "schema_up", "schema_down", "schema_to"}
# These call no verb: one is all phases after the other, one changes the application at one side.
NO_PHASES = {"migrate", "deploy"}
CLOSING = {"freeze", "retire", "give_way"}
OPENING = {"switch", "thaw", "take_over", "reopen"}
WINDOWS = ("60_cutover", "rollback")
# Their arguments were checked when both sides were read.
UNCHECKED = (*order.VERBS, "stand_by")
SPARED = "inventory_hostname not in bascule_alone"
INCLUDE = "ansible.builtin.include_role"

PLAYS = [
    (path, play)
    for path in PLAYBOOKS
    for play in load(path)
    if "import_playbook" not in play and str(play["hosts"]).startswith("components")
]
VERB_PLAYS = [(path, play) for path, play in PLAYS if "bascule_begin" in play["tasks"][0]]
# The play of a window does several verbs, and its components wait for one another inside it.
STEPS = [
    (path, play, play["tasks"][at : at + 3]) for path, play in VERB_PLAYS for at in range(0, len(play["tasks"]), 3)
]


def name_of(item: Any) -> str:
    """Return a readable test id."""
    return item.stem if isinstance(item, Path) else str(item.get("name"))


by_play = pytest.mark.parametrize(("path", "play"), PLAYS, ids=name_of)
by_verb_play = pytest.mark.parametrize(("path", "play"), VERB_PLAYS, ids=name_of)
by_step = pytest.mark.parametrize(
    ("path", "play", "step"), STEPS, ids=lambda item: "" if isinstance(item, list) else name_of(item)
)


def is_window(path: Path, play: dict[str, Any]) -> bool:
    """Say whether the play is the one of a window in which users wait."""
    return path.stem in WINDOWS and play["tasks"][0].get("bascule_begin", {}).get("verb") == order.VERBS[0]


def test_there_are_plays() -> None:
    assert len(VERB_PLAYS) >= 15


@by_play
def test_a_play_is_of_the_usual_shape(path: Path, play: dict[str, Any]) -> None:
    assert set(play) <= PLAY_KEYS, f"unusual: {set(play) - PLAY_KEYS}"
    assert play["gather_facts"] is False
    # Nobody waits for what only points to a site: it acts alone, in thaw, after everybody else.
    last = path.stem in WINDOWS and play is [one for where, one in PLAYS if where == path][-1]
    ahead = play["tasks"][0].get("bascule_begin", {}).get("verb") == "stand_by"
    wanted = "components:!pointing" if is_window(path, play) else "components:&pointing" if last else "components"
    wanted = f"components:&{STANDING_BY_GROUP}" if ahead else wanted
    begun = [task["bascule_begin"]["verb"] for task in play["tasks"][0].get("block", []) if "bascule_begin" in task]
    wanted = f"components:&{WATCHED_GROUP}" if begun == ["watch"] else wanted
    assert play["hosts"] == wanted
    phase = re.sub(r"^\d+_", "", path.stem)
    assert play["tags"] == [phase], "tags are phases"


@pytest.mark.parametrize("path", PLAYBOOKS, ids=name_of)
def test_plays_say_where_they_are(path: Path) -> None:
    numbered = [play["name"] for play in load(path) if re.match(r"\(\d", play.get("name", ""))]
    for number, name in enumerate(numbered, 1):
        phase = re.sub(r"^\d+_", "", path.stem).upper()
        assert re.match(
            rf"\({number}/{len(numbered)}\) {phase}: [a-z]|\({number}/{len(numbered)}\) {phase}: GO", name
        ), name


@by_step
def test_a_verb_is_begin_role_end(path: Path, play: dict[str, Any], step: list[dict[str, Any]]) -> None:
    begin, role, end = step
    announced = begin["bascule_begin"]
    assert set(announced) == {"phase", "verb", "direction"} | ({"waits"} if is_window(path, play) else set())
    assert announced.get("waits", True) is True
    assert announced["verb"] in VERBS
    away = {AWAY} if path.stem in ("site_lost", "guard_lost") else set()
    assert announced["direction"] in {*DIRECTIONS, *away}, "the direction is a literal"
    assert [announced["phase"]] == play["tags"]
    # In a window the arguments are not checked again, as they were when both sides were read.
    unchecked = {"rolespec_validate": False} if path.stem in WINDOWS and announced["verb"] in UNCHECKED else {}
    assert role[INCLUDE] == {"name": "{{ component_role }}", "tasks_from": announced["verb"], **unchecked}
    # What is open already, while nobody answers for the other side, is only let in again.
    spared = {"when"} if path.stem in WINDOWS and announced["verb"] != "thaw" else set()
    # An audit calls no role that needs root where nobody becomes it, and says what it has not looked at.
    allowed = "bascule_looks" if path.stem == "10_audit" else SPARED
    spared |= {"when"} if path.stem == "10_audit" else set()
    assert set(role) == {"name", INCLUDE} | spared
    assert role.get("when", allowed) == allowed
    assert set(begin) == {"name", "bascule_begin"}
    assert set(end) == {"name", "bascule_end"}
    assert play["strategy"] == ("bascule_window" if is_window(path, play) else "host_pinned")


@by_verb_play
def test_closing_goes_down_the_layers_and_opening_up(path: Path, play: dict[str, Any]) -> None:
    verb = play["tasks"][0]["bascule_begin"]["verb"]
    serial = str(play.get("serial", ""))
    if is_window(path, play):
        # All at once: `bascule.run.order` says what waits for what.
        assert not {"serial", "order"} & set(play)
    elif verb in CLOSING:
        assert play["order"] == "reverse_inventory"
        assert serial == "{{ ansible_play_hosts_all | bascule_layers(groups, reverse=true) }}"
    elif verb in OPENING or verb in MEASURING:
        assert play["order"] == "inventory"
        assert serial == "{{ ansible_play_hosts_all | bascule_layers(groups) }}"
    else:
        assert not serial, "what neither closes, opens nor takes samples runs side by side"


def test_the_preflight_knows_what_a_phase_calls_and_runs_first_in_each() -> None:
    for path in PLAYBOOKS:
        phase = re.sub(r"^\d+_", "", path.stem)
        plays = [play for where, play in PLAYS if where == path]
        if phase in TELLING or not plays:
            continue
        tasks = [task for play in plays for outer in play["tasks"] for task in outer.get("block", [outer])]
        begun = [task["bascule_begin"] for task in tasks if "bascule_begin" in task]
        # What only points to a site has a play of its own.
        verbs = dict.fromkeys(one["verb"] for one in begun)
        assert list(verbs) == list(preflight.PHASES[phase]) or phase == "audit"
        asked = [number for number, task in enumerate(tasks) if {"bascule_go", "bascule_commit"} & set(task)]
        changing = [n for n, task in enumerate(tasks) if task.get("bascule_begin", {}).get("verb", "state") != "state"]
        if asked:
            assert phase not in preflight.FIRST
            assert all(asked[0] < number for number in changing)
        else:
            assert begun[0]["verb"] == preflight.FIRST[phase]
    names = {re.sub(r"^\d+_", "", path.stem) for path in PLAYBOOKS}
    assert set(preflight.PHASES) == names - {*TELLING, *BESIDE, *NO_PHASES}


@pytest.mark.parametrize("name", sorted(BESIDE))
def test_what_stands_beside_the_phases_is_one_role_on_the_controller(name: str) -> None:
    (play,) = load(PLAYBOOKS[0].with_name(f"{name}.yml"))
    assert (play["hosts"], play["gather_facts"], play["tags"]) == ("localhost", False, [name])
    role, _, entry = name.rpartition("_")
    first, *others = [task[INCLUDE] for task in play["tasks"]]
    assert first == {"name": f"{role}_migration", "tasks_from": entry}
    # What has run is looked at again, and nothing else is done.
    assert others in ([], [{"name": f"{role}_migration", "tasks_from": "applied"}])


def order_of(name: str) -> list[tuple[str, str]]:
    """Return the verbs of a playbook with their direction."""
    return [
        (begin["bascule_begin"]["verb"], begin["bascule_begin"]["direction"])
        for path, _, (begin, *_rest) in STEPS
        if path.stem == name
    ]


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_is_one_play_and_then_what_points_follows(name: str) -> None:
    *_, moving, pointing = [play for path, play in VERB_PLAYS if path.stem == name]
    assert [task["bascule_begin"]["verb"] for task in moving["tasks"][::3]] == list(order.VERBS)
    assert [task["bascule_begin"]["verb"] for task in pointing["tasks"][::3]] == ["thaw"]


def test_the_way_back_is_the_way_forward_with_the_sides_swapped() -> None:
    forward, back = order_of("60_cutover"), order_of("rollback")
    assert [verb for verb, _ in back] == ["stand_by", "freeze", "sync", "switch", "thaw", "thaw"]
    assert [verb for verb, _ in forward if verb in dict(back)] == [verb for verb, _ in back[1:]]
    assert {direction for _, direction in back} == {"back"}
    assert {direction for _, direction in forward} == {"forward"}


def test_what_a_window_does_not_check_was_checked_when_both_sides_were_read() -> None:
    for name in WINDOWS:
        reading = load(next(path for path in PLAYBOOKS if path.stem == name))[1]
        assert reading["hosts"] == "components"
        read = reading["tasks"][0]["block"][1][INCLUDE]
        assert read == {"name": "{{ component_role }}", "tasks_from": "state"}
    for role in COMPONENT_ROLES:
        specs = load(ROLES / role / "meta" / "argument_specs.yml")["argument_specs"]
        for verb in filter(partial(has, role), UNCHECKED):
            assert specs[verb].get("options") == specs["state"].get("options"), f"{role}: {verb}"


def test_nothing_is_frozen_or_removed_before_it_is_known_where_all_of_it_stands() -> None:
    for name, action in (
        ("60_cutover", "bascule_alone"),
        ("rollback", "bascule_alone"),
        ("90_decommission", "bascule_settled"),
    ):
        path = next(path for path in PLAYBOOKS if path.stem == name)
        second = load(path)[1]
        (judge,) = [task for task in second["tasks"] if action in task]
        assert judge["run_once"] is True
        assert second["ignore_unreachable"] is True


@pytest.mark.parametrize("name", WINDOWS)
def test_what_a_window_sends_is_built_before_it(name: str) -> None:
    plays = load(next(path for path in PLAYBOOKS if path.stem == name))
    (ready,) = [number for number, play in enumerate(plays) if any("bascule_ready" in task for task in play["tasks"])]
    freezes = [n for n, play in enumerate(plays) if play["tasks"][0].get("bascule_begin", {}).get("verb") == "freeze"]
    assert ready < freezes[0]


def test_a_site_is_given_up_only_after_it_was_said_what_may_be_lost() -> None:
    plays = load(next(path for path in PLAYBOOKS if path.stem == "site_lost"))
    assert ["bascule_lost" in plays[0]["tasks"][0], "bascule_left" in plays[0]["tasks"][-1]] == [True, True]
    assert plays[0]["tasks"][-1]["run_once"] is True
    assert "bascule_go" in plays[1]["tasks"][0], "a person is asked after that, and before anything opens"
    assert plays[1]["any_errors_fatal"] is True
    assert [verb for verb, _ in order_of("site_lost")] == ["take_over", "thaw"]
    words = {begin["bascule_begin"]["verb"] for path, _, (begin, *_rest) in STEPS if path.stem != "site_lost"}
    assert "take_over" not in words, "nothing else opens by a word"


def test_what_changes_the_active_side_asks_a_person_first() -> None:
    for name in ("60_cutover", "rollback", "90_decommission"):
        path = next(path for path in PLAYBOOKS if path.stem == name)
        first = load(path)[0]
        assert "bascule_go" in first["tasks"][0], f"{name} does not begin with GO"
        assert first["any_errors_fatal"] is True
