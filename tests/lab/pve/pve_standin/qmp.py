"""Talking to a running guest: QEMU's monitor (QMP) and the agent inside."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Unreachable(Exception):
    """Nobody answered on the socket in time."""


class Refused(Exception):
    """QEMU or the agent answered with an error."""


class _Lines:
    """A JSON-lines connection with a deadline for everything done in it."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._deadline = time.monotonic() + timeout
        self._socket = socket.socket(socket.AF_UNIX)
        self._buffer = b""
        try:
            # The other side takes one client at a time; a connection waits in its queue until it is free.
            self._socket.settimeout(timeout)
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise Unreachable(str(error)) from error

    def close(self) -> None:
        self._socket.close()

    def _wait(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Unreachable("got timeout")
        self._socket.settimeout(left)

    def send(self, message: bytes) -> None:
        try:
            self._wait()
            self._socket.sendall(message)
        except OSError as error:
            raise Unreachable(str(error) or "got timeout") from error

    def receive(self) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            try:
                self._wait()
                piece = self._socket.recv(65536)
            except OSError as error:
                raise Unreachable(str(error) or "got timeout") from error
            if not piece:
                raise Unreachable("client closed connection")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        # The agent marks a fresh start with 0xFF; what stood before it belongs to someone else.
        try:
            message = json.loads(line.rpartition(b"\xff")[2])
        except ValueError:
            message = None
        return message if isinstance(message, dict) else {}

    def ask(self, command: str, arguments: dict[str, Any] | None) -> Any:
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        self.send(json.dumps(request).encode() + b"\n")
        while True:
            answer = self.receive()
            if "error" in answer:
                raise Refused(str(answer["error"].get("desc", answer["error"])))
            if "return" in answer:
                return answer["return"]


class Monitor:
    """One conversation with QEMU."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines

    def __call__(self, command: str, **arguments: Any) -> Any:
        return self._lines.ask(command, {key.replace("_", "-"): value for key, value in arguments.items()})


@contextlib.contextmanager
def monitor(path: Path, timeout: float = 10.0) -> Iterator[Monitor]:
    lines = _Lines(path, timeout)
    try:
        lines.receive()
        lines.ask("qmp_capabilities", None)
        yield Monitor(lines)
    finally:
        lines.close()


def agent(path: Path, command: str, arguments: dict[str, Any] | None = None, timeout: float = 3.0) -> Any:
    """Ask the guest agent; a silent guest is `Unreachable` after `timeout`. A shutdown has no answer to wait for."""
    lines = _Lines(path, timeout)
    try:
        # Whatever an earlier, impatient caller left in the channel is dropped up to our own number.
        number = random.randrange(1 << 30)
        sync = json.dumps({"execute": "guest-sync-delimited", "arguments": {"id": number}}).encode()
        lines.send(b"\xff" + sync + b"\n")
        while lines.receive().get("return") != number:
            pass
        if command == "guest-shutdown":
            lines.send(json.dumps({"execute": command}).encode() + b"\n")
            return {}
        return lines.ask(command, arguments)
    finally:
        lines.close()
