"""Did two sides write at once? What the probes saw, and what the acknowledgements themselves say."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from .intervals import Span, clip, shared, union
from .records import Committed, Operation, Probe

ACCEPT = "accept"


def accepting(probes: Sequence[Probe]) -> list[Span]:
    """When one side of one kind took writes.

    That is each accepted probe from its sending to its answer, and the time between two accepted probes with nothing
    else in between. An answer that did not come is neither yes nor no: it ends a stretch, and shows up as a long probe.
    """
    spans: list[Span] = []
    last: Probe | None = None
    for probe in sorted(probes, key=lambda one: one.start):
        if probe.result == ACCEPT:
            spans.append((last.start if last is not None else probe.start, probe.end))
            last = probe
        else:
            last = None
    return union(spans)


def two_writers_seconds(probes: Iterable[Probe], start: float, end: float) -> float | None:
    """How long two sides of the same kind took writes at once, summed over the kinds; None if a side was not probed."""
    sides: dict[str, dict[str, list[Probe]]] = defaultdict(lambda: defaultdict(list))
    seen: set[tuple[str, str]] = set()
    for probe in probes:
        sides[probe.kind][probe.side].append(probe)
        if start <= probe.start < end:
            seen.add((probe.kind, probe.side))
    if not sides:
        return None
    total = 0.0
    for kind, by_side in sides.items():
        if len(by_side) < 2 or any((kind, side) not in seen for side in by_side):
            return None
        spans = {side: clip(accepting(ones), start, end) for side, ones in by_side.items()}
        total += sum(shared(spans[left], spans[right]) for left, right in combinations(sorted(spans), 2))
    return total


def largest_probe_gap(probes: Iterable[Probe], start: float, end: float) -> float | None:
    """The longest time one side of one kind went without a new probe, the edges of the window included."""
    starts: dict[tuple[str, str], list[float]] = defaultdict(list)
    for probe in probes:
        starts[(probe.kind, probe.side)].append(probe.start)
    largest: float | None = None
    for moments in starts.values():
        inside = [moment for moment in sorted(moments) if start <= moment < end]
        if not inside:
            return None
        edges = [start, *inside, end]
        gap = max(later - earlier for earlier, later in zip(edges, edges[1:], strict=False))
        largest = gap if largest is None else max(largest, gap)
    return largest


def divergent_operations(operations: Iterable[Operation], start: float, end: float) -> set[str]:
    """Acknowledged writes of the window that were committed on a history the site had already left.

    A write diverges when it was sent after the answer to a write on a newer timeline. Both times are the client's own,
    so no clocks are compared. A write under another system identifier than most is on another database altogether.
    """
    known = [(one, one.committed) for one in operations if one.outcome == "ack" and one.committed is not None]
    stale = _stale([(one.ident, one.sent, one.answered, committed) for one, committed in known])
    return {one.ident for one, _ in known if one.ident in stale and start <= one.sent < end}


def divergent_probes(probes: Iterable[Probe], start: float, end: float) -> set[str]:
    """The same for accepted probes, which also know their side: one timeline is written at one side only."""
    known = [(one, one.committed) for one in probes if one.result == ACCEPT and one.committed is not None]
    stale = _stale([(one.ident, one.start, one.end, committed) for one, committed in known])
    writers: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for one, committed in known:
        writers[(committed.system_id, committed.timeline)][one.side] += 1
    owner: Mapping[tuple[str, int], str] = {key: sides.most_common(1)[0][0] for key, sides in writers.items()}
    for one, committed in known:
        if owner[(committed.system_id, committed.timeline)] != one.side:
            stale.add(one.ident)
    return {one.ident for one, _ in known if one.ident in stale and start <= one.start < end}


def _stale(writes: Sequence[tuple[str, float, float, Committed]]) -> set[str]:
    systems = Counter(committed.system_id for _, _, _, committed in writes)
    if not systems:
        return set()
    usual = systems.most_common(1)[0][0]
    first_answer: dict[int, float] = {}
    for _, _, answered, committed in writes:
        first_answer[committed.timeline] = min(answered, first_answer.get(committed.timeline, answered))
    found = set()
    for ident, sent, _, committed in writes:
        newer = [moment for timeline, moment in first_answer.items() if timeline > committed.timeline]
        if committed.system_id != usual or (newer and sent > min(newer)):
            found.add(ident)
    return found
