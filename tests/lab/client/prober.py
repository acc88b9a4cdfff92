#!/usr/bin/env python3
"""The two-writer prober: tries to write at both sides of every component, several times a second.

It runs on the controller and reaches each site by the controller's own way, past the entrance, so a side that would
take a write that no user can bring to it is seen as well. There is one thread per kind and side; each has its own clock
and a bounded wait, so a side that does not answer slows no other. An accepted probe is an acknowledged write like any
other and is looked up afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import psycopg

ACCEPT = "accept"  # the side said: written
REFUSE = "refuse"  # the side said no, or its host refused the connection
TIMEOUT = "timeout"  # nothing was heard: neither yes nor no, and no proof of a fence
UNKNOWN = "unknown"  # sent, and then nothing: it may or may not be written

CONNECT_SECONDS = 0.5

# The timeline is read from the write position: the control file's timeline stays old until the first checkpoint.
INSERT = """
INSERT INTO lab.writer_probe (id, at, via) VALUES (%s, now(), %s)
RETURNING (SELECT system_identifier::text FROM pg_control_system()),
          ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int,
          current_database()
"""


@dataclass(frozen=True)
class Side:
    """Where the parts of one site answer."""

    name: str
    db: str
    files: str
    guest: str


@dataclass
class Verdict:
    """What one probe met."""

    result: str
    error: str | None = None
    committed: dict[str, Any] | None = None


class DatabaseProbe:
    """Inserts a row as the application does.

    It keeps its session, because a session opened before the fence is the one a fence forgets, and opens a fresh one
    now and then, because a fence may also forget the door.
    """

    FRESH_EVERY = 10

    def __init__(self, side: Side, options: argparse.Namespace, password: str) -> None:
        self._side = side
        self._options = options
        self._password = password
        self._session: psycopg.Connection[Any] | None = None
        self._turn = 0

    def __call__(self, ident: str) -> Verdict:
        self._turn += 1
        if self._turn % self.FRESH_EVERY == 0:
            self.close()
        sent = False
        try:
            session = self._session or self._connect()
            sent = True
            row = session.execute(INSERT, (ident, f"probe {self._side.name}")).fetchone()
            if row is None:
                return Verdict(UNKNOWN, "no row came back")
            return Verdict(ACCEPT, committed={"system_id": row[0], "timeline": row[1], "db": row[2]})
        except psycopg.Error as bad:
            return self._refusal(bad, sent)

    def _connect(self) -> psycopg.Connection[Any]:
        self._session = psycopg.connect(
            host=self._side.db,
            port=self._options.db_port,
            dbname=self._options.db_name,
            user=self._options.db_user,
            password=self._password,
            sslmode=self._options.db_sslmode,
            sslrootcert=self._options.ca,
            connect_timeout=2,
            tcp_user_timeout=2000,
            keepalives_idle=2,
            keepalives_interval=1,
            keepalives_count=2,
            application_name=f"bascule-probe-{self._side.name}",
            options="-c statement_timeout=2000 -c lock_timeout=1500",
            autocommit=True,
        )
        return self._session

    def _refusal(self, bad: psycopg.Error, sent: bool) -> Verdict:
        text = " ".join(str(bad).split())[:300]
        session, broken = self._session, self._session is None or self._session.broken or self._session.closed
        if session is None or broken:
            self.close()
        if bad.sqlstate is not None:
            # The server itself answered, and an error means that nothing was committed ...
            if bad.sqlstate == "57014":
                return Verdict(TIMEOUT, text)
            return Verdict(REFUSE, text)
        if sent:
            # ... while a session that broke under the statement says nothing about it.
            return Verdict(UNKNOWN, text)
        silent = isinstance(bad, psycopg.errors.ConnectionTimeout) or "timeout" in text or "No route" in text
        return Verdict(TIMEOUT if silent else REFUSE, text)

    def close(self) -> None:
        if self._session is not None:
            with contextlib.suppress(psycopg.Error):
                self._session.close()
        self._session = None


class HttpProbe:
    """Writes over HTTP: a file into the course files, or a record through the guest."""

    def __init__(self, where: str, timeout: float, request: Callable[[str], tuple[str, str, bytes, str]]) -> None:
        self._where = where
        self._timeout = timeout
        self._request = request

    def __call__(self, ident: str) -> Verdict:
        method, path, body, content_type = self._request(ident)
        # A guest that is not there says nothing at all: a short wait to connect keeps the probes close together.
        connection = http.client.HTTPConnection(self._where, timeout=min(self._timeout, CONNECT_SECONDS))
        sent = False
        try:
            connection.connect()
            sent = True
            connection.sock.settimeout(self._timeout)
            connection.request(method, path, body=body, headers={"Content-Type": content_type, "Connection": "close"})
            response = connection.getresponse()
            answer = response.read()
        except TimeoutError as bad:
            return Verdict(UNKNOWN if sent else TIMEOUT, f"TimeoutError: {bad}")
        except ConnectionRefusedError as bad:
            return Verdict(REFUSE, str(bad))
        except (OSError, http.client.HTTPException) as bad:
            # No route, host down: nobody was there to say no.
            return Verdict(UNKNOWN if sent else TIMEOUT, f"{type(bad).__name__}: {bad}")
        finally:
            connection.close()
        if response.status in (200, 201, 204):
            return Verdict(ACCEPT, committed=committed_of(answer))
        return Verdict(REFUSE, f"HTTP {response.status} {answer[:120].decode('utf-8', 'replace')}")

    def close(self) -> None:
        """Nothing is kept between probes."""


def committed_of(answer: bytes) -> dict[str, Any] | None:
    """What the guest said about where it wrote; a file server says nothing."""
    try:
        said = json.loads(answer)
    except ValueError:
        return None
    committed = said.get("committed") if isinstance(said, dict) else None
    return committed if isinstance(committed, dict) else None


def file_request(ident: str) -> tuple[str, str, bytes, str]:
    return "PUT", f"/uploads/probe-{ident}", file_body(ident), "application/octet-stream"


def file_body(ident: str) -> bytes:
    """A probe file says its own identifier, so that a look-up needs no list of digests."""
    return f"probe {ident}\n".encode()


def guest_request(ident: str) -> tuple[str, str, bytes, str]:
    form = {"id": ident, "student": 1, "course": 1, "percent": 0}
    return "POST", "/progress", json.dumps(form).encode(), "application/json"


class Prober:
    """Runs every probe by its own clock and writes the account."""

    def __init__(self, out: TextIO, interval: float, guest_interval: float | None = None) -> None:
        self._out = out
        self._interval = interval
        self._guest_interval = interval if guest_interval is None else guest_interval
        self._lock = threading.Lock()
        self._number = 0
        self._stop = threading.Event()

    def stop(self, *_: object) -> None:
        self._stop.set()

    def line(self, record: dict[str, Any]) -> None:
        with self._lock:
            self._number += 1
            record["n"] = self._number
            self._out.write(json.dumps(record, separators=(",", ":"), sort_keys=True) + "\n")
            self._out.flush()

    def run(self, probes: list[tuple[str, str, Any]], seconds: float) -> None:
        self.line(
            {
                "op": "start",
                "mono": time.monotonic(),
                "wall": time.time(),
                "pid": os.getpid(),
                "interval": self._interval,
                "probes": [[kind, side] for kind, side, _ in probes],
            }
        )
        threads = [threading.Thread(target=self._clock, args=probe) for probe in probes]
        for thread in threads:
            thread.start()
        self._stop.wait(seconds or None)
        self._stop.set()
        for thread in threads:
            thread.join()
        self.line({"op": "end", "mono": time.monotonic(), "wall": time.time()})

    def _clock(self, kind: str, side: str, probe: Any) -> None:
        interval = self._guest_interval if kind == "guest" else self._interval
        due = time.monotonic()
        while not self._stop.is_set():
            ident = str(uuid.uuid4())
            record: dict[str, Any] = {"op": "probe", "kind": kind, "side": side, "id": ident}
            record["start_wall"], record["start"] = time.time(), time.monotonic()
            try:
                verdict = probe(ident)
            except Exception as bad:  # a fault of this program must stand in the account, not end a thread silently
                verdict = Verdict(UNKNOWN, f"prober fault {type(bad).__name__}: {bad}")
            record["end"], record["end_wall"] = time.monotonic(), time.time()
            record["result"] = verdict.result
            if verdict.error:
                record["error"] = verdict.error
            if verdict.committed:
                record["committed"] = verdict.committed
            self.line(record)
            due = max(due + interval, time.monotonic())
            self._stop.wait(max(0.0, due - time.monotonic()))
        probe.close()


def parse_side(text: str) -> Side:
    """`mtp:db=198.18.1.10,files=198.18.1.20:8080,guest=198.18.1.100:8000`."""
    name, _, rest = text.partition(":")
    try:
        parts = dict(item.split("=", 1) for item in rest.split(","))
        return Side(name, parts["db"], parts["files"], parts["guest"])
    except (KeyError, ValueError) as bad:
        raise argparse.ArgumentTypeError(
            f"expected NAME:db=ADDRESS,files=HOST:PORT,guest=HOST:PORT, found {text}"
        ) from bad


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--side", type=parse_side, action="append", required=True, help="NAME:db=A,files=H:P,guest=H:P")
    parser.add_argument("--out", required=True, help="the account (JSON lines)")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after so long; 0 is until a signal")
    parser.add_argument("--stop-on-eof", action="store_true", help="stop when standard input is closed")
    parser.add_argument("--interval", type=float, default=0.2, help="seconds from one probe of a side to the next")
    # A guest in emulation has little to spare for being asked; half a second is still close enough.
    parser.add_argument("--guest-interval", type=float, default=0.5, help="the same for the guest")
    parser.add_argument("--timeout", type=float, default=1.5, help="seconds to wait for an answer over HTTP")
    parser.add_argument("--kinds", nargs="+", choices=["db", "files", "guest"], default=["db", "files", "guest"])
    parser.add_argument("--ca", default=".lab/ca/ca.crt")
    parser.add_argument("--db-port", type=int, default=5432)
    parser.add_argument("--db-name", default="courses")
    parser.add_argument("--db-user", default="courses")
    parser.add_argument("--db-sslmode", default="verify-ca")
    parser.add_argument("--db-password-file", type=Path, default=Path(".lab/secrets/app_password"))
    return parser.parse_args(argv)


def probes_for(options: argparse.Namespace, password: str) -> list[tuple[str, str, Any]]:
    made: list[tuple[str, str, Any]] = []
    for side in options.side:
        if "db" in options.kinds:
            made.append(("db", side.name, DatabaseProbe(side, options, password)))
        if "files" in options.kinds:
            made.append(("files", side.name, HttpProbe(side.files, options.timeout, file_request)))
        if "guest" in options.kinds:
            made.append(("guest", side.name, HttpProbe(side.guest, options.timeout, guest_request)))
    return made


def stop_when_input_ends(stop: Callable[[], None]) -> None:
    """Stop when whoever started this program closes its standard input, or is gone."""

    def wait() -> None:
        while sys.stdin.buffer.read(65536):
            pass
        stop()

    threading.Thread(target=wait, daemon=True).start()


def main(argv: list[str]) -> int:
    options = parse(argv)
    password = options.db_password_file.read_text(encoding="utf-8").strip() if "db" in options.kinds else ""
    with open(options.out, "a", encoding="utf-8") as out:
        prober = Prober(out, options.interval, options.guest_interval)
        signal.signal(signal.SIGTERM, prober.stop)
        signal.signal(signal.SIGINT, prober.stop)
        if options.stop_on_eof:
            stop_when_input_ends(prober.stop)
        prober.run(probes_for(options, password), options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
