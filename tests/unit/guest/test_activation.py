"""A volume that was activated to be read is deactivated again, also when who reads it is stopped or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import CommandFailed
from bascule.guest.io import disk_source

VOLID = "fast:vm-100-disk-0"


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """A device that a stand-in for Proxmox's library makes and removes; it logs what it did."""
    found = Path(f"/dev/shm/bascule-test-{os.getpid()}")
    perl = tmp_path / "perl"
    log = tmp_path / "log"
    off, on = f"echo off >> {log}; rm -f {found}", f"echo on >> {log}; truncate -s 1M {found}"
    perl.write_text(f'#!/bin/sh\ncase "$*" in *deactivate*) {off};; *) {on};; esac\n')
    perl.chmod(0o755)
    yield found
    found.unlink(missing_ok=True)


def _end_while_reading(device: Path, place: Path, number: signal.Signals) -> int:
    """Have the agent's command read the device, and end it in the middle."""
    (place / "disk-digest.job.json").write_text(
        json.dumps({"job_id": "1", "disks": [{"name": "scsi0", "path": str(device), "volid": VOLID}]})
    )
    code = f"""
        import time
        from pathlib import Path
        from bascule.guest.io import disk_digest, disk_source
        disk_digest.directory = lambda component: {str(place)!r}
        disk_source.ACTIVATED = Path({str(place / "activated")!r})
        def slow(*given, **more):
            Path({str(place / "reading")!r}).touch()
            time.sleep(60)
        disk_source.digest = slow
        disk_digest.work("courses_guest")
    """
    environment = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}"}
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=environment)
    deadline = time.monotonic() + 60
    while not (place / "reading").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    return process.wait(60)


def test_a_unit_that_is_stopped_leaves_the_volume_as_it_was(device: Path, tmp_path: Path) -> None:
    assert _end_while_reading(device, tmp_path, signal.SIGTERM) == 128 + signal.SIGTERM
    assert (tmp_path / "log").read_text().split() == ["on", "off"]
    assert list((tmp_path / "activated").iterdir()) == []
    assert not device.exists()


def test_what_a_kill_has_left_active_is_put_right_by_the_next_one(
    device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _end_while_reading(device, tmp_path, signal.SIGKILL) == -signal.SIGKILL
    assert device.exists()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with disk_source.activated({"path": str(device), "volid": VOLID}):
        assert device.exists()
    assert not device.exists()
    assert list((tmp_path / "activated").iterdir()) == []


def test_a_volume_that_was_active_before_is_refreshed_and_stays_so(
    device: Path, activated: Path, library_standin: Path
) -> None:
    """What its node holds of it may be older than the volume group."""
    device.write_bytes(b"x")
    with disk_source.activated({"path": str(device), "volid": VOLID}):
        assert not activated.exists()
        assert library_standin.read_text().split() == ["on"]
    assert library_standin.read_text().split() == ["on"]
    assert device.exists()


def test_one_that_could_not_be_deactivated_stays_noted_as_ours(
    device: Path, tmp_path: Path, activated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    perl = tmp_path / "perl"
    works = perl.read_text()
    perl.write_text(works.replace("rm -f", "exit 5; rm -f"))
    with disk_source.activated({"path": str(device), "volid": VOLID}):
        pass
    assert device.exists()
    assert len(list(activated.iterdir())) == 1
    perl.write_text(works)
    with disk_source.activated({"path": str(device), "volid": VOLID}):
        pass
    assert not device.exists()
    assert list(activated.iterdir()) == []


def test_one_that_could_not_be_activated_is_not_taken_for_ours(device: Path, activated: Path) -> None:
    def refuses(*given: Any, **more: Any) -> Any:
        raise CommandFailed(expected="perl to end well", found="no such volume group")

    with (
        pytest.raises(Exception, match="no such volume group"),
        disk_source.activated({"path": str(device), "volid": VOLID}, refuses),
    ):
        pass
    assert list(activated.iterdir()) == []
