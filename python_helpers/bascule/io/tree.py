"""Walk a file tree and take its manifest: streaming, in one fixed order, in bounded memory.

The manifest of the last run is the cache of digests: both stand in the same order, so one passes along the other and
nothing is looked up. A file is read again unless path, size, both time stamps and inode are what they were, and its
last change was well before it was read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from ..errors import BasculeError
from ..integrity.manifest import (
    DIRECTORY,
    FILE,
    LINK,
    ROOT,
    Digest,
    Entry,
    canonical,
    from_line,
    order,
    reusable,
    to_line,
)
from . import files

_BLOCK = 1 << 20
_SMALL = 1 << 17
_WINDOW = 64
_KINDS = (
    (stat.S_ISREG, FILE),
    (stat.S_ISDIR, DIRECTORY),
    (stat.S_ISLNK, LINK),
    (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "character device"),
    (stat.S_ISBLK, "block device"),
)
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
# Made by the file system at its root, not by anybody who keeps files in it.
IGNORED = (b"lost+found",)
PARTIAL = b".bascule-partial"

Progress = Callable[[int, int], None]


class Moving(BasculeError):
    """A file changed while it was read."""


@dataclass
class Count:
    """What a walk saw and did."""

    entries: int = 0
    files: int = 0
    directories: int = 0
    bytes: int = 0
    read_files: int = 0
    read_bytes: int = 0
    moving: int = 0
    moving_names: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return dict(vars(self))


class Cache:
    """The entries of an earlier manifest, read forward only."""

    def __init__(self, *paths: Path) -> None:
        self._streams = [_lines(path) for path in paths if path.exists()]
        self._heads: list[Optional[Entry]] = [next(stream, None) for stream in self._streams]

    def get(self, path: bytes) -> Optional[Entry]:
        """Return the entry of a path; paths must be asked for in their order."""
        key = order(path)
        found = None
        for index, stream in enumerate(self._streams):
            head = self._heads[index]
            while head is not None and head.key < key:
                head = next(stream, None)
            self._heads[index] = head
            if head is not None and head.key == key and (found is None or head.read_ns > found.read_ns):
                found = head
        return found


def read_manifest(path: Path) -> Iterator[Entry]:
    """Stream the entries of a manifest file."""
    with path.open(encoding="ascii") as lines:
        for line in lines:
            yield from_line(line)


def take_manifest(
    root: str, target: Path, *, cached: bool = True, workers: int = 2, progress: Optional[Progress] = None
) -> tuple[str, Count]:
    """Write the manifest of the tree to `target` and return its digest and what was done.

    `cached=False` reads every byte again, from the disk where the kernel lets go of its cache. An interrupted run
    leaves its part beside the target, and the next one begins with the digests in it.
    """
    part, left_over = target.with_suffix(".part"), target.with_suffix(".interrupted")
    files.make_directory(target.parent)
    if part.exists():
        os.replace(part, left_over)
    count = Count()
    digest = Digest()
    cache = Cache(target, left_over) if cached else None
    with part.open("w", encoding="ascii") as out:
        os.fchmod(out.fileno(), 0o600)
        for entry in entries(root, cache, count, workers):
            digest.add(entry, canonical(entry))
            out.write(to_line(entry) + "\n")
            if progress and count.entries % 1000 == 0:
                progress(count.entries, count.bytes)
        out.flush()
        os.fsync(out.fileno())
    os.replace(part, target)
    files.sync_directory(target.parent)
    with contextlib.suppress(FileNotFoundError):
        left_over.unlink()
    return digest.hexdigest(), count


def entries(root: str, cache: Optional[Cache], count: Count, workers: int = 2) -> Iterator[Entry]:
    """Yield the tree's entries in order, with digests; large files are read side by side."""
    links: dict[tuple[int, int], tuple[bytes, str, int]] = {}
    waiting: deque[tuple[Entry, Optional[Future[tuple[str, bool]]]]] = deque()
    base = os.fsencode(root)
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for path, info in _walk(base):
            entry = _describe(base, path, info)
            if entry is None:
                continue
            known = cache.get(path) if cache else None
            future: Optional[Future[tuple[str, bool]]] = None
            _count(count, entry)
            if entry.kind == FILE:
                earlier = links.get((info.st_dev, info.st_ino)) if info.st_nlink > 1 else None
                if earlier:
                    entry = replace(entry, first=earlier[0])
                elif info.st_nlink > 1:
                    entry = replace(entry, first=path)
                if known and reusable(known, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino):
                    entry = replace(entry, digest=known.digest, read_ns=known.read_ns)
                elif earlier and earlier[1]:
                    entry = replace(entry, digest=earlier[1], read_ns=earlier[2])
                else:
                    count.read_files += 1
                    count.read_bytes += info.st_size
                    entry = replace(entry, read_ns=time.time_ns())
                    full = os.path.join(base, path)
                    if info.st_size > _SMALL and info.st_nlink == 1:
                        future = pool.submit(_digest, full, info, cache is None)
                    else:
                        entry = _with_digest(entry, _digest(full, info, cache is None), count)
                if info.st_nlink > 1 and not earlier:
                    links[info.st_dev, info.st_ino] = (path, entry.digest, entry.read_ns)
            waiting.append((entry, future))
            while waiting and (len(waiting) > _WINDOW or waiting[0][1] is None or waiting[0][1].done()):
                yield _settle(waiting.popleft(), count)
        while waiting:
            yield _settle(waiting.popleft(), count)


