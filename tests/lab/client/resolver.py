"""A resolver client of the smallest kind: A records from one resolver, kept as long as their TTL allows.

Only the standard library: it runs on a bare host.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable


class ResolveError(Exception):
    """The resolver gave no address."""


def dns_query(name: str, ident: int) -> bytes:
    """An A question for ``name``, recursion desired."""
    labels = b"".join(bytes([len(part)]) + part.encode("ascii") for part in name.rstrip(".").split("."))
    return struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 0) + labels + b"\x00" + struct.pack("!HH", 1, 1)


def _skip_name(packet: bytes, offset: int) -> int:
    while True:
        length = packet[offset]
        if length & 0xC0 == 0xC0:
            return offset + 2
        offset += 1 + length
        if length == 0:
            return offset


def dns_answer(packet: bytes, ident: int) -> tuple[str, int]:
    """The first address of an answer, and how long it may be kept: the smallest TTL on the way to it."""
    try:
        got, flags, questions, answers = struct.unpack("!HHHH", packet[:8])
        if got != ident or not flags & 0x8000:
            raise ResolveError("an answer to another question")
        if flags & 0x000F:
            raise ResolveError(f"the resolver answered with code {flags & 0x000F}")
        offset = 12
        for _ in range(questions):
            offset = _skip_name(packet, offset) + 4
        ttl = 2**31
        for _ in range(answers):
            offset = _skip_name(packet, offset)
            rtype, _, record_ttl, length = struct.unpack("!HHIH", packet[offset : offset + 10])
            offset += 10
            ttl = min(ttl, record_ttl)
            if rtype == 1 and length == 4:
                return socket.inet_ntoa(packet[offset : offset + 4]), ttl
            offset += length
    except (struct.error, IndexError, OSError) as bad:
        raise ResolveError(f"an answer that cannot be read: {bad}") from bad
    raise ResolveError("an answer without an address")


class Resolver:
    """Asks one resolver and keeps an answer exactly as long as its TTL allows."""

    def __init__(self, server: str, port: int = 53, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = (server, port)
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[str, float]] = {}
        self._failed: tuple[str, float] | None = None

    def lookup(self, name: str) -> str:
        with self._lock:
            kept = self._kept.get(name)
            if kept is not None and self._clock() < kept[1]:
                return kept[0]
            # A silent resolver is not asked by every waiting worker in turn: they would queue for minutes.
            if self._failed is not None and self._clock() < self._failed[1]:
                raise ResolveError(self._failed[0])
            asked = self._clock()
            try:
                address, ttl = self._ask(name)
            except ResolveError as bad:
                self._failed = (str(bad), self._clock() + 0.5)
                raise
            self._kept[name] = (address, asked + ttl)
            return address

    def _ask(self, name: str) -> tuple[str, int]:
        problem: Exception | None = None
        for _ in range(3):
            ident = random.randrange(65536)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(1.5)
                try:
                    sock.connect(self._server)
                    sock.send(dns_query(name, ident))
                    return dns_answer(sock.recv(4096), ident)
                except (OSError, ResolveError) as bad:
                    problem = bad
        raise ResolveError(f"{name}: {problem}")
