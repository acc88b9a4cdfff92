"""What a side wrote beyond the fork is told apart from all it shares with its successor."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.io import pg_diverged, pg_reach
from bascule.io.process import Result
from bascule.postgresql import divergence

from .test_files import make_spec

HISTORY = [(1, "0/3000100")]
LOG = (
    "rmgr: Heap        len (rec/tot):    123/   123, tx:        745, lsn: 0/03000100, prev 0/030000D8"
    ", desc: INSERT off 3 flags 0x08, blkref #0: rel 1663/16385/16390 blk 0\n"
    "rmgr: Transaction len (rec/tot):     46/    46, tx:        745, lsn: 0/03000180, prev 0/03000100"
    ", desc: COMMIT 2026-01-01 00:00:00.000000 UTC\n"
    "rmgr: Heap        len (rec/tot):     54/    54, tx:        748, lsn: 0/030001B0, prev 0/03000180"
    ", desc: DELETE off 7 flags 0x00 KEYS_UPDATED , blkref #0: rel 1663/16385/16400 blk 1\n"
    "rmgr: Heap        len (rec/tot):     54/    54, tx:        750, lsn: 0/030001F0, prev 0/030001B0"
    ", desc: DELETE off 9 flags 0x00 KEYS_UPDATED , blkref #0: rel 1663/16385/16400 blk 1\n"
    "rmgr: Transaction len (rec/tot):     66/    66, tx:        746, lsn: 0/03000230, prev 0/030001F0"
    ", desc: COMMIT 2026-01-01 00:00:01.000000 UTC; subxacts: 747 748\n"
    "rmgr: Transaction len (rec/tot):     34/    34, tx:        750, lsn: 0/03000280, prev 0/03000230"
    ", desc: ABORT 2026-01-01 00:00:02.000000 UTC\n"
)


@pytest.mark.parametrize(
    ("own", "end", "peer", "history", "fork"),
    [
        (1, "0/3000100", 2, HISTORY, None),
        (1, "0/3000101", 2, HISTORY, "0/3000100"),
        (1, "0/9000000", 1, [], None),
        (2, "0/9000000", 1, [], None),
        (2, "0/9000000", 3, HISTORY, "0/0"),
    ],
)
def test_only_log_beyond_the_fork_is_divergence(
    own: int, end: str, peer: int, history: list[tuple[int, str]], fork: str | None
) -> None:
    """A clean switch forks exactly where the old log ends."""
    assert divergence.fork(own, end, peer, history) == fork


def test_only_what_was_committed_counts() -> None:
    """An aborted transaction wrote nothing; a subtransaction wrote what its parent committed."""
    found = divergence.read(LOG.splitlines())
    assert found.transactions == {745, 746, 747, 748}
    assert found.deleted == {(16385, 16400): 1}


def test_rows_are_named_by_ranges_of_transactions() -> None:
    assert divergence.condition([748, 745, 746]) == (
        "xmin::text::bigint BETWEEN 745 AND 746 OR xmin::text::bigint BETWEEN 748 AND 748"
    )
    assert divergence.condition([]) == "false"


@given(st.sets(st.integers(3, 100_000), min_size=1, max_size=2000))
def test_no_transaction_is_ever_left_out(transactions: set[int]) -> None:
    """Ranges may name too many, never too few; and a statement stays short."""
    parts = divergence.condition(transactions).split(" OR ")
    ranges = [tuple(int(word) for word in part.split() if word.isdigit()) for part in parts]
    assert len(ranges) <= 200
    assert all(any(first <= number <= last for first, last in ranges) for number in transactions)


def test_the_history_is_read_from_the_other_side(monkeypatch: pytest.MonkeyPatch) -> None:
    def psql(argv: list[str], **_: Any) -> Result:
        answer = {
            "IDENTIFY_SYSTEM": "7|2|0/4000000|\n",
            "TIMELINE_HISTORY 2": "00000002.history|1\t0/3000100\tno recovery target specified\n\n",
        }[argv[-1]]
        return Result(tuple(argv), 0, answer, "")

    monkeypatch.setattr(pg_reach, "run", psql)
    assert pg_reach.timeline(make_spec()) == (2, "1\t0/3000100\tno recovery target specified\n\n")
    monkeypatch.setattr(pg_reach, "run", lambda argv, **_: Result(tuple(argv), 2, "", "no route"))
    assert pg_reach.timeline(make_spec()) is None


def test_a_clean_switch_exports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster: Any = SimpleNamespace(spec=make_spec(), control=lambda: SimpleNamespace(newest_timeline=1))
    session: Any = None
    for answer in (None, (1, ""), (2, "1\t0/3000100\tx\n")):
        monkeypatch.setattr(pg_reach, "timeline", lambda spec, answer=answer: answer)
        assert pg_diverged.export(cluster, session, "1.x", "0/3000100") is None


def test_what_was_found_is_said_in_words() -> None:
    found = {
        "fork": "0/3000100",
        "rows": {"courses.app.logins": 3},
        "deleted": {"courses.app.notes": 1},
        "directory": "/var/backups/bascule/x",
    }
    text = pg_diverged.pending(make_spec(), {"diverged": found})
    assert "3 rows of courses.app.logins, 1 rows deleted from courses.app.notes; exported to /var/backups" in text
    assert pg_diverged.pending(make_spec(), {"state": "streaming"}) == ""
    assert pg_diverged.pending(make_spec(), None) == ""
