"""A commit asks that users were in long enough, that the proof is fresh, and that what is written comes back."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from bascule.run import commits
from bascule.run.load_test import GATES

NOW = 1_800_000_000.0


def entry(
    kind: str, age: float, component: str = "db", verb: str = "", epoch: str = "d", **data: Any
) -> dict[str, Any]:
    time = datetime.datetime.fromtimestamp(NOW - age, datetime.timezone.utc).isoformat(timespec="milliseconds")
    about = {"controller": "c", "epoch": epoch, "n": int(1e6 - age), "time": time, "hash": f"{kind}{age}{verb}"}
    return {**about, "kind": kind, "phase": "p", "verb": verb, "component": component, "data": data}


def end(verb: str, age: float, **data: Any) -> dict[str, Any]:
    return entry("end", age, verb=verb, **{"result": "ok", **data})


VERIFIED = "verification_age"
GOOD = [end("thaw", 4000), end("verify", 100)]


def against(
    entries: list[dict[str, Any]], apart: str | None = "", unseen: str | None = "", **change: Any
) -> dict[str, str]:
    given: dict[str, Any] = {"observation": 3600, "max_age": 600.0, "overrides": None, "now": NOW, **change}
    found = commits.gates("db", entries, apart, unseen, **given)
    return {one.name: one.reason for one in found if not one.passes}


def test_all_that_is_asked_for_is_there() -> None:
    assert against(GOOD) == {}


@pytest.mark.parametrize(
    ("entries", "change", "gate", "why"),
    [
        ([GOOD[0]], {}, "verification_age", "there is no sample"),
        ([GOOD[1]], {}, "observation", "there is no sample"),
        ([GOOD[0], end("verify", 700)], {}, "verification_age", "700 is above 600"),
        ([GOOD[0], end("verify", -100)], {}, "verification_age", "-100 s is below zero"),
        ([end("thaw", 3000), GOOD[1]], {}, "observation", "3000 is below 3600"),
        # Users were let in before the switch that stands, elsewhere, and nobody has seen them let in since.
        (
            [end("thaw", 9000), entry("begin", 8000, verb="switch"), end("verify", 100)],
            {},
            "observation",
            "there is no",
        ),
        (
            [GOOD[0], end("verify", 500), entry("begin", 5, verb="freeze", epoch="e")],
            {"observation": None},
            VERIFIED,
            "",
        ),
        # The last one counts.
        ([*GOOD, end("thaw", 50)], {}, "observation", "50 is below 3600"),
        ([GOOD[0], end("verify", 5, result="failed")], {}, "verification_age", "there is no sample"),
        ([GOOD[0], end("verify", 5, check_mode=True, epoch="t")], {}, "verification_age", "there is no sample"),
        (GOOD, {"apart": "no standby streams"}, "replication_back", "no standby streams"),
        (GOOD, {"unseen": "it does not run"}, "serves", "it does not run"),
        (GOOD, {"observation": "soon"}, "observation", "the plan's min is no number"),
    ],
)
def test_what_is_missing_speaks_against_it(
    entries: list[dict[str, Any]], change: dict[str, Any], gate: str, why: str
) -> None:
    found = against(entries, **change)
    assert list(found) == [gate]
    assert found[gate].startswith(why)
    assert against(entries, **change, overrides={gate: "agreed"}) == {}
    assert against(entries, **change, overrides={gate: " "}) == found


def test_a_plan_without_an_observation_asks_for_none_and_a_kind_that_carries_nothing_for_nothing() -> None:
    assert against([end("verify", 1)], observation=None) == {}
    for unseen, wanted in (("", [VERIFIED, "serves"]), (None, [VERIFIED])):
        found = commits.gates("db", GOOD, None, unseen, observation=None, max_age=9.0, overrides=None, now=NOW)
        # Where nobody has looked, nothing says GO.
        assert [one.name for one in found] == wanted


def test_what_another_component_or_a_trial_closes_leaves_the_observation_alone() -> None:
    others = [entry("begin", 5, "tree", "switch"), entry("begin", 5, verb="freeze", epoch="t", check_mode=True)]
    assert against([*GOOD, *others]) == {}


def test_a_commit_is_of_the_switch_that_stood() -> None:
    made = entry("decision", 10, "", decision=commits.COMMIT, opened={"db": "1.a", "tree": "1.a"})
    assert commits.missing([made], {"db": "1.a", "tree": "1.a"}) == []
    assert commits.missing([made], {"db": "2.b", "tree": "1.a", "guest": "1.a"}) == ["db", "guest"]
    tried = entry("decision", 5, "", decision=commits.COMMIT, opened={"db": "2.b"}, check_mode=True)
    assert commits.missing([made, tried], {"db": "2.b"}) == ["db"]


def sample(name: str, age: float, **data: Any) -> dict[str, Any]:
    return {**entry("sample", age, name=name, **data), "phase": "verify"}


SLOW = "3 is above 2"
CUT_SHORT = "load test: load_p95: it was cut short before this was measured"
LOADED = [sample(name, 90, passes=True, reason="it was measured") for name in GATES]


@pytest.mark.parametrize(
    ("entries", "overrides", "said"),
    [
        (LOADED, None, []),
        ([], None, ["load test: none since the last switch"]),
        ([*LOADED, entry("begin", 80, verb="switch")], None, ["load test: none since the last switch"]),
        ([*LOADED, entry("begin", 80, verb="switch", check_mode=True, epoch="t")], None, []),
        (
            [*LOADED, sample("load_p95", 80, passes=False, reason=SLOW)],
            None,
            [f"load test: load_p95: {SLOW}"],
        ),
        ([*LOADED, sample("load_p95", 80, passes=False, reason=SLOW)], {"load_p95": "accepted"}, []),
        ([sample("load_p95", 95, passes=False, reason=SLOW), *LOADED], None, []),
        ([*LOADED, sample("file_delta", 80, passes=False, reason="more")], None, []),
        # A verification that was killed while it wrote them, alone and after a whole one.
        (LOADED[:-1], None, [CUT_SHORT]),
        ([*LOADED, *(sample(name, 80, passes=True, reason="it was") for name in GATES[:-1])], None, [CUT_SHORT]),
        ([*LOADED, *LOADED], None, []),
    ],
)
def test_a_commit_asks_for_the_load_test_of_the_verification(
    entries: list[dict[str, Any]], overrides: Any, said: list[str]
) -> None:
    assert commits.load_against(entries, overrides) == said
