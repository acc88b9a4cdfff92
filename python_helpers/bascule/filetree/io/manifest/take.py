"""Take the manifest of a file tree: by worker processes, streaming, in one fixed order, in bounded memory.

The manifest of the last run is the cache of digests: both stand in the same order, so one passes along the other and
nothing is looked up. A file is read again unless everything about it is what it was, its last change was well before it
was read, and, where a recorder watches the tree, the recorder has not named it.

Files are read in the order of their inodes, window by window: that is how they lie on the disk, as far as anybody can
tell from outside the file system. Lines are written in the order of their paths.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Optional

from ....system.io import storage as files
from ...batch import GONE, LATER, LINKED, READ_NOW, Batch, pack_question
from ...manifest import Digest, Entry, from_line, path_of, quoted, sort_key
from ...transfer import NUMBERS
from .accounts import Accounts
from .links import Links
from .reader import Reader
from .walk import IS_DIRECTORY, Found, runs, walk
from .workers import Workers

PARTIAL = b".bascule-partial"
_BATCH = 256
_BATCH_BYTES = 64 << 10
_WINDOW = 24 * 1024
_WINDOW_BYTES = 3 << 20
# Windows that are being read; the oldest is written first.
_WINDOWS = 3
_NAMED = 20

Progress = Callable[[int, int], None]
Touched = Callable[[bytes], bool]


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

    def add(self, batch: Batch) -> None:
        """Take in what a worker counted."""
        self.files += batch.files
        self.directories += batch.directories
        self.bytes += batch.size
        self.read_files += batch.read_files
        self.read_bytes += batch.read_bytes


class Known:
    """The lines of earlier manifests, read forward only."""

    def __init__(self, *paths: Path) -> None:
        self._streams = [_lines(path) for path in paths if path.exists()]
        self._heads: list[Optional[tuple[bytes, str]]] = [next(stream, None) for stream in self._streams]

    def get(self, path: bytes) -> str:
        """Return the line of a path, or nothing; paths must be asked for in their order."""
        key = sort_key(path)
        found = ""
        for index, head in enumerate(self._heads):
            stream = self._streams[index]
            while head is not None and head[0] < key:
                head = next(stream, None)
            self._heads[index] = head
            if head is not None and head[0] == key and (not found or _read_ns(head[1]) > _read_ns(found)):
                found = head[1]
        return found


def read_manifest(path: Path) -> Iterator[Entry]:
    """Stream the entries of a manifest file."""
    with path.open(encoding="ascii") as lines:
        for line in lines:
            yield from_line(line)


def take_manifest(
    root: str,
    target: Path,
    *,
    owners: str = NUMBERS,
    cached: bool = True,
    touched: Optional[Touched] = None,
    since_ns: int = 0,
    workers: int = 0,
    progress: Optional[Progress] = None,
) -> tuple[str, Count]:
    """Write the manifest of the tree to `target` and return its digest and what was done.

    Args:
        root: the tree.
        target: where the manifest goes; what stands there is the cache of digests.
        owners: whether they stand there as numbers or as names.
        cached: False reads every byte again, from the disk where the kernel lets go of its cache.
        touched: tells of a path whether it may have changed since the manifest in `target` was begun, as a recorder of
            the tree knows it; None where nobody but a transfer writes: there, what the kernel says of a file is enough.
        since_ns: with `cached=False`, what was read then or later is not read again, unless it looks otherwise now: so
            that a run that was interrupted can be gone on with. 0 reads from the first byte.
        workers: how many processes read; 0 is one per core.
        progress: called now and then with the entries and bytes so far.

    An interrupted run leaves its part beside the target, and the next one begins with the digests in it.
    """
    part, left_over = target.with_suffix(".part"), target.with_suffix(".interrupted")
    files.make_directory(target.parent)
    if part.exists():
        os.replace(part, left_over)
    known: Optional[Known] = None
    if cached or since_ns:
        known = Known(target, left_over)
    taker = _Taker(os.fsencode(root), target.parent, known, touched, since_ns if not cached else 0)
    taker.progress = progress
    count = len(os.sched_getaffinity(0)) if workers <= 0 else workers
    reader = Reader(os.fsencode(root), from_disk=not cached, accounts=Accounts(owners))
    with part.open("w", encoding="ascii") as out, Workers(count, reader.answer) as pool:
        os.fchmod(out.fileno(), 0o600)
        digest = taker.take(out, pool)
        out.flush()
        os.fsync(out.fileno())
    os.replace(part, target)
    files.sync_directory(target.parent)
    with contextlib.suppress(FileNotFoundError):
        left_over.unlink()
    return digest, taker.count


class _Window:
    """A stretch of the tree, in the order of its paths, and what is known of it so far."""

    def __init__(self) -> None:
        self.paths: list[bytes] = []
        self.inodes: list[int] = []
        self.kinds: list[str] = []
        self.known: list[str] = []
        self.size = 0
        self.missing = 0
        self.lines: list[str] = []
        self.seen: list[str] = []


class _Taker:
    """Takes one manifest."""

    def __init__(
        self, root: bytes, spill: Path, known: Optional[Known], touched: Optional[Touched], since_ns: int
    ) -> None:
        self.count = Count()
        self.progress: Optional[Progress] = None
        self._root = root
        self._known = known
        self._touched = touched
        self._since_ns = since_ns
        self._digest = Digest()
        self._spill = spill
        self._links = Links(spill)
        self._looked_at = 0
        # What each question was about: its window and the places in it. Questions are answered out of order.
        self._asked: dict[int, tuple[_Window, list[int]]] = {}
        self._number = 0

    def take(self, out: IO[str], pool: Workers) -> str:
        """Write all lines and return the digest."""
        windows: deque[_Window] = deque()
        rest = runs(self._root, self._spill)
        more = True
        with self._links:
            while more or windows:
                while more and len(windows) < _WINDOWS and pool.hungry:
                    window = self._fill(rest)
                    more = bool(window.paths)
                    if more:
                        windows.append(window)
                        self._ask(window, pool)
                while windows and not windows[0].missing:
                    self._write(windows.popleft(), out)
                if windows:
                    # With room for another window, only look whether there is an answer.
                    busy = not (more and len(windows) < _WINDOWS and pool.hungry)
                    for answer in pool.answers(wait=busy and windows[0].missing > 0):
                        self._take_in(answer, pool)
        return self._digest.hexdigest()

    def _fill(self, rest: Iterator[list[Found]]) -> _Window:
        window = _Window()
        for run in rest:
            paths, inodes, kinds = zip(*run)
            window.paths += paths
            window.inodes += inodes
            window.kinds += kinds
            window.size += sum(map(len, paths))
            if self._known is not None:
                found = [self._line(path) for path in paths]
                window.known += found
                window.size += sum(map(len, found))
            if len(window.paths) >= _WINDOW or window.size > _WINDOW_BYTES:
                break
        window.missing = len(window.paths)
        window.lines = [""] * window.missing
        window.seen = [""] * window.missing
        return window

    def _line(self, path: bytes) -> str:
        """Return what an earlier manifest says of a path, unless it may be another by now."""
        line = self._known.get(path) if self._known is not None else ""
        return line if line and self._usable(path, line) else ""

    def _usable(self, path: bytes, line: str) -> bool:
        if self._since_ns and _read_ns(line) < self._since_ns:
            return False
        return self._touched is None or not self._touched(path)

    def _ask(self, window: _Window, pool: Workers) -> None:
        places = sorted(range(len(window.paths)), key=window.inodes.__getitem__)
        at = 0
        while at < len(places):
            end, size = at, 0
            while end < len(places) and end - at < _BATCH and size < _BATCH_BYTES:
                size += len(window.paths[places[end]]) + 1
                end += 1
            chosen = places[at:end]
            kinds = "".join([window.kinds[place] for place in chosen])
            known = [window.known[place] for place in chosen] if window.known else []
            self._put(window, chosen, kinds, known if any(known) else [], pool)
            at = end

    def _put(self, window: _Window, places: list[int], kinds: str, known: list[str], pool: Workers) -> None:
        self._number += 1
        self._asked[self._number] = (window, places)
        pool.ask(pack_question(self._number, kinds, [window.paths[place] for place in places], known))

    def _take_in(self, answer: bytes, pool: Workers) -> None:
        batch = Batch.unpack(answer)
        window, places = self._asked.pop(batch.number)
        lines, later = window.lines, 0
        for place, line, seen in zip(places, batch.lines, batch.seen):
            lines[place] = line
            window.seen[place] = seen
            if line == LATER:
                later += 1
                self._put(window, [place], READ_NOW, [], pool)
        window.missing -= len(places) - later
        self.count.add(batch)
        for index in batch.moving:
            self.count.moving += 1
            if len(self.count.moving_names) < _NAMED:
                name = os.fsdecode(window.paths[places[index]])
                self.count.moving_names.append(name.encode("utf-8", "backslashreplace").decode())
        self._looked_at += len(places)
        if self.progress:
            self.progress(self._looked_at, self.count.bytes)

    def _write(self, window: _Window, out: IO[str]) -> None:
        lines, seen = window.lines, window.seen
        special = [place for place, line in enumerate(lines) if not line or line[0] == LINKED]
        for place in special:
            if lines[place]:
                _, inode, head, tail = lines[place].split(LINKED)
                first = self._links.first(int(inode), window.paths[place])
                lines[place] = f"{head}{quoted(first)},{tail}"
        if any(lines[place] == GONE for place in special):
            seen = [one for line, one in zip(lines, seen) if line]
            lines = [line for line in lines if line]
        self.count.entries += len(lines)
        if lines:
            self._digest.add_lines("\n".join(lines) + "\n", len(lines))
            out.write("".join([f"{line}\t{one}\n" for line, one in zip(lines, seen)]))


def without(manifest: Path, names: Container[bytes]) -> None:
    """Take the lines of some paths out of a manifest, so that these are read again."""
    fresh = manifest.with_suffix(".new")
    with manifest.open(encoding="ascii") as lines, fresh.open("w", encoding="ascii") as out:
        os.fchmod(out.fileno(), 0o600)
        out.writelines(line for line in lines if path_of(line) not in names)
        out.flush()
        os.fsync(out.fileno())
    os.replace(fresh, manifest)
    files.sync_directory(manifest.parent)


def sweep_partial(root: str) -> int:
    """Remove what interrupted transfers left in a passive tree; directories keep their time stamps."""
    removed = 0
    base = os.fsencode(root)
    for path, _, kind in walk(base):
        if kind == IS_DIRECTORY and path.rpartition(b"/")[2] == PARTIAL:
            full = os.path.join(base, path)
            parent = os.path.dirname(full)
            before = os.stat(parent)
            for name in os.listdir(full):
                os.unlink(os.path.join(full, name))
            os.rmdir(full)
            os.utime(parent, ns=(before.st_atime_ns, before.st_mtime_ns))
            removed += 1
    return removed


def _read_ns(line: str) -> int:
    return int(line.rpartition(" ")[2])


def _lines(path: Path) -> Iterator[tuple[bytes, str]]:
    with path.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            # The last line of an interrupted run may be half a line.
            if not line.endswith("\n"):
                return
            yield sort_key(path_of(line)), line[:-1]


def by_hand(path: str, target: str, owners: str, every: bool) -> None:
    """Take a manifest into the file `target` and print its digest; `every`: read all files, believe no cache."""
    digest, count = take_manifest(path, Path(target), owners=owners, cached=not every)
    sys.stdout.write(json.dumps({"manifest": digest, **count.to_dict()}) + "\n")
