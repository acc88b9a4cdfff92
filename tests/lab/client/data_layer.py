"""A client of the database alone: writes a row every 100 ms through the pooler of one site, whichever side is active.

It knows nothing of a move: it stays with its pooler, under a login of its own, and is held back while the database
switches. It keeps account of every write, with the history it was committed on, and of every error; each acknowledged
row is looked up afterwards. The longest gap between two acknowledgements is the outage of the data layer.

    PYTHONPATH=tests/lab python -m client.data_layer --host 198.18.1.10 --out - --seconds 10
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, TextIO

import psycopg

from .prober import stop_when_input_ends

ACK = "ack"
NOT_SENT = "not_sent"  # there was no session to send it over
ERROR = "error"  # the server said no: nothing was committed
UNKNOWN = "unknown"  # the session broke under the statement: it may or may not be written

INSERT = """
INSERT INTO lab.data_layer (id, at) VALUES (%s, clock_timestamp())
RETURNING (SELECT system_identifier::text FROM pg_control_system()),
          ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int,
          current_database()
"""


class DataLayer:
    """Writes by the clock, over one session that it opens again when it breaks."""

    def __init__(self, options: argparse.Namespace, password: str, out: TextIO) -> None:
        self._options = options
        self._password = password
        self._out = out
        self._number = 0
        self._session: psycopg.Connection[Any] | None = None
        self._stop = threading.Event()

    def stop(self, *_: object) -> None:
        self._stop.set()

    def run(self, seconds: float) -> None:
        """Write until it is stopped, `seconds` at most; a turn that comes late is not made up for."""
        self._line({"op": "start", "pid": os.getpid(), "mono": time.monotonic(), "wall": time.time()})
        begun = time.monotonic()
        turn = begun
        while not self._stop.is_set() and (not seconds or time.monotonic() - begun < seconds):
            self._line(self._write())
            turn = max(turn + self._options.interval, time.monotonic())
            self._stop.wait(turn - time.monotonic())
        self._close()

    def _write(self) -> dict[str, Any]:
        self._number += 1
        ident = str(uuid.uuid4())
        record: dict[str, Any] = {"op": "write", "kind": "data", "n": self._number, "id": ident}
        record |= {"sent": time.monotonic(), "sent_wall": time.time()}
        record |= self._try(ident)
        return record | {"answered": time.monotonic(), "answered_wall": time.time()}

    def _try(self, ident: str) -> dict[str, Any]:
        sent = False
        try:
            session = self._session or self._connect()
            sent = True
            row = session.execute(INSERT, (ident,)).fetchone()
            if row is None:
                return {"outcome": UNKNOWN, "problem": "no row came back"}
            return {"outcome": ACK, "committed": {"system_id": row[0], "timeline": row[1], "db": row[2]}}
        except psycopg.Error as bad:
            # A refusal of the pooler's own ends the session and has a state as well; what the pooler never sent on
            # was not committed, but from here that cannot be told from a session that broke.
            broken = self._session is None or self._session.broken or self._session.closed
            if broken:
                self._close()
            outcome = NOT_SENT if not sent else UNKNOWN if broken else ERROR
            return {"outcome": outcome, "state": bad.sqlstate or "", "problem": " ".join(str(bad).split())[:300]}

    def _connect(self) -> psycopg.Connection[Any]:
        self._session = psycopg.connect(
            host=self._options.host,
            port=self._options.port,
            dbname=self._options.db_name,
            user=self._options.db_user,
            password=self._password,
            sslmode="verify-full",
            sslrootcert=self._options.ca,
            connect_timeout=5,
            application_name="bascule-data-layer",
            autocommit=True,
            # A pool of transactions hands each one to another server session, so nothing is prepared on one.
            prepare_threshold=None,
        )
        return self._session

    def _close(self) -> None:
        if self._session is not None:
            with contextlib.suppress(psycopg.Error):
                self._session.close()
        self._session = None

    def _line(self, record: dict[str, Any]) -> None:
        self._out.write(json.dumps(record, separators=(",", ":"), sort_keys=True) + "\n")
        self._out.flush()


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--host", required=True, help="the pooler's address")
    parser.add_argument("--port", type=int, default=6432)
    parser.add_argument("--out", required=True, help="JSON Lines; - is standard output")
    parser.add_argument("--seconds", type=float, default=0, help="how long; 0 until it is stopped")
    parser.add_argument("--stop-on-eof", action="store_true", help="stop when standard input ends")
    parser.add_argument("--interval", type=float, default=0.1, help="seconds from one write to the next")
    parser.add_argument("--ca", default=".lab/ca/ca.crt")
    parser.add_argument("--db-name", default="courses")
    parser.add_argument("--db-user", default="lab_data")
    parser.add_argument("--db-password-file", type=Path, default=Path(".lab/secrets/data_password"))
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    options = parse(argv)
    password = options.db_password_file.read_text(encoding="utf-8").strip()
    with contextlib.ExitStack() as stack:
        out = sys.stdout if options.out == "-" else stack.enter_context(open(options.out, "a", encoding="utf-8"))
        client = DataLayer(options, password, out)
        signal.signal(signal.SIGTERM, client.stop)
        signal.signal(signal.SIGINT, client.stop)
        if options.stop_on_eof:
            stop_when_input_ends(client.stop)
        client.run(options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
