"""The rsyncs that write into a passive tree: which have begun, which of them have not ended well, and how one is ended.

Each has a file while it runs, locked by all its processes; it goes when rsync has ended by itself. One that was killed
may have left a part of a file under another name, anywhere it was at work; one whose connection was lost may go on
writing for a while. No state is agreed on before that is dealt with.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ....errors import BasculeError
from ....system.io import storage
from ... import transfer
from ...transfer import TransferError
from ..fence import side as fence_side
from ..fence.side import Side

# What one has begun with: some names, whose list any later transfer by names holds as well; or the whole tree.
NAMED, WHOLE = "names", "tree"
# Ended by itself, after both its processes have: some files not transferred, vanished, too many deletions.
_ENDED_WELL = (0, 23, 24, 25)
_WAIT = 10.0


@contextlib.contextmanager
def begun(side: Side, reach: str) -> Iterator[Receiver]:
    """Note that one begins, before it does; what both sides agreed on does not hold from here on."""
    with changing(side):
        receiver = Receiver(side, reach)
        fence_side.note(side, touched=True)
    try:
        yield receiver
    finally:
        receiver.close()


class Receiver:
    """One that runs."""

    def __init__(self, side: Side, reach: str) -> None:
        directory = _directory(side)
        storage.make_directory(directory)
        name = f"{os.getpid()}-{secrets.token_hex(4)}.{reach}"
        self._path, fresh = directory / name, directory / f".{name}"
        self._lock = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # Children that are executed keep it; nobody sees the file without its lock.
        os.set_inheritable(self._lock, True)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.replace(fresh, self._path)
        storage.sync_directory(directory)

    def ended(self, code: int) -> None:
        """Take in how its rsync has ended. After a power cut it may count as killed, which costs a look, no more."""
        if code in _ENDED_WELL:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._lock)


@contextlib.contextmanager
def changing(side: Side) -> Iterator[None]:
    """Keep others from beginning, and from agreeing."""
    with storage.locked(side.home / "receiving.lock"):
        yield


def standing(side: Side) -> list[str]:
    """Return which have not ended well, or have not ended."""
    return [path.name for path in storage.children(_directory(side)) if not path.name.startswith(".")]


def dead(side: Side) -> list[str]:
    """Return which have not ended well and do not run any more."""
    return [name for name in standing(side) if not _runs(_directory(side) / name)]


def had_the_whole_tree(names: Iterable[str]) -> bool:
    """Tell whether what these have left may lie anywhere."""
    return any(not name.endswith(f".{NAMED}") for name in names)


def end(side: Side) -> list[str]:
    """End all that still run, and return which have not ended well."""
    deadline = time.monotonic() + _WAIT
    while True:
        found = standing(side)
        if all(not _runs(_directory(side) / name) for name in found):
            return found
        for process in _processes(side):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise TransferError(
                expected=f"an earlier transfer into {side.path} to end",
                found=f"it still runs {_WAIT:g} s after it was killed: {', '.join(found)}",
                state="nothing was agreed on",
                next_command=f"fuser -v {side.home}/receive.lock; then run the same playbook again",
            )
        time.sleep(0.02)


def forget(side: Side, names: Iterable[str]) -> None:
    """Note that what these have left was dealt with."""
    for name in names:
        (_directory(side) / name).unlink(missing_ok=True)


def _directory(side: Side) -> Path:
    return side.home / "receiving"


def _runs(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _processes(side: Side) -> Iterator[int]:
    """Yield what serves a transfer into this tree: all of it has inherited what the other side's key asked for."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for value in environment:
            name, _, command = value.partition(b"=")
            if name == b"SSH_ORIGINAL_COMMAND" and _writes(side, os.fsdecode(command)):
                yield int(entry.name)


def _writes(side: Side, command: str) -> bool:
    try:
        return not transfer.parse_request(command, side.tree, str(side.kept), side.owners).dry_run
    except BasculeError:
        return False
