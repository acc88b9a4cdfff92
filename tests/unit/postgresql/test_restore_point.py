"""The state at the fence is kept before anything overwrites it, and the slot lasts so long."""

from __future__ import annotations

import fcntl
import random
from pathlib import Path
from typing import Any

import pytest

from bascule.postgresql import compatibility, restore_point
from bascule.postgresql.io.standby import restore_point as measuring

from .test_compatibility import GIB, cluster


def side(**changes: Any) -> dict[str, Any]:
    """A source of 500 GiB that copies 200 MiB/s and writes 5 MiB of log a second, whose slot keeps 8 GiB.

    It takes no safety dump.
    """
    known = {
        "size_bytes": 500 * GIB,
        "free_bytes": 2000 * GIB,
        "log_kept_bytes": 8 * GIB,
        "shares_blocks": False,
        "copy_bytes_per_second": 200 << 20,
        "wal_bytes_per_second": 0,
        "wal_average_bytes_per_second": 5 << 20,
        "restore_point": "auto",
        "dumps": False,
        "dumps_in": "/var/backups/bascule",
        "dumps_beside": True,
        "dumps_free_bytes": 2000 * GIB,
        "dump_bytes_per_second": 50 << 20,
        "dump_ratio": 0.25,
    }
    return cluster(**{**known, **changes})


TARGET = cluster(side="db-tls", free_bytes=2000 * GIB, log_kept_bytes=8 * GIB)


def facing(closing: dict[str, Any]) -> dict[str, Any]:
    """The side that opens, whose slot keeps as much as that of the one that closes."""
    return {**TARGET, "log_kept_bytes": closing["log_kept_bytes"]}


def test_a_copy_that_outlasts_the_slot_is_refused_with_the_size_that_lasts() -> None:
    assert len(compatibility.differences(side(restore_point="copy"), TARGET)) == 1
    found = compatibility.differences(side(), TARGET)
    assert "no safety dump in its place" in found[1]
    assert "takes about 2560 s" in found[0]
    assert "max_slot_wal_keep_size to 25GB" in found[0]
    assert compatibility.differences(side(), {**TARGET, "log_kept_bytes": 25 * GIB}) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"shares_blocks": True, "copy_bytes_per_second": None},
        {"size_bytes": GIB, "log_kept_bytes": 1},
        {"log_kept_bytes": 99 * GIB},
    ],
)
def test_what_lasts_long_enough_is_only_said(changes: dict[str, Any]) -> None:
    closing = side(**changes)
    assert compatibility.differences(closing, facing(closing)) == []
    assert "keeps its state at the fence in a" in " ".join(compatibility.notes(closing, facing(closing)))


def test_a_copy_that_shares_its_blocks_needs_a_tenth_of_the_room() -> None:
    small = {"free_bytes": 60 * GIB, "log_kept_bytes": 30 * GIB}
    assert compatibility.differences(side(**small, shares_blocks=True), TARGET) == []
    assert "to keep its state aside" in compatibility.differences(side(**small), TARGET)[0]


def test_the_higher_rate_of_either_side_counts() -> None:
    quiet = side(wal_average_bytes_per_second=0, wal_bytes_per_second=0)
    assert restore_point.differences(quiet, TARGET) == []
    assert restore_point.differences(quiet, {**TARGET, "wal_average_bytes_per_second": 5 << 20})
    assert restore_point.differences({**quiet, "wal_bytes_per_second": 5 << 20}, TARGET)


def test_what_was_not_measured_is_not_enough() -> None:
    found = restore_point.differences(side(copy_bytes_per_second=None), TARGET)
    assert "was not measured" in found[0]


