"""The state at the fence is kept before anything overwrites it, and the slot lasts so long."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from bascule.postgresql import compatibility, restore_point
from bascule.postgresql.io.standby import restore_point as measuring

from .test_compatibility import GIB, cluster


def side(**changes: Any) -> dict[str, Any]:
    """A source of 500 GiB that copies 200 MiB/s and writes 5 MiB of log a second, whose slot keeps 8 GiB."""
    known = {
        "size_bytes": 500 * GIB,
        "free_bytes": 2000 * GIB,
        "log_kept_bytes": 8 * GIB,
        "shares_blocks": False,
        "copy_bytes_per_second": 200 << 20,
        "wal_bytes_per_second": 0,
        "wal_average_bytes_per_second": 5 << 20,
    }
    return cluster(**{**known, **changes})


TARGET = cluster(side="db-tls", free_bytes=2000 * GIB)


def test_a_copy_that_outlasts_the_slot_is_refused_with_the_size_that_lasts() -> None:
    found = compatibility.differences(side(), TARGET)
    assert len(found) == 1
    assert "takes about 2560 s" in found[0]
    assert "max_slot_wal_keep_size to 25GB" in found[0]
    assert compatibility.differences(side(log_kept_bytes=25 * GIB), TARGET) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"shares_blocks": True, "copy_bytes_per_second": None},
        {"size_bytes": GIB, "log_kept_bytes": 1},
        {"log_kept_bytes": 99 * GIB},
    ],
)
def test_what_lasts_long_enough_is_only_said(changes: dict[str, Any]) -> None:
    assert compatibility.differences(side(**changes), TARGET) == []
    assert "keeps its state at the fence in a" in " ".join(compatibility.notes(side(**changes), TARGET))


def test_a_copy_that_shares_its_blocks_needs_a_tenth_of_the_room() -> None:
    small = {"free_bytes": 60 * GIB, "log_kept_bytes": 30 * GIB}
    assert compatibility.differences(side(**small, shares_blocks=True), TARGET) == []
    assert "to keep its state aside" in compatibility.differences(side(**small), TARGET)[0]


def test_the_higher_rate_of_either_side_counts() -> None:
    quiet = side(wal_average_bytes_per_second=0, wal_bytes_per_second=0)
    assert restore_point.differences(quiet, TARGET) == []
    assert restore_point.differences(quiet, {"wal_average_bytes_per_second": 5 << 20})
    assert restore_point.differences({**quiet, "wal_bytes_per_second": 5 << 20}, TARGET)


def test_what_was_not_measured_is_not_enough() -> None:
    found = restore_point.differences(side(copy_bytes_per_second=None), TARGET)
    assert "was not measured" in found[0]


def test_measuring_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "main"
    data.mkdir()
    assert measuring.measure(data) == {"shares_blocks": False, "copy_bytes_per_second": None}
    (data / "PG_VERSION").write_text("15\n")
    monkeypatch.setattr(measuring, "_TRIED", 2 << 20)
    found = measuring.measure(data)
    assert found["shares_blocks"] or found["copy_bytes_per_second"] > 0
    monkeypatch.setattr(fcntl, "ioctl", lambda *_: 0)
    assert measuring.measure(data) == {"shares_blocks": True, "copy_bytes_per_second": None}
    assert [path.name for path in tmp_path.iterdir()] == ["main"]
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]
