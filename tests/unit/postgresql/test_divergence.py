"""What a side wrote beyond the fork is told apart from all it shares with its successor."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import BasculeError
from bascule.postgresql import divergence, lsn
from bascule.postgresql.io.cluster import peer as cluster_peer
from bascule.postgresql.io.standby import divergence as standby_divergence
from bascule.postgresql.io.standby import wal_compare
from bascule.system.io import age_keys, sealed
from bascule.system.io.process import Result

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
    ("own", "mine", "end", "peer", "history", "fork"),
    [
        # Closed by a switch: it forks exactly where the old log ends, or somebody wrote on.
        (1, [], "0/3000100", 2, HISTORY, None),
        (1, [], "0/3000101", 2, HISTORY, "0/3000100"),
        # One timeline: no history tells.
        (1, [], "0/9000000", 1, [], None),
        (2, HISTORY, "0/9000000", 2, [(1, "0/03000100")], None),
        # Promoted by hand: it has the greater number,
        (2, HISTORY, "0/9000000", 1, [], "0/3000100"),
        (3, [*HISTORY, (2, "0/4000000")], "0/9000000", 1, [], "0/3000100"),
        (3, [*HISTORY, (2, "0/4000000")], "0/9000000", 2, HISTORY, "0/4000000"),
        # or the same as the other side's,
        (2, [(1, "0/2000000")], "0/9000000", 2, HISTORY, "0/2000000"),
        (2, [(1, "0/5000000")], "0/9000000", 2, HISTORY, "0/3000100"),
        # or the smaller one.
        (2, [(1, "0/5000000")], "0/9000000", 3, [(1, "0/3000100"), (2, "0/4000000")], "0/3000100"),
        (3, HISTORY, "0/9000000", 2, HISTORY, "0/3000100"),
        # Behind, and nothing else.
        (1, [], "0/2000000", 3, [*HISTORY, (2, "0/4000000")], None),
        (2, HISTORY, "0/3500000", 3, [*HISTORY, (2, "0/4000000")], None),
        (4, [(3, "0/1")], "0/9000000", 2, HISTORY, "0/0"),
    ],
)
def test_only_log_beyond_the_fork_is_divergence(
    own: int, mine: list[tuple[int, str]], end: str, peer: int, history: list[tuple[int, str]], fork: str | None
) -> None:
    assert divergence.fork(own, mine, end, peer, history) == fork


lsns = st.integers(1, 1000)


@given(st.lists(lsns, max_size=4, unique=True), st.integers(0, 4), lsns)
def test_who_only_follows_never_diverges(left: list[int], steps: int, beyond: int) -> None:
    """A side somewhere on the other's way has nothing of its own, however far behind it is."""
    whole = [(number + 1, lsn.render(place)) for number, place in enumerate(sorted(left))]
    mine = whole[:steps]
    end = min(beyond, lsn.parse(whole[len(mine)][1])) if len(mine) < len(whole) else beyond
    assert divergence.fork(len(mine) + 1, mine, lsn.render(end), len(whole) + 1, whole) is None


def test_the_log_beyond_the_fork_is_read_timeline_by_timeline() -> None:
    history = [(1, "0/3000100"), (2, "0/4000000")]
    assert divergence.stretches(3, history, "0/2000000", "0/5000000") == [
        (1, "0/2000000", "0/3000100"),
        (2, "0/3000100", "0/4000000"),
        (3, "0/4000000", "0/5000000"),
    ]
    assert divergence.stretches(3, history, "0/3000100", "0/3000200") == [(2, "0/3000100", "0/4000000")]


def test_a_byte_belongs_to_the_record_that_begins_before_it() -> None:
    assert divergence.record_at(LOG.splitlines(), "0/3000181") == "0/03000180"
    assert divergence.record_at(LOG.splitlines(), "0/3000180") == "0/03000180"
    assert divergence.record_at(LOG.splitlines(), "0/1000000") is None


