"""Disks on block devices and in images: real loop devices, the real qemu-nbd where there is one, and its protocol."""

from __future__ import annotations

import errno
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import BasculeError, CommandFailed
from bascule.guest import disk_kinds
from bascule.guest.chunks import CHUNK
from bascule.guest.io import disk_digest, disk_source, disks, qemu_image
from bascule.system.io.process import Result

SIZE = 2 * CHUNK + 512 * 9


def _content() -> bytes:
    """Data, a chunk of zeros, data to the end."""
    return random.Random(5).randbytes(CHUNK) + bytes(CHUNK) + random.Random(6).randbytes(512 * 9)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """The disk as a file."""
    path = tmp_path / "vm-100-disk-0.raw"
    path.write_bytes(_content())
    return path


def _copy(raw: Path) -> str:
    """The same in a file that has no loop device on it."""
    return str(shutil.copy(raw, raw.with_name("copy.raw")))


@pytest.fixture
def device(raw: Path) -> Iterator[str]:
    """The same as a real block device."""
    assert shutil.which("losetup"), "losetup is not installed: make packages"
    if os.geteuid():
        pytest.skip("only root makes a block device")
    done = subprocess.run(["losetup", "--find", "--show", str(raw)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device can be had here: {done.stderr.strip()}")
    yield done.stdout.strip()
    subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)


class Commands:
    """A node's commands in memory; one that is named fails with these words."""

    def __init__(self, fails: str = "", makes: tuple[Path, str] | None = None) -> None:
        self.fails, self.makes = fails, makes
        self.ran: list[list[str]] = []

    def __call__(self, argv: Sequence[str], **options: Any) -> Result:
        self.ran.append(list(argv))
        if self.fails:
            raise CommandFailed(expected="exit status 0", found=self.fails)
        if self.makes and "::activate_volumes" in argv[3]:
            self.makes[0].symlink_to(self.makes[1])
        if self.makes and "deactivate_volumes" in argv[3]:
            self.makes[0].unlink()
        return Result(tuple(argv), 0, "", "")


def test_a_block_device_has_the_digest_of_its_content(raw: Path, device: str) -> None:
    plain = disks.digest({"path": _copy(raw)})
    with pytest.raises(BasculeError, match=f"{Path(device).name} is on it"):
        disks.digest({"path": str(raw)})
    assert disks.digest({"path": device, "format": "raw", "volid": "local-lvm:vm-100-disk-0"}) == plain
    with disk_source.opened({"path": device}) as source:
        assert source.size == SIZE
        assert source.next_data(CHUNK) == CHUNK


def test_of_a_larger_volume_so_much_is_compared_as_the_disk_has(raw: Path, device: str) -> None:
    short = raw.with_name("short")
    short.write_bytes(_content()[: CHUNK + 512])
    assert disks.digest({"path": device, "length": CHUNK + 512}) == disks.digest({"path": str(short)})
    with pytest.raises(BasculeError, match=f"expected: {SIZE + 1} bytes in {device}; found: {SIZE}"):
        disks.digest({"path": device, "length": SIZE + 1})


def test_a_device_that_a_process_has_open_under_another_name_is_refused(device: str, tmp_path: Path) -> None:
    other = tmp_path / "node"
    os.mknod(other, 0o600 | 0o060000, os.stat(device).st_rdev)
    disks.must_be_quiet(device)
    with subprocess.Popen(["sleep", "60"], stdin=other.open("rb")) as holder:
        with pytest.raises(BasculeError, match=f"process {holder.pid}"):
            disks.digest({"path": device})
        holder.kill()


def test_a_device_that_the_kernel_uses_is_refused(device: str) -> None:
    """What a mount does, and a device on top of it: an open with O_EXCL is refused to others."""
    claimed = os.open(device, os.O_RDONLY | os.O_EXCL)
    try:
        with pytest.raises(BasculeError, match=r"the kernel .it is mounted, or part of another device."):
            disks.must_be_quiet(device)
    finally:
        os.close(claimed)


def test_an_inactive_volume_is_activated_and_left_as_it_was(device: str, raw: Path) -> None:
    place = Path("/dev") / f"bascule-test-{os.getpid()}"
    disk = {"path": str(place), "format": "raw", "volid": "local-lvm:vm-100-disk-0"}
    runner = Commands(makes=(place, device))
    assert disks.digest(disk, runner) == disks.digest({"path": _copy(raw)})
    assert [(argv[:3], argv[-1]) for argv in runner.ran] == [
        (["perl", "-MPVE::Storage", "-e"], "local-lvm:vm-100-disk-0")
    ] * 2
    assert not place.is_symlink()
    place.symlink_to(device)
    try:
        again = Commands()
        disks.digest(disk, again)
        (argv,) = again.ran
        assert "::activate_volumes" in argv[3], "it is refreshed, and stays active"
    finally:
        place.unlink()


@pytest.mark.parametrize(
    ("runner", "words"),
    [(Commands("storage 'x' is not online"), "storage 'x' is not online"), (Commands(), "there is no device")],
)
def test_a_volume_that_cannot_be_activated_is_named(runner: Commands, words: str) -> None:
    with pytest.raises(BasculeError, match=f"activate the volume x:vm-9-disk-0.*{words}"):
        disks.digest({"path": "/dev/no-such-group/vm-9-disk-0", "format": "raw", "volid": "x:vm-9-disk-0"}, runner)


def test_the_stamp_of_a_device_is_another_one_after_a_write(device: str) -> None:
    disk = {"name": "scsi0", "path": device, "format": "raw"}
    before = disks.stamp([disk])
    assert disks.stamp([disk]) == before
    with open(device, "r+b") as handle:
        handle.seek(CHUNK)
        handle.write(b"x" * 512)
        os.fsync(handle.fileno())
    assert disks.stamp([disk]) != before


class NbdServerStandIn(threading.Thread):
    """Answers one client as qemu-nbd does, without QEMU; an order makes it answer badly."""

    def __init__(self, place: str, content: bytes, zeroes: bool = False, error: int = 0, cut: int = 0) -> None:
        super().__init__(daemon=True)
        self.content, self.zeroes, self.error, self.cut = content, zeroes, error, cut
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(place)
        self.listener.listen(1)
        self.disconnected = False

    def run(self) -> None:
        client, _ = self.listener.accept()
        with client, client.makefile("rb") as asked:
            client.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 1 if self.zeroes else 3))
            (flags,) = struct.unpack(">I", asked.read(4))
            assert flags == (1 if self.zeroes else 3)
            assert asked.read(16) == b"IHAVEOPT" + struct.pack(">II", 1, 0)
            client.sendall(struct.pack(">QH", len(self.content), 3) + bytes(124 if self.zeroes else 0))
            while True:
                magic, _, kind, handle, offset, length = struct.unpack(">IHHQQI", asked.read(28))
                assert magic == 0x25609513
                if kind == 2:
                    self.disconnected = True
                    return
                client.sendall(struct.pack(">IIQ", 0x67446698, self.error, handle))
                data = self.content[offset : offset + length]
                client.sendall(data[: self.cut] if self.cut else data)
                if self.cut:
                    return


