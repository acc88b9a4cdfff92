"""When people are told, by what happens in a playbook: each thing once, the last word always."""

from __future__ import annotations

from bascule.run.occasions import MOMENTS, TOLD, Occasions
from bascule.run.people import ROLES


def test_a_cutover_is_told_once_for_all_its_components() -> None:
    course = Occasions()
    assert course.began("low", "freeze") == [], "nobody has given a GO"
    assert course.decided("cutover", ["low", "top"]) == ["go"]
    assert not course.waits
    assert course.began("low", "check") == []
    assert course.began("top", "freeze") == ["begun"]
    assert course.waits
    assert course.began("low", "freeze") == []
    assert course.began("names", "switch") == [], "it takes no part in what users wait for"
    assert course.began("low", "switch") == ["switching"]
    assert course.began("top", "switch") == []
    assert course.came_through("low", "switch") == []
    assert course.came_through("low", "thaw") == []
    assert course.came_through("low", "thaw") == []
    assert course.came_through("top", "thaw") == ["done"]
    assert not course.waits
    assert course.came_through("names", "thaw") == []
    assert course.failed("cutover") == [], "all were in"
    assert course.over() == []


def test_a_way_back_has_its_own_words_and_no_point_of_no_return() -> None:
    course = Occasions()
    assert course.decided("rollback", ["low"]) == ["rollback"]
    assert course.began("low", "freeze") == ["begun"]
    assert course.began("low", "switch") == []
    assert course.came_through("low", "thaw") == ["returned"]
    assert course.over() == []


def test_a_failure_is_told_at_once_and_the_end_says_that_it_stopped() -> None:
    course = Occasions()
    course.decided("cutover", ["low"])
    assert course.failed("cutover") == ["failed"]
    assert course.failed("cutover") == []
    assert course.over() == ["stopped"]
    assert course.over() == []
    assert course.decided("cutover", ["low"]) == ["go"], "another GO in the same process is told again"
    assert course.failed("") == ["failed"], "whatever verb it is, or none"


def test_outside_of_a_window_only_a_plan_and_a_verification_that_fails_are_told() -> None:
    course = Occasions()
    assert course.planned() == ["announced"]
    assert course.planned() == []
    assert course.decided("commit", ["low"]) == []
    assert course.failed("sync") == []
    assert course.failed("verify") == ["failed"]
    assert course.over() == []


def test_everybody_is_told_of_something() -> None:
    assert {role for roles in TOLD.values() for role in roles} == set(ROLES)
    assert all(TOLD[moment] for moment in MOMENTS)
    assert all("lead" in roles for roles in TOLD.values())
