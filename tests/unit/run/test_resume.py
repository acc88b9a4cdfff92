"""What is to be typed next, over every state of two components, every last phase and all that may be in the way."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.meta.tree import ROOT

from bascule.run import resume
from bascule.run.controllers import AtWork
from bascule.run.last import NOT_ENDED, Last, last_verb
from bascule.run.phases import PHASES
from bascule.run.position import Standing
from bascule.run.resume import ALIVE, COMMAND, KINDS, NOTHING, PERSON, Choice, choose

NAMES = ("montpellier", "toulouse")
WHERE = (
    "source", "source-frozen", "target", "target-frozen", "held", "source-alone", "source-frozen-alone", "target-alone",
    "target-frozen-alone", "unread", "unprepared", "guard-lost", "both", "back",
)  # fmt: skip
OUTCOMES = ("ok", "failed", NOT_ENDED)
LASTS = [Last(), *(Last(phase, "", "a", outcome=how) for phase in PHASES for how in OUTCOMES)]
# What is said of the run, and of the first component.
LOOSE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}), ({"silent": True}, {}), ({"waiting": ("a",)}, {}), ({"gone": ("a",)}, {}), ({"gone": ("a", "b")}, {}),
    ({}, {"late": True}), ({}, {"by_word": True}), ({}, {"given_up": True}), ({}, {"unseen": True}),
]  # fmt: skip
# A person's word, or what cannot be undone, is never begun by a command that was chosen.
OF_A_PERSON = {"site_lost", "guard_lost", "decommission", "commit"}


def states() -> Iterator[tuple[list[Standing], Last, dict[str, Any]]]:
    """Return every state of two components."""
    for first, second, last, (more, flags) in itertools.product(WHERE, WHERE, LASTS, LOOSE):
        yield [replace(Standing("a", first, ""), **flags), Standing("b", second, "")], last, more


def test_every_state_has_one_answer_whose_command_exists_and_opens_no_second_side() -> None:
    seen: dict[str, int] = dict.fromkeys(KINDS, 0)
    phases = set()
    for standings, last, more in states():
        choice = choose(standings, last, NAMES, **more)
        seen[choice.kind] += 1
        where = {one.where for one in standings}
        named = re.findall(r"playbooks/\w+\.yml", f"{choice.line} {choice.instead}")
        assert {PHASES[phase].playbook for phase in PHASES} >= set(named), choice
        assert (choice.kind == COMMAND) == bool(choice.phase), choice
        if choice.kind != COMMAND:
            assert not choice.limit, choice
            assert not choice.instead, choice
            continue
        phases.add(choice.phase)
        # The line has one command, that of the phase.
        assert re.findall(r"playbooks/\w+\.yml", choice.line) == [PHASES[choice.phase].playbook], choice
        assert choice.phase not in OF_A_PERSON, choice
        assert "both" not in where, choice
        if where & {"back", "guard-lost", "unread", "unprepared"}:
            assert choice.phase in ("site_back", "audit", "prepare"), (standings, choice)
        # What serves, or holds its permit, beside a silent side never closes for the other one.
        if any(word.startswith("source") and word.endswith("alone") for word in where) and "back" not in where:
            assert choice.phase == "rollback", (standings, choice)
        if any(word.startswith("target") and word.endswith("alone") for word in where) and "back" not in where:
            assert choice.phase == "cutover", (standings, choice)
        if more.get("gone") and "back" not in where:
            assert choice.phase in ("rollback", "cutover"), (standings, choice)
            assert len({word.partition("-")[0] for word in where}) == 1, "nothing moves without a way back"
    assert all((ROOT / one.playbook).is_file() for one in PHASES.values())
    assert phases == {"audit", "prepare", "sync", "pretest", "plan", "cutover", "verify", "rollback", "site_back"}
    assert all(seen[kind] > 100 for kind in (COMMAND, NOTHING, PERSON)), seen


def test_a_finished_run_leaves_nothing_to_do() -> None:
    for where, last in {
        "target": Last("verify", "verify", outcome="ok"),
        "source": Last("rollback", "thaw", outcome="ok"),
    }.items():
        for standings in ([Standing("a", where, "")], [Standing("a", where, ""), Standing("b", where, "")]):
            choice = choose(standings, last, NAMES)
            assert (choice.kind, choice.phase) == (NOTHING, ""), choice
            assert choice.line.startswith("none is needed"), choice
    retired = choose([Standing("a", "target", "")], Last("decommission", "retire", outcome="ok"), NAMES, gone=("a",))
    assert retired.kind == NOTHING


@pytest.mark.parametrize("where", [word for word in WHERE if word not in ("both", "back")])
def test_beside_one_that_lives_there_is_nothing_but_to_wait(where: str) -> None:
    work = AtWork(first="none while process 7 is at work")
    choice = choose([Standing("a", where, "")], Last("cutover", "freeze", outcome=NOT_ENDED), NAMES, work=work)
    assert (choice.kind, choice.phase, choice.instead) == (ALIVE, "", "")
    assert choice.line == "none while process 7 is at work: ansible-playbook playbooks/status.yml"


def test_which_run_goes_on_is_for_a_person() -> None:
    standings, last = [Standing("a", "held", "")], Last("cutover", "switch", outcome=NOT_ENDED)
    here = choose(standings, last, NAMES)
    choice = choose(standings, last, NAMES, elsewhere="which run goes on")
    assert (choice.kind, choice.phase, choice.instead) == (PERSON, "", "")
    assert choice.line == f"a person must decide: which run goes on; in this run: {here.line}"


def of_a_window(verb: str, how: str = NOT_ENDED, part: tuple[str, ...] = ("a", "b")) -> Last:
    return Last("cutover", verb, "a", outcome=how, takes_part=part)


@pytest.mark.parametrize(
    ("where", "last", "waiting", "limit"),
    [
        (("source-frozen", "held", "source"), of_a_window("switch"), ("a", "b"), ("a", "b")),
        # All take part; somebody else waits as well; another one does not stand where it stays.
        (("held", "held", "held"), of_a_window("switch", part=("a", "b", "c")), (), ()),
        (("source-frozen", "held", "source"), of_a_window("switch"), ("a", "c"), ()),
        (("source-frozen", "held", "source-frozen"), of_a_window("switch"), ("a",), ()),
        (("held", "held", "source"), of_a_window("switch", part=()), (), ()),
        # Whoever is at rest, and took no part, is not taken along with those who wait beside it.
        (("source-frozen", "held", "source", "held"), of_a_window("switch"), ("a",), ("a", "b", "d")),
        (("source-frozen", "held", "source", "target"), of_a_window("switch"), ("c",), ("a", "b", "c")),
        # It has switched, and died before users were let in.
        (("target", "target", "target"), of_a_window("switch", "ok"), ("a", "b"), ("a", "b")),
    ],
)
def test_a_window_goes_on_with_what_took_part_in_it(
    where: tuple[str, ...], last: Last, waiting: tuple[str, ...], limit: tuple[str, ...]
) -> None:
    standings = [Standing(name, word, "") for name, word in zip("abcd", where, strict=False)]
    choice = choose(standings, last, NAMES, waiting=waiting)
    assert (choice.kind, choice.phase, choice.limit) == (COMMAND, "cutover", limit)
    text = "ansible-playbook playbooks/60_cutover.yml -e confirm=toulouse"
    words = f"--limit {','.join(limit)} to go on" if limit else "to go on"
    assert choice.line.startswith(f"{text} {words}"), choice


def test_a_cutover_that_has_failed_before_anybody_was_frozen_is_begun_again_by_a_person_alone() -> None:
    """A gate has said no, and all are served: nothing presses."""
    served = [Standing("a", "source", ""), Standing("b", "source", "")]
    choice = choose(served, of_a_window("check", "failed"), NAMES)
    assert (choice.kind, choice.phase) == (PERSON, "")
    assert choice.line == (
        "a person must decide: ansible-playbook playbooks/60_cutover.yml -e confirm=toulouse (again from the start), "
        "once what has failed is mended, or leave things as they are"
    )
    assert choose(served, of_a_window("check"), NAMES).kind == COMMAND
    # Users who wait are let in first.
    assert choose(served, of_a_window("sync", "failed"), NAMES, waiting=("a",)).phase == "rollback"


def test_what_came_through_with_a_limit_is_not_run_again() -> None:
    standings = [Standing("a", "source", ""), Standing("b", "target", "")]
    last = Last("rollback", "thaw", "a", outcome="ok", takes_part=("a",))
    choice = choose(standings, last, NAMES)
    assert (choice.kind, "--limit" in choice.line) == (PERSON, False)


def test_the_inventory_is_a_part_of_every_command() -> None:
    standings = [Standing("a", "held", "")]
    choice = choose(standings, of_a_window("switch", part=()), NAMES, options="-i inventories/mine")
    assert choice.lines() == [
        "Or, to return: ansible-playbook playbooks/rollback.yml -e confirm=montpellier -i inventories/mine",
        "Next: ansible-playbook playbooks/60_cutover.yml -e confirm=toulouse -i inventories/mine to go on",
    ]


def test_it_is_told_and_read_again_as_it_was() -> None:
    choice = Choice(COMMAND, "do it", "cutover", ("a", "b"), "or that")
    assert Choice.from_dict(choice.to_dict()) == choice
    assert choice.to_dict()["limit"] == ["a", "b"]
    assert set(KINDS) == {resume.COMMAND, resume.NOTHING, resume.ALIVE, resume.PERSON}


def test_what_took_part_is_that_of_the_last_go_of_the_decision() -> None:
    def entry(kind: str, second: int, epoch: str = "d", **data: Any) -> dict[str, Any]:
        return {
            "kind": kind, "time": f"2026-01-01T00:00:{second:02}", "epoch": epoch, "phase": "cutover",
            "controller": "c", "verb": "freeze" if kind == "begin" else "",
            "component": "a" if kind == "begin" else "", "data": data,
        }  # fmt: skip

    go = entry("decision", 1, decision="GO", takes_part=["a", "b"])
    other = entry("decision", 3, "e", decision="GO", takes_part=["c"])
    begun = entry("begin", 2)
    assert last_verb([go, begun, other]).takes_part == ("a", "b")
    assert last_verb([entry("decision", 1, decision="GO"), begun]).takes_part == ()
