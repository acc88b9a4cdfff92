"""Measure what the link carries with a plain TCP stream: a bounded listener on one host, a sender on the other.

The listener is a process of its own that binds one address, takes one connection that shows the right token, and ends
by itself; it leaves nothing behind. Where no port is free, `pour` sends to a program over SSH that calls `collect`.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence

from ..link_rate import INTERVAL, SKIP, RateError

_BLOCK = 1 << 18
_GRACE = 20.0


def listen(address: str, seconds: float) -> tuple[int, str]:
    """Start the listener; return its port and the token it wants. It is gone `seconds` + 20 s later at the latest."""
    try:
        family = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0][0]
        server = socket.socket(family, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, 0))
    except OSError as error:
        raise RateError(
            expected=f"to listen at {address}",
            found=str(error),
            state="the link was not measured",
            next_command="give the address that the other side reaches over the link",
        ) from error
    server.listen(1)
    port = int(server.getsockname()[1])
    token = secrets.token_hex(16)
    _detach(server, token, seconds)
    server.close()
    return port, token


def send(address: str, port: int, token: str, seconds: float) -> tuple[list[tuple[float, int]], float]:
    """Send for `seconds` that count; return the receiver's (seconds, bytes) intervals, how far its clock is ahead."""
    block = memoryview(os.urandom(_BLOCK))
    try:
        with socket.create_connection((address, port), timeout=10) as link:
            link.sendall(token.encode())
            link.settimeout(seconds + _GRACE)
            end = time.monotonic() + SKIP + seconds
            while time.monotonic() < end:
                link.sendall(block)
            link.shutdown(socket.SHUT_WR)
            answer = b""
            while data := link.recv(65536):
                answer += data
            now = time.time()
        intervals, clock = read(answer)
        return intervals, clock - now
    except (OSError, ValueError) as error:
        raise RateError(
            expected=f"a stream to {address} port {port}",
            found=str(error) or "no answer from the receiver",
            state="the link was not measured",
            next_command="look whether a firewall between the sites stops the port, then run the same playbook again",
        ) from error


def _detach(server: socket.socket, token: str, seconds: float) -> None:
    """Serve in a grandchild that belongs to nobody, so that the caller can end."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        _close_others(server.fileno())
        os.chdir("/")
        with contextlib.suppress(OSError):
            _serve(server, token, seconds)
    finally:
        os._exit(0)


def _close_others(keep: int) -> None:
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor != keep:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _serve(server: socket.socket, token: str, seconds: float) -> None:
    end = time.monotonic() + seconds + _GRACE
    while time.monotonic() < end:
        server.settimeout(max(0.1, end - time.monotonic()))
        link, _ = server.accept()
        with link:
            link.settimeout(5)
            shown = link.recv(len(token), socket.MSG_WAITALL)
            if hmac.compare_digest(shown, token.encode()):
                server.close()
                _receive(link, end)
                return


def _receive(link: socket.socket, end: float) -> None:
    link.sendall(collect(link.recv_into, end))


def collect(receive: Callable[[bytearray], int], end: float) -> bytes:
    """Return as JSON how much came in each interval and the time here, until the stream ends or `end` has come.

    Args:
        receive: fills a buffer and returns how much it has read; 0 at the end.
        end: seconds of the monotonic clock.
    """
    buffer = bytearray(_BLOCK)
    intervals: list[tuple[float, int]] = []
    began = time.monotonic()
    size = 0
    while time.monotonic() < end:
        got = receive(buffer)
        now = time.monotonic()
        size += got
        if now - began >= INTERVAL or not got:
            intervals.append((now - began, size))
            began, size = now, 0
        if not got:
            break
    return json.dumps({"intervals": intervals, "time": time.time()}).encode()


def read(answer: bytes) -> tuple[list[tuple[float, int]], float]:
    """Return the receiver's (seconds, bytes) intervals and its clock, out of what `collect` has made.

    Raises:
        ValueError: it is no such answer.
    """
    told = json.loads(answer)
    try:
        return [(float(length), int(size)) for length, size in told["intervals"]], float(told["time"])
    except (KeyError, TypeError) as error:
        raise ValueError("no answer of a receiver") from error


def pour(command: Sequence[str], seconds: float) -> tuple[list[tuple[float, int]], float]:
    """Send to a program's input for `seconds` that count; return as `send` does.

    Args:
        command: a program that calls `collect` at the other end and prints what it returns.
        seconds: how long.

    Raises:
        RateError: it could not be started, did not take the stream, or gave no answer.
    """
    block, pipe = os.urandom(_BLOCK), subprocess.PIPE
    with tempfile.TemporaryFile() as errors:
        program = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors)
        # A link that stands still must not hold the one who writes.
        limit = threading.Timer(seconds + _GRACE, program.kill)
        limit.start()
        try:
            answer, now = _through(program, block, SKIP + seconds)
        finally:
            limit.cancel()
            program.kill()
            program.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", "backslashreplace").strip()[-500:]
    try:
        intervals, clock = read(answer)
    except ValueError as error:
        raise RateError(
            expected="a stream over SSH to the other side",
            found=f"exit status {program.returncode}: {said or 'no answer from the receiver'}",
            state="the link was not measured",
            next_command="run playbooks/20_prepare.yml, which sets up both sides alike, then the same playbook again",
        ) from error
    return intervals, clock - now


def _through(program: subprocess.Popen[bytes], block: bytes, seconds: float) -> tuple[bytes, float]:
    """Return what a program answers to a stream, and when it did."""
    stream, output, end = program.stdin, program.stdout, time.monotonic() + seconds
    if stream is None or output is None:
        return b"", 0.0
    with output:
        with contextlib.suppress(BrokenPipeError), stream:
            while time.monotonic() < end:
                stream.write(block)
        answer, now = output.read(), time.time()
        program.wait()
    return answer, now
