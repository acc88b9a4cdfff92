"""Where a window went: the parts of every component add up to it, and the critical path has no gaps."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.run import order, window
from bascule.run.window import Span, Window
from bascule.system import work

DEPENDS = {"db": [], "files": [], "guest": ["db", "files"], "entrance": ["guest"]}
Moment = tuple[float, str, str, str, dict[str, Any]]


def entries(moments: list[Moment], phase: str = "cutover") -> list[dict[str, Any]]:
    """Return the journal's entries: (second, kind, verb, component, data)."""
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    return [
        {"time": (start + datetime.timedelta(seconds=at)).isoformat(timespec="milliseconds"), "kind": kind,
         "phase": phase, "verb": verb, "component": component, "data": data}
        for at, kind, verb, component, data in moments
    ]  # fmt: skip


def verb(at: float, took: float, name: str, component: str, worked: float = 0.0, **begun: Any) -> list[Moment]:
    """Return the entries of a verb that came through."""
    about = {"role": "toy", "depends_on": DEPENDS.get(component, []), **begun}
    return [
        (at, "begin", name, component, about),
        (at + took, "step", name, component, {"task": "Do it", work.SECONDS: worked} if worked else {}),
        (at + took, "end", name, component, {"result": "ok"}),
    ]


def small() -> list[Moment]:
    """Return a window of two components: db, and guest which rests on it."""
    return [
        *verb(10, 2, "freeze", "guest", 1.5),
        *verb(13, 1, "freeze", "db", 0.5),
        *verb(14, 4, "sync", "guest", 3),
        *verb(19, 2, "switch", "db", 2),
        *verb(22, 1, "switch", "guest", 1),
        *verb(24, 1, "thaw", "db", 1),
        *verb(26, 2, "thaw", "guest", 1),
    ]


def read(moments: list[Moment]) -> Window:
    found = window.read(entries(moments))
    assert found is not None
    return found


def test_a_window_in_its_parts() -> None:
    found = read(small())
    assert found.seconds == 18
    share = found.shares["guest"]
    # It waits while db switches and thaws, and for nothing else; that it begins late after them is orchestration.
    assert share.waiting == pytest.approx((21 - 18) + (25 - 23))
    assert share.work == 6.5
    assert share.orchestration == pytest.approx(18 - 6.5 - 5)
    # Before its freeze db waits for guest's, before its switch and its thaw for all, and after its thaw for guest's.
    assert found.shares["db"].waiting == pytest.approx(2 + (18 - 14) + (23 - 21) + 3)


def test_the_critical_path_goes_by_what_was_waited_for() -> None:
    found = read(small())
    # Of what guest's thaw waits for, db's thaw ended last; nobody waited for the freeze of db.
    assert [" ".join(reversed(link.span.key)) for link in found.path] == [
        "freeze guest", "sync guest", "switch db", "switch guest", "thaw db", "thaw guest"
    ]  # fmt: skip
    assert [link.seconds for link in found.path] == [2, 6, 3, 2, 2, 3]
    assert found.orchestration == 18 - (1.5 + 3 + 2 + 1 + 1 + 1)


def test_a_loop_has_worked_as_long_as_its_items() -> None:
    assert work.seconds({"results": [{work.SECONDS: 1.5}, {work.SECONDS: 2}, {"skipped": True}]}) == 3.5
    assert work.seconds({work.SECONDS: 0.25}) == 0.25
    assert work.seconds({"msg": "nothing"}) == 0
    assert work.seconds({work.SECONDS: "a text"}) == 0


def test_an_operation_says_how_long_it_worked() -> None:
    assert work.measured(lambda: {"changed": True}).keys() == {"changed", work.SECONDS}
    assert work.measured(lambda: {work.SECONDS: 99.0})[work.SECONDS] < 1


@pytest.mark.parametrize("missing", range(7))
def test_a_window_has_ended_when_everybody_is_in(missing: int) -> None:
    moments = small()
    left = moments[: 3 * missing] + moments[3 * missing + 3 :]
    thaws = (5, 6)
    assert (window.read(entries(left)) is None) == (missing in thaws)


def test_a_thaw_that_failed_ends_no_window() -> None:
    moments = small()
    at, kind, name, component, _ = moments[-1]
    assert window.read(entries([*moments[:-1], (at, kind, name, component, {"result": "failed"})])) is None


def test_what_was_only_tried_or_has_no_freeze_is_no_window() -> None:
    assert window.read([]) is None
    assert window.read(entries([(a, k, v, c, {**d, "check_mode": True}) for a, k, v, c, d in small()])) is None
    assert window.read(entries([m for m in small() if m[2] == "sync"])) is None


