"""Find the files of a mounted file system by the handles that fanotify tells, and keep none of them open.

"No memory" is not always meant. Where the file of a handle is gone and the number of its inode is being given to a new
file at this moment, ext4 answers the same (its look-up of the inode ends with nothing, which is taken for no memory).
With 20 GB free it was seen within a second where names came and went, and a moment later the answer was that the file
is gone. So the kernel is asked again, and only what it still says after that is believed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import time
from collections.abc import Callable, Iterator

from ....errors import BasculeError

# A new inode is being made until the blocks of its directory have been read: some ten seconds in all.
TRIES = 32
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0001, 0.5
# From here on it may really be memory: what can be had again is given back first.
_SHORT_OF_MEMORY = 0.1

_LIBC = ctypes.CDLL(None, use_errno=True)
# Calls open_by_handle_at with a directory of the mount and a handle; returns a descriptor, or less than 0 and errno.
Call = Callable[[int, bytes], int]


class WatchEnded(BasculeError):
    """From here on events may be missing."""


def failed(what: str, path: bytes) -> WatchEnded:
    """Return the error of a call that has just failed."""
    code = ctypes.get_errno()
    return WatchEnded(
        expected=f"{what} at {os.fsdecode(path)}",
        found=f"{os.strerror(code)} (error {code}), asked {what}",
        next_command="give the tree a file system whose changes the kernel reports (ext4, xfs, btrfs, tmpfs; not "
        "overlay), and the service CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH; or -e rsync_delta_sync_recorder=false",
    )


def by_handle(mount: int, handle: bytes) -> int:
    """Open what a handle stands for, without access to its content."""
    buffer = ctypes.create_string_buffer(handle, len(handle))
    return int(_LIBC.open_by_handle_at(mount, buffer, os.O_PATH | os.O_CLOEXEC))


class Handles:
    """The files of the file system that is mounted at a path, as long as it is the same one."""

    def __init__(self, path: bytes, device: int, relieve: Callable[[], None], call: Call = by_handle) -> None:
        self.path, self.device = path, device
        self._relieve, self._call = relieve, call
        self._gone: set[bytes] = set()

    def begin(self) -> None:
        """Begin with a new piece of the queue; what was gone in the piece before is asked for anew."""
        self._gone.clear()

    @contextlib.contextmanager
    def opened(self, handle: bytes) -> Iterator[int | None]:
        """Open what a handle stands for; None when it is gone: no later file has the same handle."""
        found = None if handle in self._gone else self._open(handle)
        if found is None:
            self._gone.add(handle)
        try:
            yield found
        finally:
            if found is not None:
                os.close(found)

    def _open(self, handle: bytes) -> int | None:
        pause = 0.0
        for attempt in range(TRIES):
            if attempt:
                if pause > _SHORT_OF_MEMORY:
                    self._relieve()
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE) or _FIRST_PAUSE
            found = self._ask(handle)
            if found >= 0:
                return found
            if ctypes.get_errno() in (errno.ESTALE, errno.ENOENT):
                return None
            if ctypes.get_errno() != errno.ENOMEM:
                raise failed("to find a file by its handle", self.path)
        raise WatchEnded(
            expected=f"to find a file by its handle at {os.fsdecode(self.path)}",
            found=f"the kernel had no memory to find a file by its handle, asked {TRIES} times",
            next_command="journalctl --dmesg --grep 'out of memory'; the next transfer looks at the whole tree",
        )

    def _ask(self, handle: bytes) -> int:
        # No longer than needed: an open directory of the mount keeps it from being unmounted.
        mount = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if os.fstat(mount).st_dev != self.device:
                raise WatchEnded(expected=f"{os.fsdecode(self.path)} to stay mounted", found="it was unmounted")
            return self._call(mount, handle)
        finally:
            os.close(mount)