def survey(root: str) -> Count:
    """Count the tree's entries without reading any file."""
    count = Count()
    base = os.fsencode(root)
    for path, info in _walk(base):
        entry = _describe(base, path, info, attributes=False)
        if entry is not None:
            _count(count, entry)
    return count


def sweep_partial(root: str) -> int:
    """Remove what interrupted transfers left in a passive tree; directories keep their time stamps."""
    removed = 0
    base = os.fsencode(root)
    for path, info in _walk(base):
        if stat.S_ISDIR(info.st_mode) and path.rpartition(b"/")[2] == PARTIAL:
            full = os.path.join(base, path)
            parent = os.path.dirname(full)
            before = os.stat(parent)
            for name in os.listdir(full):
                os.unlink(os.path.join(full, name))
            os.rmdir(full)
            os.utime(parent, ns=(before.st_atime_ns, before.st_mtime_ns))
            removed += 1
    return removed


def _count(count: Count, entry: Entry) -> None:
    count.entries += 1
    if entry.kind == FILE:
        count.files += 1
        count.bytes += entry.size
    elif entry.kind == DIRECTORY:
        count.directories += 1


def _settle(item: tuple[Entry, Optional[Future[tuple[str, bool]]]], count: Count) -> Entry:
    entry, future = item
    return entry if future is None else _with_digest(entry, future.result(), count)


def _with_digest(entry: Entry, result: tuple[str, bool], count: Count) -> Entry:
    digest, stable = result
    if stable:
        return replace(entry, digest=digest)
    count.moving += 1
    if len(count.moving_names) < 20:
        count.moving_names.append(os.fsdecode(entry.path).encode("utf-8", "backslashreplace").decode())
    # What was read is not what is there now: no digest, so that nothing ever reuses or believes it.
    return replace(entry, digest="")


def _walk(base: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield every path with its status, parents first, siblings by bytes; stays on one file system."""
    top = os.stat(base)
    yield ROOT, top
    stack = [_children(base, b"")]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
            continue
        path, info = step
        if info.st_dev != top.st_dev:
            continue
        yield path, info
        if stat.S_ISDIR(info.st_mode):
            stack.append(_children(base, path))


def _children(base: bytes, path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    try:
        names = sorted(os.listdir(os.path.join(base, path)))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        child = path + b"/" + name if path else name
        if child in IGNORED:
            continue
        # A tree in use loses files under the walker's feet; a later run sees what has become of them.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield child, os.lstat(os.path.join(base, child))


def _describe(base: bytes, path: bytes, info: os.stat_result, attributes: bool = True) -> Optional[Entry]:
    kind = next(name for test, name in _KINDS if test(info.st_mode))
    full = base if path == ROOT else os.path.join(base, path)
    acl, xattrs, target = "", [], b""
    try:
        if attributes:
            names = os.listxattr(full, follow_symlinks=False)
            for name in sorted(os.fsencode(name) for name in names):
                value = os.getxattr(full, name, follow_symlinks=False).hex()
                if os.fsdecode(name) in _ACLS:
                    acl += f"{os.fsdecode(name).rpartition('_')[2]}={value};"
                else:
                    xattrs.append((name, value))
        if kind == LINK:
            target = os.readlink(full)
    except FileNotFoundError:
        return None
    return Entry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        size=info.st_size if kind in (FILE, LINK) else 0,
        mtime_ns=info.st_mtime_ns,
        links=info.st_nlink if kind != DIRECTORY else 0,
        first=b"",
        target=target,
        device=info.st_rdev if kind.endswith("device") else 0,
        acl=acl,
        xattrs=tuple(xattrs),
        digest="",
        ctime_ns=info.st_ctime_ns,
        inode=info.st_ino,
    )


def _digest(path: bytes, info: os.stat_result, from_disk: bool) -> tuple[str, bool]:
    """Return a file's digest and whether it stood still meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOATIME)
    except PermissionError:
        # Only the owner and root may keep the access time as it is.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return "", False
    try:
        if from_disk:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(min(_BLOCK, info.st_size + 1)))
        with open(descriptor, "rb", buffering=0, closefd=False) as stream:
            while size := stream.readinto(buffer):
                digest.update(buffer[:size])
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    same = all(
        getattr(after, name) == getattr(info, name) for name in ("st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    )
    return digest.hexdigest(), same


def _lines(path: Path) -> Iterator[Entry]:
    with path.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            # The last line of an interrupted run may be half a line.
            if not line.endswith("\n"):
                return
            yield from_line(line)
