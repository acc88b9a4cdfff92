"""What the application stands on: the site's database, its file server, and a log on the guest's own disk."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

SETTINGS = Path("/etc/courses")
# In emulation on a busy machine a TLS handshake alone may take seconds; the entrance and its users wait for 30.
TIMEOUT = 12.0
# The guest has one slow processor: more connections than these only get in each other's way.
CONNECTIONS = 4

COMMITTED = """
SELECT (SELECT system_identifier::text FROM pg_control_system()),
       substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
       current_database()
"""
INSERTS = {
    "login": "INSERT INTO app.logins (id, student, at, client) VALUES (%s, %s, now(), %s) ON CONFLICT (id) DO NOTHING",
    "progress": "INSERT INTO app.progress (id, student, course, percent, at) VALUES (%s, %s, %s, %s, now())"
    " ON CONFLICT (id) DO NOTHING",
    "upload": "INSERT INTO app.uploads (id, path, sha256, at) VALUES (%s, %s, %s, now()) ON CONFLICT (id) DO NOTHING",
}
TABLES = {"login": "app.logins", "progress": "app.progress", "upload": "app.uploads"}


class Refused(Exception):
    """The request cannot be answered as asked: a status and a sentence for the caller."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def setting(name: str, default: str) -> str:
    path = SETTINGS / name
    return path.read_text().strip() if path.exists() else default


class Database:
    """A few connections to the site's database, replaced whenever one fails."""

    def __init__(self, size: int = CONNECTIONS) -> None:
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()
        self._slots = threading.BoundedSemaphore(size)

    def _connect(self) -> Any:
        return psycopg2.connect(
            host=setting("db_host", "db"),
            port=int(setting("db_port", "5432")),
            dbname="courses",
            user="courses",
            password=setting("app_password", ""),
            sslmode=setting("db_sslmode", "verify-full"),
            sslrootcert=str(SETTINGS / "ca.crt"),
            ssl_min_protocol_version="TLSv1.3",
            connect_timeout=10,
            keepalives_idle=2,
            keepalives_interval=1,
            keepalives_count=2,
            tcp_user_timeout=10000,
            application_name="courses",
            options="-c statement_timeout=10000 -c lock_timeout=8000 -c idle_in_transaction_session_timeout=12000",
        )

    def warm_up(self) -> None:
        """Connect before the first request needs it: a handshake takes a good part of a second under emulation."""
        for _ in range(CONNECTIONS):
            try:
                self._free.put(self._connect())
            except psycopg2.Error as error:
                print(f"courses: no database yet: {' '.join(str(error).split())}", flush=True)
                return

    @contextlib.contextmanager
    def _session(self, fresh: bool) -> Iterator[Any]:
        if not self._slots.acquire(timeout=TIMEOUT):
            raise Refused(503, "no database connection became free")
        session = None
        try:
            if not fresh:
                with contextlib.suppress(queue.Empty):
                    session = self._free.get_nowait()
            session = session or self._connect()
            yield session
            self._free.put(session)
        except BaseException:
            # Whatever went wrong in it, the next request starts with a new connection.
            if session is not None:
                with contextlib.suppress(psycopg2.Error):
                    session.close()
            raise
        finally:
            self._slots.release()

    def run(self, work: Callable[[Any], Any]) -> Any:
        """Do `work(cursor)` in a transaction and commit it.

        A kept connection may have died with the server it led to: then once more on a new one. That is safe because
        every statement here may be repeated.
        """
        for fresh in (False, True):
            try:
                with self._session(fresh) as session:
                    with session.cursor() as cursor:
                        result = work(cursor)
                    session.commit()
                    return result
            except psycopg2.Error as error:
                text = " ".join(str(error).split()) or type(error).__name__
                if fresh or not isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError)):
                    raise Refused(503, f"database: {text}") from error
        raise AssertionError("unreachable")

    def write(self, kind: str, values: tuple[Any, ...]) -> dict[str, str]:
        def work(cursor: Any) -> dict[str, str]:
            cursor.execute(INSERTS[kind], values)
            cursor.execute(COMMITTED)
            system_id, timeline, name = cursor.fetchone()
            return {"system_id": system_id, "timeline": timeline, "db": name}

        answer: dict[str, str] = self.run(work)
        return answer

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        def work(cursor: Any) -> list[tuple[Any, ...]]:
            cursor.execute(statement, values)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

        answer: list[tuple[Any, ...]] = self.run(work)
        return answer


class FileServer:
    """The site's file server, over HTTP."""

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, str, bytes]:
        host = setting("files_host", "files")
        connection = http.client.HTTPConnection(host, int(setting("files_port", "8080")), timeout=TIMEOUT)
        try:
            connection.request(method, path, body=body)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type", "application/octet-stream"), answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Refused(503, f"file server: {type(error).__name__}: {error}") from error
        finally:
            connection.close()

    def get(self, path: str) -> tuple[str, bytes]:
        status, content_type, body = self._ask("GET", path)
        if status == 404:
            raise Refused(404, "no such file")
        if status != 200:
            raise Refused(503, f"file server answered {status}")
        return content_type, body

    def put(self, path: str, body: bytes) -> str:
        """Store the bytes; returns their digest once the file server has answered 201 for it."""
        digest = hashlib.sha256(body).hexdigest()
        status, _, answer = self._ask("PUT", path, body)
        if status != 201:
            raise Refused(503, f"file server answered {status}: {answer[:200].decode(errors='replace').strip()}")
        # Where it names a digest, it must be that of our bytes.
        named = re.findall(rb"\b[0-9a-f]{64}\b", answer)
        if named and digest.encode() not in named:
            raise Refused(502, "file server answered with another digest")
        return digest


class LocalLog:
    """Logins on the guest's own disk: one synced line each, read back at start."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._ids: dict[str, None] = {}
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        with open(path, "rb") as lines:
            text = lines.read()
        # A line torn by a power cut was never acknowledged: it goes.
        whole = text[: text.rfind(b"\n") + 1]
        os.ftruncate(self._file, len(whole))
        for line in whole.splitlines():
            if line.strip():
                self._ids[line.split()[0].decode(errors="replace")] = None

    def append(self, ident: str, student: int) -> None:
        with self._lock:
            if ident in self._ids:
                return
            os.write(self._file, f"{ident} {student} {time.time():.3f}\n".encode())
            os.fsync(self._file)
            self._ids[ident] = None

    def __contains__(self, ident: str) -> bool:
        with self._lock:
            return ident in self._ids

    def all(self) -> list[str]:
        with self._lock:
            return list(self._ids)


@dataclass(frozen=True)
class Parts:
    """What a request works with."""

    database: Database
    files: FileServer
    local: LocalLog