# As pg_waldump 15 prints them.
PREPARED = (
    "rmgr: Heap        len (rec/tot):     54/    54, tx:        725, lsn: 0/0152C068, prev 0/0152C028"
    ", desc: DELETE off 1 flags 0x00 KEYS_UPDATED , blkref #0: rel 1663/5/16384 blk 0\n"
    "rmgr: Transaction len (rec/tot):    266/   266, tx:        725, lsn: 0/0152C0A0, prev 0/0152C068"
    ", desc: PREPARE gid x: 2026-11-21 01:18:03.047574 UTC; subxacts: 726\n"
    "rmgr: Transaction len (rec/tot):     50/    50, tx:          0, lsn: 0/0152C1B0, prev 0/0152C0A0"
    ", desc: COMMIT_PREPARED 725: 2026-11-21 01:18:03.048087 UTC; subxacts: 726\n"
)
TRUNCATED = (
    "rmgr: Storage     len (rec/tot):     42/    42, tx:        727, lsn: 0/0152C218, prev 0/0152C1E8"
    ", desc: CREATE base/5/16390\n"
    "rmgr: Transaction len (rec/tot):    114/   114, tx:        727, lsn: 0/0152C388, prev 0/0152C348"
    ", desc: COMMIT 2026-11-21 01:18:03.048610 UTC; rels: base/5/16387 base/5/16388; inval msgs: catcache 55\n"
)


def test_a_prepared_transaction_is_the_one_that_was_committed() -> None:
    """What commits it has no number of its own."""
    found = divergence.read(PREPARED.splitlines())
    assert found.transactions == {725, 726}
    assert found.deleted == {(5, 16384): 1}


def test_files_that_were_made_and_given_up_are_seen() -> None:
    found = divergence.read(TRUNCATED.splitlines())
    assert found.made == {(5, 16390)}
    assert found.removed == {5: 2}


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


def as_cluster(side: Side) -> Any:
    """Let it stand for a cluster."""
    return side


def psql(answers: dict[str, tuple[int, str]]) -> Any:
    """Stand in for psql at the other side, by the last thing it is asked."""

    def run(argv: list[str], **_: Any) -> Result:
        rc, out = answers[argv[-1]]
        return Result(tuple(argv), rc, out, "no route" if rc else "")

    return run


WHOLE = {
    "SHOW in_hot_standby": (0, "7|2|0/4000000|\noff\n"),
    "TIMELINE_HISTORY 2": (0, "00000002.history|1\t0/3000100\tno recovery target specified\n\n"),
}


def test_the_history_is_read_from_the_other_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_peer, "run", psql(WHOLE))
    assert cluster_peer.server(make_spec()) == cluster_peer.Server(2, [(1, "0/3000100")], "0/4000000", False)


@pytest.mark.parametrize(
    "broken",
    [
        {"SHOW in_hot_standby": (2, "")},
        {"SHOW in_hot_standby": (1, "7|2|0/4000000|\n")},
        {"SHOW in_hot_standby": (0, "")},
        {"TIMELINE_HISTORY 2": (1, "")},
        {"TIMELINE_HISTORY 2": (0, "")},
    ],
)
def test_no_whole_answer_is_no_answer(monkeypatch: pytest.MonkeyPatch, broken: dict[str, tuple[int, str]]) -> None:
    """Nobody who was not compared is taken for equal: an error keeps the side standing still."""
    monkeypatch.setattr(cluster_peer, "run", psql({**WHOLE, **broken}))
    with pytest.raises(BasculeError, match="was not compared, and does not follow"):
        cluster_peer.server(make_spec())
    with pytest.raises(BasculeError, match="was not compared, and does not follow"):
        cluster_peer.settled(make_spec(), 0)


