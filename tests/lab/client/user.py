#!/usr/bin/env python3
"""The user outside both sites: writes every 100 ms through the entrance, reads a few times a second, and keeps account.

It stands on the internet side of the lab and knows one name only. The clock is open-loop: an operation starts when its
time has come, however slow the ones before it are, so a pause of the site is seen in full length. Every operation opens
a connection of its own, so a change of address takes effect as soon as the resolver's TTL is over, and a connection
that breaks can be blamed on one operation. A write that fails is not sent again: the next one has a new identifier.

Only the standard library: it runs on a bare host.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import ssl
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, TextIO

from .resolver import ResolveError, Resolver

ACK = "ack"  # the site said: it is written (or, for a read: here it is)
MAINTENANCE = "maintenance"  # 503 with Retry-After: an announced pause
REFUSED = "refused"  # nothing was sent: no address, no connection, no TLS
ERROR = "error"  # an answer came, and it was not the one wanted
UNKNOWN = "unknown"  # sent, but no whole answer came: it may or may not be written
NOT_SENT = "not_sent"  # this client had no free worker: its own fault, never the site's


class Account:
    """The operations file: one JSON line each, flushed by the line, so that a killed client loses nothing it saw."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def line(self, record: dict[str, Any]) -> None:
        text = json.dumps(record, separators=(",", ":"), sort_keys=True) + "\n"
        with self._lock:
            self._out.write(text)
            self._out.flush()


class Reply:
    """What came back, or where it broke."""

    def __init__(self) -> None:
        self.address: str | None = None
        self.sent = False
        self.status: int | None = None
        self.retry_after: str | None = None
        self.body = b""
        self.problem: str | None = None
        self.whole = False


class Site:
    """The site as its users know it: one name, HTTPS, TLS 1.3 only."""

    def __init__(
        self, name: str, port: int, resolver: Resolver, context: ssl.SSLContext | None, timeout: float
    ) -> None:
        self._name = name
        self._port = port
        self._resolver = resolver
        self._context = context
        self._timeout = timeout

    def ask(self, method: str, path: str, body: bytes | None, content_type: str) -> Reply:
        reply = Reply()
        sock: socket.socket | None = None
        try:
            reply.address = self._resolver.lookup(self._name)
            sock = socket.create_connection((reply.address, self._port), timeout=min(self._timeout, 4.0))
            sock.settimeout(self._timeout)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=self._name)
            connection = http.client.HTTPConnection(self._name, self._port, timeout=self._timeout)
            connection.sock = sock
            headers = {"Connection": "close", "User-Agent": "bascule-user"}
            if body is not None:
                headers["Content-Type"] = content_type
            # From here on bytes may be at the site, whatever happens to the connection.
            reply.sent = True
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            reply.retry_after = response.getheader("Retry-After")
            reply.body = response.read()
            reply.status = response.status
            reply.whole = True
        except (OSError, ResolveError, http.client.HTTPException) as bad:
            reply.problem = f"{type(bad).__name__}: {bad}"
        finally:
            if sock is not None:
                sock.close()
        return reply


def judge_write(reply: Reply, ident: str) -> tuple[str, dict[str, Any] | None, str | None]:
    """The outcome of a write, what the site said about where it is written, and why it is not an acknowledgement."""
    if not reply.whole:
        return (UNKNOWN if reply.sent else REFUSED), None, reply.problem
    if reply.status == 503 and reply.retry_after:
        return MAINTENANCE, None, None
    if reply.status in (200, 201):
        try:
            said = json.loads(reply.body)
        except ValueError as bad:
            return UNKNOWN, None, f"the acknowledgement cannot be read: {bad}"
        if isinstance(said, dict) and said.get("id") == ident:
            return ACK, said, None
        return UNKNOWN, None, "the acknowledgement is for another write"
    return ERROR, None, reply.body[:200].decode("utf-8", "replace")


