"""Watch a whole file system with fanotify: which names change, in the order in which they do.

The kernel names a directory by a handle; it is resolved when the event is read, so the path is the one of then. That is
enough: a directory that was moved meanwhile brings events of its own, which make all below it count as changed.

No descriptor of the tree is kept open, or nobody could unmount it. The mark goes away with the file system, and that
can be seen.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator

from ..errors import BasculeError
from ..files.changes import ROOT
from ..files.events import ONDIR, OPEN, WATCHED, Event, parse, path_of

_CLOEXEC, _NONBLOCK, _UNLIMITED, _FID, _DIR_FID, _NAME = 0x1, 0x2, 0x10, 0x200, 0x400, 0x800
_ADD, _REMOVE, _FILESYSTEM = 0x1, 0x2, 0x100
_AT_FDCWD = -100
_READ = 1 << 18
_CACHED = 20_000


class WatchEnded(BasculeError):
    """From here on events may be missing."""


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
            raise self._failed("to watch file systems (fanotify_init)")
        try:
            self._mark(_ADD | _FILESYSTEM, WATCHED, "to watch the file system")
            # After the mark: were another file system mounted here by now, it would be the wrong one that is watched.
            self.device = os.stat(self.path).st_dev
            self.check()
        except BaseException:
            os.close(self.descriptor)
            raise
        self._cache: dict[bytes, bytes | None] = {}

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
            return list(parse(os.read(self.descriptor, _READ)))
        except BlockingIOError:
            return []

    def paths(self, events: list[Event]) -> Iterator[tuple[Event, bytes | None]]:
        """Yield each event with the path of its directory; None for a directory that is gone: its parent tells so."""
        for event in events:
            yield event, self._directory(event.directory) if event.directory else None
            if event.moves_a_directory:
                self._cache.clear()

    def exists(self, name: bytes) -> bool:
        """Tell whether there is anything under a name now."""
        return os.path.lexists(os.path.join(self.path, name))

    def inode_to_note(self, event: Event, directory: bytes | None) -> int | bytes | None:
        """Return the inode of a changed file, unless the name that is told is all it has, or else its only name."""
        if not event.changes_a_file:
            return None
        with self._opened(event.target) as found:
            if found is None:
                return None
            info = os.fstat(found)
            now = os.readlink(b"/proc/self/fd/%d" % found)
        if directory is not None and self._is_all(os.path.join(self.path, path_of(directory, event.name)), info):
            return None
        # It was renamed since: uploads are, and an inode for each of them would be kept for ever.
        if now.startswith(self.path + b"/") and self._is_all(now, info):
            return now[len(self.path) + 1 :]
        return info.st_ino

    def _is_all(self, path: bytes, info: os.stat_result) -> bool:
        """Tell whether a path is the only name of a file."""
        with contextlib.suppress(OSError):
            told = os.lstat(path)
            return (told.st_ino, told.st_dev, told.st_nlink) == (info.st_ino, self.device, 1)
        return False

    def ask(self) -> None:
        """Cause an event that comes after all that has happened until now; works on a file system that is read-only."""
        self._mark(_ADD, OPEN | ONDIR, "to mark the end of the queue")
        try:
            os.close(os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        finally:
            self._mark(_REMOVE, OPEN | ONDIR, "to go on without the mark")

    def _directory(self, handle: bytes) -> bytes | None:
        with contextlib.suppress(KeyError):
            return self._cache[handle]
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        found = self._resolve(handle)
        self._cache[handle] = found
        return found

    def _resolve(self, handle: bytes) -> bytes | None:
        with self._opened(handle) as found:
            if found is None:
                return None
            path = os.readlink(b"/proc/self/fd/%d" % found)
            if path.endswith(b" (deleted)") and not _is(path, found):
                return None
        if path == self.path:
            return ROOT
        if not path.startswith(self.path + b"/"):
            raise WatchEnded(expected=f"a directory below {os.fsdecode(self.path)}", found=os.fsdecode(path))
        return path[len(self.path) + 1 :]

    @contextlib.contextmanager
    def _opened(self, handle: bytes) -> Iterator[int | None]:
        """Open what a handle stands for, without access to its content; None when it is gone."""
        mount = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if os.fstat(mount).st_dev != self.device:
                raise WatchEnded(expected=f"{os.fsdecode(self.path)} to stay mounted", found="it was unmounted")
            buffer = ctypes.create_string_buffer(handle, len(handle))
            found = self._libc.open_by_handle_at(mount, buffer, os.O_PATH | os.O_CLOEXEC)
            if found < 0 and ctypes.get_errno() not in (errno.ESTALE, errno.ENOENT):
                raise self._failed("to find a file by its handle")
        finally:
            os.close(mount)
        try:
            yield found if found >= 0 else None
        finally:
            if found >= 0:
                os.close(found)

    def _mark(self, how: int, mask: int, what: str) -> None:
        if self._libc.fanotify_mark(self.descriptor, how, mask, _AT_FDCWD, self.path) != 0:
            raise self._failed(what)

    def _failed(self, what: str) -> WatchEnded:
        code = ctypes.get_errno()
        return WatchEnded(
            expected=f"{what} at {os.fsdecode(self.path)}",
            found=f"{os.strerror(code)} (error {code})",
            next_command="give the tree a file system whose changes the kernel reports (ext4, xfs, btrfs, tmpfs; not "
            "overlay), and the service CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH; or -e rsync_delta_sync_recorder=false",
        )


def _is(path: bytes, descriptor: int) -> bool:
    """Tell whether a path, whose name may really end like that, is what a descriptor is open on."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False
