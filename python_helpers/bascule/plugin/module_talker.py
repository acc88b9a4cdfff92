"""Hold the connection to a machine's module server for all processes of a playbook; runs as a program of its own.

Ansible runs each task in a process that ends with it, so none of them can keep a connection. This one does. It listens
on a socket that only its user can reach, passes requests on and answers back, several at once, and ends when the
playbook's process ends.

It reads JSON from its standard input: `target` (the machine and the way in) and `script` (what to run there), `socket`,
`payload` (a zip file), `watch` (the playbook's process), `patience` in seconds. It prints one line of JSON: `ready`,
`refused` with an error's fields where sudo did not take the password, or `failed` with the command's exit status and
errors.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any, Optional

from ..errors import BasculeError
from ..system.io import entering
from ..system.ssh import Target

HEAD = struct.Struct("!II")
# Also in module_server.py, which runs elsewhere.
READY = b"BASCULE MODULES\n"
ASKS = b"BASCULE WANTS "
HAVE, NEED = b"nothing\n", b"payload\n"
_CHUNK = 1 << 16
_QUIET_SECONDS = 20
Program = Any


def main(configuration: dict[str, Any]) -> None:
    """Connect, say how it went, and pass on what comes until the playbook or the connection ends."""
    try:
        target = configuration["target"]
        where = Target(
            target["host"], tuple(target["argv"]), (), tuple(target["sudo"]), target["password"], target["note"]
        )
        server: Program = entering.start(where, configuration["script"], float(configuration["patience"]))
        try:
            _serve(server, configuration)
        finally:
            for pipe in (server.stdin, server.stdout):
                pipe.close()
            server.terminate()
            server.wait()
    except entering.NotEntered as error:
        _say("refused" if error.refused else "failed", error.status, error.found, error.message(), error.fields())
    except (BasculeError, OSError) as error:
        # The task fails as one that did not reach its machine, and the next one tries again.
        _say("failed", entering.SSH_FAILED, str(error), "the machine could not be entered")
    finally:
        for what in (".socket", ".lock"):
            with suppress(OSError):
                os.unlink(os.path.splitext(configuration["socket"])[0] + what)


def _serve(server: Program, configuration: dict[str, Any]) -> None:
    errors = Errors(server.stderr)
    early = greet(server, configuration)
    if early:
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=10)
        _say("failed", server.poll(), errors.said(), early)
        return
    with listen(configuration["socket"]) as entrance:
        talker = Talker(server, entrance, int(configuration["watch"]))
        _say("ready")
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        talker.run()


def _say(state: str, rc: Optional[int] = None, errors: str = "", why: str = "", fields: Any = None) -> None:
    print(json.dumps({"state": state, "rc": rc, "errors": errors, "why": why, "fields": fields or {}}), flush=True)


class Errors:
    """Reads what a program says on standard error, so that it never waits for a reader; keeps the end of it."""

    def __init__(self, stream: Any) -> None:
        self._end = b""
        self._reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._reader.start()

    def _read(self, stream: Any) -> None:
        while found := os.read(stream.fileno(), _CHUNK):
            self._end = (self._end + found)[-2000:]

    def said(self) -> str:
        """Return the end of it, once the program has ended."""
        self._reader.join(timeout=2)
        return self._end.decode("utf-8", "replace")


def greet(server: Program, configuration: dict[str, Any]) -> str:
    """Start the server at the other end; return why that did not work, or nothing."""
    late = threading.Timer(float(configuration["patience"]), server.kill)
    late.start()
    try:
        # A shell's greeting and what marks the other user come before it.
        for line in server.stdout:
            if line.startswith(ASKS):
                break
        else:
            return "the program did not start"
        if line == ASKS + NEED:
            with open(configuration["payload"], "rb") as payload:
                server.stdin.write(payload.read())
        return "" if server.stdout.readline() == READY else "the modules could not be loaded"
    except OSError as error:
        return str(error)
    finally:
        late.cancel()


def listen(path: str) -> socket.socket:
    """Return a socket that listens at a path, which is there only when it does."""
    entrance = socket.socket(socket.AF_UNIX)
    entrance.bind(f"{path}.new")
    entrance.listen(64)
    os.rename(f"{path}.new", path)
    return entrance


class Talker:
    """Passes frames between the tasks and the server. Whoever asks gets an answer, or the end of the connection."""

    def __init__(self, server: Program, entrance: socket.socket, watched: int) -> None:
        self._server = server
        self._entrance = entrance
        self._watched, self._ended = os.pidfd_open(watched), os.pidfd_open(server.pid)
        self._selector = selectors.DefaultSelector()
        self._asking: dict[int, socket.socket] = {}
        # What has come from a task, and what is still to go to one.
        self._partial: dict[socket.socket, bytearray] = {}
        self._answers: dict[socket.socket, bytearray] = {}
        self._outgoing = bytearray()
        self._incoming = bytearray()
        self._number = 0

    def run(self) -> None:
        """Pass on until one side is gone."""
        self._entrance.setblocking(False)
        for pipe in (self._server.stdin, self._server.stdout):
            os.set_blocking(pipe.fileno(), False)
        for watch in (self._watched, self._ended, self._entrance, self._server.stdout.fileno()):
            self._selector.register(watch, selectors.EVENT_READ)
        while True:
            ready = self._selector.select(_QUIET_SECONDS)
            if not ready:
                # A firewall forgets a connection that is quiet for long.
                self._outgoing += HEAD.pack(0, 0)
                self._to_server()
            for key, _ in ready:
                if key.fd == self._watched:
                    return
                if key.fd == self._server.stdout.fileno() or key.fd == self._ended:
                    if not self._from_server():
                        return
                elif key.fd == self._server.stdin.fileno():
                    self._to_server()
                elif key.fd == self._entrance.fileno():
                    asking, _ = self._entrance.accept()
                    asking.setblocking(False)
                    self._partial[asking] = bytearray()
                    self._selector.register(asking, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket):
                    (self._to_task if key.fileobj in self._answers else self._from_task)(key.fileobj)

    def _from_task(self, asking: socket.socket) -> None:
        found = asking.recv(_CHUNK)
        if not found:
            # It has ended before it had asked.
            self._selector.unregister(asking)
            del self._partial[asking]
            asking.close()
            return
        whole = self._partial[asking]
        whole += found
        if len(whole) < HEAD.size or len(whole) < HEAD.size + HEAD.unpack_from(whole)[0]:
            return
        self._number += 1
        self._asking[self._number] = asking
        self._outgoing += HEAD.pack(HEAD.unpack_from(whole)[0], self._number) + whole[HEAD.size :]
        self._selector.unregister(asking)
        del self._partial[asking]
        self._to_server()

    def _to_server(self) -> None:
        pipe = self._server.stdin.fileno()
        with suppress(BlockingIOError, BrokenPipeError):
            del self._outgoing[: os.write(pipe, self._outgoing)]
        waits = pipe in self._selector.get_map()
        if self._outgoing and not waits:
            self._selector.register(pipe, selectors.EVENT_WRITE)
        elif not self._outgoing and waits:
            self._selector.unregister(pipe)

    def _from_server(self) -> bool:
        try:
            found = os.read(self._server.stdout.fileno(), _CHUNK)
        except BlockingIOError:
            # The command has ended, and what it shares the connection with keeps its output open.
            return False
        self._incoming += found
        while len(self._incoming) >= HEAD.size:
            length, number = HEAD.unpack_from(self._incoming)
            if len(self._incoming) < HEAD.size + length:
                break
            asking = self._asking.pop(number)
            self._answers[asking] = self._incoming[: HEAD.size + length]
            del self._incoming[: HEAD.size + length]
            self._selector.register(asking, selectors.EVENT_WRITE)
        return bool(found)

    def _to_task(self, asking: socket.socket) -> None:
        rest = self._answers[asking]
        try:
            del rest[: asking.send(rest)]
        except OSError:
            # It was ended meanwhile, and reads nothing any more.
            rest.clear()
        if not rest:
            self._selector.unregister(asking)
            del self._answers[asking]
            asking.close()


def run() -> None:
    """Be the program."""
    # A lost terminal or an interrupt is the playbook's matter; this ends with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(json.loads(sys.stdin.read()))
