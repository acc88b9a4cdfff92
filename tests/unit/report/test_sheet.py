"""The decision sheet: every gate as it stands now, what says no first, whoever decides, what is overridden."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from bascule.report import sheet

NOW = 1_800_000_000.0
GATES = {"rate": {"min": 150, "unit": "Mbit/s", "max_age": 300}, "boots": {"equals": True}}


def sample(name: str, value: Any, age: float = 10.0, component: str = "tree", **change: Any) -> dict[str, Any]:
    time = datetime.datetime.fromtimestamp(NOW - age, datetime.timezone.utc).isoformat(timespec="milliseconds")
    unit = "Mbit/s" if name == "rate" else ""
    data = {"name": name, "value": value, "unit": unit, "sampled_at": NOW - age, **change}
    about = {"controller": "c", "epoch": f"d{age}", "n": 1, "time": time, "kind": "sample", "phase": "pretest"}
    return {**about, "verb": "check", "component": component, "data": data, "hash": f"{name}{component}{age}"}


def rows(*entries: dict[str, Any], overrides: Any = None) -> list[sheet.Row]:
    return sheet.rows(GATES, overrides, entries, ["tree", "guest"], NOW)


def test_every_gate_has_its_last_value_limit_age_and_trend() -> None:
    by_log = sample("boots", "True", 30, "guest", detail="tried by log only: why")
    found = rows(sample("rate", 300, 500), sample("rate", 200, 20), by_log)
    assert sheet.no_go(found) == []
    told = sheet.lines("cutover to toulouse", found, "nadia on here", None, ["a note"])
    assert told[:3] == ["DECISION SHEET: cutover to toulouse", "decides: nadia on here", "gates: GO, 2 of 2"]
    assert [line.split() for line in told[4:-1]] == [
        ["rate", "tree", "GO", "200", "Mbit/s", "min", "150", "20", "s", "falling", "from", "300"],
        ["boots", "guest", "GO", "True", "equals", "True", "30", "s", "tried", "by", "log", "only:", "why"],
    ]
    assert told[-1] == "a note"


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([], "rate of -: there is no sample"),
        ([sample("rate", 200, 301)], "rate of tree: the sample is 301 s old, 300 s are allowed"),
        ([sample("rate", 100)], "rate of tree: 100 is below 150"),
        ([sample("rate", "fast")], "rate of tree: 'fast' is no number"),
        ([sample("rate", float("nan"))], "rate of tree: nan is no number"),
        ([sample("rate", -1)], "rate of tree: -1 Mbit/s is below zero"),
        ([sample("rate", 200, component="elsewhere")], "rate of -: there is no sample"),
        ([sample("rate", 200, 11, check_mode=True)], "rate of -: there is no sample"),
        ([sample("rate", 200, -100)], "rate of tree: the sample is from 100 s in the future"),
    ],
)
def test_what_is_not_clearly_go_now_is_no_go(entries: list[dict[str, Any]], why: str) -> None:
    found = rows(sample("boots", True), *entries)
    (said,) = sheet.no_go(found)
    assert said.startswith(why)
    told = sheet.lines("t", found, "n", None)
    assert told[2] == "gates: NO-GO now, 1 of 2"
    assert "NO-GO" in told[4], "what says no is seen first"


def test_an_override_is_named_with_its_reason_and_passes() -> None:
    given = {"rate": "backup traffic"}
    found = rows(sample("boots", True), sample("rate", 100), overrides=given)
    assert sheet.no_go(found) == []
    told = sheet.lines("t", found, "n", given)
    assert told[-1] == "override: rate: backup traffic"
    assert any("OVERRIDDEN" in line and "100 is below 150" in line for line in told)


def test_the_age_is_that_of_the_sample_and_of_its_entry_where_none_is_kept() -> None:
    (_, row) = sorted(rows(sample("rate", 200, 20, sampled_at=NOW - 40)), key=lambda one: one.component)
    assert row.age == 40
    (_, row) = sorted(rows(sample("rate", 200, 20, sampled_at=None)), key=lambda one: one.component)
    assert row.age == 20


def test_it_is_one_screen() -> None:
    gates = {f"g{number}": {"min": 1} for number in range(200)}
    told = sheet.lines("t", sheet.rows(gates, None, [], [], NOW), "n", None)
    assert len(told) < 35
    assert told[-1] == "  … and 175 more"


def test_the_way_back_of_whoever_tries_it_has_a_limit_of_its_own_and_no_go_without_a_fresh_sample() -> None:
    def tried(*entries: dict[str, Any], declared: Any = None, tries: tuple[str, ...] = ("tree", "guest")) -> list[str]:
        found = sheet.rows(declared, None, entries, ["tree", "guest"], NOW, tries)
        assert {row.verdict.name for row in found} <= {"way_back"}
        return sheet.no_go(found)

    came = [sample("way_back", "yes", component=name) for name in ("tree", "guest")]
    assert tried(*came) == []
    assert tried(came[0]) == ["way_back of guest: there is no sample"]
    assert tried() == [f"way_back of {name}: there is no sample" for name in ("tree", "guest")]
    assert tried(*came, sample("way_back", "", 5)) == ["way_back of tree: there is no sample"]
    assert tried(*came[1:], sample("way_back", "yes", 301)) == [
        "way_back of tree: the sample is 301 s old, 300 s are allowed"
    ]
    assert (
        tried(*came[1:], sample("way_back", "yes", 301), declared={"way_back": {"equals": "yes", "max_age": 900}}) == []
    )
    assert tried(*came[1:], sample("way_back", "no")) == ["way_back of tree: no is not yes"]
    # Who cannot try it is asked for nothing.
    assert tried(tries=()) == []
