"""What a record of a restored dump proves, and who may open without one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.guard import state as rule
from bascule.guard.state import Epoch, GuardState, Receipt
from bascule.postgresql import decisions, dump_restore

POSITION = {"system_id": "7", "timeline": "1", "checkpoint_lsn": "0/5000028", "kind": "dump", "dump": "ab" * 32}
RECORD: dict[str, Any] = {
    "state": "proved",
    "in_place": True,
    "manifest": "ab" * 32,
    "position": {"system_id": "7", "timeline": "1", "checkpoint_lsn": "0/5000028"},
    "cluster": {"system_id": "9", "checkpoint_lsn": "0/2000028", "end_lsn": "0/20000A0"},
    "comparison": {"rows_compared": 12, "rows_different": 0, "details": [], "not_proved": [], "kinds": {}},
}


def missing(**changes: Any) -> str | None:
    values = {"position": POSITION, "record": RECORD, "system_id": "9", "end": "0/20000A0", **changes}
    return dump_restore.missing(values["position"], values["record"], system_id=values["system_id"], end=values["end"])


def test_a_cluster_restored_from_the_very_dump_and_compared_holds_everything() -> None:
    assert missing() is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"record": None}, "none was restored"),
        ({"record": {**RECORD, "state": "not_proved", "reason": "a row differs"}}, "a row differs"),
        ({"record": {**RECORD, "in_place": False}}, "no restored dump is in place"),
        ({"record": {**RECORD, "manifest": "cd" * 32}}, "restored from another dump"),
        ({"record": {**RECORD, "position": {**POSITION, "checkpoint_lsn": "0/4000028"}}}, "the other side closed at"),
        ({"record": {**RECORD, "position": {**POSITION, "timeline": "2"}}}, "the other side closed at"),
        ({"system_id": "10"}, "the one that was compared is 9"),
        ({"end": "0/20000D8"}, "something was written here"),
        ({"position": {**POSITION, "kind": "unopened"}}, "names no dump"),
        ({"position": {"system_id": "7", "timeline": "1", "checkpoint_lsn": "0/5000028"}}, "names no dump"),
    ],
)
def test_whatever_else_it_is_it_is_not_proved(changes: dict[str, Any], said: str) -> None:
    assert said in str(missing(**changes))


def closed(side: str, opened: Epoch | None, position: dict[str, str] | None = None) -> GuardState:
    receipt = Receipt("db", side, Epoch(9, "x"), position, "") if position else None
    return GuardState("db", side, promised=Epoch(9, "x"), status=rule.CLOSED, opened=opened, receipt=receipt)


def test_the_side_that_was_open_last_opens_with_what_it_closed_with() -> None:
    own = closed("a", Epoch(3, "x"), POSITION)
    assert dump_restore.still_whole({"kind": "unopened", "opened": ""}, own, POSITION) is None
    assert dump_restore.still_whole({"kind": "unopened", "opened": "2.x"}, own, POSITION) is None
    moved = {**POSITION, "checkpoint_lsn": "0/6000028"}
    assert "its data is at" in str(dump_restore.still_whole({"kind": "unopened", "opened": ""}, own, moved))
    assert "does not say" in str(dump_restore.still_whole(POSITION, own, POSITION))


def test_an_opening_that_was_cut_short_counts_as_open() -> None:
    """It was let through once, under the rule; the same side goes on with what it has."""
    opening = GuardState("db", "b", promised=Epoch(9, "x"), status=rule.OPENING)
    assert dump_restore.still_whole({"kind": "unopened", "opened": "0.adopted"}, opening, POSITION) is None


@given(st.integers(0, 6), st.integers(0, 6))
def test_never_may_both_sides_open_without_a_dump(one: int, other: int) -> None:
    a, b = closed("a", Epoch(one, "x")), closed("b", Epoch(other, "x"))

    def allowed(side: GuardState, peer: GuardState) -> bool:
        return dump_restore.still_whole({"kind": "unopened", "opened": str(peer.opened)}, side, {}) is None

    assert not (allowed(a, b) and allowed(b, a))
    leader = rule.leader(a, b)
    assert [side.side for side, peer in ((a, b), (b, a)) if allowed(side, peer)] == ([leader] if leader else [])


def test_the_guards_alone_say_who_leads() -> None:
    def side(name: str, guard: GuardState, timeline: int) -> decisions.Side:
        return decisions.Side(
            name, guard, True, "shut down", timeline, "7", "0/9", False, False, False, method="dump_restore"
        )

    a, b = side("a", closed("a", Epoch(3, "x")), 1), side("b", closed("b", Epoch(1, "x")), 5)
    assert decisions.leader(a, b) == "a"
    streams = replace(a, method="streaming"), replace(b, method="streaming")
    assert decisions.leader(*streams) == "b"


def test_names_say_where_a_cluster_stands() -> None:
    assert dump_restore.final(POSITION) == "final-7-1-0-5000028"
    assert dump_restore.rehearsal("7") == "rehearsal-7"


def test_a_sequence_of_a_side_that_stood_still_is_exactly_where_it_was() -> None:
    before = {"value": 7, "called": True, "step": 1}
    assert not dump_restore.sequence_differs(before, {"value": 7, "called": True}, still=True)
    assert dump_restore.sequence_differs(before, {"value": 8, "called": True}, still=True)
    assert not dump_restore.sequence_differs(before, {"value": 8, "called": True}, still=False)
    assert dump_restore.sequence_differs(before, {"value": 6, "called": True}, still=False)


def test_a_forecast_is_what_was_measured_and_grows_with_the_data() -> None:
    rehearsed = {"state": "proved", "seconds": 30.0, "taken": {"seconds": 10.0, "size_bytes": 1000}}
    assert dump_restore.forecast(rehearsed, 1000) == 40
    assert dump_restore.forecast(rehearsed, 2000) == 80
    assert dump_restore.forecast(rehearsed, 500) == 40
    assert dump_restore.forecast({**rehearsed, "state": "not_proved"}, 1000) is None
    assert dump_restore.forecast(None, 1000) is None


@pytest.mark.parametrize(("text", "found"), [("", 0), ("20M", 20480), ("64k", 64), ("100", 100)])
def test_rates_are_read_as_pg_basebackup_reads_them(text: str, found: int) -> None:
    assert dump_restore.kibibytes(text) == found


def test_only_the_cluster_that_was_compared_is_called_proved() -> None:
    assert dump_restore.verified(RECORD, "9")["rows_compared"] == 12
    assert dump_restore.verified(RECORD, "9")["safety_dump"] == "proved"
    for record, system_id in ((RECORD, "7"), (None, "9"), ({**RECORD, "state": "not_proved"}, "9")):
        found = dump_restore.verified(record, system_id)
        assert found["rows_compared"] == 0
        assert found["not_proved"]
        assert found["safety_dump"] == "not_proved"


@pytest.mark.parametrize(
    ("rehearsed", "expected"),
    [
        (None, ""),
        ({"state": "proved", "manifest": "ab", "tried": True}, ""),
        # The way to here failed: the dump is as good as before.
        ({"state": "not_proved", "manifest": "ab", "tried": False}, ""),
        ({"state": "not_proved", "manifest": "ab"}, ""),
        ({"state": "not_proved", "manifest": "ab", "tried": True}, "ab"),
    ],
)
def test_a_rehearsal_that_was_refused_is_taken_again(rehearsed: Any, expected: str) -> None:
    """What is mended at the source since is in no dump of before."""
    assert dump_restore.refused(rehearsed) == expected
