"""Watch a whole file system with fanotify: which names change, in the order in which they do.

The kernel names a directory by a handle; it is resolved when the event is read, so the path is the one of then. That is
enough: a directory that was moved meanwhile brings events of its own, which make all below it count as changed.

No descriptor of the tree is kept open, or nobody could unmount it. The mark goes away with the file system, and that
can be seen.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Collection, Iterator

from ...changes import ROOT
from ...events import ONDIR, OPEN, WATCHED, Event, parse, path_of
from .handles import Handles, WatchEnded, failed

_CLOEXEC, _NONBLOCK, _UNLIMITED, _FID, _DIR_FID, _NAME = 0x1, 0x2, 0x10, 0x200, 0x400, 0x800
_ADD, _REMOVE, _FILESYSTEM = 0x1, 0x2, 0x100
_AT_FDCWD = -100
_READ = 1 << 18
_CACHED = 20_000
# A directory with so many bytes for every name that is asked for holds far more than those.
_LARGE = 4096
# What the kernel writes behind a path that was opened and is gone. A name may really end like that.
_DELETED = b" (deleted)"


class Watch:
    """A mark on the file system that is mounted at a path."""

    def __init__(self, path: str, *, unlimited: bool = True) -> None:
        self.path = os.fsencode(os.path.realpath(path))
        if not os.path.ismount(self.path):
            raise WatchEnded(expected=f"a file system mounted at {path}", found="none")
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.fanotify_mark.argtypes = [
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint64,
            ctypes.c_int,
            ctypes.c_char_p,
        ]
        flags = _CLOEXEC | _NONBLOCK | _FID | _DIR_FID | _NAME | (_UNLIMITED if unlimited else 0)
        self.descriptor = self._libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC | os.O_LARGEFILE)
        if self.descriptor < 0:
            raise failed("to watch file systems (fanotify_init)", self.path)
        try:
            self._mark(_ADD | _FILESYSTEM, WATCHED, "to watch the file system")
            # After the mark: were another file system mounted here by now, it would be the wrong one that is watched.
            self.device = os.stat(self.path).st_dev
            self.check()
        except BaseException:
            os.close(self.descriptor)
            raise
        self._directories = Directories(self._resolve)
        self._handles = Handles(self.path, self.device, relieve=self._directories.clear)

    def close(self) -> None:
        """Stop watching."""
        os.close(self.descriptor)

    def check(self) -> None:
        """Raise when the file system that was marked is not the one at the path any more."""
        with open(f"/proc/self/fdinfo/{self.descriptor}", encoding="ascii") as lines:
            marked = any(line.startswith("fanotify sdev:") for line in lines)
        if not marked or os.stat(self.path).st_dev != self.device:
            raise WatchEnded(expected=f"{os.fsdecode(self.path)} to stay mounted", found="it was unmounted")

    def read(self) -> list[Event]:
        """Return what has happened; nothing when nothing is waiting."""
        try:
            found = list(parse(os.read(self.descriptor, _READ)))
        except BlockingIOError:
            return []
        self._handles.begin()
        self._directories.begin(found)
        return found

    def paths(self, events: list[Event]) -> Iterator[tuple[Event, bytes | None]]:
        """Yield each event with the path of its directory; None for a directory that is gone: its parent tells so."""
        for event in events:
            yield event, self._directories.path(event.directory) if event.directory else None

    def missing(self, directory: bytes, names: list[bytes]) -> Collection[bytes]:
        """Return which of the names in a directory have nothing under them now."""
        return missing(self.path, directory, names)

    def inode_to_note(self, event: Event, directory: bytes | None) -> int | bytes | None:
        """Return the inode of a changed file, unless the name that is told is all it has, or else its only name."""
        if not event.changes_a_file:
            return None
        told = None if directory is None else os.path.join(self.path, path_of(directory, event.name))
        with self._handles.opened(event.target) as found:
            return None if found is None else to_note(found, self.path, told)

    def ask(self) -> None:
        """Cause an event that comes after all that has happened until now; works on a file system that is read-only."""
        self._mark(_ADD, OPEN | ONDIR, "to mark the end of the queue")
        try:
            os.close(os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        finally:
            self._mark(_REMOVE, OPEN | ONDIR, "to go on without the mark")

    def _resolve(self, handle: bytes) -> bytes | None:
        with self._handles.opened(handle) as found:
            if found is None:
                return None
            path = os.readlink(b"/proc/self/fd/%d" % found)
            if path.endswith(_DELETED) and not _is(path, found):
                return None
        if path == self.path:
            return ROOT
        if not path.startswith(self.path + b"/"):
            raise WatchEnded(expected=f"a directory below {os.fsdecode(self.path)}", found=os.fsdecode(path))
        return path[len(self.path) + 1 :]

    def _mark(self, how: int, mask: int, what: str) -> None:
        if self._libc.fanotify_mark(self.descriptor, how, mask, _AT_FDCWD, self.path) != 0:
            raise failed(what, self.path)


class Directories:
    """The paths of directories by their handles, each resolved once for as long as nothing is moved."""

    def __init__(self, resolve: Callable[[bytes], bytes | None], most: int = _CACHED) -> None:
        self._resolve, self._most = resolve, most
        self._known: dict[bytes, bytes | None] = {}

    def begin(self, events: list[Event]) -> None:
        """Begin with a new piece of the queue.

        All of it has happened by now, so what is resolved from here on is resolved after the last move in it: only what
        was resolved before may lead elsewhere. A directory that is removed had nothing in it that could.
        """
        if any(event.moves_paths for event in events):
            self._known.clear()

    def path(self, handle: bytes) -> bytes | None:
        """Return the path of a directory; None when it is gone."""
        with contextlib.suppress(KeyError):
            return self._known[handle]
        found = self._resolve(handle)
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[handle] = found
        return found

    def clear(self) -> None:
        """Give the memory back."""
        self._known.clear()


def missing(base: bytes, directory: bytes, names: list[bytes]) -> set[bytes]:
    """Return which paths in a directory below the base have nothing under them now."""
    found = set(names)
    above = os.path.join(base, directory)
    try:
        if os.stat(above).st_size > _LARGE * len(names):
            return {name for name in names if not os.path.lexists(os.path.join(base, name))}
        # In one go: to look one name up means to wait for all who work in that directory.
        with os.scandir(above) as entries:
            for entry in entries:
                found.discard(path_of(directory, entry.name))
    except (FileNotFoundError, NotADirectoryError):
        # Gone with all it held, or replaced by something else.
        return set(names)
    return found


def to_note(found: int, base: bytes, told: bytes | None) -> int | bytes | None:
    """Return what to note of a changed file that is open: nothing, its only name below the base, or its inode."""
    info = os.fstat(found)
    if info.st_nlink == 0:
        # In use, and without a name: it is in no tree. Were it given a name again, an event would tell that.
        return None
    if info.st_nlink > 1:
        return info.st_ino
    # It may have been renamed since: uploads are, and an inode for each of them would be kept for ever. The kernel
    # tells the name from what it has in memory; to look one up means to wait for all who work in that directory.
    now = os.readlink(b"/proc/self/fd/%d" % found)
    below = now.startswith(base + b"/")
    if below and (not now.endswith(_DELETED) or _is_all(now, info)):
        return None if now == told else now[len(base) + 1 :]
    return None if told is not None and _is_all(told, info) else info.st_ino


def _is_all(path: bytes, info: os.stat_result) -> bool:
    """Tell whether a path is the only name of a file."""
    with contextlib.suppress(OSError):
        told = os.lstat(path)
        return (told.st_ino, told.st_dev, told.st_nlink) == (info.st_ino, info.st_dev, 1)
    return False


def _is(path: bytes, descriptor: int) -> bool:
    """Tell whether a path, whose name may really end like that, is what a descriptor is open on."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False