def test_a_sync_before_the_window_is_no_part_of_it() -> None:
    early = entries(verb(0, 5, "sync", "guest", 5), phase="sync")
    found = window.read([*early, *entries(small())])
    assert found is not None
    assert found.seconds == 18


def test_names_only_point_and_nobody_waits_for_them() -> None:
    names = [
        *verb(8, 1, "freeze", "names", 1, role="dns_switchover", depends_on=["guest"]),
        *small(),
        *verb(30, 60, "thaw", "names", 60, role="dns_switchover", depends_on=["guest"]),
    ]
    found = read(names)
    assert found.seconds == 18
    assert set(found.shares) == {"guest", "db"}


def test_a_clock_that_is_set_back_makes_no_time() -> None:
    moments = [(one[0] - 100 if number > 9 else one[0], *one[1:]) for number, one in enumerate(small())]
    found = read(moments)
    assert found.seconds >= 0
    assert all(min(share.work, share.waiting, share.orchestration) >= 0 for share in found.shares.values())


def test_work_is_never_more_than_its_verb() -> None:
    found = read([*verb(0, 1, "freeze", "db", 50), *verb(2, 1, "thaw", "db", 50)])
    assert found.shares["db"].work == 2
    assert found.orchestration == 1


def test_what_is_kept_and_said() -> None:
    kept = read(small()).to_dict()
    assert kept["window_seconds"] == 18
    assert set(kept["components"]["db"]) == {"work_seconds", "waiting_seconds", "orchestration_seconds"}
    said = window.lines({**kept, "load": 9.31, "cores": 2})
    assert said[0].startswith("18.0 s from freeze to thaw: ")
    assert said[0].endswith("orchestration; load 9.3 on 2 cores")
    assert "guest: 6.5 s work, 5.0 s waiting for others, 6.5 s orchestration" in said
    assert said[-1].endswith("thaw guest 3.0 s (1.0 s work)")


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[Span], Mapping[str, list[str]]]:
    """Any plan, and any times: what is declared is not always what was kept to."""
    names = [f"c{number}" for number in range(draw(st.integers(1, 5)))]
    depends = {name: [other for other in names[:at] if draw(st.booleans())] for at, name in enumerate(names)}
    times = st.integers(0, 40)
    spans = []
    for name in names:
        for what in order.VERBS:
            if what == "thaw" or draw(st.booleans()):
                begin = draw(times)
                end = begin + draw(st.integers(0, 10))
                spans.append(Span(name, what, begin, end, draw(st.integers(0, end - begin))))
    return spans, depends


@given(windows())
def test_the_parts_add_up_and_the_path_has_no_gaps(made: tuple[list[Span], Mapping[str, list[str]]]) -> None:
    spans, depends = made
    found = window.measure("cutover", spans, depends)
    first, last = min(span.begin for span in spans), max(span.end for span in spans)
    assert found.seconds == last - first
    for share in found.shares.values():
        assert share.work + share.waiting + share.orchestration == pytest.approx(found.seconds)
        assert min(share.work, share.waiting, share.orchestration) >= 0
    assert found.path[0].since == first
    assert found.path[-1].span.end == last
    assert all(link.span.end == following.since for link, following in pairwise(found.path))
    assert sum(link.seconds for link in found.path) == pytest.approx(found.seconds)
    assert all(link.since <= link.span.begin for link in found.path)
    assert 0 <= found.orchestration <= found.seconds
    assert len({link.span.key for link in found.path}) == len(found.path)


@given(windows())
def test_with_nothing_but_work_there_is_no_orchestration(made: tuple[list[Span], Mapping[str, list[str]]]) -> None:
    """Each begins as soon as what it waits for is done."""
    given_spans, depends = made
    done: dict[order.Key, Span] = {}
    # Names are in the order in which things open, so that freezes are taken from the end.
    names = list(depends)
    opening = [(names.index(span.component), span) for span in given_spans]
    ordered = sorted(
        opening, key=lambda one: (order.VERBS.index(one[1].verb), -one[0] if one[1].verb == "freeze" else one[0])
    )
    for _, span in ordered:
        before = [done[key].end for key in window._waits_for(span.key, depends, depends) if key in done]
        begin, length = max(before, default=0.0), span.end - span.begin
        done[span.key] = Span(span.component, span.verb, begin, begin + length, length)
    found = window.measure("cutover", done.values(), depends)
    assert found.orchestration == pytest.approx(0)
    assert all(share.orchestration == pytest.approx(0) for share in found.shares.values())