# What the dump of 500 GiB takes: a quarter of it, twice; its proof all of it, a tenth more, and the dump decrypted.
DUMP, PROOF = 250 * GIB, 800 * GIB


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        # A copy that shares its blocks is at once, whatever the slot keeps.
        ({"shares_blocks": True, "log_kept_bytes": 1}, "reflink"),
        ({"shares_blocks": True, "free_bytes": 50 * GIB}, "reflink"),
        ({"shares_blocks": True, "free_bytes": 50 * GIB - 1}, ""),
        # 2,560 s of 5 MiB, twice, is exactly 25 GiB.
        ({"log_kept_bytes": 25 * GIB}, "copy"),
        ({"log_kept_bytes": 25 * GIB - 1}, "dump"),
        ({"log_kept_bytes": -1}, "copy"),
        # Up to a minute it is built again as soon.
        ({"copy_bytes_per_second": 500 * GIB // 60 + 1, "log_kept_bytes": 1}, "copy"),
        ({"copy_bytes_per_second": 500 * GIB // 61, "log_kept_bytes": 1}, "dump"),
        ({"copy_bytes_per_second": None}, "dump"),
        # A copy without room is none, however much the slot keeps; nor is a dump that cannot be proved.
        ({"log_kept_bytes": 99 * GIB, "free_bytes": 550 * GIB}, "copy"),
        ({"log_kept_bytes": 99 * GIB, "free_bytes": 550 * GIB - 1}, ""),
        ({"free_bytes": PROOF + DUMP}, "dump"),
        ({"free_bytes": PROOF + DUMP - 1}, ""),
        ({"free_bytes": PROOF, "dumps_beside": False}, "dump"),
        ({"dumps_free_bytes": DUMP}, "dump"),
        ({"dumps_free_bytes": DUMP - 1}, ""),
        ({"dump_ratio": 0.75, "dumps_free_bytes": 500 * GIB}, "dump"),
        ({"dump_bytes_per_second": None}, ""),
        ({"dumps": False}, ""),
        ({"left_out": ["old (it refuses connections)"]}, ""),
        # What a plan asks for by name.
        ({"restore_point": "copy"}, ""),
        ({"restore_point": "copy", "log_kept_bytes": 25 * GIB}, "copy"),
        ({"restore_point": "dump", "shares_blocks": True}, "dump"),
        ({"restore_point": "dump", "dumps": False, "shares_blocks": True}, ""),
        ({"restore_point": "dump", "dumps_free_bytes": DUMP - 1}, ""),
    ],
)
def test_the_kind_is_chosen_from_what_was_measured(changes: dict[str, Any], kind: str) -> None:
    """A copy wherever it cannot cost the slot; else the dump; else a refusal that names both."""
    closing = side(**{"dumps": True, **changes})
    found = restore_point.choose(closing, facing(closing))
    assert (found.kind, bool(found.against)) == (kind, not kind), found
    assert restore_point.differences(closing, facing(closing)) == list(found.against)


def test_a_dump_by_name_may_go_without_its_proof_and_says_what_is_given_up() -> None:
    closing = side(dumps=True, restore_point="dump", free_bytes=DUMP, left_out=["old (a template)"])
    found = restore_point.notes(closing, TARGET)
    assert restore_point.differences(closing, TARGET) == []
    assert "follows at once and keeps its state at the fence in its safety dump" in found[0]
    assert f"about {DUMP} bytes in about 10240 s" in found[0]
    assert "the state at the fence is lost if the server of db-mtp ends or a return begins" in found[0]
    assert f"to prove the safety dump by restoring it once takes {PROOF}" in found[1]
    assert found[2] == "database old (a template) of db-mtp is in no dump"


def test_a_safety_dump_beside_a_copy_that_has_no_room_is_said() -> None:
    closing = side(dumps=True, shares_blocks=True, dumps_free_bytes=1)
    found = restore_point.notes(closing, TARGET)
    assert "shares its blocks" in found[0]
    assert "1 bytes free in /var/backups/bascule for a safety dump" in found[1]
    assert len(restore_point.notes({**closing, "dumps": False}, TARGET)) == 1


def test_capture_keeps_the_kind_of_either_side_and_what_is_against_the_one_that_closes() -> None:
    large, small = side(dumps=True), side(side="db-tls", shares_blocks=True)
    assert restore_point.chosen(large, small) == {"kinds": {"db-mtp": "dump", "db-tls": "reflink"}, "against": []}
    found = restore_point.chosen(side(), small)
    assert found["kinds"] == {"db-tls": "reflink"}
    assert len(found["against"]) == 2
    assert restore_point.chosen(small, side())["against"] == []


def test_the_slot_that_has_to_last_is_at_the_side_that_opens() -> None:
    large = side(restore_point="copy")
    assert restore_point.choose({**large, "log_kept_bytes": 1}, {**TARGET, "log_kept_bytes": 25 * GIB}).kind == "copy"
    assert not restore_point.choose({**large, "log_kept_bytes": 25 * GIB}, {**TARGET, "log_kept_bytes": 1}).kind


def test_measuring_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "main"
    data.mkdir()
    dumps = tmp_path / "var" / "backups"
    found = measuring.measure(data, dumps)
    assert [found[name] for name in ("shares_blocks", "copy_bytes_per_second", "dump_bytes_per_second")] == [
        False,
        None,
        None,
    ]
    assert (found["dumps_beside"], found["dumps_free_bytes"] > 0) == (True, True)
    (data / "PG_VERSION").write_text("15\n")
    monkeypatch.setattr(measuring, "_TRIED", 2 << 20)
    found = measuring.measure(data, dumps)
    assert found["shares_blocks"] or found["copy_bytes_per_second"] > 0
    monkeypatch.setattr(fcntl, "ioctl", lambda *_: 0)
    found = measuring.measure(data, dumps)
    assert (found["shares_blocks"], found["copy_bytes_per_second"]) == (True, None)
    assert [path.name for path in tmp_path.iterdir()] == ["main"]
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]


def test_how_far_a_dump_shrinks_is_seen_in_the_largest_files(tmp_path: Path) -> None:
    directory = tmp_path / "main" / "base" / "5"
    directory.mkdir(parents=True)
    (tmp_path / "main" / "PG_VERSION").write_text("15\n")
    (directory / "1").write_bytes(bytes(3 << 20))
    (directory / "2").write_bytes(random.Random(7).randbytes(3 << 20))
    (directory / "3").write_bytes(bytes(1 << 20))
    found = measuring.measure(tmp_path / "main", tmp_path)
    assert found["dump_ratio"] == pytest.approx(0.5, abs=0.02)
    assert found["dump_bytes_per_second"] > 0