def test_a_side_that_replays_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says meanwhile is only what it is passing."""

    def answers(*ends: str) -> None:
        left = [{**WHOLE, "SHOW in_hot_standby": (0, f"7|2|{end}|\non\n")} for end in ends]
        monkeypatch.setattr("time.sleep", lambda seconds: left.pop(0))
        monkeypatch.setattr(cluster_peer, "run", lambda argv, **words: psql(left[0])(argv, **words))

    answers("0/4000000", "0/4000100", "0/4000200", "0/4000200")
    found = cluster_peer.settled(make_spec(), 60)
    assert (found.end, found.in_recovery) == ("0/4000200", True)
    answers("0/4000000", "0/4000100")
    with pytest.raises(BasculeError, match="it still replays"):
        cluster_peer.settled(make_spec(), 0)


class Side:
    """A side that stands still, with the log that pg_waldump is told to print."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeline: int = 1) -> None:
        (tmp_path / "main/pg_wal").mkdir(parents=True)
        self.data, self.spec, self.recovery = tmp_path / "main", make_spec(), True
        self.sealed: list[Path] = []
        self.answer = Result((), 0, LOG, "")
        self.timeline = timeline
        self.tables: list[dict[str, Any]] = []
        monkeypatch.setattr(standby_divergence, "DIRECTORY", tmp_path / "backups")
        monkeypatch.setattr(standby_divergence, "run", lambda argv, **_: self.answer)
        monkeypatch.setattr(sealed, "seal", lambda argv, path, *_, **__: self.sealed.append(path))
        monkeypatch.setattr(age_keys, "recipients", lambda component: self.keys)
        # Nobody has asked for dumps, so there are no keys yet.
        self.keys: list[str] = []
        monkeypatch.setattr(standby_divergence, "HOME", tmp_path)
        monkeypatch.setattr(age_keys, "ensure", lambda component, others: self.keys.append("age1own"))

    def control(self) -> Any:
        return SimpleNamespace(newest_timeline=self.timeline, segment_bytes=1 << 24)

    def history(self, timeline: int) -> list[tuple[int, str]]:
        return {1: [], 2: HISTORY}[timeline]

    def session(self, database: str = "postgres") -> Any:
        return contextlib.nullcontext(self)

    def value(self, sql: str, **_: Any) -> Any:
        return self.recovery if "in_recovery" in sql else 2 if "count" in sql else None

    def query(self, sql: str) -> list[dict[str, Any]]:
        return [{"name": "courses", "oid": 16385}] if "pg_database" in sql else self.tables


@pytest.fixture
def side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Side:
    return Side(tmp_path, monkeypatch)


def open_at(
    monkeypatch: pytest.MonkeyPatch,
    timeline: int,
    history: list[tuple[int, str]],
    end: str,
    in_recovery: bool = False,
) -> None:
    """Have the other side say where it is."""
    found = cluster_peer.Server(timeline, history, end, in_recovery)
    monkeypatch.setattr(cluster_peer, "settled", lambda spec, patience: found)
    monkeypatch.setattr(cluster_peer, "server", lambda spec: found)


def export(side: Any, end: str) -> dict[str, Any] | None:
    return standby_divergence.export(side, side, "1.x", end)


