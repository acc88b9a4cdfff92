"""The time to commit: when it begins, what proposes a return, and the one case in which a plan has it made."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from bascule.run import commit_timer
from bascule.run.commit_timer import ASK, NONE, OVER, RETURN, RUNNING, Timer
from bascule.run.controllers import Noted

from .test_commits import NOW, entry

COMPONENTS = ("db", "tree")
BROKEN, AGAINST = ["db: its last verification has failed"], ["the journal at mtp is silent"]


def of(phase: str, made: dict[str, Any]) -> dict[str, Any]:
    return {**made, "phase": phase}


def switched(age: float, component: str = "db", phase: str = "cutover", **data: Any) -> dict[str, Any]:
    return of(phase, entry("end", age, component, "switch", **{"result": "ok", **data}))


def back(age: float, kind: str = "begin", verb: str = "switch", phase: str = "rollback") -> dict[str, Any]:
    return of(phase, entry(kind, age, verb=verb, epoch="r"))


@pytest.mark.parametrize(
    ("entries", "age"),
    [
        ([], None),
        ([switched(90)], 90),
        # What is run again gives nobody more time, and what comes later belongs to the same move.
        ([switched(90), switched(30)], 90),
        ([switched(90), switched(80, "tree")], 90),
        ([switched(90, result="failed")], None),
        ([of("cutover", entry("begin", 90, verb="switch"))], None),
        ([switched(90, phase="rollback")], None),
        ([switched(90, check_mode=True)], None),
        # After a return the next move has a time of its own.
        ([switched(90), back(60)], None),
        ([switched(90), back(60), switched(30)], 30),
        ([switched(90), back(60, verb="take_over", phase="site_lost")], None),
        # A return that has only frozen has taken nothing back.
        ([switched(90), back(60, verb="freeze")], 90),
        ([switched(90), entry("start", 61, "", epoch="r", check_mode=True), back(60)], 90),
    ],
)
def test_it_begins_with_the_first_switch_since_the_last_return(
    entries: list[dict[str, Any]], age: float | None
) -> None:
    assert commit_timer.switched_at(entries) == (None if age is None else NOW - age)


def verified(age: float, result: str, component: str = "db", **more: Any) -> list[dict[str, Any]]:
    end = entry("end", age, component, "verify", result=result, **more)
    return [of("verify", one) for one in (entry("begin", age + 1, component, "verify"), end)]


def unreached(age: float) -> list[dict[str, Any]]:
    begin, end = verified(age, "failed")
    return [begin, of("verify", entry("step", age + 0.5, verb="verify", result="unreachable")), end]


def load(age: float, **data: Any) -> dict[str, Any]:
    found = {"name": "load_p95", "value": 3, "passes": False, "reason": "3 is above 2", **data}
    return of("verify", entry("sample", age, "", **found))


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ([], []),
        ([*verified(9, "ok")], []),
        ([*verified(9, "failed")], BROKEN),
        # Nobody has looked: it was not let begin, or a machine did not answer. What was seen before counts.
        ([verified(9, "failed")[1]], []),
        (unreached(9), []),
        ([*verified(9, "failed"), *unreached(5)], BROKEN),
        ([*verified(9, "ok"), *unreached(5)], []),
        ([*unreached(9), *verified(5, "failed")], BROKEN),
        ([*verified(9, "failed"), *verified(5, "ok")], []),
        ([*verified(9, "ok"), *verified(5, "failed")], BROKEN),
        ([*verified(9, "failed", "another")], []),
        ([*verified(9, "failed", check_mode=True)], []),
        # What was found before the switch says nothing of the side that serves now.
        ([*verified(9, "failed"), entry("begin", 5, verb="freeze")], []),
        ([*verified(9, "failed"), entry("begin", 5, "tree", "freeze")], BROKEN),
        ([load(9)], ["load test: load_p95: 3 is above 2"]),
        ([load(9), load(5, value=1, passes=True)], []),
        ([load(9), entry("begin", 5, verb="switch")], []),
        # Nothing, or what is no number, was not seen to be slow.
        ([load(9, value=None)], []),
        ([load(9, value=float("nan"))], []),
        ([load(9, passes=True, override="accepted")], []),
        ([load(9, name="link_rate")], []),
        ([of("pretest", load(9))], []),
    ],
)
def test_only_what_was_seen_to_fail_since_the_switch_is_a_failing_check(
    entries: list[dict[str, Any]], found: list[str]
) -> None:
    assert commit_timer.failing(entries, COMPONENTS) == found


def decide(age: float | None, **change: Any) -> Timer:
    given = {"within": 60, "on_overrun": None, "committed": False, "failing": [], "against": [], "now": NOW, **change}
    return commit_timer.decide(None if age is None else NOW - age, **given)


def test_a_return_is_made_in_one_case_alone() -> None:
    """Over, failed, asked for by the plan, nothing against it, not committed, a clock that can be right."""
    cases = itertools.product(
        (None, -61, -60, 0, 3599, 3600, 9999), (None, ASK, RETURN), (False, True), ([], BROKEN), ([], AGAINST)
    )
    made = set()
    for age, answer, committed, failing, against in cases:
        found = decide(age, on_overrun=answer, committed=committed, failing=failing, against=against)
        if found.returns:
            made.add((age, answer, committed, bool(failing), bool(against)))
            assert (found.state, found.proposes) == (OVER, True)
            assert "bascule overrun" in found.line
        else:
            assert "the plan has the return made" not in found.line
        # Whoever wants to return is told how, and only where something has failed.
        assert found.proposes == bool(failing and age is not None and not committed)
        assert (found.state == NONE) == (age is None or committed) == (not found.line)
    assert made == {(age, RETURN, False, True, False) for age in (3600, 9999)}


@pytest.mark.parametrize(
    ("age", "change", "state", "left", "line"),
    [
        (600, {}, RUNNING, 3000, "50 min left to commit, until 08:50Z: bascule commit"),
        (600, {"within": 200}, RUNNING, 11400, "3 h 10 min left to commit, until 11:10Z: bascule commit"),
        (3590, {}, RUNNING, 10, "under a minute left to commit, until 08:00Z: bascule commit"),
        (
            4200,
            {},
            OVER,
            -600,
            "the time to commit was over at 07:50Z: nothing has failed, a person decides: bascule commit, or bascule "
            "rollback",
        ),
        (
            600,
            {"failing": BROKEN},
            RUNNING,
            3000,
            f"50 min left to commit, until 08:50Z: {BROKEN[0]}; proposed: bascule rollback, without loss",
        ),
        (
            600,
            {"failing": BROKEN, "on_overrun": RETURN},
            RUNNING,
            3000,
            f"50 min left to commit, until 08:50Z: {BROKEN[0]}; proposed: bascule rollback, without loss, which the "
            "plan has made at the end",
        ),
        (
            4200,
            {"failing": BROKEN, "on_overrun": RETURN, "against": AGAINST},
            OVER,
            -600,
            f"the time to commit was over at 07:50Z: {BROKEN[0]}; a return is not made by itself "
            f"({AGAINST[0]}): a person decides, bascule rollback",
        ),
    ],
)
def test_status_says_how_long_is_left_and_the_command(
    age: float, change: dict[str, Any], state: str, left: float, line: str
) -> None:
    found = decide(age, **change)
    assert (found.state, found.left, found.line) == (state, left, line)


def test_a_clock_that_is_wrong_and_a_plan_that_is_wrong_make_no_return() -> None:
    ahead = decide(-3600, failing=BROKEN, on_overrun=RETURN)
    assert (ahead.left, ahead.proposes, ahead.returns) == (None, True, False)
    assert "a clock is wrong, the switch lies 3600 s ahead" in ahead.line
    for within in ("soon", 0, -5, float("nan"), True):
        wrong = decide(9e9, within=within, failing=BROKEN, on_overrun=RETURN)
        assert (wrong.left, wrong.proposes, wrong.returns) == (None, True, False), within
        assert "the plan's time to commit is none" in wrong.line
    assert not decide(9999, failing=BROKEN, on_overrun="always").returns
    assert decide(9999, within=None) == Timer()
    assert decide(9999, within="120", failing=BROKEN, on_overrun=RETURN).returns, "a text that is a number"


@pytest.mark.parametrize(
    ("within", "answer", "keys"),
    [
        (None, None, []),
        (120, None, []),
        (120, ASK, []),
        ("0.5", RETURN, []),
        (0, ASK, ["plan_commit_within"]),
        (float("nan"), ASK, ["plan_commit_within"]),
        (-1, None, ["plan_commit_within"]),
        ("soon", "maybe", ["plan_commit_within", "plan_on_overrun"]),
        (None, RETURN, ["plan_on_overrun"]),
        (120, True, ["plan_on_overrun"]),
    ],
)
def test_a_plan_that_cannot_mean_it_is_refused(within: Any, answer: Any, keys: list[str]) -> None:
    assert [key for key, _ in commit_timer.problems(within, answer)] == keys


def test_whoever_is_at_work_is_told_and_nobody_else() -> None:
    noted = Noted("d1", 77, "nadia", "70_verify.yml", "", "", "", True, "there")
    assert commit_timer.busy([noted], "own") == ["70_verify.yml is at work, process 77 of nadia on there"]
    others = [replace(noted, alive=False), replace(noted, alive=None), replace(noted, ended="now")]
    assert commit_timer.busy([*others, replace(noted, decision="own")], "own") == []