class User:
    """Writes and reads by the clock until told to stop."""

    def __init__(self, site: Site, account: Account, options: argparse.Namespace) -> None:
        self._site = site
        self._account = account
        self._options = options
        self._stop = threading.Event()
        self._count = 0
        self._busy: dict[str, int] = {"write": 0, "read": 0}
        self._lock = threading.Lock()
        self._seen: dict[str, str] = {}
        self._random = random.Random()

    def stop(self, *_: object) -> None:
        self._stop.set()

    def run(self) -> None:
        options = self._options
        self._account.line(
            {
                "op": "start",
                "mono": time.monotonic(),
                "wall": time.time(),
                "pid": os.getpid(),
                "name": options.name,
                "write_interval": options.interval,
                "read_interval": options.read_interval,
            }
        )
        ends = time.monotonic() + options.seconds if options.seconds else None
        with concurrent.futures.ThreadPoolExecutor(max_workers=options.workers + options.readers) as pool:
            clocks = [
                threading.Thread(target=self._clock, args=(pool, "write", options.interval, options.workers, ends)),
                threading.Thread(target=self._clock, args=(pool, "read", options.read_interval, options.readers, ends)),
            ]
            for clock in clocks:
                clock.start()
            for clock in clocks:
                clock.join()
        self._account.line({"op": "end", "mono": time.monotonic(), "wall": time.time()})

    def _clock(
        self, pool: concurrent.futures.ThreadPoolExecutor, op: str, interval: float, limit: int, ends: float | None
    ) -> None:
        due = time.monotonic()
        turn = 0
        while not self._stop.is_set():
            now = time.monotonic()
            if ends is not None and now >= ends:
                return
            if now < due:
                self._stop.wait(min(due - now, 0.5))
                continue
            self._start(pool, op, turn, due, limit)
            turn += 1
            due += interval

    def _start(self, pool: concurrent.futures.ThreadPoolExecutor, op: str, turn: int, due: float, limit: int) -> None:
        with self._lock:
            self._count += 1
            number = self._count
            free = self._busy[op] < limit
            if free:
                self._busy[op] += 1
        kinds = ("login", "progress", "upload") if op == "write" else ("course", "file", "course", "healthz")
        kind = kinds[turn % len(kinds)]
        if not free:
            now = time.monotonic()
            self._account.line(
                {
                    "op": op,
                    "n": number,
                    "kind": kind,
                    "due": due,
                    "sent": now,
                    "answered": now,
                    "sent_wall": time.time(),
                    "answered_wall": time.time(),
                    "outcome": NOT_SENT,
                }
            )
            return
        pool.submit(self._guarded, op, kind, number, due)

    def _guarded(self, op: str, kind: str, number: int, due: float) -> None:
        record: dict[str, Any] = {"op": op, "n": number, "kind": kind, "due": due}
        try:
            record["sent_wall"] = time.time()
            record["sent"] = time.monotonic()
            if op == "write":
                self._write(kind, record)
            else:
                self._read(kind, record)
        except Exception as bad:  # a fault of this program must stand in the account, not vanish in a worker
            record.update(outcome=UNKNOWN, problem=f"client fault {type(bad).__name__}: {bad}")
        finally:
            with self._lock:
                self._busy[op] -= 1
        record.setdefault("answered", time.monotonic())
        record.setdefault("answered_wall", time.time())
        self._account.line(record)

    def _finish(self, record: dict[str, Any], reply: Reply) -> None:
        record["answered"] = time.monotonic()
        record["answered_wall"] = time.time()
        record["status"] = reply.status
        record["address"] = reply.address

    def _write(self, kind: str, record: dict[str, Any]) -> None:
        ident = str(uuid.uuid4())
        record["id"] = ident
        student = self._random.randrange(1, self._options.students + 1)
        if kind == "upload":
            body = os.urandom(self._random.randrange(200, 4000))
            record["sha256"] = hashlib.sha256(body).hexdigest()
            record["bytes"] = len(body)
            reply = self._site.ask("PUT", f"/upload/{ident}", body, "application/octet-stream")
        else:
            form: dict[str, Any] = {"id": ident, "student": student}
            if kind == "progress":
                form.update(course=self._random.choice(self._options.courses), percent=self._random.randrange(101))
            reply = self._site.ask("POST", f"/{kind}", json.dumps(form).encode(), "application/json")
        self._finish(record, reply)
        outcome, said, problem = judge_write(reply, ident)
        record["outcome"] = outcome
        if said is not None:
            record["committed"] = said.get("committed")
            record["local"] = bool(said.get("local", False))
        if problem is not None:
            record["problem"] = problem

    def _read(self, kind: str, record: dict[str, Any]) -> None:
        path = "/healthz"
        if kind == "course":
            path = f"/course/{self._random.choice(self._options.courses)}"
        elif kind == "file" and self._options.files:
            path = f"/file/{self._random.choice(self._options.files)}"
        record["path"] = path
        reply = self._site.ask("GET", path, None, "")
        self._finish(record, reply)
        if not reply.whole:
            record.update(outcome=UNKNOWN if reply.sent else REFUSED, problem=reply.problem)
        elif reply.status == 503 and reply.retry_after:
            record["outcome"] = MAINTENANCE
        elif reply.status != 200 or not reply.body:
            record.update(outcome=ERROR, problem=reply.body[:200].decode("utf-8", "replace"))
        elif kind == "file" and self._changed(path, reply.body):
            record.update(outcome=ERROR, problem="other bytes than the first time")
        else:
            record["outcome"] = ACK

    def _changed(self, path: str, body: bytes) -> bool:
        digest = hashlib.sha256(body).hexdigest()
        with self._lock:
            return self._seen.setdefault(path, digest) != digest


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--name", default="courses.techcorp.test", help="the site's name")
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--resolver", default="198.18.9.53", help="address of the caching resolver")
    parser.add_argument("--resolver-port", type=int, default=53)
    parser.add_argument("--ca", default="/etc/lab/tls/ca.crt", help="the certificate authority to trust")
    parser.add_argument("--plain", action="store_true", help="HTTP without TLS, for tests of this program")
    parser.add_argument("--out", default="-", help="the operations file (JSON lines); - is standard output")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after so long; 0 is until a signal")
    parser.add_argument("--interval", type=float, default=0.1, help="seconds from one write to the next")
    parser.add_argument("--read-interval", type=float, default=0.4, help="seconds from one read to the next")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for an answer")
    parser.add_argument("--workers", type=int, default=320, help="writes that may be under way at once")
    parser.add_argument("--readers", type=int, default=96, help="reads that may be under way at once")
    parser.add_argument("--stop-on-eof", action="store_true", help="stop when standard input is closed")
    parser.add_argument("--students", type=int, default=200)
    parser.add_argument("--courses", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--files", nargs="*", default=[], help="paths to read below /file/, as they stand in a URL")
    return parser.parse_args(argv)


def stop_when_input_ends(stop: Callable[[], None]) -> None:
    """Stop when whoever started this program closes its standard input, or is gone."""

    def wait() -> None:
        while sys.stdin.buffer.read(65536):
            pass
        stop()

    threading.Thread(target=wait, daemon=True).start()


def main(argv: list[str]) -> int:
    options = parse(argv)
    context: ssl.SSLContext | None = None
    if not options.plain:
        context = ssl.create_default_context(cafile=options.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    site = Site(options.name, options.port, Resolver(options.resolver, options.resolver_port), context, options.timeout)
    with contextlib.ExitStack() as stack:
        out = sys.stdout if options.out == "-" else stack.enter_context(open(options.out, "a", encoding="utf-8"))
        user = User(site, Account(out), options)
        signal.signal(signal.SIGTERM, user.stop)
        signal.signal(signal.SIGINT, user.stop)
        if options.stop_on_eof:
            stop_when_input_ends(user.stop)
        user.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
