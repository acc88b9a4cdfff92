"""Sums over stretches of time: gaps between samples, and the time two sides share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Span = tuple[float, float]


def longest_gap(moments: Iterable[float], start: float, end: float) -> float | None:
    """The longest gap between two consecutive moments that touches the window, or None without a moment in it.

    A gap that began before the window or ends after it counts in full length, and a gap that is still open at the edge
    of the moments counts up to the edge of the window: an outage that never ended is not shorter than one that did.
    """
    ordered = sorted(moments)
    if not any(start <= moment < end for moment in ordered):
        return None
    gaps = [
        later - earlier
        for earlier, later in zip(ordered, ordered[1:], strict=False)
        if later >= start and earlier < end
    ]
    if ordered[0] > start:
        gaps.append(ordered[0] - start)
    if ordered[-1] < end:
        gaps.append(end - ordered[-1])
    return max(gaps)


def unended(moments: Sequence[float], start: float, end: float) -> bool:
    """Whether the longest gap is one that was still open at the end of the window."""
    gap = longest_gap(moments, start, end)
    return gap is not None and max(moments) < end and end - max(moments) >= gap


def union(spans: Iterable[Span]) -> list[Span]:
    """The same time as the spans, in order and without overlap."""
    merged: list[Span] = []
    for begin, finish in sorted(span for span in spans if span[1] >= span[0]):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], finish))
        else:
            merged.append((begin, finish))
    return merged


def clip(spans: Iterable[Span], start: float, end: float) -> list[Span]:
    """The part of the spans that lies in the window."""
    return [(max(begin, start), min(finish, end)) for begin, finish in spans if finish >= start and begin <= end]


def shared(left: Sequence[Span], right: Sequence[Span]) -> float:
    """How long both were going on; both must be unions."""
    total = 0.0
    i = j = 0
    while i < len(left) and j < len(right):
        begin = max(left[i][0], right[j][0])
        finish = min(left[i][1], right[j][1])
        total += max(0.0, finish - begin)
        if left[i][1] <= right[j][1]:
            i += 1
        else:
            j += 1
    return total