@pytest.mark.parametrize("zeroes", [False, True])
def test_an_nbd_server_is_read(tmp_path: Path, zeroes: bool) -> None:
    server = NbdServerStandIn(str(tmp_path / "s"), _content(), zeroes)
    server.start()
    with qemu_image.Client(str(tmp_path / "s")) as client:
        assert client.size == SIZE
        assert client.read(CHUNK - 7, 100) == _content()[CHUNK - 7 : CHUNK + 93]
        assert client.read(0, SIZE) == _content()
    server.join(10)
    assert server.disconnected


@pytest.mark.parametrize(("order", "words"), [({"error": 5}, "found: error 5"), ({"cut": 9}, "after 9 of 512 bytes")])
def test_what_it_cannot_read_is_no_content(tmp_path: Path, order: Any, words: str) -> None:
    server = NbdServerStandIn(str(tmp_path / "s"), _content(), **order)
    server.start()
    with qemu_image.Client(str(tmp_path / "s")) as client, pytest.raises(BasculeError, match=words):
        client.read(0, 512)


def test_an_image_without_qemu_nbd_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    path = tmp_path / "vm-100-disk-0.qcow2"
    path.write_bytes(b"QFI")
    with pytest.raises(BasculeError, match=r"expected: qemu-nbd, .*vm-100-disk-0.qcow2 .qcow2.*pve-qemu-kvm"):
        disks.digest({"path": str(path), "format": "qcow2"})


