"""Carry the changed blocks of one disk from the node that has it to this one, whatever each of them keeps it on.

The node that sends reads only disks that a decision has lent (`lend`), by a forced command of the other node's key
(`serve`); the one that receives compares and writes (`carry`). Protocol: `guest.blocks`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Optional

from ...errors import BasculeError, CommandFailed
from ...system.io import storage
from ...system.io.process import Runner, run
from ...system.rsync import Job, directory, ssh_command
from .. import blocks
from ..chunks import CHUNK
from . import disk_source, disk_target, disks

# Seconds without a word from the other node after which it counts as gone.
_PATIENCE = 300
# Chunks whose hashes may be on their way before their answer has come.
_AHEAD = 16
_KIBI = 1 << 10


def lent_path(component: str) -> Path:
    """Return where it stands which disks the other node may read."""
    return Path(directory(component)) / "lent-disks.json"


def lend(component: str, wanted: Sequence[Mapping[str, Any]], check: bool = False) -> bool:
    """Let the other node read these disks of the stopped guest, and no others; return whether that is new."""
    lent = {str(disk["name"]): dict(disk) for disk in wanted}
    changed = bool(storage.read_json(lent_path(component)) != lent)
    if changed and not check:
        storage.write_json(lent_path(component), lent)
    return changed


# ---- the node that sends


def serve(component: str, command: Sequence[str], runner: Runner = run, given: int = 0, taken: int = 1) -> int:
    """Answer the puller on two descriptors, by default this process's own input and output.

    One command reads the disks of a component at a time: the one that a killed transfer has left ends when it notices,
    and the next one waits for that.

    Raises:
        BasculeError: the disk was not lent, is in use, or is not as large as was asked for.
    """
    wish = blocks.Wish.from_words(command)
    disk = (storage.read_json(lent_path(component)) or {}).get(wish.name) if component else None
    if disk is None:
        raise BasculeError(
            expected=f"a disk that was lent to the other node, to read {wish.name} of {component or 'no component'}",
            found="no such disk",
            state="refused",
            next_command="ansible-playbook playbooks/20_prepare.yml, then run the same command again",
        )
    with _noticing(), storage.locked(f"{lent_path(component)}.lock", _PATIENCE), disk_source.activated(disk, runner):
        disks.must_be_quiet(str(disk["path"]))
        with disk_source.opened(disk, runner, shared=True) as source:
            if source.size < wish.length:
                raise BasculeError(
                    expected=f"{wish.length} bytes in {disk['path']}", found=f"{source.size}", state="nothing was sent"
                )
            disk_source.must_be_described(disk, source.size, "nothing was sent")
            _write_all(taken, blocks.hello(source.size))
            _answer_all(source, wish, given, taken)
        disks.must_be_quiet(str(disk["path"]))
        _write_all(taken, blocks.HEAD.pack(blocks.DONE, 0))
    return 0


def _answer_all(source: disk_source.Source, wish: blocks.Wish, given: int, taken: int) -> None:
    began, sent, offset = time.monotonic(), 0, 0
    while True:
        signal.alarm(_PATIENCE)
        kind = _read_exactly(given, 1)
        length = min(CHUNK, wish.length - offset)
        if kind == blocks.END and not length:
            return
        if kind not in (blocks.ZEROS, blocks.HASHES) or not length:
            raise BasculeError(expected=f"hashes of {length} bytes at byte {offset}", found=repr(kind), state="refused")
        theirs = _read_exactly(given, blocks.hashes_length(length, wish.block)) if kind == blocks.HASHES else b""
        hole = source.next_data(offset) >= offset + length
        chunk = bytes(length) if hole else source.read(offset, length)
        found = blocks.changed(chunk, wish.block, theirs) if theirs else blocks.unlike_zeros(chunk, wish.block)
        answer = blocks.packed(found, wish.compress)
        _write_all(taken, answer)
        offset, sent = offset + length, sent + len(answer)
        if wish.bwlimit:
            signal.alarm(0)
            time.sleep(max(0.0, sent / (wish.bwlimit * _KIBI) - (time.monotonic() - began)))


@contextlib.contextmanager
def _noticing() -> Iterator[None]:
    """End when the puller says nothing for long, or the connection ends: what was activated is deactivated then."""

    def end(number: int, frame: object) -> None:
        del frame
        sys.exit(128 + number)

    wanted = (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, end) for number in wanted]
    try:
        yield
    finally:
        signal.alarm(0)
        for number, handler in zip(wanted, before):
            signal.signal(number, handler)


def _read_exactly(descriptor: int, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        part = os.read(descriptor, length - len(found))
        if not part:
            raise BasculeError(
                expected="the puller to end what it has begun", found="it is gone", state="the disk was only read"
            )
        found += part
    return bytes(found)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


# ---- the node that receives


def command(job: Job, wish: blocks.Wish) -> list[str]:
    """Return the command that asks the other node for a disk."""
    return [*ssh_command(job.component, job.port), f"{job.user}@{job.address}", wish.words()]


def carry(
    job: Job, disk: Mapping[str, Any], tell: Callable[[str], None], runner: Runner = run, ask: Any = command
) -> dict[str, int]:
    """Make the first `length` bytes of a disk what they are at the other node, and zeros of the rest.

    What was cut short is found equal by the next one, which carries only what is missing.

    Args:
        job: how the other node is reached.
        disk: `name` in the guest's config, and `path`, `format`, `volid` and `length` here.
        tell: gets the progress (`47% 23.5MB/s`).

    Returns:
        `literal` (bytes written), `matched` (bytes found equal), `sent` and `received` (bytes over the link).

    Raises:
        BasculeError: somebody has one of the disks open, it is too small, or the other node did not send all of it.
    """
    wish = blocks.Wish(str(disk["name"]), int(disk["length"]), job.block_size, job.compress, job.bwlimit)
    with disk_target.opened(disk, runner) as target:
        pull = _Pull(target, wish, tell)
        pull.run(ask(job, wish))
        pull.totals["literal"] += disk_target.zero_rest(target, wish.length)
    return pull.totals


class _Pull:
    """One disk on its way: a thread hashes what is here and asks, this one writes what comes."""

    def __init__(self, target: disk_target.Target, wish: blocks.Wish, tell: Callable[[str], None]) -> None:
        self._target, self._wish, self._tell = target, wish, tell
        self._ahead = threading.Semaphore(_AHEAD)
        self._over = threading.Event()
        self._failed: Optional[Exception] = None
        self._patience = _PATIENCE + (CHUNK / (wish.bwlimit * _KIBI) if wish.bwlimit else 0)
        self.totals = {"literal": 0, "matched": 0, "sent": 0, "received": 0}

    def run(self, argv: Sequence[str]) -> None:
        """Take all of the disk from what the command answers."""
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0) as process,
        ):
            if process.stdin is None or process.stdout is None:
                raise CommandFailed(expected="a connection to the other node", found="none")
            asking = threading.Thread(target=self._ask, args=(process.stdin,), daemon=True)
            try:
                try:
                    self._must_fit(process.stdout)
                    asking.start()
                    self._take(process.stdout)
                except BasculeError as error:
                    raise self._told(process, errors, error) from error
                except OSError as error:
                    raise BasculeError(
                        expected=f"to write {self._wish.name} here", found=str(error), state="nothing uses the copy"
                    ) from error
                # It leaves its disk as it was found before anybody else reads that.
                asking.join(_PATIENCE)
                process.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_PATIENCE)
            finally:
                # Nobody waits for a node that is gone, and nobody asks it any more.
                self._over.set()
                self._ahead.release()
                process.kill()
                if asking.ident is not None:
                    asking.join(_PATIENCE)

    def _must_fit(self, answers: IO[bytes]) -> None:
        line = b""
        while not line.endswith(b"\n") and len(line) < 200:
            part = self._receive(answers, 1)
            if not part:
                break
            line += part
        size = blocks.size_in(line)
        if size < self._wish.length:
            raise BasculeError(
                expected=f"{self._wish.length} bytes of {self._wish.name} at the other node",
                found=f"{size}",
                state="nothing was written",
            )

    def _ask(self, questions: IO[bytes]) -> None:
        """Send the hashes of each chunk, a few ahead of the answers. Only answered chunks are ever written."""
        wish, target = self._wish, self._target
        try:
            for offset in range(0, wish.length, CHUNK):
                length = min(CHUNK, wish.length - offset)
                hole = target.next_data(offset) >= offset + length
                chunk = b"" if hole else target.read(offset, length)
                hole = hole or chunk == bytes(length)
                question = blocks.ZEROS if hole else blocks.HASHES + blocks.hashes(chunk, wish.block)
                self._ahead.acquire()
                if self._over.is_set():
                    return
                _write_all(questions.fileno(), question)
                self.totals["sent"] += len(question)
            _write_all(questions.fileno(), blocks.END)
        except BrokenPipeError:
            # Who takes the answers has the other node's words.
            pass
        except Exception as error:
            # Told by who takes the answers: without questions they end.
            self._failed = error
            with contextlib.suppress(OSError):
                questions.close()

    def _take(self, answers: IO[bytes]) -> None:
        wish, totals, began = self._wish, self.totals, time.monotonic()
        for offset in range(0, wish.length, CHUNK):
            length = min(CHUNK, wish.length - offset)
            flag, size = blocks.HEAD.unpack(self._exactly(answers, blocks.HEAD.size))
            if size > blocks.most(length, wish.block):
                raise BasculeError(expected="an answer about one chunk", found=f"{size} bytes", state="it was not read")
            content = self._exactly(answers, size)
            for start, data in blocks.unpacked(flag, content, length, wish.block):
                self._target.write(offset + start, data)
                totals["literal"] += len(data)
            self._ahead.release()
            done = offset + length
            rate = done / max(time.monotonic() - began, 0.001) / 1e6
            self._tell(f"{100 * done // wish.length}% {rate:.1f}MB/s")
        totals["matched"] = wish.length - totals["literal"]
        if blocks.HEAD.unpack(self._exactly(answers, blocks.HEAD.size)) != (blocks.DONE, 0):
            raise BasculeError(expected="the other node to say that it has read all", found="something else")

    def _exactly(self, answers: IO[bytes], length: int) -> bytes:
        found = bytearray()
        while len(found) < length:
            part = self._receive(answers, length - len(found))
            if not part:
                raise BasculeError(
                    expected=f"the other node to send the changed blocks of {self._wish.name}",
                    found="its answers end",
                    state="what has arrived before was written; nothing uses it",
                    next_command="run the same command again: it carries over what is missing",
                )
            found += part
        self.totals["received"] += length
        return bytes(found)

    def _receive(self, answers: IO[bytes], length: int) -> bytes:
        ready, _, _ = select.select([answers.fileno()], [], [], self._patience)
        if not ready:
            raise BasculeError(
                expected="the other node to answer",
                found=f"nothing for {self._patience:g} s",
                state="nothing uses the copy",
            )
        return os.read(answers.fileno(), length)

    def _told(self, process: subprocess.Popen[bytes], errors: IO[bytes], error: BasculeError) -> BasculeError:
        """Return the cause of an end: of this node's own disk, or the other node's words, or what was found."""
        if self._failed is not None:
            failed = self._failed
            return (
                failed
                if isinstance(failed, BasculeError)
                else BasculeError(
                    expected="to read the disk here and to ask the other node",
                    found=str(failed),
                    state=error.state or "",
                )
            )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        errors.seek(0)
        words = errors.read().decode("utf-8", "replace").strip()[-1500:]
        if not words:
            return error
        return CommandFailed(
            expected=error.expected, found=words, state=error.state, next_command="run the same command again"
        )
