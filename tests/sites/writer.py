"""A client outside: writes a row and a file again and again, at whichever site takes them, and notes what was promised.

Runs on a machine of its own beside both sites until it is ended by SIGTERM. Each line of its account, a JSON object,
says what was written (`kind`, `name`) and whether it was acknowledged; what was not may have been written or not.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg2

SERVERS = ("srv-nantes", "srv-rennes")
INTERVAL_SECONDS = 0.3
PATIENCE_SECONDS = 3
_ENDED = threading.Event()


def write_row(name: str, password: str) -> bool:
    """Log in wherever writes are taken, and insert a row. Returns whether the server has acknowledged it."""
    try:
        session = psycopg2.connect(
            host=",".join(SERVERS),
            dbname="courses",
            user="courses",
            password=password,
            sslmode="verify-full",
            sslrootcert="/etc/lab/tls/ca.crt",
            target_session_attrs="read-write",
            connect_timeout=PATIENCE_SECONDS,
        )
    except psycopg2.Error:
        return False
    try:
        with session, session.cursor() as cursor:
            cursor.execute("INSERT INTO app.progress (id, student, course, percent) VALUES (%s, 1, 1, 50)", (name,))
    except psycopg2.Error:
        return False
    finally:
        session.close()
    return True


def write_file(name: str, _password: str) -> bool:
    """Upload a file to the first server that takes it. Returns whether one of them has acknowledged it."""
    for server in SERVERS:
        connection = http.client.HTTPConnection(server, 8080, timeout=PATIENCE_SECONDS)
        try:
            connection.request("PUT", f"/uploads/{name}.txt", body=name.encode())
            if connection.getresponse().status == http.client.CREATED:
                return True
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
    return False


def repeat(kind: str, write: Callable[[str, str], bool], password: str, account: Path) -> None:
    """Write until the end, and keep the account."""
    with account.open("a", buffering=1) as lines:
        while not _ENDED.is_set():
            name = str(uuid.uuid4())
            done = write(name, password)
            lines.write(json.dumps({"kind": kind, "name": name, "acknowledged": done, "at": time.time()}) + "\n")
            _ENDED.wait(INTERVAL_SECONDS)


def main() -> int:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--account", type=Path, required=True, help="directory for rows.jsonl and files.jsonl")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda _number, _frame: _ENDED.set())
    password = Path("/etc/lab/secrets/app_password").read_text()
    threads = [
        threading.Thread(target=repeat, args=(kind, write, password, options.account / f"{kind}.jsonl"))
        for kind, write in (("rows", write_row), ("files", write_file))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
