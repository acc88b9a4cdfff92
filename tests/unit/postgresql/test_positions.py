"""Positions in the log, control files and histories: what a receipt's position proves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import BasculeError
from bascule.postgresql import control, lsn

CONTROLDATA = """\
pg_control version number:            1300
Database system identifier:           7710204960203285544
Database cluster state:               shut down
Latest checkpoint location:           0/70001F8
Latest checkpoint's REDO location:    0/70001F8
Latest checkpoint's TimeLineID:       1
Minimum recovery ending location:     0/0
Min recovery ending loc's timeline:   0
wal_level setting:                    replica
Bytes per WAL segment:                16777216
Latest checkpoint's NextXID:          1:752
Data page checksum version:           1
"""
POSITION = {"system_id": "7", "timeline": "1", "checkpoint_lsn": "0/7000100"}


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_lsn_round_trip(value: int) -> None:
    """What is written is read again."""
    assert lsn.parse(lsn.render(value)) == value


@pytest.mark.parametrize("text", ["", "0", "x/y", "0-1"])
def test_lsn_refuses(text: str) -> None:
    """Anything that is no position is refused, never taken for zero."""
    with pytest.raises(BasculeError, match="WAL position"):
        lsn.parse(text)


def test_behind_needs_both() -> None:
    """An unknown position is an unknown distance, not none."""
    assert lsn.behind("0/10", "0/30") == 0x20
    assert lsn.behind("0/30", "0/10") == 0
    assert lsn.behind(None, "0/10") is None
    assert lsn.behind("0/10", "") is None


def test_control_file() -> None:
    """The position of a receipt comes from the control file."""
    found = control.parse(CONTROLDATA)
    assert found.state == control.SHUT_DOWN
    assert found.checksums
    assert found.position() == {
        "system_id": "7710204960203285544",
        "timeline": "1",
        "checkpoint_lsn": "0/70001F8",
    }


def test_control_file_of_a_standby_counts_what_it_replayed() -> None:
    """The newest timeline may stand in the minimum recovery point only."""
    text = CONTROLDATA.replace("loc's timeline:   0", "loc's timeline:   3")
    assert control.parse(text).newest_timeline == 3


def test_control_file_must_be_whole() -> None:
    """A line that is missing is named."""
    with pytest.raises(BasculeError, match="Database cluster state"):
        control.parse(CONTROLDATA.replace("Database cluster state", "Something else"))
    with pytest.raises(BasculeError, match="numbers"):
        control.parse(CONTROLDATA.replace("TimeLineID:       1", "TimeLineID:       one"))


def holds(reached: str, timeline: int = 1, system_id: str = "7", history: str = "", **position: str) -> str | None:
    """Ask whether a server holds a position."""
    return control.holds(
        {**POSITION, **position},
        system_id=system_id,
        timeline=timeline,
        reached=reached,
        history=control.parse_history(history),
    )


def test_holds_only_beyond_the_shutdown_record() -> None:
    """A shutdown checkpoint's position is where its record begins: having got there is not having it."""
    assert holds("0/7000178") is None
    assert "receipt says" in str(holds("0/7000100"))
    assert "receipt says" in str(holds("0/70000FF"))


def test_holds_a_replay_position_exactly() -> None:
    """A standby's position is where its replay ended."""
    assert holds("0/7000100", kind="replay") is None
    assert "receipt says" in str(holds("0/70000FF", kind="replay"))


def test_holds_asks_for_the_same_cluster_and_timeline() -> None:
    """The same number on another history is nothing."""
    assert "another cluster" in str(holds("0/8000000", system_id="8"))
    assert "it is on timeline 1" in str(_on_an_old_timeline())
    assert "does not come from" in str(holds("0/8000000", timeline=2))
    assert "does not name" in str(_without_position())


def _on_an_old_timeline() -> str | None:
    return control.holds({**POSITION, "timeline": "2"}, system_id="7", timeline=1, reached="0/8000000", history=[])


def _without_position() -> str | None:
    return control.holds({"system_id": "7"}, system_id="7", timeline=1, reached="0/8000000", history=[])


def test_holds_a_position_before_the_fork_only() -> None:
    """A promoted server has of the old timeline what lies before its fork."""
    assert holds("0/9000000", timeline=2, history="1\t0/7000178\tno recovery target specified\n") is None
    assert "receipt says" in str(holds("0/9000000", timeline=2, history="1\t0/7000100\treason\n"))


def test_divergent_bytes() -> None:
    """What the old side wrote beyond the fork."""
    assert control.divergent_bytes("0/7000178", "0/7000178") == 0
    assert control.divergent_bytes("0/7000200", "0/7000178") == 0x88
    assert control.divergent_bytes("0/7000100", "0/7000178") == 0
