"""LVM-thin for real: a machine whose kernel has it carries changed blocks between the pools of two volume groups."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.integration.playbooks import ROOT
from tests.sites import lvm_machine

pytestmark = pytest.mark.long
KIB = 1 << 10


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the machine has found, all in one start."""
    settings = [sys.executable, "tests/lab/lab.py", "settings"]
    subprocess.run(settings, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=60, check=True)
    result = lvm_machine.run(tmp_path_factory.mktemp("lvm"))
    assert "failed" not in result, result["failed"]
    return result


def test_changed_blocks_come_over_and_nothing_else_is_written(found: dict[str, Any]) -> None:
    carried = found["changed_blocks"]
    assert carried["inactive_before"]
    assert carried["equal"]
    assert carried["digests_equal"]
    # A block of 16 KiB that differs, four chunks and one that are new, two that were zeroed.
    assert carried["literal"] == (16 + 4 * 64 + 64 + 2 * 64) * KIB
    assert carried["literal_again"] == 0


def test_holes_stay_holes(found: dict[str, Any]) -> None:
    carried = found["changed_blocks"]
    assert carried["before"] == [16 + 4 + 1, 16 + 2]
    # Reading maps nothing; zeros are written as zeros, so the two zeroed chunks keep their place.
    assert carried["mapped"] == [16 + 4 + 1, 16 + 2 + 4 + 1]


def test_thin_volumes_stay_active_and_others_are_left_as_they_were(found: dict[str, Any]) -> None:
    assert found["changed_blocks"]["active_after"] == [True, True]
    assert found["thick"] == {
        "literal": 64 * KIB,
        "active_after": [False, False],
        "nodes_after": [False, False],
        "equal": True,
        "notes": [],
    }
    assert found["changed_blocks"]["notes"] == []


def test_a_larger_volume_holds_zeros_behind_the_disk(found: dict[str, Any]) -> None:
    assert found["larger"]["equal"]
    assert found["larger"]["rest_is_zeros"]


def test_a_volume_in_use_is_refused(found: dict[str, Any]) -> None:
    assert "is mounted, or part of another device" in found["in_use"]["below"]
    assert "sleep (process" in found["in_use"]["opened"]
    assert found["in_use"]["unchanged"]


def test_a_volume_that_is_not_there_is_named(found: dict[str, Any]) -> None:
    assert "no such logical volume two/vm-109-disk-0" in found["unknown"]["said"]


def test_a_full_pool_fails_the_transfer(found: dict[str, Any]) -> None:
    assert found["full"]["percent"] == 100
    assert "/dev/two/vm-103-disk-0" in found["full"]["said"]
    assert "NOT BASCULE'S" not in found["full"]["said"]
