"""The guest's web application: what it acknowledges, and what it refuses, with its parts played by simple ones."""

from __future__ import annotations

import hashlib
import http.client
import importlib
import json
import sys
import threading
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class DriverError(Exception):
    """Stands for psycopg2.Error; the driver itself is in the guest, not on the machine that runs the tests."""


class LostConnection(DriverError):
    """Stands for psycopg2.OperationalError."""


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    driver = types.ModuleType("psycopg2")
    driver.__dict__.update(Error=DriverError, OperationalError=LostConnection, InterfaceError=LostConnection)
    monkeypatch.setitem(sys.modules, "psycopg2", driver)
    names = ("pve.guest.app", "pve.guest.parts")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(names[0])
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    return module


class Table:
    """The database: rows by statement's table, and a switch that breaks its connections."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, tuple[Any, ...]]] = {}
        self.connections = 0
        self.broken = 0

    def connect(self, **_: Any) -> Connection:
        self.connections += 1
        return Connection(self)


class Connection:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._pending: list[tuple[str, tuple[Any, ...]]] = []
        self._answer: list[tuple[Any, ...]] = []

    def cursor(self) -> Connection:
        return self

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        if self._table.broken:
            self._table.broken -= 1
            raise LostConnection("server closed the connection\nunexpectedly")
        if statement.startswith("INSERT INTO"):
            self._pending.append((statement.split()[2], values))
        elif "pg_control_system" in statement:
            self._answer = [("7710205215012077950", "0000000A", "courses")]
        elif "app.courses" in statement:
            self._answer = [("Réseaux <1>",)] if values == (1,) else []
        else:
            rows = self._table.rows.get(statement.split("FROM ")[1].split()[0], {})
            self._answer = [(key,) for key in rows if not values or key == values[0]]

    def fetchone(self) -> tuple[Any, ...]:
        return self._answer[0]

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._answer

    def commit(self) -> None:
        for table, values in self._pending:
            self._table.rows.setdefault(table, {}).setdefault(values[0], values)
        self._pending = []

    def close(self) -> None:
        pass


class Files:
    """The file server; `full` makes it refuse."""

    def __init__(self, refused: type[Exception]) -> None:
        self.kept = {"/content/1/lesson.txt": b"lesson & more"}
        self.full = False
        self._refused = refused

    def get(self, path: str) -> tuple[str, bytes]:
        if path not in self.kept:
            raise self._refused(404, "no such file")
        return "text/plain", self.kept[path]

    def put(self, path: str, body: bytes) -> str:
        if self.full:
            raise self._refused(503, "file server answered 507")
        self.kept[path] = body
        return hashlib.sha256(body).hexdigest()


class Site:
    def __init__(self, app: types.ModuleType, tmp_path: Path) -> None:
        self.table = Table()
        sys.modules["psycopg2"].__dict__["connect"] = self.table.connect
        self.files = Files(app.Refused)
        self.log = tmp_path / "courses/logins.log"
        app.Handler.parts = app.Parts(app.Database(), self.files, app.LocalLog(self.log))
        self.server = app.Server(("127.0.0.1", 0), app.Handler)
        self.port = self.server.server_address[1]

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, data)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


@pytest.fixture
def site(app: types.ModuleType, tmp_path: Path) -> Iterator[Site]:
    made = Site(app, tmp_path)
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


ID = str(uuid.UUID(int=7))
COMMITTED = {"system_id": "7710205215012077950", "timeline": "0000000A", "db": "courses"}


def test_a_login_is_in_both_places_once(site: Site) -> None:
    for _ in range(2):
        status, body = site.ask("POST", "/login", {"id": ID, "student": 3})
        assert status == 201
        assert json.loads(body) == {"id": ID, "kind": "login", "committed": COMMITTED, "local": True}
    assert list(site.table.rows["app.logins"]) == [ID]
    assert [line.split()[0] for line in site.log.read_text().splitlines()] == [ID]
    assert site.ask("GET", f"/local/{ID}")[0] == 200
    assert site.ask("GET", f"/record/login/{ID}")[0] == 200
    assert site.ask("GET", "/local")[1] == site.ask("GET", "/records/login")[1] == f"{ID}\n".encode()
    other = uuid.UUID(int=8)
    assert site.ask("GET", f"/local/{other}")[0] == site.ask("GET", f"/record/login/{other}")[0] == 404


def test_progress_and_upload(site: Site) -> None:
    status, body = site.ask("POST", "/progress", {"id": ID, "student": 3, "course": 1, "percent": 40})
    assert (status, json.loads(body)) == (201, {"id": ID, "kind": "progress", "committed": COMMITTED})
    status, body = site.ask("PUT", f"/upload/{ID}", b"\0bytes")
    assert (status, json.loads(body)["sha256"]) == (201, hashlib.sha256(b"\0bytes").hexdigest())
    assert site.files.kept[f"/uploads/{ID}"] == b"\0bytes"
    assert site.table.rows["app.uploads"][ID][1] == f"uploads/{ID}"


def test_nothing_is_acknowledged_that_was_not_kept(site: Site) -> None:
    site.files.full = True
    assert site.ask("PUT", f"/upload/{ID}", b"x")[0] == 503
    assert "app.uploads" not in site.table.rows
    site.table.broken = 99
    assert site.ask("POST", "/login", {"id": ID, "student": 3})[0] == 503
    assert site.ask("GET", "/local")[1] == b""


def test_a_lost_connection_is_replaced(site: Site) -> None:
    assert site.ask("POST", "/login", {"id": ID, "student": 3})[0] == 201
    before = site.table.connections
    site.table.broken = 1
    assert site.ask("POST", "/login", {"id": str(uuid.UUID(int=9)), "student": 3})[0] == 201
    assert site.table.connections == before + 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/login", {"id": "x", "student": 1}, 400),
        ("POST", "/login", {"id": ID, "student": "1"}, 400),
        ("POST", "/login", b"no json", 400),
        ("POST", "/progress", {"id": ID, "student": 1}, 400),
        ("POST", "/nothing", {"id": ID}, 404),
        ("GET", "/course/2", None, 404),
        ("GET", "/file/none", None, 404),
        ("GET", "/record/other/" + ID, None, 404),
        ("GET", "/healthz", None, 200),
    ],
)
def test_answers(site: Site, method: str, path: str, body: object, status: int) -> None:
    assert site.ask(method, path, body)[0] == status


def test_pages(site: Site) -> None:
    status, body = site.ask("GET", "/course/1")
    assert status == 200
    assert b"<h1>R\xc3\xa9seaux &lt;1&gt;</h1>" in body
    assert b"lesson &amp; more" in body
    assert site.ask("GET", "/file/content/1/lesson.txt") == (200, b"lesson & more")


def test_a_torn_line_does_not_spoil_the_next(app: types.ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "logins.log"
    log.write_bytes(f"{ID} 1 1.0\n{ID[:-4]}".encode())
    app.LocalLog(log).append(str(uuid.UUID(int=9)), 1)
    again = app.LocalLog(log)
    assert again.all() == [ID, str(uuid.UUID(int=9))]
