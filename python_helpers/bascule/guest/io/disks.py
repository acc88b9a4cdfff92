"""Read, compare and keep disk images of stopped guests, on the node that has them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import BasculeError
from ...system.io import loops, storage
from ...system.io.process import Runner, run
from .. import disk_kinds
from . import disk_source, volume_files

KEPT = ".bascule-kept"
LOOPS = Path("/sys/block")
_LOOP_SECONDS = 3.0


def held_by(path: str, claimed: bool = False, own: int = 0) -> list[str]:
    """Return the processes that have the disk open: what the node itself sees, whoever started them.

    A block device is the same by any of its names; a mount of it, or a device on top of it, is told as the kernel's. An
    image of Ceph has no file: who names it in its command line counts. `claimed` says that the kernel keeps it for us,
    `own` is a process that we have started on it.
    """
    image = None if path.startswith("/") else re.compile(rf"\b{re.escape(_image_name(path))}\b")
    wanted = None if image else os.stat(path)
    holders = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), own):
            continue
        try:
            holds = _names(entry, image) if image else wanted is not None and _has_open(entry, wanted)
        except PermissionError:
            # What cannot be looked at is not proved to be harmless.
            holders.append(f"perhaps {_name(entry)} (process {entry.name}, which cannot be looked at)")
            continue
        except OSError:
            continue
        if holds:
            holders.append(f"{_name(entry)} (process {entry.name})")
    if wanted is not None and not (holders or claimed) and stat.S_ISBLK(wanted.st_mode) and _is_claimed(path):
        holders.append("the kernel (it is mounted, or part of another device)")
    if wanted is not None and not claimed and stat.S_ISREG(wanted.st_mode):
        holders += _loops(path)
    return sorted(holders)


def _loops(path: str) -> list[str]:
    """Return the loop devices on a file, as of a running or mounted container: no process has that open.

    One that is going is given a moment: the kernel and udev let go of it after its unmount has ended. A name alone may
    be another file's, in the mount namespace of whoever made the device: where the kernel tells which file it is, that
    counts.
    """
    wanted = os.stat(path)
    deadline = time.monotonic() + _LOOP_SECONDS
    while True:
        found = []
        for backing in LOOPS.glob("loop*/loop/backing_file"):
            with contextlib.suppress(OSError):
                name = backing.read_text().rstrip("\n")
                known = loops.backing(backing.parts[-3])
                same = (
                    known == (wanted.st_dev, wanted.st_ino) if known else name == path or os.path.samefile(name, path)
                )
                if same:
                    found.append(f"the kernel ({backing.parts[-3]} is on it, as when a container runs or is mounted)")
        if not found or time.monotonic() >= deadline:
            return found
        time.sleep(0.2)


def _has_open(process: Path, wanted: os.stat_result) -> bool:
    for link in list((process / "fd").iterdir()):
        try:
            found = os.stat(link)
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
        if stat.S_ISBLK(wanted.st_mode) and stat.S_ISBLK(found.st_mode) and found.st_rdev == wanted.st_rdev:
            return True
    return False


def _names(process: Path, image: re.Pattern[str]) -> bool:
    return bool(image.search((process / "cmdline").read_bytes().decode("utf-8", "replace")))


def _image_name(path: str) -> str:
    """Return the name of the image in `rbd:pool/namespace/image:option=...`."""
    return path.partition(":")[2].partition(":")[0].rpartition("/")[2]


def _is_claimed(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise
    return False


def must_be_quiet(path: str, claimed: bool = False, own: int = 0) -> None:
    """Refuse a disk that any process has open; `claimed` and `own` as in `held_by`."""
    holders = held_by(path, claimed, own)
    if holders:
        raise BasculeError(
            expected=f"no process to have {path} open",
            found=", ".join(holders),
            state="the disk was neither read nor written",
            next_command="look at the guest and at transfers that still run, then run the same command again",
        )


def digest(disk: Mapping[str, Any], runner: Runner = run) -> str:
    """Return the digest of a stopped disk: of its blocks, or of its files (see `disk_source` and `volume_files`).

    Raises:
        BasculeError: a process of the node has the disk open, before or after it was read.
    """
    with disk_source.activated(disk, runner):
        must_be_quiet(str(disk["path"]))
        found = volume_files.digest(disk, runner) if disk.get("files") else disk_source.digest(disk, runner=runner)
        must_be_quiet(str(disk["path"]))
    return found


def stamp(wanted: Sequence[Mapping[str, Any]], runner: Runner = run) -> str:
    """Return a short name of the state of stopped disks: another one after anything was written to them.

    It saves work, it proves nothing: what was carried over is compared by digests. Of a file the time of its last
    change tells; nothing tells of a device or a directory whether it was written, so its content is read.
    """
    sha = hashlib.sha256()
    for disk in wanted:
        path = str(disk["path"])
        if disk_kinds.lies_in_file(path) and not disk_kinds.is_subvolume(str(disk.get("format"))):
            found = os.stat(path)
            sha.update(f"{path} {found.st_ino} {found.st_size} {found.st_mtime_ns}\n".encode())
        else:
            sha.update(f"{path} {digest(disk, runner)}\n".encode())
    return sha.hexdigest()[:16]


def file_sha256(path: str) -> str:
    """Return the plain SHA-256 of a file, as `sha256sum` prints it."""
    sha = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def kept_path(path: str) -> str:
    """Return where the disk's state at the fence is kept: next to it, under a name no storage lists as a disk."""
    return path + KEPT


def keep_aside(path: str, mark: str, runner: Runner = run) -> bool:
    """Keep the disk as it is now, once per mark (the receipt it was closed with); return whether a copy was made.

    One copy per disk: it is replaced, after the new one is complete, when the side has been active and closed again.
    """
    kept = kept_path(path)
    if os.path.exists(kept) and storage.read_text(kept + ".mark") == mark:
        return False
    must_be_quiet(path)
    temporary = kept + ".new"
    runner(["cp", "--reflink=auto", "--sparse=always", "--preserve=mode", "--", path, temporary], timeout=4 * 3600)
    _sync(temporary)
    storage.remove(kept + ".mark")
    os.replace(temporary, kept)
    storage.sync_directory(os.path.dirname(kept))
    storage.write_durably(kept + ".mark", mark)
    return True


def drop_kept(path: str) -> bool:
    """Remove what was kept aside."""
    found = [storage.remove(kept_path(path) + ending) for ending in ("", ".mark", ".new")]
    return any(found)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
