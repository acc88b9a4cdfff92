"""The recorder: a service that writes down which names of a tree change, for as long as it has missed nothing.

One thread reads the kernel's queue, appends to a journal, and answers on a socket that only root and the recorder
reach. A generation is one unbroken watch. Whatever breaks it (a restart, an overflow, an unmounted tree, more names
than there is room for) ends the generation for good, with the reason, and a new one begins.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import socket
import time
from pathlib import Path
from types import FrameType
from typing import Any

from ....errors import BasculeError
from ... import events
from ...changes import CHANGED, INODE, Log
from ...events import Event
from .fanotify import Watch
from .handles import WatchEnded

# The names alone. The interpreter needs 20 MB more, folding up to 60; the rest is for events that wait in the kernel.
MEMORY = 192 << 20
_COMPACT_FROM = 4 << 20
_ENDED_KEPT = 8
_LISTEN = 16
_REST = 0.01


class Recorder:
    """One watch after the other over the same tree."""

    def __init__(self, path: str, state: Path, runtime: Path, *, unlimited: bool = True, memory: int = MEMORY) -> None:
        self._path, self._state, self._unlimited, self._memory = path, state, unlimited, memory
        self._stop = False
        self._asked: socket.socket | None = None
        self.ended = self._left_by_an_earlier_run()
        self.generation = ""
        self._watch: Watch | None = None
        self._log = Log(memory)
        self._written = self._size = self._number = 0
        self._out = -1
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address = runtime / "socket"
        address.unlink(missing_ok=True)
        self._socket.bind(str(address))
        os.chmod(address, 0o600)
        self._socket.listen(_LISTEN)

    def run(self) -> None:
        """Record until told to stop; the first watch must work."""
        self._begin()
        _tell_manager("READY=1")
        woken, wake = socket.socketpair()
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno())
        with open("/proc/self/mountinfo", "rb") as mounts, woken, wake:
            while not self._stop:
                poller = select.poll()
                poller.register(mounts, select.POLLPRI | select.POLLERR)
                poller.register(woken, select.POLLIN)
                # One at a time: a second end of the queue would be merged with the first, which comes too early for it.
                if self._asked is None:
                    poller.register(self._socket, select.POLLIN)
                if self._watch:
                    poller.register(self._watch.descriptor, select.POLLIN)
                ready = {number for number, _ in poller.poll(None if self._watch else 1000)}
                self._turn(self._socket.fileno() in ready, mounts.fileno() in ready)
        signal.set_wakeup_fd(-1)
        self._end("the recorder was stopped")
        self._answer()
        self._socket.close()

    def stop(self, signum: int, frame: FrameType | None) -> None:
        """Stop after this turn."""
        self._stop = True

    def _turn(self, asked: bool, mounts_changed: bool) -> None:
        try:
            if self._watch is None:
                self._begin()
            elif mounts_changed:
                self._watch.check()
            if asked:
                self._accept()
            if self._watch:
                self._take(self._watch, self._watch.read())
        except (BasculeError, OSError) as error:
            self._end(error.found if isinstance(error, WatchEnded) else str(error))
        if self._watch is None:
            self._answer()

    def _begin(self) -> None:
        try:
            watch = Watch(self._path, unlimited=self._unlimited)
        except (BasculeError, OSError):
            if not self.generation:
                raise
            # Unmounted, and not there again yet: the next turn looks again.
            return
        self.generation = secrets.token_hex(8)
        self._log = Log(self._memory, missing=watch.missing)
        self._watch = watch
        self._rewrite()

    def _end(self, why: str) -> None:
        if self._watch is None:
            return
        self._watch.close()
        self._watch = None
        self.ended[self.generation] = why
        while len(self.ended) > _ENDED_KEPT:
            del self.ended[next(iter(self.ended))]
        self._log = Log(self._memory)
        with contextlib.suppress(OSError):
            self._rewrite()

    def _take(self, watch: Watch, found: list[Event]) -> None:
        marker = False
        for event, directory in watch.paths(found):
            if event.mask & events.Q_OVERFLOW:
                raise WatchEnded(expected="every event", found="the kernel's queue overflowed")
            marker = marker or bool(event.mask & events.OPEN and event.pid == os.getpid())
            also = watch.inode_to_note(event, directory)
            if also is not None:
                self._note(also if isinstance(also, bytes) else INODE + b"%d" % also, CHANGED)
            if directory is None or not event.mask & events.WATCHED & ~events.ONDIR:
                continue
            name = events.path_of(directory, event.name)
            if event.may_have_no_name and watch.missing(directory, [name]):
                # A file without a name is in no tree: our own try to write into a tree that was just opened is one.
                continue
            for kind in event.kinds():
                self._note(name, kind)
        if found:
            self._append()
        if marker:
            self._answer()
        elif found:
            # A burst is read in large pieces: the kernel merges what happens to the same name meanwhile.
            time.sleep(_REST if len(found) < 64 and not self._asked else 0)

    def _note(self, name: bytes, kind: bytes) -> None:
        if not self._log.note(name, kind):
            raise WatchEnded(
                expected=f"names that fit into {self._memory >> 20} MB",
                found=f"more than {len(self._log.names)} names have changed since the last transfer",
            )

    def _append(self) -> None:
        data = self._log.records(self._written)
        _write(self._out, data)
        self._size += len(data)
        self._written = self._log.sequence
        if self._size > _COMPACT_FROM + 2 * self._log.written_size:
            self._rewrite()

    def _rewrite(self) -> None:
        """Begin a new file with every name once; the old one goes when nobody can be told of it any more."""
        before, self._number = self._journal(), self._number + 1
        if self._out >= 0:
            os.close(self._out)
        self._out = os.open(
            self._state / self._journal(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        self._size = 0
        for piece in self._log.pieces():
            _write(self._out, piece)
            self._size += len(piece)
        self._written = self._log.sequence
        self._save()
        for path in self._state.glob("journal.*"):
            if path.name not in (before, self._journal()):
                path.unlink(missing_ok=True)

    def _accept(self) -> None:
        connection, _ = self._socket.accept()
        connection.settimeout(2)
        try:
            asked = json.loads(connection.recv(4096) or b"null")
            if not isinstance(asked, dict):
                raise ValueError("not a request")
            if asked.get("generation") == self.generation and isinstance(asked.get("forget"), int):
                self._log.forget(asked["forget"])
        except (OSError, ValueError):
            connection.close()
            return
        # Answered when everything up to here has been read, or at once where nothing is being recorded.
        self._asked = connection
        if self._watch:
            self._watch.check()
            self._watch.ask()

    def _answer(self) -> None:
        connection, self._asked = self._asked, None
        if connection:
            with contextlib.suppress(OSError), connection:
                connection.sendall(json.dumps(self.status()).encode())

    def status(self) -> dict[str, Any]:
        """Return where the recorder stands."""
        return {
            "generation": self.generation,
            "recording": self._watch is not None,
            "sequence": self._log.sequence,
            "forgotten": self._log.forgotten,
            "names": len(self._log.names),
            "journal": self._journal(),
            "size": self._size,
            "ended": self.ended,
            "pid": os.getpid(),
        }

    def _journal(self) -> str:
        return f"journal.{self._number}"

    def _save(self) -> None:
        temporary = self._state / "status.new"
        temporary.write_text(json.dumps(self.status()), encoding="ascii")
        os.replace(temporary, self._state / "status.json")

    def _left_by_an_earlier_run(self) -> dict[str, str]:
        for path in self._state.glob("journal.*"):
            path.unlink()
        try:
            left = json.loads((self._state / "status.json").read_text(encoding="ascii"))
            ended = {str(name): str(why) for name, why in left["ended"].items()}
            ended.setdefault(str(left["generation"]), "the recorder was killed, or the host restarted")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return ended


def serve(path: str, state: Path, runtime: Path, *, unlimited: bool, memory: int) -> None:
    """Record until the service manager says otherwise."""
    recorder = Recorder(path, state, runtime, unlimited=unlimited, memory=memory)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, recorder.stop)
    recorder.run()


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _tell_manager(text: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            manager.sendall(text.encode())


def run(path: str, queue: str, memory: str) -> None:
    """Record until stopped, in the directories that systemd gives the unit; `memory` in MB, nothing: the default."""
    state, runtime = (Path(os.environ[name]) for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY"))
    limit = int(memory) << 20 if memory else MEMORY
    serve(path, state, runtime, unlimited=queue == "unlimited", memory=limit)
