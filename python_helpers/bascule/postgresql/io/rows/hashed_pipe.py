"""A named pipe into which a server writes and from which its bytes are hashed as they come: none of them is kept."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import select
import threading
from collections.abc import Iterator
from pathlib import Path

_SET_SIZE, _GET_SIZE = 1031, 1032  # F_SETPIPE_SZ and F_GETPIPE_SZ, which Python 3.9 does not name
_SIZE = 1 << 20
# What is read at once is still in the core's cache when it is hashed.
_PIECE = _SIZE // 8
# How long a writer is left alone: a pipe of this size is far from full by then.
_PAUSE = 0.0015


class Reading:
    """What was read of one writer: the SHA-256 of its bytes."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._pause = _PAUSE * size / _SIZE
        self._digest = hashlib.sha256()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Read what is left, after the writer has ended or failed."""
        self._ended.set()
        self._thread.join()

    def hexdigest(self) -> str:
        """Return the digest of everything read."""
        return self._digest.hexdigest()

    def _read(self) -> None:
        buffer = bytearray(_PIECE)
        view = memoryview(buffer)
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while True:
            ready = poll.poll(20)
            if ready and ready[0][1] & select.POLLIN:
                count = os.readv(self._descriptor, [buffer])
                if count:
                    self._digest.update(view[:count])
                    if count < _PIECE and not self._ended.is_set():
                        # The server writes small pieces: to wake up for each of them costs more than to hash them, and
                        # takes the core away from the server.
                        self._ended.wait(self._pause)
                    continue
            # A pipe that nobody writes to any more is over only once the server has said so.
            if self._ended.is_set():
                return
            if ready:
                self._ended.wait(0.001)


class HashedPipe:
    """A named pipe that only the server's account and root can use."""

    def __init__(self, directory: Path, name: str, owner: str) -> None:
        account = pwd.getpwnam(owner)
        # The server looks the pipe up by its path; nobody else needs to see into the directory.
        directory.mkdir(parents=True, exist_ok=True)
        os.chown(directory, account.pw_uid, account.pw_gid)
        directory.chmod(0o700)
        self.path = directory / name
        self.path.unlink(missing_ok=True)
        os.mkfifo(self.path, 0o600)
        os.chown(self.path, account.pw_uid, account.pw_gid)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reading]:
        """Read what is written inside this context; the digest is whole when it has been left."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):
                # An account may have used up what it may have in large pipes: a small one is only slower.
                fcntl.fcntl(descriptor, _SET_SIZE, _SIZE)
            reading = Reading(descriptor, fcntl.fcntl(descriptor, _GET_SIZE))
            try:
                yield reading
            finally:
                reading.end()
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Remove the pipe."""
        self.path.unlink(missing_ok=True)
