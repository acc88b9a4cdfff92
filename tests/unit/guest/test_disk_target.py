"""What is opened to be written is the volume that the API has described, as it was when it was looked at."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guest.io import disk_blocks, disk_target, disks, qemu_image
from bascule.system.io.process import Result, run

from .schema import ROOT

SIZE = 4 << 20


def _disk(path: Path, **given: Any) -> dict[str, Any]:
    return {"name": "scsi0", "path": str(path), "format": "raw", "volid": "a:b", "length": SIZE, "size": SIZE, **given}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A file of the disk's bytes."""
    path = tmp_path / "disk.raw"
    path.write_bytes(b"x" * SIZE)
    return path


@pytest.mark.parametrize("given", [{"size": SIZE + 512}, {"size": SIZE - 512}, {"size": 0}, {"length": 512}])
def test_a_volume_of_another_size_than_proxmox_states_is_not_written(disk: Path, given: dict[str, int]) -> None:
    if "length" not in given:
        words = f"expected: the {given['size']} bytes in .* that Proxmox states of a:b; found: {SIZE}"
        with pytest.raises(BasculeError, match=words), disk_target.opened(_disk(disk, **given)):
            raise AssertionError("it was opened")
    with disk_target.opened(_disk(disk)) as target:
        assert target.size == SIZE


def test_of_a_file_whole_sectors_count(disk: Path) -> None:
    with disk.open("ab") as handle:
        handle.write(b"y")
    with disk_target.opened(_disk(disk, size=SIZE + 512)) as target:
        assert target.size == SIZE + 1


def test_a_volume_that_is_much_larger_is_another_disk(disk: Path) -> None:
    os.truncate(disk, SIZE + (64 << 20))
    larger = {"size": SIZE + (64 << 20)}
    with pytest.raises(BasculeError, match="larger by less than 67108864"), disk_target.opened(_disk(disk, **larger)):
        raise AssertionError("it was opened")
    with disk_target.opened(_disk(disk, name="efidisk0", **larger)) as target:
        assert target.size == larger["size"]


def test_a_disk_of_another_size_is_not_sent(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_blocks, "directory", lambda component: str(tmp_path))
    disk_blocks.lend("courses_guest", [_disk(disk, size=SIZE - 512)])
    words = ["disk-blocks", "scsi0", "512", "16384", "1", "0"]
    with pytest.raises(BasculeError, match=f"{SIZE - 512} bytes in .*found: {SIZE}; state now: nothing was sent"):
        disk_blocks.serve("courses_guest", words)


def test_another_file_under_the_same_name_is_not_written(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def swapped(path: Any, flags: int, *given: Any) -> int:
        if str(path) == str(disk):
            disk.rename(disk.with_suffix(".old"))
            disk.write_bytes(b"z" * SIZE)
        return real(path, flags, *given)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(BasculeError, match="another file or device has its name"):
        disk_target._claimed(str(disk))


def test_udev_settles_before_the_volume_is_deactivated_also_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library_standin: Path
) -> None:
    place = Path(f"/dev/shm/bascule-test-target-{os.getpid()}")
    ran: list[str] = []

    def runner(argv: Sequence[str], **given: Any) -> Result:
        ran.append(argv[0] if argv[0] == "udevadm" else "off" if "deactivate" in argv[3] else "on")
        if ran[-1] == "on":
            place.write_bytes(bytes(SIZE))
        return Result(tuple(argv), 0, "", "")

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    try:
        with pytest.raises(BasculeError, match="a block device at"), disk_target.opened(_disk(place), runner):
            raise AssertionError("it was opened")
    finally:
        place.unlink(missing_ok=True)
    assert ran == ["on", "udevadm", "off"]


class _ServerStandIn:
    """Stands in for a client of qemu-nbd: it has the image in memory."""

    def __init__(self, server: int) -> None:
        self.server, self.size, self.content = server, SIZE, bytearray(SIZE)

    def next_data(self, offset: int) -> int:
        return offset

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.content[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.content[offset : offset + len(data)] = data

    def flush(self) -> None:
        pass


def test_who_opens_an_image_of_ceph_while_it_is_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_target, "_LOOK", 0.0)
    path = f"rbd:vms/vm-100-disk-{os.getpid()}:conf=/etc/pve/ceph.conf"
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)", path]
    with subprocess.Popen(sleeper) as server:
        client = _ServerStandIn(server.pid)

        @contextlib.contextmanager
        def served(*given: Any) -> Iterator[_ServerStandIn]:
            yield client

        monkeypatch.setattr(qemu_image, "opened_to_write", served)
        with disk_target._opened(path, "raw", run) as target:
            target.write(0, b"ours")
            with subprocess.Popen(sleeper) as guest:
                # The kernel lets whoever started it go on before it shows the arguments.
                while path.encode() not in Path(f"/proc/{guest.pid}/cmdline").read_bytes():
                    time.sleep(0.01)
                with pytest.raises(BasculeError, match=f"process {guest.pid}"):
                    target.write(0, b"late")
                guest.kill()
        server.kill()
    assert client.content[:4] == b"ours"


def test_what_is_digested_is_on_the_medium_first(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[str] = []
    real_read, real_sync = os.pread, os.fsync

    def read(*given: Any) -> bytes:
        did.append("read")
        return real_read(*given)

    def sync(descriptor: int) -> None:
        did.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_sync(descriptor)

    monkeypatch.setattr(os, "pread", read)
    monkeypatch.setattr(os, "fsync", sync)
    disks.digest({"path": str(disk), "format": "raw"})
    assert did[:2] == [str(disk), "read"]


def test_nothing_is_left_writing_when_a_copy_is_started() -> None:
    """By the roles; the module ends the unit of the transfer."""
    for name, starts in (("take_over", "take_over"), ("check_boot", "proof_boot")):
        text = (ROOT / f"roles/proxmox_guest/tasks/{name}.yml").read_text()
        assert 0 < text.index("state: end") < text.index(f"operation: {starts}")


@pytest.mark.parametrize("call", ["fsync", "pwrite"])
def test_a_storage_that_does_not_take_what_is_written_is_named(
    disk: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A thin pool without room takes every write, and says so only when it has to be durable."""

    def refuse(*given: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    words = f"expected: the storage of {disk} to take what is written .*; found: Input/output error .*thin pool"

    def written() -> None:
        with disk_target.opened(_disk(disk)) as target:
            monkeypatch.setattr(os, call, refuse)
            target.write(0, b"z")

    with pytest.raises(BasculeError, match=words):
        written()
