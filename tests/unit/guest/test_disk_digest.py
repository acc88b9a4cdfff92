"""Disks that are digested by a unit: its result counts for one question only, and is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bascule.agent.__main__ import main as agent
from bascule.errors import BasculeError
from bascule.guest.io import disk_digest, disks, pull
from bascule.system.io import storage
from bascule.system.io.process import Result


class Units:
    """systemd in memory: a unit that is started has ended when it is first asked about."""

    def __init__(self, knows: bool = True) -> None:
        self.knows = knows
        self.running = {"bascule-c-pull-delta", pull.digest_unit("c")}
        self.stopped: list[str] = []

    def __call__(self, argv: Sequence[str], **options: Any) -> Result:
        if argv[0] == "systemd-run" and self.knows:
            agent(list(argv[-2:]))
        unit = str(argv[-1]).removesuffix(".service")
        if list(argv[:2]) == ["systemctl", "stop"]:
            self.running.discard(unit)
            self.stopped.append(unit)
        return Result(tuple(argv), 0, "active\n" if unit in self.running else "inactive\n", "")


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk, and the component's folder beside it."""
    monkeypatch.setattr(disk_digest, "directory", lambda component: str(tmp_path / component))
    path = tmp_path / "disk"
    path.write_bytes(b"abc")
    return path


def wanted(disk: Path) -> list[dict[str, str]]:
    """Return the disk as a task names it."""
    return [{"name": "scsi0", "path": str(disk)}]


def test_what_the_unit_has_read_is_the_position(disk: Path) -> None:
    units = Units()
    job = disk_digest.begin("c", wanted(disk), units)
    assert len(units.stopped) == 2, "neither a transfer nor a reader of an earlier decision goes on"
    expected = {"disk:scsi0": disks.digest({"path": str(disk)})}
    disk.write_bytes(b"read by the unit, not again")
    assert disk_digest.collect("c", wanted(disk), job, units) == expected


def test_the_result_of_another_question_is_not_taken(disk: Path) -> None:
    units = Units()
    earlier = disk_digest.begin("c", wanted(disk), units)
    kept = storage.read_json(disk_digest.result_path("c"))
    disk.write_bytes(b"abcd")
    later = disk_digest.begin("c", wanted(disk), Units(knows=False))
    assert later != earlier
    assert storage.read_json(disk_digest.result_path("c")) is None
    storage.write_json(disk_digest.result_path("c"), kept)
    assert disk_digest.collect("c", wanted(disk), later, units) == {"disk:scsi0": disks.digest({"path": str(disk)})}


def test_an_agent_of_an_earlier_version_costs_time_only(disk: Path) -> None:
    units = Units(knows=False)
    job = disk_digest.begin("c", wanted(disk), units)
    assert disk_digest.collect("c", wanted(disk), job, units) == {"disk:scsi0": disks.digest({"path": str(disk)})}


def test_a_disk_that_somebody_has_open_has_no_position(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "held_by", lambda *about: ["kvm (process 7)"])
    units = Units()
    job = disk_digest.begin("c", wanted(disk), units)
    assert storage.read_json(disk_digest.result_path("c")) is None
    with pytest.raises(BasculeError, match=r"found: kvm \(process 7\)"):
        disk_digest.collect("c", wanted(disk), job, units)
