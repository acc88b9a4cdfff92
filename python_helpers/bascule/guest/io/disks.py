"""Read, compare and keep disk images of stopped guests, on the node that has them."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import BasculeError
from ...system.io import storage
from ...system.io.process import Runner, run
from ..chunks import Tree

Progress = Callable[[int, int], None]
KEPT = ".bascule-kept"


def _quiet(done: int, size: int) -> None:
    del done, size


def held_by(path: str) -> list[str]:
    """Return the processes that have the file open: what the node itself sees, whoever started them."""
    wanted = os.stat(path)
    holders = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            opened = list((entry / "fd").iterdir())
        except PermissionError:
            # What cannot be looked at is not proved to be harmless.
            holders.append(f"perhaps {_name(entry)} (process {entry.name}, which cannot be looked at)")
            continue
        except OSError:
            continue
        for link in opened:
            try:
                found = os.stat(link)
            except OSError:
                continue
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                holders.append(f"{_name(entry)} (process {entry.name})")
                break
    return sorted(holders)


def must_be_quiet(path: str) -> None:
    """Refuse a disk that any process has open."""
    holders = held_by(path)
    if holders:
        raise BasculeError(
            expected=f"no process to have {path} open",
            found=", ".join(holders),
            state="the disk was neither read nor written",
            next_command="look at the guest and at transfers that still run, then run the same command again",
        )


def digest(path: str, progress: Progress = _quiet) -> str:
    """Return the disk's digest; holes are skipped, their zeros count."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        tree = Tree(size)
        while tree.next_length():
            data = _next_data(descriptor, tree.offset, size)
            while tree.next_length() and tree.offset + tree.next_length() <= data:
                tree.zeros()
            if tree.next_length():
                tree.data(_read(descriptor, tree.offset, tree.next_length(), path))
                progress(tree.offset, size)
        return tree.digest()
    finally:
        os.close(descriptor)


def stamp(paths: Sequence[str]) -> str:
    """Return a short name of the state of stopped disks: another one after anything was written to them.

    It saves work, it proves nothing: what was carried over is compared by digests.
    """
    sha = hashlib.sha256()
    for path in paths:
        found = os.stat(path)
        sha.update(f"{path} {found.st_ino} {found.st_size} {found.st_mtime_ns}\n".encode())
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


def _next_data(descriptor: int, offset: int, size: int) -> int:
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        raise


def _read(descriptor: int, offset: int, length: int, path: str) -> bytes:
    parts = []
    while length:
        part = os.pread(descriptor, length, offset)
        if not part:
            raise BasculeError(expected=f"{length} more bytes in {path}", found="the end: it shrank while it was read")
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return b"".join(parts)


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
