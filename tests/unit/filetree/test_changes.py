"""The recorder's journal: what is written is what is read, in any cut, and it never says too little."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.filetree import changes
from bascule.filetree.changes import CHANGED, GONE, WHOLE, Changes, JournalUnreadable, Log, Mark

NAMES = st.binary(min_size=1, max_size=6).filter(lambda name: b"\0" not in name and not name.startswith(b"/"))
EVENTS = st.lists(st.tuples(NAMES, st.sampled_from([CHANGED, GONE, WHOLE])), max_size=40)


def everything(log: Log, since: int = 0, **more: int) -> Changes:
    return changes.read([log.records(**more)], "g", Mark("g", since), log.sequence)


@given(EVENTS, st.integers(0, 40), st.integers(1, 7))
def test_what_happened_after_a_point_is_read_whatever_was_forgotten_before(
    events: list[tuple[bytes, bytes]], point: int, cut: int
) -> None:
    log = Log(1 << 20)
    appended = b""
    for name, kind in events:
        before = log.sequence
        log.note(name, kind)
        appended += log.records(before)
    later = {name for name, _ in events[point:]}
    last_kind = dict(events)
    pieces = [appended[at : at + cut] for at in range(0, len(appended), cut)]
    from_appended = changes.read(pieces, "g", Mark("g", min(point, log.sequence)), log.sequence)
    log.forget(point)
    from_compacted = everything(log, min(point, log.sequence))
    assert from_appended.complete
    assert from_appended == from_compacted
    assert from_appended.names == later
    assert from_appended.deleted == {name for name in later if last_kind[name] == GONE}
    assert len(b"".join(log.pieces())) <= log.written_size
    assert from_appended.whole >= {name for name, kind in events[point:] if kind == WHOLE}


@given(EVENTS)
def test_what_is_forgotten_gives_its_room_back(events: list[tuple[bytes, bytes]]) -> None:
    log = Log(1 << 20)
    for name, kind in events:
        log.note(name, kind)
    assert log.forget(log.sequence) == len({name for name, _ in events})
    assert (log.size, log.names, log.records()) == (0, {}, b"")


def test_a_log_says_when_it_is_full() -> None:
    log = Log(3 * changes.NAME_COST)
    assert [log.note(name, CHANGED) for name in (b"a", b"b", b"a", b"c")] == [True, True, True, False]


@pytest.mark.parametrize("merged", [False, True])
def test_names_that_come_and_go_do_not_fill_a_log(merged: bool) -> None:
    """Also when the kernel only says that something happened to them."""
    log = Log(3000 * (changes.NAME_COST + 16), missing=lambda above, names: {n for n in names if b"/." in n})
    for number in range(20_000):
        name = b"uploads/.upload-%d" % number
        assert log.note(name, CHANGED)
        assert merged or log.note(name, GONE)
    assert log.size <= log.limit
    found = everything(log)
    assert found.complete
    assert found.listed == {b"uploads"}
    assert len(found.names) < 3000
    # What is there is not left out, and a directory that comes back counts as it did.
    assert log.note(b"uploads/kept", CHANGED)
    assert {b"uploads", b"uploads/kept"} <= everything(log).changed


def test_only_what_is_gone_is_folded_and_only_where_it_is_many() -> None:
    asked: dict[bytes, int] = {}

    def missing(directory: bytes, names: list[bytes]) -> set[bytes]:
        asked[directory] = len(names)
        return {name for name in names if not name.endswith(b"!")}

    log = Log(1 << 30, missing=missing)
    for number in range(1000):
        log.note(b"one by one/%d/a" % number, CHANGED)
        log.note(b"d/gone %d" % number, GONE if number % 2 else CHANGED)
        log.note(b"top %d" % number, CHANGED)
        log.note(b"there/%d!" % number, CHANGED)
    for name, kind in ((b".", CHANGED), (b"d/there!", CHANGED), (b"d/moved", WHOLE), (b"/7", CHANGED)):
        log.note(name, kind)
    before = everything(log).names
    assert log.fold() == 2000
    found = everything(log)
    assert found.listed == {b"d", b"."}
    assert found.names == {name for name in before if not name.startswith((b"d/gone", b"top "))} | {b"d"}
    assert found.whole == {b"d/moved"}
    assert found.inodes == {7}
    # One look for each directory, of which only what may have gone unseen is asked for.
    assert asked == {b"d": 501, b".": 1000, b"there": 1000}
    assert log.size == sum(len(name) + changes.NAME_COST for name in log.names)


def test_a_log_of_names_that_are_there_is_full_when_it_is_full() -> None:
    log = Log(3000 * (changes.NAME_COST + 16))
    noted = [log.note(b"uploads/%d" % number, CHANGED) for number in range(4000)]
    assert noted.index(False) > 2500
    assert log.fold() == 0


def test_other_generations_and_points_that_were_never_reached_are_doubt() -> None:
    log = Log(1 << 20)
    log.note(b"a", CHANGED)
    for since, why in ((None, "no earlier state"), (Mark("h", 0), "restarted"), (Mark("g", 2), "stands at 1")):
        found = changes.read([log.records()], "g", since, log.sequence)
        assert (found.complete, found.names) == (False, frozenset())
        assert why in found.why
        assert found.touches(b"anything")


def test_a_name_is_touched_by_itself_and_by_a_directory_that_counts_as_a_whole() -> None:
    found = Changes(0, 3, frozenset({b"a", b"d"}), frozenset({b"gone"}), True, "", frozenset({b"d"}))
    touched = [name for name in (b"a", b"a/b", b"d", b"d/e/f", b"dd", b"gone", b".") if found.touches(name)]
    assert touched == [b"a", b"d", b"d/e/f", b"gone"]
    root = Changes(0, 1, frozenset({b"."}), frozenset(), True, "", frozenset({b"."}))
    assert root.touches(b"any/thing")


def test_what_is_above_a_path() -> None:
    assert list(changes.parents(b"a/b/c")) == [b"a/b", b"a", b"."]
    assert list(changes.parents(b".")) == []


def test_half_an_entry_was_never_written_and_a_wrong_one_is_an_error() -> None:
    assert changes.read([b"1 C a\x002 C b"], "g", Mark("g", 0), 2).names == {b"a"}
    for text in (b"x C a\0", b"1 C\0", b"1  a\0", b"1 Z a\0"):
        with pytest.raises(JournalUnreadable, match="restart the recorder"):
            changes.read([text], "g", Mark("g", 0), 2)


def test_a_mark_survives_a_file_and_nothing_else_is_one() -> None:
    mark = Mark("g", 7)
    assert Mark.from_any({"generation": "g", "sequence": 7, "more": 1}) == mark
    assert mark.to_text() == "g:7"
    for wrong in (None, "g:7", {}, {"generation": "", "sequence": 7}, {"generation": "g", "sequence": "7"}):
        assert Mark.from_any(wrong) is None
