"""The canary's gate: nothing but what was written here since the switch, and seen there in time and lately, says GO."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.run import canary

from .test_commits import NOW, entry

FOUND = {"written_at": "b", "seen_at": "a", "opened": "2.d", "value": 1.5, "sampled_at": NOW - 30, "why": ""}
SWITCHED = entry("begin", 90, verb="switch")


def came(age: float = 30, component: str = "db", epoch: str = "d", **found: Any) -> dict[str, Any]:
    return entry("state", age, component, "verify", epoch, event="canary", found={**FOUND, **found})


def stands(entries: list[dict[str, Any]], overrides: Any = None, declared: Any = None, max_age: float = 600) -> Any:
    limit = canary.limit(declared, max_age)
    about = {"written_at": "b", "seen_at": "a", "opened": "2.d"}
    return canary.gate("db", entries, **about, limit=limit, overrides=overrides, now=NOW)


def test_one_that_has_come_says_go_with_value_limit_and_age() -> None:
    found = stands([SWITCHED, came()])
    assert (found.go, found.value, found.unit, found.sampled_at) == (True, 1.5, "s", NOW - 30)
    assert found.limit == {"max": 60.0, "max_age": 600, "unit": "s"}
    assert stands([came(), came(20, "tree", why="no link", value=None)]).go, "another component's"
    assert stands([came(40, value=None, why="away"), came(20)]).go, "the last one counts"
    assert stands([came(value="1.5")]).go


DENIED = "expected: a session; found: permission denied for schema bascule"
MISSING = "expected: rsync to end with exit status 0; found: exit status 127: sh: rsync: not found"


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([], "there is no sample"),
        ([SWITCHED], "there is no sample"),
        ([came(95), SWITCHED], "there is no sample"),
        ([came(95), entry("begin", 90, verb="freeze")], "there is no sample"),
        ([came(component="tree")], "there is no sample"),
        ([came(check_mode=True), entry("start", 31, "", check_mode=True)], "there is no sample"),
        ([came(value=None)], "there is no sample"),
        ([came(value="")], "there is no sample"),
        ([came(value=61)], "61 is above 60"),
        ([came(value=float("nan"))], "nan is no number"),
        ([came(value="nan")], "'nan' is no number"),
        ([came(value=float("inf"))], "inf is no number"),
        ([came(value=-1)], "-1 s is below zero"),
        ([came(value="soon")], "'soon' is no number"),
        ([came(value=True)], "True is no number"),
        ([came(sampled_at=NOW - 601)], "the sample is 601 s old, 600 s are allowed"),
        ([came(sampled_at=NOW + 61)], "the sample is from 61 s in the future"),
        ([came(sampled_at=None)], "when the sample was taken is not known"),
        ([came(sampled_at="yesterday")], "when the sample was taken is not known"),
        ([came(written_at="a")], "the last one was written at a, b is open"),
        ([came(seen_at="c")], "the last one was looked for at c, a is the other side"),
        ([came(opened="1.c")], "the last one was written under epoch 1.c, the side was opened under 2.d"),
        ([came(value=None, why=DENIED)], DENIED),
        ([came(value=None, why=MISSING)], MISSING),
        # One that has not come takes the word of an earlier one back.
        ([came(40), came(20, value=None, why="a row has not come to a in time")], "a row has not come to a in time"),
        ([entry("state", 30, event="canary", found=None)], "there is no sample"),
    ],
)
def test_everything_else_says_no_go_unless_a_person_lets_it_pass(entries: list[dict[str, Any]], why: str) -> None:
    found = stands(entries)
    assert not found.go
    assert not found.passes
    assert found.reason.startswith(why)
    assert stands(entries, {"canary": "seen by hand"}).passes
    assert not stands(entries, {"canary": " "}).passes
    assert not stands(entries, {"replication_back": "another gate"}).passes


def test_the_plan_says_how_long_it_may_take_and_how_old_it_may_be() -> None:
    slow = [came(value=100)]
    assert not stands(slow, declared={"max_age": 60}).go
    assert stands(slow, declared={"max": 120}).go
    assert not stands([came()], declared={"max_age": 29}).go
    assert stands([came()], declared={"max_age": 31}, max_age=1).go


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (None, []),
        ({}, []),
        ({"max": 5, "max_age": 900}, []),
        ("soon", ["it is no table: 'soon'"]),
        ({"min": 1}, ["min: a key that means nothing"]),
        ({"max": "soon"}, ["canary: max is no number: 'soon'"]),
        ({"max": -1}, ["canary: max -1 s is below zero, which nothing can be"]),
        ({"max_age": 0}, ["canary: max_age 0 s is no time"]),
    ],
)
def test_limits_that_cannot_be_right_are_named_before_anything_begins(declared: Any, said: list[str]) -> None:
    assert canary.problems(declared) == said
