"""A gate fails closed: every way of not knowing is NO-GO."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from bascule.run.gates import Verdict, decide, problems, unsampled

NOW = 1_000_000.0
GATES = {
    "rate": {"min": 150, "max": 1000, "unit": "Mbit/s", "max_age": 300},
    "lag": {"max": 60, "unit": "s"},
    "boots": {"equals": True},
    "version": {"equals": "15"},
}


def put(name: str = "rate", value: Any = 200, unit: str = "Mbit/s", age: Any = 10.0, **options: Any) -> Any:
    """Put a sample to a gate."""
    taken = NOW - age if isinstance(age, float) else age
    return decide(name, value, unit, taken, options.get("gates", GATES), options.get("overrides"), NOW)


@pytest.mark.parametrize("value", [150, 200.5, "200", " 200 ", 1000, "2e2"])
def test_a_sample_within_its_limit_is_go(value: Any) -> None:
    verdict = put(value=value)
    assert verdict.go, verdict.reason
    assert verdict.passes


def test_what_can_be_below_zero_may_be() -> None:
    assert put("frost", -5, "degrees", gates={"frost": {"max": 0, "unit": "degrees"}}).go
    assert put("lag", 0, "s").go


@pytest.mark.parametrize("value", [True, "True", "true"])
def test_true_is_true_however_a_template_writes_it(value: Any) -> None:
    assert put("boots", value, "").go


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "unheard_of"}, "declares no limit"),
        ({"gates": None}, "declares no limit"),
        ({"gates": {"rate": {}}}, "declares no limit"),
        ({"gates": {"rate": {"unit": "Mbit/s"}}}, "declares no limit"),
        ({"gates": {"rate": "150"}}, "declares no limit"),
        ({"gates": {"rate": {"min": 1, "unit": "Mbit/s", "maximum": 5}}}, "mean nothing: maximum"),
        ({"gates": {"rate": {"min": "much", "unit": "Mbit/s"}}}, "min is no number"),
        ({"gates": {"rate": {"min": 1, "unit": "Mbit/s", "max_age": "old"}}}, "max_age is no time"),
        ({"gates": {"rate": {"min": 1, "unit": "Mbit/s", "max_age": 0}}}, "max_age is no time"),
        ({"value": None}, "there is no sample"),
        ({"value": ""}, "there is no sample"),
        ({"value": "  "}, "there is no sample"),
        ({"value": "fast"}, "is no number"),
        ({"value": "200 Mbit/s"}, "is no number"),
        ({"value": []}, "is no number"),
        ({"value": True}, "is no number"),
        ({"value": float("nan")}, "is no number"),
        ({"value": "inf"}, "is no number"),
        ({"value": 149.9}, "below 150"),
        ({"value": 1001}, "above 1000"),
        ({"value": 0}, "below 150"),
        ({"name": "lag", "unit": "s", "value": -120}, "-120 s is below zero"),
        ({"name": "lag", "unit": "s", "value": "-0.5"}, "-0.5 s is below zero"),
        (
            {"name": "delta", "unit": "B", "value": -1, "gates": {"delta": {"max": 60, "unit": "B"}}},
            "-1 B is below zero",
        ),
        (
            {"name": "full", "unit": "%", "value": -1, "gates": {"full": {"max": 90, "unit": "%"}}},
            "-1 % is below zero",
        ),
        ({"value": -1, "gates": {"rate": {"min": -5, "unit": "Mbit/s"}}}, "-1 Mbit/s is below zero"),
        ({"unit": ""}, "the sample is in no unit"),
        ({"unit": "MB/s"}, "the sample is in MB/s"),
        ({"age": 301.0}, "is 301 s old, 300 s are allowed"),
        ({"age": None}, "is not known"),
        ({"age": ""}, "is not known"),
        ({"age": "yesterday"}, "is not known"),
        ({"age": -120.0}, "in the future"),
        ({"age": -60.5}, "in the future"),
        ({"gates": {"rate": {"min": 1, "unit": "Mbit/s", "max_age": -1}}}, "max_age is no time"),
        ({"gates": {"rate": {"min": 1, "unit": "Mbit/s", "a": 5, "b": 6}}}, "mean nothing: a, b"),
        ({"name": "word", "unit": "", "value": "off", "gates": {"word": {"equals": "on"}}}, "off is not on"),
        ({"name": "one", "unit": "", "value": True, "gates": {"one": {"equals": 1}}}, "True is not 1"),
        ({"name": "one", "unit": "", "value": "x", "gates": {"one": {"equals": 1}}}, "x is not 1"),
        (
            {"name": "both", "unit": "", "value": 5, "gates": {"both": {"equals": 5, "max": 4}}},
            "5 is above 4",
        ),
        ({"name": "lag", "unit": "s", "value": 1, "age": 301.0}, "300 s are allowed"),
        ({"name": "boots", "unit": "", "value": False}, "is not True"),
        ({"name": "boots", "unit": "", "value": "yes"}, "is not True"),
        ({"name": "boots", "unit": "", "value": 1}, "is not True"),
        ({"name": "version", "unit": "", "value": "16"}, "is not 15"),
    ],
)
def test_whatever_is_not_clearly_go_is_no_go(change: dict[str, Any], reason: str) -> None:
    verdict = put(**change)
    assert not verdict.go
    assert not verdict.passes
    assert reason in verdict.reason


@pytest.mark.parametrize("age", [0.0, 300.0, -60.0])
def test_a_sample_is_fresh_up_to_its_limit_and_clocks_differ_a_little(age: float) -> None:
    assert put(age=age).go
    assert put("lag", 1, "s", age=age).go


def test_an_own_age_is_the_one_that_counts() -> None:
    gates = {"rate": {"min": 1, "unit": "Mbit/s", "max_age": 1}}
    assert put(gates=gates, age=1.0).go
    assert not put(gates=gates, age=1.5).go


@pytest.mark.parametrize(
    ("wanted", "value"),
    [("15", "15.0"), (15, "15"), ("on", "on"), ("true", True), (True, " TRUE "), (False, "false")],
)
def test_what_is_the_same_is_equal_however_it_is_written(wanted: Any, value: Any) -> None:
    assert put("same", value, "", gates={"same": {"equals": wanted}}).go


def test_the_reason_of_a_go_is_the_sample_and_its_limits() -> None:
    assert put().reason == "200 Mbit/s (min 150, max 1000)"
    assert put("boots", True, "").reason == "True (equals True)"
    assert put(gates=None).limit is None


def test_a_verdict_stands_as_it_was_given() -> None:
    verdict = Verdict("rate", False, "why", 1, "s", None)
    assert not verdict.passes
    for name in ("go", "override"):
        with pytest.raises(FrozenInstanceError):
            setattr(verdict, name, True)


def test_an_override_names_its_gate_and_has_a_reason() -> None:
    assert put(value=1, overrides={"rate": "the link is being repaired"}).passes
    assert not put(value=1, overrides={"rate": "the link is being repaired"}).go
    for useless in ({"rate": ""}, {"rate": "  "}, {"rate": True}, {"lag": "why"}, ["rate"], "rate", None):
        assert not put(value=1, overrides=useless).passes


def test_an_override_of_a_gate_that_says_go_is_no_override() -> None:
    assert put(overrides={"rate": "why"}).override == ""


def test_the_verdict_is_plain_and_complete() -> None:
    assert put(value=1).to_dict() == {
        "name": "rate",
        "go": False,
        "passes": False,
        "reason": "1 is below 150",
        "value": 1,
        "unit": "Mbit/s",
        "limit": GATES["rate"],
        "override": "",
        "sampled_at": NOW - 10,
    }


KNOWN = {"rate": {"Mbit/s"}, "lag": {"s"}, "boots": {""}, "version": {""}, "any": set[str]()}


def test_limits_that_a_sample_can_keep_are_no_problem() -> None:
    assert problems(GATES, KNOWN) == []
    assert problems({"any": {"max": -5, "unit": "degrees"}}, KNOWN) == []
    assert problems(None, KNOWN) == []
    for tight in ({"min": 5, "max": 5}, {"max": 0}, {"max": 60, "max_age": 0.5}, {"equals": 5, "min": 5, "max": 6}):
        assert problems({"lag": {**tight, "unit": "s"}}, KNOWN) == []


@pytest.mark.parametrize(
    ("gates", "why"),
    [
        ({"rat": {"min": 1, "unit": "Mbit/s"}}, "rat: no role of this plan puts a sample to it; is rate meant?"),
        ({"zzz": {"min": 1}}, "zzz: no role of this plan puts a sample to it"),
        ({"rate": {"min": 2, "max": 1, "unit": "Mbit/s"}}, "rate: min 2 is above max 1"),
        ({"rate": {"min": 2, "unit": "MB/s"}}, "rate: it is in MB/s, the samples in Mbit/s"),
        ({"lag": {"max": 60}}, "lag: it is in no unit, the samples in s"),
        ({"boots": {"equals": True, "unit": "s"}}, "boots: it is in s, the samples in no unit"),
        ({"lag": {"max": "soon", "unit": "s"}}, "lag: max is no number: 'soon'"),
        ({"lag": {"max": True, "unit": "s"}}, "lag: max is no number: True"),
        ({"lag": {"max": float("nan"), "unit": "s"}}, "lag: max is no number: nan"),
        ({"lag": {"max": None, "unit": "s"}}, "lag: max is no number: None"),
        ({"lag": {"max": -1, "unit": "s"}}, "lag: max -1 s is below zero"),
        ({"lag": {"max": 1, "unit": "s", "max_age": 0}}, "lag: max_age 0 s is no time"),
        ({"lag": {"max": 1, "unit": "s", "max_age": "x"}}, "lag: max_age is no number: 'x'"),
        ({"lag": {"maximum": 1, "max": 2, "unit": "s"}}, "lag: keys that mean nothing: maximum"),
        ({"lag": {"unit": "s"}}, "lag: it has no min, no max and no equals"),
        ({"lag": 60}, "lag: it has no min, no max and no equals: 60"),
        ({"version": {"equals": 15, "max": 14}}, "version: equals 15 is outside of min and max"),
        ({"version": {"equals": 15, "min": 16}}, "version: equals 15 is outside of min and max"),
        ([60], "plan_gates is no table of limits by name"),
    ],
)
def test_what_cannot_be_right_is_an_error_of_the_plan(gates: Any, why: str) -> None:
    assert any(why in one for one in problems(gates, KNOWN)), problems(gates, KNOWN)


def test_a_name_like_no_other_suggests_nothing() -> None:
    assert problems({"zzz": {"min": 1}}, KNOWN) == ["zzz: no role of this plan puts a sample to it"]


def sample(name: str, phase: str = "cutover", kind: str = "sample") -> dict[str, Any]:
    """Make an entry of this decision's journal."""
    return {"kind": kind, "phase": phase, "data": {"name": name}}


def test_a_gate_without_a_sample_in_this_phase_is_named() -> None:
    half = {"kind": "sample", "phase": "cutover", "data": None}
    taken = [sample("rate"), sample("lag", "pretest"), sample("boots", kind="step"), {"kind": "end"}, half]
    assert unsampled({"rate": {}, "lag": {}, "boots": {}}, taken, "cutover") == ["boots", "lag"]
    assert unsampled({"rate": {}}, taken, "cutover") == []
    assert unsampled(None, taken, "cutover") == []
