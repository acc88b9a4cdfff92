"""The client of the database alone: what it takes for an answer, and what of it is looked up."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from client import data_layer, journey
from client.lookup import wanted_from

from .test_run import FakeWatchers, program, start_journey

LAB = Path(__file__).resolve().parents[2] / "lab"


class Session:
    """A session that answers as it is told."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer
        self.closed = False
        self.broken = False

    def execute(self, statement: str, parameters: tuple[str]) -> Session:
        self.row = self._answer()
        return self

    def fetchone(self) -> Any:
        return self.row

    def close(self) -> None:
        self.closed = True


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]
) -> tuple[data_layer.DataLayer, Session]:
    options = data_layer.parse(["--host", "127.0.0.1", "--out", "-"])
    made = data_layer.DataLayer(options, "secret", (tmp_path / "out").open("w"))
    session = Session(answer)
    monkeypatch.setattr(psycopg, "connect", lambda **options: session)
    return made, session


def fails(error: psycopg.Error) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


def test_an_acknowledged_write_says_on_which_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = client(tmp_path, monkeypatch, lambda: ("77", 2, "courses"))
    record = made._write()
    assert record["outcome"] == "ack"
    assert record["committed"] == {"system_id": "77", "timeline": 2, "db": "courses"}
    assert record["kind"] == "data"


def test_an_error_of_the_server_is_no_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, session = client(tmp_path, monkeypatch, fails(psycopg.errors.ReadOnlySqlTransaction("read-only")))
    record = made._write()
    assert record["outcome"] == "error"
    assert not session.closed


def test_a_session_that_breaks_under_a_write_leaves_it_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, session = client(tmp_path, monkeypatch, fails(psycopg.OperationalError("server closed the connection")))
    session.broken = True
    assert made._write()["outcome"] == "unknown"
    assert session.closed
    assert made._session is None


def test_it_ends_with_its_starter_and_keeps_account_of_every_failure(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("not-shown-anywhere\n")
    out = tmp_path / "data.jsonl"
    command = [sys.executable, "-m", "client.data_layer", "--host", "127.0.0.1", "--port", str(closed_port())]
    command += ["--out", str(out), "--db-password-file", str(tmp_path / "password"), "--stop-on-eof"]
    command += ["--ca", str(tmp_path / "ca.crt"), "--interval", "0.02"]
    environment = {**os.environ, "PYTHONPATH": str(LAB)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
        deadline = time.monotonic() + 30
        while not (out.exists() and out.read_text().count("\n") > 3):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=15) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    writes = [line for line in lines if line["op"] == "write"]
    assert {line["outcome"] for line in writes} == {"not_sent"}
    assert [line["n"] for line in writes] == list(range(1, len(writes) + 1))
    assert all(line["problem"] for line in writes)
    assert "not-shown-anywhere" not in out.read_text()


def test_its_acknowledged_rows_are_looked_up() -> None:
    lines = [
        json.dumps({"op": "write", "kind": "data", "id": ident, "outcome": outcome})
        for ident, outcome in (("d1", "ack"), ("d2", "unknown"), ("d3", "not_sent"))
    ]
    assert wanted_from(lines, []).rows["data"] == {"d1"}


def test_a_run_without_writes_through_the_pooler_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trip = start_journey(tmp_path, monkeypatch)
    monkeypatch.setattr(journey, "POOLER_SECONDS", 1.0)
    trip.watchers = FakeWatchers(tmp_path / "clients", trip.setting)
    trip.phases._program = program(tmp_path, "echo ran $1")
    with pytest.raises(journey.DemoStopped, match=r"writes through the pooler did not come .*no pooler there"):
        trip._walk(trip._leg("forward", None), ("prepare",))
    trip.close()
