"""Every series gets a verdict, silence is an alarm, and a commit asks for full days and for what was seen last."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.run.test_commits import NOW, entry

from bascule.run import monitor
from bascule.run.monitor import ABSENT, KINDS, OVER, STALE, UNREADABLE, WITHIN, Sample, Series, Wanted, Watched

WANT = Wanted(max_age=600.0)
DISK = Series("db", "disk_used", "db-tls")
GOOD = Sample(DISK, 40.0, "%", NOW - 5, machine="abc")
BACK, DAYS = Series("db", "replication"), Series("gate", "certificate_days", "gw")


def verdict(sample: Sample | None, series: Series = DISK, want: Wanted = WANT, machine: str = "") -> tuple[str, str]:
    found = monitor.judge(series, sample, want, NOW, machine)
    return found.verdict, found.reason


def test_what_is_measured_and_within_its_limit_is_within() -> None:
    assert verdict(GOOD, machine="abc") == (WITHIN, "40.0 % (max 85)")
    assert verdict(replace(GOOD, value="40")) == (WITHIN, "40 % (max 85)")
    assert verdict(replace(GOOD, value=85)) == (WITHIN, "85 % (max 85)")
    assert verdict(replace(GOOD, at=NOW - 600))[0] == WITHIN
    assert verdict(Sample(BACK, "yes", "", NOW), BACK)[0] == WITHIN
    assert verdict(Sample(DAYS, 14, "d", NOW), DAYS)[0] == WITHIN


@pytest.mark.parametrize(
    ("change", "wanted", "why"),
    [
        ({"value": None}, ABSENT, "the sample is empty"),
        ({"value": "  "}, ABSENT, "the sample is empty"),
        ({"value": 85.1}, OVER, "85.1 is above 85"),
        ({"at": NOW - 601}, STALE, "the sample is 601 s old, 600 s are allowed"),
        ({"at": NOW + 61}, UNREADABLE, "the sample is from 61 s in the future: a clock is wrong"),
        ({"at": None}, UNREADABLE, "when the sample was taken is not known: None"),
        ({"value": math.nan}, UNREADABLE, "nan is no number"),
        ({"value": "NaN"}, UNREADABLE, "'NaN' is no number"),
        ({"value": math.inf}, UNREADABLE, "inf is no number"),
        ({"value": True}, UNREADABLE, "True is no number"),
        ({"value": "40 %"}, UNREADABLE, "'40 %' is no number"),
        ({"value": [40]}, UNREADABLE, "[40] is no number"),
        ({"value": -0.1}, UNREADABLE, "-0.1 is below zero, which nothing can be: it was measured wrong"),
        ({"unit": "B"}, UNREADABLE, "the sample is in B, the limit in %"),
        ({"unit": ""}, UNREADABLE, "the sample is in no unit, the limit in %"),
        ({"series": replace(DISK, where="db-mtp")}, UNREADABLE, "the sample is of db.disk_used@db-mtp"),
        ({"machine": "xyz"}, UNREADABLE, "another machine answers: xyz, before it was abc"),
        ({"value": None, "why": "Permission denied"}, UNREADABLE, "Permission denied"),
        # A reason why there is no value counts for more than a value.
        ({"why": "journalctl is missing on this machine"}, UNREADABLE, "journalctl is missing on this machine"),
    ],
)
def test_what_is_not_clearly_good_is_an_alarm(change: dict[str, Any], wanted: str, why: str) -> None:
    assert verdict(replace(GOOD, **change), machine="abc") == (wanted, why)


def test_silence_is_an_alarm() -> None:
    assert verdict(None) == (ABSENT, "there is no sample")


def test_a_certificate_may_have_ended_and_that_is_over_not_unreadable() -> None:
    assert verdict(Sample(DAYS, -3, "d", NOW), DAYS) == (OVER, "-3 is below 14")
    assert verdict(Sample(BACK, "no", "", NOW), BACK) == (OVER, "no is not yes")


def test_the_plan_sets_limits_and_who_is_called() -> None:
    want = monitor.wanted({"limits": {"disk_used": {"max": 30}}, "calls": {"disk_used": "lead"}})
    found = monitor.judge(DISK, GOOD, want, NOW)
    assert (found.verdict, found.call, found.limit) == (OVER, "lead", {"max": 30})
    assert monitor.judge(BACK, None, want, NOW).call == "dba"
    assert (monitor.wanted(None).day_seconds, monitor.wanted(None).max_age) == (86400, 28800)
    assert monitor.wanted({"day_seconds": "60", "max_age_seconds": 9}).day_seconds == 60


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ([], "it is no table: []"),
        ({"days": 1}, "days: a key that means nothing"),
        ({"day_seconds": 0}, "day_seconds: no number above zero: 0"),
        ({"max_age_seconds": "soon"}, "max_age_seconds: no number above zero: 'soon'"),
        ({"limits": {"disk": {"max": 1}}}, f"limits.disk: no series; there are {', '.join(KINDS)}"),
        ({"limits": {"load": {}}}, "limits.load: it has no min, no max and no equals: {}"),
        ({"limits": {"load": {"max": "much"}}}, "max is no number: 'much'"),
        ({"limits": {"load": {"max": 1, "unit": "s"}}}, "keys that mean nothing: unit"),
        ({"limits": []}, ""),
        ({"limits": [1]}, "limits: no table: [1]"),
        ({"calls": {"load": "boss"}}, "calls.load: no role out of lead, system, dba, network, tester: 'boss'"),
        ({"units": {"db": "postgresql*"}}, "units.db: no list of units: 'postgresql*'"),
    ],
)
def test_a_declaration_that_cannot_be_right_is_named(declared: Any, why: str) -> None:
    found = monitor.problems(declared)
    assert (found == []) is (not why)
    assert why in " ".join(found)


def test_no_declaration_is_right_and_neither_is_a_whole_one() -> None:
    whole = {"day_seconds": 60, "limits": {"load": {"max": 3}}, "calls": {"load": "lead"}, "units": {"db": ["a*"]}}
    assert (monitor.problems(None), monitor.problems(whole)) == ([], [])


def test_what_has_to_be_heard_of_follows_from_the_role() -> None:
    db = Watched("db", "postgresql_replication", ("a", "b"), units=("postgresql*",))
    assert [one.key for one in db.expected()] == [
        "db.serves", "db.replication", "db.replication_lag",
        "db.disk_used@a", "db.load@a", "db.journal_errors@a", "db.disk_used@b", "db.load@b", "db.journal_errors@b",
    ]  # fmt: skip
    assert [one.key for one in replace(db, carries=False, units=()).expected()][:2] == ["db.serves", "db.disk_used@a"]
    gate = Watched("gate", "web_entrance", ("a", "b"))
    assert "gate.certificate_days@b" in [one.key for one in gate.expected()]
    assert "certificate_days" not in {one.name for one in replace(gate, tls=False).expected()}
    roles = [*monitor._ONCE, "proxmox_guest", "sqlite_store"]
    named = {one.name for role in roles for one in Watched("x", role, ("a", "b"), units=("u",)).expected()}
    assert named == set(KINDS), "what no role has is watched by nobody"


def test_days_have_names_that_sort_and_shortened_ones_have_a_time() -> None:
    assert monitor.day_of(NOW, 86400) == "2027-01-15"
    assert monitor.day_of(NOW, 60) == "2027-01-15T080000"
    assert monitor.day_of(NOW + 59, 60) == "2027-01-15T080000"
    assert monitor.day_of(NOW + 60, 60) == "2027-01-15T080100"


def test_the_worst_and_the_middle_of_a_day() -> None:
    day = [replace(GOOD, value=value) for value in (10, "30", 20, math.nan, None)]
    other = replace(GOOD, value=99, series=replace(DISK, where="x"))
    assert monitor.worst([*day, other, replace(GOOD, value=98, why="no")], DISK, {"max": 1}) == 30
    assert monitor.worst(day, DISK, {"min": 1}) == 10
    assert monitor.middle([*day, other], DISK) == 20
    assert (monitor.worst([], DISK, {"max": 1}), monitor.middle([], DISK)) == (None, None)
    said = [Sample(BACK, value, "", NOW) for value in ("yes", "no", "yes")]
    assert monitor.worst(said, BACK, {"equals": "yes"}) == "no"
    assert monitor.worst(said[::2], BACK, {"equals": "yes"}) == "yes"


def test_a_change_is_told_in_percent_where_there_is_something_to_compare_with() -> None:
    assert [monitor.change(*pair) for pair in ((30, 20), (10, 20), (1, 0), (None, 1), (1, None))] == [
        50.0, -50.0, None, None, None
    ]  # fmt: skip


def test_samples_survive_being_kept() -> None:
    assert Sample.from_dict(GOOD.to_dict()) == GOOD


@pytest.mark.parametrize(
    ("moments", "now", "passed", "missing"),
    [
        ([], 0.5, 0, []),
        ([], 2.5, 2, [1, 2]),
        ([0.1, 1.9], 2.0, 2, []),
        ([0.1, 1.9], 1.99, 1, []),
        ([0.1, 2.5], 3.0, 3, [2]),
        ([-0.1, 1.5], 2.0, 2, [1]),
        ([0.1, 9.5], 1.0, 1, []),
        ([], -1.0, 0, []),
    ],
)
def test_a_day_is_full_when_it_has_passed_with_a_sample_in_it(
    moments: list[float], now: float, passed: int, missing: list[int]
) -> None:
    known = [seen(-60 * at, {"load": WITHIN})["data"] for at in moments]
    assert monitor.full_days(known, "db", NOW, 60, NOW + now * 60) == (passed, missing)
    assert monitor.full_days(known, "tree", NOW, 60, NOW + now * 60) == (passed, list(range(1, passed + 1)))


def seen(age: float, verdicts: dict[str, str], **data: Any) -> dict[str, Any]:
    """Return a round of samples, as the journal has it."""
    series = [
        {"series": {"component": "db", "name": name}, "key": f"db.{name}", "verdict": word, "reason": "why"}
        for name, word in verdicts.items()
    ]
    given: dict[str, Any] = {"event": "monitor", "at": NOW - age, "series": series, **data}
    return {**entry("state", age, **given), "data": given}


FINE = {"load": WITHIN, "serves": WITHIN}
LET_IN: dict[str, float | None] = {"db": NOW - 2 * 86400}
WEEK = [seen(100000, FINE), seen(100, FINE)]


def against(entries: list[dict[str, Any]], days: Any = 2, overrides: Any = None, **let_in: float | None) -> list[str]:
    return monitor.against(entries, let_in or LET_IN, days, WANT, overrides, NOW)


def test_a_commit_may_go_on_after_full_days_with_every_series_within() -> None:
    assert against(WEEK) == []
    assert against(WEEK, days="2") == []


@pytest.mark.parametrize(
    ("entries", "change", "why"),
    [
        (WEEK, {"days": 3}, "monitor_days: 2 of 3 days are full"),
        (WEEK[1:], {}, "monitor_days: 1 of 2 days are full; without a sample: day 1"),
        (WEEK, {"days": "many"}, "monitor_days: the plan's plan_observation_days is no number above zero: 'many'"),
        (WEEK, {"days": 0}, "monitor_days: the plan's plan_observation_days is no number above zero: 0"),
        (WEEK[:1], {"days": 1}, "monitor.db: the last samples are 100000 s old, 600 s are allowed"),
        ([*WEEK, seen(50, {"load": OVER})], {}, "monitor.db.load: over: why"),
        ([*WEEK, seen(50, {"load": ABSENT})], {}, "monitor.db.load: absent: why"),
        # The last round counts, and it is the last by its place in the journal.
        ([seen(50, {"load": OVER}), *WEEK], {}, "monitor.db.load: over: why"),
    ],
)
def test_what_speaks_against_a_commit_is_named_and_can_be_let_pass_with_a_reason(
    entries: list[dict[str, Any]], change: dict[str, Any], why: str
) -> None:
    assert against(entries, **change) == [why]
    gate = why.partition(": ")[0]
    assert against(entries, **change, overrides={gate: "agreed with the lead"}) == []
    assert against(entries, **change, overrides={gate: "  "}) == [why]
    assert against(entries, **change, overrides={"observation": "agreed"}) == [why]


def test_nothing_seen_is_no_go() -> None:
    day = "monitor_days: 0 of 2 days are full; without a sample: day 1, 2"
    none = "monitor.db: there is no sample since users were let in"
    assert against([]) == [day, none]
    assert against([seen(100, FINE, check_mode=True)]) == [day, none]
    assert against([seen(100, {})]) == [day, none]
    assert against([seen(100, FINE, at="then")]) == [day, none]
    unknown = "monitor_days: nobody has seen users let in to db since the last switch"
    assert against(WEEK, db=None) == [unknown]


def test_a_day_on_which_nothing_was_heard_of_a_component_is_not_full() -> None:
    without = "monitor_days: 1 of 2 days are full; without a sample: day 1"
    blind = {"load": ABSENT, "serves": UNREADABLE}
    assert against([seen(100000, blind), WEEK[1]]) == [without]
    # A series that was blind all day is not seen by looking at another one, and each round sees for itself.
    assert against([seen(100000, {"load": WITHIN, "serves": STALE}), WEEK[1]]) == [without]
    assert against([seen(100000, {"serves": WITHIN}), seen(99000, {"load": OVER}), WEEK[1]]) == []
    assert against([seen(100000, FINE), seen(99000, blind), WEEK[1]]) == []
    # What can never be heard of is let pass by its name.
    reasons = {"monitor.db.load": "no systemd there", "monitor.db.serves": ""}
    assert against([seen(100000, {**FINE, "load": ABSENT}), WEEK[1]], overrides=reasons) == []
    assert against([seen(100000, blind), WEEK[1]], overrides=reasons) == [without]


def test_a_round_of_a_limit_fills_the_day_of_nobody_else() -> None:
    both = seen(100, FINE)
    of_tree = [{**one, "series": {**one["series"], "component": "tree"}} for one in both["data"]["series"]]
    both["data"]["series"] += of_tree
    let_in = {"db": NOW - 2 * 86400, "tree": NOW - 2 * 86400}
    assert against([WEEK[0], both], **let_in) == ["monitor_days: 1 of 2 days are full; without a sample: day 1 (tree)"]


def test_a_round_from_the_future_is_none() -> None:
    ahead = "monitor.db: the last samples are from 90000 s in the future: a clock is wrong"
    assert against([*WEEK, seen(-90000, FINE)]) == [ahead]
    assert against([*WEEK, seen(-60, FINE)]) == []


def test_samples_from_before_users_were_let_in_count_for_nothing() -> None:
    assert against(WEEK, days=1, db=NOW - 50) == [
        "monitor_days: 0 of 1 days are full",
        "monitor.db: there is no sample since users were let in",
    ]


def test_the_first_machine_that_answered_is_the_one_that_is_meant() -> None:
    known = [{"machines": {"a": "1"}}, {"machines": {"a": "2", "b": "3"}}, {}]
    assert monitor.machines(known) == {"a": "1", "b": "3"}


def test_errors_count_from_where_those_of_the_same_component_were_counted_last() -> None:
    def counted(at: float, **verdicts: str) -> dict[str, Any]:
        of = [
            {"series": {"component": name, "name": "journal_errors", "where": "m"}, "verdict": word}
            for name, word in verdicts.items()
        ]
        return {"clocks": {"m": at}, "series": [*of, {"series": {"component": "db", "name": "load", "where": "m"}}]}

    known = [counted(1, db=WITHIN, tree=OVER), counted(2, tree=WITHIN), counted(3, tree=UNREADABLE)]
    assert monitor.counted_until(known) == {"m": {"db": 1.0, "tree": 2.0}}
    assert monitor.counted_until([{}, {"series": counted(1, db=WITHIN)["series"]}]) == {}
