"""When a window ends, corrected with every step: what is over costs more, what came early gives time back."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from bascule.run import budget, chain
from bascule.run.budget import Ends

START = 1796155200.0
# Two that go side by side, and one that waits for the slower of them.
FORECAST = {
    "seconds": 50.0,
    "parts": {"db": 40.0, "files": 20.0, "app": 10.0},
    "pessimistic": 72.0,
    "worst": {"db": 60.0, "files": 20.0, "app": 12.0},
    "depends_on": {"app": ["db", "files"]},
    "latest_return": 90.0,
}


def entry(second: float, kind: str, verb: str, component: str, /, **data: Any) -> dict[str, Any]:
    time = datetime.datetime.fromtimestamp(START + second, datetime.timezone.utc).isoformat(timespec="milliseconds")
    return {"time": time, "kind": kind, "phase": "cutover", "verb": verb, "component": component, "data": data}


def span(component: str, verb: str, begin: float, end: float, result: str = "ok") -> list[dict[str, Any]]:
    return [entry(begin, "begin", verb, component), entry(end, "end", verb, component, result=result)]


def read(entries: list[dict[str, Any]], now: float, **forecast: Any) -> Ends:
    found = budget.read({**FORECAST, **forecast}, entries, START + now)
    assert found is not None
    return found


FROZEN = [*span("app", "freeze", 10, 11), *span("db", "freeze", 11, 13), *span("files", "freeze", 11, 12)]


def test_before_the_freeze_it_is_the_forecast() -> None:
    assert read([], 0) == Ends(0.0, 50.0, 72.0, latest_return=90.0)
    assert read([], 0, parts={"db": 40.0, "files": None}).least
    assert budget.read({}, FROZEN, START) is None
    assert read([], 0, latest_return=None).late is False


def test_what_is_at_work_takes_from_its_own_seconds_alone() -> None:
    # 2 s of the database and 1 s of the application are spent, 5 s have gone by.
    found = read(FROZEN, 15)
    assert (found.waited, found.expected, found.pessimistic) == (5.0, 5 + 38 + 9, 5 + 58 + 11)
    found = read([*FROZEN, entry(13, "begin", "sync", "db")], 23)
    assert (found.expected, found.pessimistic) == (13 + 28 + 9, 13 + 48 + 11)


def test_what_is_over_costs_as_long_again_at_worst() -> None:
    carried = [*FROZEN, *span("files", "sync", 12, 13), *span("files", "switch", 13, 14)]
    slow = [*carried, entry(13, "begin", "sync", "db")]
    at_its_worst = read(slow, 71)
    assert (at_its_worst.expected, at_its_worst.pessimistic, at_its_worst.late) == (61 + 9, 61 + 11, False)
    # 8 s over, and 72 s were to be reckoned with: it is late once the end lies behind 90 s.
    assert (read(slow, 79).pessimistic, read(slow, 79).late) == (69 + 8 + 11, False)
    assert (read(slow, 81).pessimistic, read(slow, 81).late) == (71 + 10 + 11, True)
    # A step that has ended no faster than that keeps what was lost.
    ended = [*carried, *span("db", "sync", 13, 81), entry(81, "begin", "switch", "db")]
    assert read(ended, 81).late


def test_what_was_told_at_the_go_is_no_news() -> None:
    tight = {"latest_return": 30.0}
    assert read(FROZEN, 13, **tight).pessimistic == 3 + 58 + 11
    assert read(FROZEN, 13, **tight).late is False
    assert read(FROZEN, 14.5, **tight).late, "72 s were shown, and now they are 73"


def test_what_has_switched_costs_nothing_more_and_what_failed_does() -> None:
    switched = [*FROZEN, *span("db", "sync", 13, 14), *span("db", "switch", 15, 18)]
    # The tree is left, which nobody had to wait for.
    assert (read(switched, 18).expected, read(switched, 18).pessimistic) == (8 + 19 + 9, 8 + 19 + 11)
    failed = [*FROZEN, *span("db", "sync", 13, 14), *span("db", "switch", 15, 18, "failed")]
    assert read(failed, 18).expected == 8 + 34 + 9


def test_names_only_point_and_count_no_second() -> None:
    names = [entry(1, "begin", "freeze", "names", role="dns_switchover")]
    assert read(names, 100) == read([], 0)


def test_shares_of_an_earlier_window_give_back_what_came_early() -> None:
    shares = {"db": {"freeze": 0.1, "sync": 0.8, "switch": 0.1}}
    early = [*FROZEN, *span("db", "sync", 13, 15)]
    # Of 40 s 4 s are left for the switch, of 60 s 6 s; the tree's 19 s are longer.
    assert read(early, 15, shares=shares).expected == 5 + 19 + 9
    assert read(early, 15).expected == 5 + 36 + 9
    alone = {"parts": {"db": 40.0}, "worst": {"db": 60.0}, "shares": shares}
    assert (read(early, 15, **alone).expected, read(early, 15, **alone).pessimistic) == (5 + 4, 5 + 6)
    # A freeze that takes 10 s instead of 4 s, and has not ended.
    slow = [entry(10, "begin", "freeze", "db")]
    assert (read(slow, 20, **alone).expected, read(slow, 20, **alone).pessimistic) == (10 + 36, 10 + 54 + 4)


def test_shares_are_those_of_the_last_whole_window() -> None:
    def decision(name: str, at: float, **verbs: float) -> list[dict[str, Any]]:
        found, previous = [], None
        for verb, seconds in verbs.items():
            for one in span("db", verb, at, at + seconds):
                about = {"run": "r", "controller": "here", "epoch": name}
                previous = chain.make(previous, {**one, **about})
                found.append(previous)
            at += seconds
        return found

    first = decision("a", 0, freeze=1, sync=2, switch=1)
    second = decision("b", 100, freeze=1, sync=8, switch=1, thaw=3)
    cut_short = decision("c", 200, freeze=5)
    assert budget.shares([*second, *first, *cut_short]) == {"db": {"freeze": 0.1, "sync": 0.8, "switch": 0.1}}
    assert budget.shares(first) == {"db": {"freeze": 0.25, "sync": 0.5, "switch": 0.25}}
    assert budget.shares(cut_short) == {}


@pytest.mark.parametrize(
    ("seconds", "depends_on", "found"),
    [
        ({}, {}, (0.0, [])),
        ({"a": 1.0, "b": 2.0}, {}, (2.0, ["b"])),
        ({"a": 1.0, "b": 2.0, "c": 4.0}, {"c": ["a"], "b": ["gone"]}, (5.0, ["a", "c"])),
        ({"a": 1.0, "b": 2.0}, {"a": ["b"], "b": ["a"]}, (2.0, ["b"])),
    ],
)
def test_the_longest_chain(seconds: dict[str, float], depends_on: Any, found: Any) -> None:
    assert budget.longest(seconds, depends_on) == found