def test_a_clean_switch_exports_nothing(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    open_at(monkeypatch, 2, HISTORY, "0/4000000")
    assert export(side, "0/3000100") is None


def test_a_side_that_runs_as_a_primary_is_named_and_does_not_follow(side: Side) -> None:
    side.recovery = False
    with pytest.raises(BasculeError, match=r"runs as a primary.*systemctl stop"):
        export(side, "None")


def test_nobody_reached_is_an_error(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_peer, "run", psql({"SHOW in_hot_standby": (2, "")}))
    monkeypatch.setattr(standby_divergence, "_PATIENCE", 0)
    with pytest.raises(BasculeError, match="was not compared"):
        export(side, "0/3000100")
    assert standby_divergence.has_left(as_cluster(side))


def test_one_timeline_is_compared_byte_by_byte(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    open_at(monkeypatch, 1, [], "0/9000000")
    monkeypatch.setattr(wal_compare, "parted", lambda *_: None)
    assert export(side, "0/3000290") is None
    monkeypatch.setattr(wal_compare, "parted", lambda *_: "0/3000190")
    found = export(side, "0/3000290")
    assert found is not None
    assert found["fork"] == "0/03000180"
    monkeypatch.setattr(wal_compare, "parted", lambda *_: "0/0")
    found = export(side, "0/3000290")
    assert found is not None
    assert "lies before all that can be compared" in standby_divergence.described(found)


def test_who_stands_behind_us_is_neither_followed_nor_taken_for_diverged(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides are closed, and the other one has not replayed, or not got, the end of one and the same log."""
    monkeypatch.setattr(wal_compare, "parted", lambda cluster, timeline, begin, end, peer_end: peer_end)
    open_at(monkeypatch, 1, [], "0/3000200", in_recovery=True)
    with pytest.raises(BasculeError, match="it stands at 0/3000200"):
        export(side, "0/3000290")
    open_at(monkeypatch, 1, [], "0/3000230")
    found = export(side, "0/3000290")
    assert found is not None
    assert found["fork"] == "0/03000230"


def test_log_that_cannot_be_read_never_means_no_rows(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    open_at(monkeypatch, 2, HISTORY, "0/4000000")
    for answer in (Result((), 1, "", 'could not find file "000000010000000000000003"'), Result((), 0, "", "")):
        side.answer = answer
        found = export(side, "0/3000290")
        assert found is not None
        assert (
            "more that is not known (the log from 0/3000100 to 0/3000290 could not be read"
            in standby_divergence.described(found)
        )


def test_whatever_it_alone_has_is_named(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large objects are rows of a catalogue; who truncates a table gives its file up."""
    open_at(monkeypatch, 2, HISTORY, "0/4000000")
    side.answer = Result((), 0, LOG + TRUNCATED.replace("base/5/", "base/16385/"), "")
    side.tables = [
        {"oid": 2613, "file": 2613, "schema": "pg_catalog", "name": "pg_largeobject"},
        {"oid": 16400, "file": 16390, "schema": "app", "name": "logins"},
    ]
    found = export(side, "0/3000290")
    assert found is not None
    said = standby_divergence.described(found)
    assert "2 rows of courses.pg_catalog.pg_largeobject" in said
    assert "courses.app.logins created, truncated or rewritten" in said
    assert "2 files of tables and indexes given up in courses" in said
    assert len(side.sealed) == 2
    assert side.keys == ["age1own"]


def test_a_second_divergence_leaves_what_the_first_one_exported(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    open_at(monkeypatch, 2, HISTORY, "0/4000000")
    first, again, second = (export(side, end) for end in ("0/3000290", "0/3000290", "0/3000390"))
    assert first is not None
    assert again is not None
    assert second is not None
    assert first["directory"] == again["directory"]
    assert second["directory"] == first["directory"] + "-1-0-3000390"


def test_a_timeline_that_only_its_history_file_tells_of(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was killed right after its promotion: its control file still names the old timeline."""
    assert standby_divergence._line(as_cluster(side), "0/9000000") == (1, [])
    (side.data / "pg_wal/00000002.history").touch()
    assert standby_divergence._line(as_cluster(side), "0/9000000") == (2, HISTORY)
    # One that its log has not come to is the other side's.
    assert standby_divergence._line(as_cluster(side), "0/3000100") == (1, [])


def test_what_was_found_is_said_in_words() -> None:
    found = {
        "fork": "0/3000100",
        "rows": {"courses.app.logins": 3},
        "deleted": {"courses.app.notes": 1},
        "directory": "/var/backups/bascule/x",
    }
    text = standby_divergence.pending(make_spec(), {"diverged": found})
    assert "3 rows of courses.app.logins, 1 rows deleted from courses.app.notes; exported to /var/backups" in text
    assert standby_divergence.pending(make_spec(), {"state": "streaming"}) == ""
    assert standby_divergence.pending(make_spec(), None) == ""
