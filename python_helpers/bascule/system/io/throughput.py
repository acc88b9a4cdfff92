"""Measure what the link carries with a plain TCP stream: a bounded listener on one host, a sender on the other.

The listener is a process of its own that binds one address, takes one connection that shows the right token, and ends
by itself; it leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import socket
import time

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
        told = json.loads(answer)
        return [(float(length), int(size)) for length, size in told["intervals"]], float(told["time"]) - now
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
    buffer = bytearray(_BLOCK)
    intervals: list[tuple[float, int]] = []
    began = time.monotonic()
    size = 0
    while time.monotonic() < end:
        got = link.recv_into(buffer)
        now = time.monotonic()
        size += got
        if now - began >= INTERVAL or not got:
            intervals.append((now - began, size))
            began, size = now, 0
        if not got:
            break
    link.sendall(json.dumps({"intervals": intervals, "time": time.time()}).encode())
