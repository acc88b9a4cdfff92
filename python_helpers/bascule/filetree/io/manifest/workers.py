"""Worker processes that answer questions, for what Python's threads cannot do side by side.

Each worker is a fork that reads one question after the other from a socket and writes one answer each; questions and
answers are bytes. The parent never blocks on writing, so that neither side can wait for the other for ever. A worker
that dies is an error, never a missing answer.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from typing import Optional

from ....errors import BasculeError

_HEAD = struct.Struct("!I")
# A second question waits at the worker, so that it never waits for the parent.
_AT_ONCE = 2
_FAILED = b"!"
_ANSWERED = b"."

_FORKING = threading.Lock()

Answerer = Callable[[bytes], bytes]


class WorkerFailed(BasculeError):
    """A worker process died, or its work raised an error."""


class _Worker:
    """The parent's end of one worker."""

    def __init__(self, answer: Answerer, others: list[_Worker]) -> None:
        with _FORKING:
            # Nobody else's worker inherits the ends of this one: it would seem to live on in them.
            here, there = socket.socketpair()
            self.pid = os.fork()
            if self.pid == 0:
                _become_worker(answer, there, [here, *(other.socket for other in others)])
            there.close()
        here.setblocking(False)
        self.socket: socket.socket = here
        self.asked = 0
        self.outgoing = bytearray()
        self.incoming = bytearray()

    def ask(self, question: bytes) -> None:
        """Queue a question."""
        self.asked += 1
        self.outgoing += _HEAD.pack(len(question)) + question

    def write(self) -> None:
        """Send as much as the socket takes."""
        try:
            while self.outgoing:
                del self.outgoing[: self.socket.send(self.outgoing)]
        except BlockingIOError:
            return
        except ConnectionError as error:
            raise self._died() from error

    def read(self) -> Iterator[bytes]:
        """Yield the answers that are complete."""
        try:
            while data := self.socket.recv(1 << 18):
                self.incoming += data
            raise self._died()
        except BlockingIOError:
            pass
        except ConnectionError as error:
            raise self._died() from error
        while len(self.incoming) >= _HEAD.size:
            (length,) = _HEAD.unpack_from(self.incoming)
            if len(self.incoming) < _HEAD.size + length:
                return
            answer = bytes(self.incoming[_HEAD.size : _HEAD.size + length])
            del self.incoming[: _HEAD.size + length]
            self.asked -= 1
            if answer[:1] != _ANSWERED:
                raise WorkerFailed(
                    expected="a worker process to do its part", found=answer[1:].decode("utf-8", "replace")
                )
            yield answer[1:]

    def _died(self) -> WorkerFailed:
        return WorkerFailed(
            expected=f"an answer of the worker process {self.pid}",
            found="it has died: killed, or out of memory",
            next_command="run the same command again: what was read is kept",
        )


class Workers:
    """A few worker processes, started with the first question; also a single one beside nothing else to do."""

    def __init__(self, count: int, answer: Answerer) -> None:
        self._count = max(1, count)
        self._answer = answer
        self._workers: list[_Worker] = []
        self._selector: Optional[selectors.BaseSelector] = None
        self._waiting: deque[bytes] = deque()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.socket.close()
        for worker in self._workers:
            # One that still works has nobody left to answer to.
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(worker.pid, 0)
        if self._selector:
            self._selector.close()
        self._workers = []

    @property
    def unanswered(self) -> int:
        """How many questions have not been answered."""
        return len(self._waiting) + sum(worker.asked for worker in self._workers)

    @property
    def hungry(self) -> bool:
        """Tell whether a worker may soon have nothing to do."""
        return len(self._waiting) < self._count * _AT_ONCE

    def ask(self, question: bytes, first: bool = False) -> None:
        """Ask whichever worker is free next; `first` puts the question before those that wait."""
        if first:
            self._waiting.appendleft(question)
        else:
            self._waiting.append(question)
        self._hand_out()

    def answers(self, wait: bool) -> Iterator[bytes]:
        """Yield the answers that are there; with `wait`, wait for at least one."""
        if self._selector is None:
            return
        self._hand_out()
        for key, events in self._selector.select(None if wait else 0):
            worker: _Worker = key.data
            if events & selectors.EVENT_WRITE:
                worker.write()
                self._watch(worker)
            if events & selectors.EVENT_READ:
                yield from worker.read()
        self._hand_out()

    def _hand_out(self) -> None:
        if self._waiting and self._selector is None:
            self._selector = selectors.DefaultSelector()
            # What is in the buffers now would be written by each fork as well.
            sys.stdout.flush()
            sys.stderr.flush()
            for _ in range(self._count):
                self._workers.append(_Worker(self._answer, self._workers))
                self._selector.register(self._workers[-1].socket, selectors.EVENT_READ, self._workers[-1])
        while self._waiting:
            worker = min(self._workers, key=lambda one: one.asked)
            if worker.asked >= _AT_ONCE:
                return
            worker.ask(self._waiting.popleft())
            worker.write()
            self._watch(worker)

    def _watch(self, worker: _Worker) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.outgoing else 0)
        if self._selector is not None:
            self._selector.modify(worker.socket, events, worker)


def _become_worker(answer: Answerer, own: socket.socket, others: list[socket.socket]) -> None:
    """Answer until the parent is gone; never return into the parent's code."""
    status = 1
    try:
        for other in others:
            other.close()
        while (question := _receive(own)) is not None:
            try:
                reply = _ANSWERED + answer(question)
            except (BasculeError, OSError, ValueError) as error:
                reply = _FAILED + str(error).encode("utf-8", "backslashreplace")
            own.sendall(_HEAD.pack(len(reply)) + reply)
        status = 0
    except (BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        # The parent has ended first.
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _receive(own: socket.socket) -> Optional[bytes]:
    head = _exactly(own, _HEAD.size)
    return None if head is None else _exactly(own, _HEAD.unpack(head)[0])


def _exactly(own: socket.socket, count: int) -> Optional[bytes]:
    parts = bytearray()
    while len(parts) < count:
        data = own.recv(min(count - len(parts), 1 << 18))
        if not data:
            return None
        parts += data
    return bytes(parts)
