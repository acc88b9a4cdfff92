"""Walk a tree in the order of its manifest: parents first, siblings by bytes, on one file system, in bounded memory."""

from __future__ import annotations

import contextlib
import heapq
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Optional

from ...manifest import ROOT, ManifestError, printable

# Made by the file system at its root, not by anybody who keeps files in it.
IGNORED = (b"lost+found",)
# A directory with more names than this is sorted on disk.
IN_MEMORY = 100_000
IS_FILE, IS_DIRECTORY, IS_OTHER = "f", "d", "o"
_PIECE = 4096

# No system call takes a longer path.
LONGEST = 4095

# Is told of a path that is left out, with all below it.
Tell = Callable[[bytes], None]
# Path below the root, number of the inode (what reading is ordered by), and what it seems to be.
Found = tuple[bytes, int, str]


def walk(
    base: bytes,
    spill: Optional[Path] = None,
    longest: int = 0,
    too_long: Optional[Tell] = None,
    apart: Optional[Tell] = None,
) -> Iterator[Found]:
    """Yield the root and all below it; mount points and what they hide are left out. `spill` is where long lists go.

    A path of more than `longest` bytes below the root (0: as many as the kernel takes) is told to `too_long`; without
    that it is an error. A directory on another device (a mount, a subvolume of btrfs) is told to `apart`.
    """
    for run in runs(base, spill, longest, too_long, apart):
        yield from run


def runs(
    base: bytes,
    spill: Optional[Path] = None,
    longest: int = 0,
    too_long: Optional[Tell] = None,
    apart: Optional[Tell] = None,
) -> Iterator[list[Found]]:
    """Yield the same in pieces, because a step for each path costs: never empty, of a few thousand at most."""
    top = os.stat(base)
    yield [(ROOT, top.st_ino, IS_DIRECTORY)]
    reach = longest or LONGEST - len(base) - 1

    def children(path: bytes) -> Iterator[Found]:
        return _children(base, path, spill, reach, too_long or _refuse)

    stack = [_pieces(children(b""))]
    while stack:
        piece = next(stack[-1], None)
        if piece is None:
            stack.pop()
        elif piece[0][2] != IS_DIRECTORY:
            yield piece
        else:
            path = piece[0][0]
            # A tree in use loses directories under the walker's feet; a later run sees what has become of them.
            try:
                info = os.lstat(os.path.join(base, path))
            except (FileNotFoundError, NotADirectoryError):
                continue
            if info.st_dev == top.st_dev:
                yield piece
                stack.append(_pieces(children(path)))
            elif apart:
                apart(path)


def _pieces(found: Iterator[Found]) -> Iterator[list[Found]]:
    """Cut what is in a directory before and after each directory in it."""
    while part := list(islice(found, _PIECE)):
        begin = 0
        for at, kind in enumerate([one[2] for one in part]):
            if kind == IS_DIRECTORY:
                if at > begin:
                    yield part[begin:at]
                yield [part[at]]
                begin = at + 1
        if begin < len(part):
            yield part[begin:] if begin else part


def _refuse(path: bytes) -> None:
    raise ManifestError(
        expected="paths that the kernel takes whole",
        found=f"one of {len(path)} bytes below the root, which is too long: {printable(path[:100])}…",
        state="nothing was changed",
        next_command="give directories above it shorter names, then run the same playbook again",
    )


def _children(base: bytes, path: bytes, spill: Optional[Path], reach: int, too_long: Tell) -> Iterator[Found]:
    try:
        return _sorted(base, path, spill, reach, too_long)
    except (FileNotFoundError, NotADirectoryError):
        return iter(())


def _sorted(base: bytes, path: bytes, spill: Optional[Path], reach: int, too_long: Tell) -> Iterator[Found]:
    prefix = path + b"/" if path else b""
    room = reach - len(prefix)
    names: list[tuple[bytes, int, str]] = []
    runs: list[IO[bytes]] = []
    with os.scandir(os.path.join(base, path)) as found:
        for one in found:
            if len(one.name) > room:
                too_long(prefix + one.name)
                continue
            kind = IS_FILE if one.is_file(follow_symlinks=False) else IS_OTHER
            if kind == IS_OTHER and one.is_dir(follow_symlinks=False):
                kind = IS_DIRECTORY
            names.append((prefix + one.name, one.inode(), kind))
            if len(names) >= IN_MEMORY:
                names.sort()
                runs.append(_spill(names, spill))
                names = []
    names.sort()
    if not path:
        names = [one for one in names if one[0] not in IGNORED]
    if not runs:
        return iter(names)
    return heapq.merge(*(_read(run, bool(path)) for run in runs), names)


def _spill(names: list[Found], directory: Optional[Path]) -> IO[bytes]:
    """Write sorted names to a file that has no name itself."""
    descriptor, path = tempfile.mkstemp(prefix="bascule-names-", dir=directory)
    os.unlink(path)
    run = os.fdopen(descriptor, "w+b")
    for name, inode, kind in names:
        run.write(b"%s\0%d\0%s\0\0" % (name, inode, kind.encode()))
    run.seek(0)
    return run


def _read(run: IO[bytes], below: bool) -> Iterator[Found]:
    """Read back what was spilled; no name is empty or holds a NUL, so two of them end a record."""
    rest = b""
    with contextlib.closing(run):
        while data := run.read(1 << 16):
            *records, rest = (rest + data).split(b"\0\0")
            for record in records:
                name, inode, kind = record.split(b"\0")
                if below or name not in IGNORED:
                    yield name, int(inode), kind.decode()
