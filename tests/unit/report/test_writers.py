"""Two writers at once, and writes on a history the site had left."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from bascule.report.records import Committed, Operation, Probe
from bascule.report.writers import (
    accepting,
    divergent_operations,
    divergent_probes,
    largest_probe_gap,
    two_writers_seconds,
)


def probe(side: str, start: float, result: str = "accept", took: float = 0.01, kind: str = "db", tl: int = 0) -> Probe:
    committed = Committed("77", tl, "courses") if tl else None
    return Probe(kind, side, f"{kind}-{side}-{start}", result, start, start + took, committed)


def sides(switch: float, pause: float, end: float = 20.0) -> list[Probe]:
    """Both sides probed five times a second: the first takes writes until the pause, the second from the switch."""
    probes = []
    for tick in range(int(end * 5)):
        at = tick / 5
        probes.append(probe("mtp", at, "accept" if at < pause else "refuse"))
        probes.append(probe("tls", at, "accept" if at >= switch else "refuse"))
    return probes


def write(ident: str, sent: float, timeline: int, took: float = 0.05, system: str = "77") -> Operation:
    return Operation("write", "login", ident, "ack", sent, sent + took, Committed(system, timeline, "courses"))


def test_a_switch_with_a_pause_has_no_two_writers() -> None:
    assert two_writers_seconds(sides(switch=12.0, pause=10.0), 0.0, 20.0) == 0.0


def test_an_overlap_is_as_long_as_both_took_writes() -> None:
    found = two_writers_seconds(sides(switch=10.0, pause=12.0), 0.0, 20.0)
    assert found is not None
    assert 1.8 <= found <= 2.2


def test_a_single_write_at_the_wrong_side_is_seen() -> None:
    probes = [*sides(switch=30.0, pause=30.0), probe("tls", 5.1, "accept", took=0.02)]
    found = two_writers_seconds(probes, 0.0, 20.0)
    assert found is not None
    assert found > 0.0


def test_a_side_that_does_not_answer_is_not_taken_for_one_that_writes() -> None:
    probes = [probe("mtp", 1.0), probe("mtp", 2.0, "timeout"), probe("mtp", 30.0)]
    assert accepting(probes) == [(1.0, 1.01), (30.0, 30.01)]


def test_a_side_without_probes_is_no_figure() -> None:
    assert two_writers_seconds([], 0.0, 20.0) is None
    assert two_writers_seconds([probe("mtp", 1.0), probe("mtp", 2.0)], 0.0, 20.0) is None
    both = [probe("mtp", 1.0), probe("tls", 40.0, "refuse")]
    assert two_writers_seconds(both, 0.0, 20.0) is None
    assert largest_probe_gap(both, 0.0, 20.0) is None


@given(st.integers(1, 18), st.integers(1, 18), st.randoms(use_true_random=False))
def test_the_order_of_the_lines_does_not_matter(pause: int, switch: int, rng: random.Random) -> None:
    probes = sides(switch=float(switch), pause=float(pause))
    mixed = probes.copy()
    rng.shuffle(mixed)
    figure = two_writers_seconds(probes, 0.0, 20.0)
    assert figure == two_writers_seconds(mixed, 0.0, 20.0)
    assert figure is not None
    assert (figure > 0.0) == (switch < pause)


def test_the_largest_gap_counts_the_edges() -> None:
    probes = [probe(side, at) for side in ("mtp", "tls") for at in (1.0, 1.5, 4.0, 9.0)]
    assert largest_probe_gap(probes, 0.0, 10.0) == 5.0
    assert largest_probe_gap(probes, 0.0, 20.0) == 11.0


def test_writes_along_the_history_do_not_diverge() -> None:
    writes = [write("a", 1.0, 1), write("b", 2.0, 1), write("c", 9.0, 2), write("d", 20.0, 3)]
    assert divergent_operations(writes, 0.0, 30.0) == set()


def test_a_write_on_the_old_timeline_after_the_new_one_answered_diverges() -> None:
    writes = [write("a", 1.0, 1), write("c", 9.0, 2), write("late", 10.0, 1), write("d", 11.0, 2)]
    assert divergent_operations(writes, 0.0, 30.0) == {"late"}
    # It is counted in the leg it was sent in.
    assert divergent_operations(writes, 10.5, 30.0) == set()


def test_an_answer_that_was_only_slow_does_not_diverge() -> None:
    writes = [write("a", 1.0, 1), write("slow", 8.9, 1, took=3.0), write("c", 9.0, 2)]
    assert divergent_operations(writes, 0.0, 30.0) == set()


def test_a_write_in_another_database_altogether_diverges() -> None:
    writes = [write("a", 1.0, 1), write("b", 2.0, 1), write("other", 3.0, 1, system="88")]
    assert divergent_operations(writes, 0.0, 30.0) == {"other"}


def test_one_timeline_is_written_at_one_side_only() -> None:
    probes = [probe("mtp", 1.0, tl=1), probe("mtp", 1.2, tl=1), probe("tls", 1.4, tl=1)]
    assert divergent_probes(probes, 0.0, 10.0) == {"db-tls-1.4"}
    assert divergent_probes([probe("mtp", 1.0, tl=1), probe("tls", 5.0, tl=2)], 0.0, 10.0) == set()