def test_what_reads_the_disks_is_looked_for_before_anybody_waits(
    monkeypatch: pytest.MonkeyPatch, library_standin: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    file = {"path": "/var/lib/vz/images/1/vm-1-disk-0.raw", "format": "raw"}
    device = {"path": "/dev/pve/vm-1-disk-0", "format": "raw", "volid": "local-lvm:vm-1-disk-0"}
    runner = Commands()
    disk_source.must_be_readable([file], runner)
    assert runner.ran == []
    disk_source.must_be_readable([file, device], runner)
    assert [argv[:3] for argv in runner.ran] == [["perl", "-MPVE::Storage", "-e"]]
    (library_standin.parent / "perl").unlink()
    with pytest.raises(CommandFailed, match=r"Can't locate PVE/Storage.pm"):
        disk_source.must_be_readable([device], Commands("Can't locate PVE/Storage.pm"))
    with pytest.raises(BasculeError, match="expected: qemu-nbd"):
        disk_source.must_be_readable([{"path": "rbd:vms/vm-1-disk-0", "format": "raw"}], runner)


@pytest.fixture
def qemu() -> None:
    """The real programs of QEMU."""
    for program in ("qemu-nbd", "qemu-img"):
        assert shutil.which(program), f"{program} is not installed: make packages"


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("kind", ["qcow2", "vmdk"])
def test_an_image_has_the_digest_of_what_its_guest_sees(tmp_path: Path, raw: Path, kind: str) -> None:
    image = tmp_path / f"vm-100-disk-0.{kind}"
    subprocess.run(["qemu-img", "convert", "-O", kind, str(raw), str(image)], check=True)
    disk = {"name": "scsi0", "path": str(image), "format": kind}
    before = image.read_bytes()
    assert disk_digest.position([disk]) == {"disk:scsi0": disks.digest({"path": str(raw)})}
    assert image.read_bytes() == before
    assert disks.held_by(str(image)) == []


@pytest.mark.usefixtures("qemu")
def test_an_image_that_is_none_is_refused_with_qemus_words(raw: Path) -> None:
    with pytest.raises(BasculeError, match="Image is not in qcow2 format"):
        disks.digest({"path": str(raw), "format": "qcow2"})
    assert disks.held_by(str(raw)) == []


@pytest.mark.parametrize(
    ("path", "disk_format", "kind"),
    [
        ("/var/lib/vz/images/100/vm-100-disk-0.raw", "raw", disk_kinds.FILE),
        ("/var/lib/vz/images/100/vm-100-disk-0.qcow2", "qcow2", disk_kinds.IMAGE),
        ("/dev/pve/vm-100-disk-0", "raw", disk_kinds.BLOCK),
        ("/dev/pve/vm-100-disk-0.qcow2", "qcow2", disk_kinds.IMAGE),
        ("/dev/zvol/rpool/data/vm-100-disk-0", "raw", disk_kinds.BLOCK),
        ("/dev/rbd-pve/9f2c/vms/vm-100-disk-0", "raw", disk_kinds.BLOCK),
        ("rbd:vms/vm-100-disk-0:conf=/etc/pve/ceph.conf:id=admin", "raw", disk_kinds.IMAGE),
    ],
)
def test_how_a_disk_is_read(path: str, disk_format: str, kind: str) -> None:
    assert disk_kinds.read_as(path, disk_format) == kind


def test_an_image_of_ceph_is_held_by_whoever_names_it() -> None:
    path = f"rbd:vms/space/vm-{os.getpid()}-disk-7:conf=/etc/pve/ceph.conf"
    assert disks.held_by(path) == []
    for name, holds in ((f"vm-{os.getpid()}-disk-77", False), (f"vm-{os.getpid()}-disk-7", True)):
        code = "import time; print(flush=True); time.sleep(60)"
        argv = [sys.executable, "-c", code, f"-drive=file=rbd:vms/space/{name}:conf"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
            # The kernel shows a program's arguments a moment after it has replaced the one before.
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"\n"
            found = disks.held_by(path)
            holder.kill()
        assert [str(holder.pid) in line for line in found] == [True] * holds


def test_a_storage_that_has_lost_what_was_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thin pool without room says so when it is asked to make durable what it was given."""
    path = tmp_path / "disk"
    path.write_bytes(b"abc")

    def full(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BasculeError, match="the disk was not read"):
        disk_source.digest({"path": str(path)})
