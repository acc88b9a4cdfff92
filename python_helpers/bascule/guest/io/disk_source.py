"""Read the disk of a stopped guest, whatever it lies on: a file, a block device, or an image that QEMU reads.

A volume of a block storage may be inactive while its guest is stopped. Proxmox's own library activates it, as it does
for a start (LVM, LVM-thin, ZFS, Ceph mapped by the kernel), and it is left as it was found.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from ...errors import BasculeError, CommandFailed
from ...system.io.process import Runner, run
from .. import disk_kinds
from ..chunks import CHUNK, Tree
from . import qemu_image

Progress = Callable[[int, int], None]
_ZEROS = bytes(CHUNK)
# Bytes in whose whole numbers QEMU counts a file.
SECTOR = 512
# The volumes that we have activated and not deactivated yet; none outlives a start of the node.
ACTIVATED = Path("/run/bascule-activated")
_ACTIVATE = "PVE::Storage::activate_volumes(PVE::Storage::config(), [@ARGV])"
_DEACTIVATE = "PVE::Storage::deactivate_volumes(PVE::Storage::config(), [@ARGV])"


class Source(Protocol):
    """What can be read of a disk."""

    size: int

    def next_data(self, offset: int) -> int:
        """Return where data may begin at or after `offset`; what lies before that is zeros. The size at the end."""

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly so many bytes."""


class Raw:
    """A file of the disk's bytes, or a block device."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self.size = os.lseek(descriptor, 0, os.SEEK_END)

    def next_data(self, offset: int) -> int:
        """Return where data begins at or after `offset`; a block device knows of no holes."""
        try:
            return os.lseek(self._descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return self.size
            if error.errno == errno.EINVAL:
                return offset
            raise

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly so many bytes; raise BasculeError at the end of the disk."""
        parts = []
        while length:
            part = os.pread(self._descriptor, length, offset)
            if not part:
                raise BasculeError(
                    expected=f"{length} more bytes in {self._path}", found="the end: it shrank while it was read"
                )
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return b"".join(parts)


def quiet(done: int, size: int) -> None:
    """Tell no progress."""
    del done, size


@contextlib.contextmanager
def activated(disk: Mapping[str, Any], runner: Runner = run) -> Iterator[None]:
    """Have the disk's device at the node, and leave the volume as it was found.

    One that is active is activated too: Proxmox's library refreshes it, as the node may hold another table of it than
    the volume group has by now.

    What was activated stands in a file until it is deactivated: where that did not happen, as this was killed, the next
    one to read the volume finds it active, knows by whom, and deactivates it.

    Raises:
        BasculeError: Proxmox could not activate the volume, or it has no device then.
    """
    path, volid = str(disk["path"]), str(disk.get("volid", ""))
    ours = ACTIVATED / quote(volid, safe="")
    if not path.startswith("/dev/"):
        yield
        return
    was_active = os.path.exists(path) and not ours.exists()
    if not was_active:
        ACTIVATED.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours.touch()
    try:
        runner(["perl", "-MPVE::Storage", "-e", _ACTIVATE, volid], timeout=120)
    except CommandFailed as error:
        if not os.path.exists(path):
            ours.unlink(missing_ok=True)
        raise _inactive(path, volid, error.found) from error
    try:
        if not os.path.exists(path):
            raise _inactive(path, volid, "it says that it has, and there is no device")
        yield
    finally:
        if not was_active:
            # One that somebody has begun to use meanwhile is not deactivated: the storage refuses. It stays noted.
            done = runner(["perl", "-MPVE::Storage", "-e", _DEACTIVATE, volid], timeout=120, check=False)
            if done.rc == 0:
                ours.unlink(missing_ok=True)


def _inactive(path: str, volid: str, found: str) -> BasculeError:
    return BasculeError(
        expected=f"Proxmox to activate the volume {volid}, so that {path} can be read",
        found=found,
        state="the disk was not read",
        next_command=f"look at the storage ('pvesm path {volid}', 'pvesm status'), then run the same command again",
    )


def must_be_readable(wanted: Sequence[Mapping[str, Any]], runner: Runner = run) -> None:
    """Refuse a node without what reads these disks, before anybody waits for it. Nothing is read yet.

    Raises:
        BasculeError: there is no qemu-nbd for an image, or no library of Proxmox that activates a volume.
    """
    for disk in wanted:
        path, disk_format = str(disk["path"]), str(disk.get("format") or "raw")
        if disk_kinds.is_subvolume(disk_format):
            continue
        if disk_kinds.read_as(path, disk_format) == disk_kinds.IMAGE:
            qemu_image.must_be_there(path, disk_format)
    if any(str(disk["path"]).startswith("/dev/") for disk in wanted):
        runner(["perl", "-MPVE::Storage", "-e", "PVE::Storage->can('activate_volumes') or die"], timeout=60)


@contextlib.contextmanager
def opened(disk: Mapping[str, Any], runner: Runner = run, shared: bool = False) -> Iterator[Source]:
    """Open a disk for reading: `path` and `format` as the API states them (no format is raw).

    While it is open, a guest may start on the disk where it is `shared`; else QEMU refuses that for an image.
    """
    path, disk_format = str(disk["path"]), str(disk.get("format") or "raw")
    if disk_kinds.read_as(path, disk_format) == disk_kinds.IMAGE:
        # Only images in files and on devices have a lock.
        with qemu_image.opened(path, disk_format, runner, shared and disk_format != "raw") as client:
            yield client
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Raw(descriptor, path)
    finally:
        os.close(descriptor)


def must_be_described(disk: Mapping[str, Any], size: int, state: str) -> None:
    """Refuse what was opened where it has another `size` than the API states (of a file in whole sectors), in bytes."""
    stated, found = int(disk.get("size") or 0), -(-size // SECTOR) * SECTOR
    if stated != found:
        raise BasculeError(
            expected=f"the {stated} bytes in {disk['path']} that Proxmox states of {disk.get('volid') or 'the volume'}",
            found=f"{size}",
            state=state,
            next_command="look at that volume ('pvesm path', 'lvs', 'qemu-img info'): somebody has changed its size, "
            "or its name is that of another one; then run the same command again",
        )


def _make_durable(path: str) -> None:
    """Have on the medium what the node still keeps of a file or device: a digest is of what outlives the node."""
    if not path.startswith("/"):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise BasculeError(
            expected=f"what was written to {path} to be on its storage",
            found=f"{error.strerror or error} (a thin pool without room says so too)",
            state="the disk was not read",
            next_command="look at the storage and its room ('pvesm status', 'lvs'), then run the same command again",
        ) from error
    finally:
        os.close(descriptor)


def digest(disk: Mapping[str, Any], progress: Progress = quiet, runner: Runner = run) -> str:
    """Return the digest of what the guest sees of its disk; holes are skipped, their zeros count.

    Of a disk with a `length` (in bytes) so much is read: a volume may be larger than the disk it holds.
    """
    _make_durable(str(disk["path"]))
    with opened(disk, runner) as source:
        length = int(disk.get("length") or 0) or source.size
        if source.size < length:
            raise BasculeError(
                expected=f"{length} bytes in {disk['path']}", found=f"{source.size}", state="the disk was not read"
            )
        tree = Tree(length)
        while tree.next_length():
            data = source.next_data(tree.offset)
            while tree.next_length() and tree.offset + tree.next_length() <= data:
                tree.zeros()
            if tree.next_length():
                chunk = source.read(tree.offset, tree.next_length())
                if chunk == _ZEROS:
                    tree.zeros()
                else:
                    tree.data(chunk)
                progress(tree.offset, length)
        return tree.digest()
