"""Run modules on a machine in a process that stays, so that none of them waits for an interpreter and its imports.

The connection is a pair of pipes. Each request and each answer is a frame: its length, a number that the answer repeats
(both four bytes, network order), and JSON. A request names a module and carries what Ansible would have sent it; the
answer is what Ansible would have read: exit status, standard output, standard error. Every request runs in a process of
its own, forked from this one, and several at once: nothing of a module stays here but what it has imported. An empty
frame only shows a firewall on the way that the connection is in use.

When the connection ends, no further module begins; one that runs is not disturbed.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import struct
import sys
from typing import Any

HEAD = struct.Struct("!II")
READY = b"BASCULE MODULES\n"
_MODULES = "ansible.modules"
_CHUNK = 1 << 16


def main() -> None:
    """Serve on standard input and output until the input ends."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    # What a module prints goes into its own answer; nothing else may come between the frames.
    os.dup2(2, 1)
    # It stays, and must not be in the way of a mount.
    os.chdir("/")
    importlib.import_module("ansible.module_utils.basic")
    os.write(answers, READY)
    Server(requests, answers).run()


class Server:
    """Takes requests from one descriptor and writes answers to the other."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests = requests
        self._answers = answers
        # Process → number of the request, and the files that take its output.
        self._running: dict[int, tuple[int, int, int]] = {}
        self._buffer = bytearray()

    def run(self) -> None:
        """Serve until the requests end and the last module has ended."""
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        listening = True
        while listening or self._running:
            readable, _, _ = select.select([woken, *([self._requests] if listening else [])], [], [])
            if woken in readable:
                os.read(woken, _CHUNK)
                self._reap()
            if self._requests in readable:
                found = os.read(self._requests, _CHUNK)
                listening = bool(found)
                self._buffer += found
                self._take()

    def _take(self) -> None:
        while len(self._buffer) >= HEAD.size:
            length, number = HEAD.unpack_from(self._buffer)
            if len(self._buffer) < HEAD.size + length:
                return
            frame = self._buffer[HEAD.size : HEAD.size + length]
            del self._buffer[: HEAD.size + length]
            if frame:
                self._start(number, json.loads(frame))

    def _start(self, number: int, request: dict[str, Any]) -> None:
        name = f"{_MODULES}.{request['module']}"
        _preload(name)
        output, errors = os.memfd_create("output"), os.memfd_create("errors")
        gc.freeze()
        process = os.fork()
        if process:
            self._running[process] = (number, output, errors)
            return
        status = 1
        try:
            self._become_module(output, errors)
            status = _execute(name, request)
        finally:
            # Whatever happens, the child never goes on as a second server.
            os._exit(status)

    def _become_module(self, output: int, errors: int) -> None:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.close(self._requests)
        os.close(self._answers)

    def _reap(self) -> None:
        while self._running:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            number, output, errors = self._running.pop(process)
            answer = {"rc": _exit_status(status), "out": _content(output), "err": _content(errors)}
            self._send(number, json.dumps(answer).encode())

    def _send(self, number: int, content: bytes) -> None:
        rest = memoryview(HEAD.pack(len(content), number) + content)
        try:
            while rest:
                rest = rest[os.write(self._answers, rest) :]
        except BrokenPipeError:
            # Nobody listens any more; what runs still ends in peace.
            return


def _preload(name: str) -> None:
    """Import what a module imports, here, where it stays for the next one; what fails will fail in the module."""
    try:
        importlib.import_module(name)
    except Exception as error:
        sys.stderr.write(f"{name}: {error}\n")
    # It runs as a program of its own each time; only its imports stay.
    sys.modules.pop(name, None)


def _execute(name: str, request: dict[str, Any]) -> int:
    loader = importlib.import_module("ansible.module_utils._internal._ansiballz._loader")
    status: Any = 0
    try:
        loader.run_module(
            json_params=request["params"].encode(),
            profile=request["profile"],
            module_fqn=name,
            modlib_path=sys.path[0],
            extensions={},
        )
    except SystemExit as end:
        status = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    return status if isinstance(status, int) else int(status is not None)


def _content(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read().decode("utf-8", "surrogateescape")


def _exit_status(status: int) -> int:
    # As a shell says it, which is what Ansible sees of a module that a signal ends. Python 3.9 has it as well.
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
