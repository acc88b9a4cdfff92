"""Write into the disk of a stopped, passive guest where it lies: a file, a block device, or an image that QEMU reads.

The disk is never made, and never another size. While it is written nobody else has it: no process may have it open
before and after, and a block device is claimed (O_EXCL), so that no mount and no device on top of it begins meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ...errors import BasculeError
from ...system.io.process import Runner, run
from .. import disk_kinds
from ..chunks import CHUNK
from . import disk_source, disks, qemu_image

# Seconds for udev to look at a device that was written, which it does when that is closed.
_SETTLE = 30
# Seconds between two looks whether somebody has opened the disk that is written; of an image QEMU refuses that.
_LOOK = 10.0


class Target(disk_source.Source, Protocol):
    """What can be read of a disk, and written to it."""

    def write(self, offset: int, data: bytes) -> None:
        """Write all of the data within the disk."""

    def flush(self) -> None:
        """Make durable what was written."""


class RawTarget(disk_source.Raw):
    """A file of the disk's bytes, or a block device that is claimed."""

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor, path)
        self._looked = time.monotonic()

    def write(self, offset: int, data: bytes) -> None:
        """Write all of the data.

        Raises:
            BasculeError: that would make the disk larger, or somebody has opened it meanwhile.
        """
        if time.monotonic() - self._looked > _LOOK:
            disks.must_be_quiet(self._path, claimed=True)
            self._looked = time.monotonic()
        if offset + len(data) > self.size:
            raise BasculeError(
                expected=f"no byte to be written behind the {self.size} of {self._path}",
                found=f"{len(data)} at byte {offset}",
                state="that was not written",
            )
        view = memoryview(data)
        with _taking(self._path):
            while view:
                done = os.pwrite(self._descriptor, view, offset)
                view, offset = view[done:], offset + done

    def flush(self) -> None:
        """Make durable what was written, also in the device's own cache.

        Raises:
            BasculeError: the storage has not taken all of it. A thin pool without room says so only here.
        """
        with _taking(self._path):
            os.fsync(self._descriptor)


@contextlib.contextmanager
def _taking(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BasculeError(
            expected=f"the storage of {path} to take what is written to the disk",
            found=f"{error.strerror or error} (a thin pool without room says so too)",
            state="the disk holds a part of it; nothing uses the copy",
            next_command="look at the storage and its room ('pvesm status', 'lvs'), then run the same command again",
        ) from error


class WatchedImage:
    """An image of Ceph, which nothing locks for us: who opens it at this node while it is written is looked for."""

    def __init__(self, client: qemu_image.Client, path: str) -> None:
        self._client, self._path = client, path
        self._looked = time.monotonic()
        self.size = client.size
        self.next_data, self.read, self.flush = client.next_data, client.read, client.flush

    def write(self, offset: int, data: bytes) -> None:
        """Write all of the data; raise BasculeError where somebody has opened the image meanwhile."""
        if time.monotonic() - self._looked > _LOOK:
            disks.must_be_quiet(self._path, own=self._client.server)
            self._looked = time.monotonic()
        self._client.write(offset, data)


@contextlib.contextmanager
def opened(disk: Mapping[str, Any], runner: Runner = run) -> Iterator[Target]:
    """Open a disk for writing: `path`, `format` and `volid` as the API states them, `length` bytes that it has to have.

    It is activated before, and left as it was found after. Whoever leaves the block without an error has it durable.

    Raises:
        BasculeError: somebody has the disk open, it is too small, or it cannot be opened.
    """
    path, disk_format = str(disk["path"]), str(disk.get("format") or "raw")
    volid = str(disk.get("volid") or "")
    if disk_kinds.is_another_image(volid, disk_format):
        raise BasculeError(
            expected=f"the volume {volid} of the format that its name tells",
            found=f"{disk_format}, by its storage",
            state="nothing was written",
            next_command="set proxmox_guest_move: archive for this guest and move that disk to a folder",
        )
    with disk_source.activated(disk, runner):
        disks.must_be_quiet(path)
        try:
            with _opened(path, disk_format, runner) as target:
                _must_fit(disk, target.size)
                yield target
                target.flush()
        finally:
            # udev looks at what was written when that is closed, also by an error; nothing is deactivated meanwhile.
            if path.startswith("/dev/") and shutil.which("udevadm"):
                runner(["udevadm", "settle", f"--timeout={_SETTLE}"], timeout=2 * _SETTLE, check=False)
        disks.must_be_quiet(path)


def _must_fit(disk: Mapping[str, Any], size: int) -> None:
    """Refuse what was opened where it is not the volume that the API has described, or not one for this disk."""
    path, length = str(disk["path"]), int(disk["length"])
    if size < length:
        raise BasculeError(
            expected=f"at least {length} bytes in {path}, which takes the copy of a disk",
            found=f"{size}",
            state="nothing was written",
            next_command="make the volume larger, or remove the passive guest and run playbooks/20_prepare.yml again",
        )
    disk_source.must_be_described(disk, size, "nothing was written")
    if not disk_kinds.is_rounded(str(disk.get("name", "")), length, size):
        raise BasculeError(
            expected=f"a volume for {length} bytes at {path}, larger by less than {disk_kinds.ROUNDED_UP}",
            found=f"{size}",
            state="nothing was written",
            next_command="remove the passive guest and run playbooks/20_prepare.yml again",
        )


@contextlib.contextmanager
def _opened(path: str, disk_format: str, runner: Runner) -> Iterator[Target]:
    image = disk_kinds.read_as(path, disk_format) == disk_kinds.IMAGE
    if image and not path.startswith("/dev/"):
        with qemu_image.opened_to_write(path, disk_format, runner) as client:
            yield client if path.startswith("/") else WatchedImage(client, path)
        return
    descriptor = _claimed(path)
    try:
        if image:
            with qemu_image.opened_to_write(path, disk_format, runner) as client:
                yield client
        else:
            yield RawTarget(descriptor, path)
    finally:
        os.close(descriptor)


def _claimed(path: str) -> int:
    """Open a file, or open and claim a device; what is neither, or is in use, is refused."""
    seen = os.stat(path)
    mode = seen.st_mode
    if not stat.S_ISBLK(mode) and (path.startswith("/dev/") or not stat.S_ISREG(mode)):
        raise BasculeError(
            expected=f"a block device at {path}" if path.startswith("/dev/") else f"a file at {path}",
            found=stat.filemode(mode),
            state="nothing was written",
        )
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_EXCL if stat.S_ISBLK(mode) else 0))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise BasculeError(
                expected=f"nobody to use {path}",
                found="the kernel does: it is mounted, or part of another device",
                state="nothing was written",
                next_command="look at who uses it at that node, then run the same command again",
            ) from error
        raise
    opened_one = os.fstat(descriptor)
    if _identity(opened_one) != _identity(seen):
        os.close(descriptor)
        raise BasculeError(
            expected=f"{path} to be what it was when it was looked at",
            found="another file or device has its name",
            state="nothing was written",
            next_command="look at that volume, then run the same command again",
        )
    return descriptor


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_rdev, stat.S_IFMT(found.st_mode)


def zero_rest(target: Target, length: int) -> int:
    """Make all zeros of what a larger volume has behind the disk; return how many bytes were not."""
    written = 0
    for offset in range(length, target.size, CHUNK):
        size = min(CHUNK, target.size - offset)
        if target.next_data(offset) >= offset + size:
            continue
        if target.read(offset, size) != bytes(size):
            target.write(offset, bytes(size))
            written += size
    return written
