"""Gaps and shared time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.report.intervals import clip, longest_gap, shared, unended, union

moments = st.lists(st.integers(0, 1000).map(float), max_size=30)
spans = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 40)).map(lambda pair: (float(pair[0]), float(sum(pair)))), max_size=15
)


def covered(some: list[tuple[float, float]], at: float) -> bool:
    return any(begin <= at < end for begin, end in some)


@pytest.mark.parametrize(
    ("samples", "gap"),
    [
        ([1.0, 2.0, 3.0, 9.0, 10.0], 6.0),
        # The one before the window counts in full length, and so does the one that ends after it.
        ([-5.0, 4.0, 10.0], 9.0),
        ([1.0, 2.0, 30.0], 28.0),
        # Still open at the end of the window: at least so long.
        ([1.0, 2.0], 8.0),
        ([5.0], 5.0),
    ],
)
def test_the_longest_gap(samples: list[float], gap: float) -> None:
    assert longest_gap(samples, 0.0, 10.0) == gap


@pytest.mark.parametrize("samples", [[], [-1.0], [10.0], [-1.0, 10.0]])
def test_no_sample_in_the_window_is_no_figure(samples: list[float]) -> None:
    assert longest_gap(samples, 0.0, 10.0) is None


@given(moments, st.integers(0, 1000).map(float))
def test_one_more_moment_never_makes_the_gap_longer(samples: list[float], more: float) -> None:
    before = longest_gap(samples, 0.0, 1000.0)
    after = longest_gap([*samples, more], 0.0, 1000.0)
    if before is not None:
        assert after is not None
        assert after <= before


@given(moments)
def test_the_order_of_the_moments_does_not_matter(samples: list[float]) -> None:
    assert longest_gap(samples, 100.0, 900.0) == longest_gap(list(reversed(samples)), 100.0, 900.0)


@given(spans)
def test_a_union_covers_the_same_time_without_overlap(some: list[tuple[float, float]]) -> None:
    merged = union(some)
    assert all(left[1] < right[0] for left, right in zip(merged, merged[1:], strict=False))
    for at in range(260):
        assert covered(merged, at + 0.5) == covered(some, at + 0.5)


@given(spans, spans)
def test_shared_time_is_what_both_cover(left: list[tuple[float, float]], right: list[tuple[float, float]]) -> None:
    expected = sum(covered(left, at + 0.5) and covered(right, at + 0.5) for at in range(260))
    assert shared(union(left), union(right)) == pytest.approx(expected)
    assert shared(union(right), union(left)) == pytest.approx(expected)


@given(spans)
def test_clipping_keeps_the_inside_only(some: list[tuple[float, float]]) -> None:
    clipped = union(clip(some, 50.0, 150.0))
    for at in range(260):
        assert covered(clipped, at + 0.5) == (50 <= at < 150 and covered(some, at + 0.5))


def test_an_outage_has_ended_unless_it_is_the_last_and_longest() -> None:
    assert unended([1, 2, 3], 0, 10)
    assert not unended([1, 7, 8], 0, 10)
    assert not unended([1, 2, 11], 0, 10)
    assert not unended([], 0, 10)
