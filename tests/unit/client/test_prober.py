"""The two-writer prober, against real sockets."""

from __future__ import annotations

import io
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from client import lookup
from client.prober import (
    DatabaseProbe,
    HttpProbe,
    Prober,
    Verdict,
    file_body,
    file_request,
    guest_request,
    parse,
    parse_side,
)
from tests.unit.client.servers import CoursesSite, http_server

SIDE = "mtp:db=127.0.0.1,files=127.0.0.1:1,guest=127.0.0.1:1"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_accepted_write_a_refusal_and_silence() -> None:
    site = CoursesSite()
    with http_server(site.handle) as port:
        probe = HttpProbe(f"127.0.0.1:{port}", 1.0, guest_request)
        verdict = probe("11111111-1111-1111-1111-111111111111")
        assert verdict.result == "accept"
        assert verdict.committed == {"system_id": "77", "timeline": 1, "db": "courses"}
        site.maintenance = True
        assert probe("2").result == "refuse"
        site.maintenance, site.cut = False, True
        # It was sent, so it may be written: neither a yes nor a no.
        assert probe("3").result == "unknown"
    assert probe("4").result == "refuse"


def test_a_host_that_does_not_answer_is_no_refusal() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        verdict = HttpProbe(f"127.0.0.1:{full.getsockname()[1]}", 0.3, file_request)("1")
        for one in waiting:
            one.close()
    assert verdict.result == "timeout"


def test_a_database_that_is_down_refuses(tmp_path: Path) -> None:
    options = parse(
        ["--side", SIDE, "--out", str(tmp_path / "o"), "--db-port", str(closed_port()), "--db-sslmode", "disable"]
    )
    probe = DatabaseProbe(options.side[0], options, "secret")
    verdict = probe("11111111-1111-1111-1111-111111111111")
    assert verdict.result == "refuse"
    assert "secret" not in str(verdict)
    probe.close()


def test_every_probe_has_its_own_clock() -> None:
    out = io.StringIO()
    prober = Prober(out, 0.05)
    release = threading.Event()

    class Quick:
        closed = False

        def __call__(self, ident: str) -> Verdict:
            return Verdict("accept")

        def close(self) -> None:
            self.closed = True

    class Stuck(Quick):
        def __call__(self, ident: str) -> Verdict:
            release.wait(2.0)
            raise RuntimeError("a defect")

    quick, stuck = Quick(), Stuck()
    threading.Timer(0.6, release.set).start()
    prober.run([("db", "mtp", quick), ("db", "tls", stuck)], 0.5)
    lines: list[dict[str, Any]] = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines[0]["op"] == "start"
    assert lines[-1]["op"] == "end"
    assert sum(line.get("side") == "mtp" for line in lines) >= 8
    # A defect of the prober stands in its account and does not end the thread in silence.
    faults = [line for line in lines if line.get("side") == "tls"]
    assert faults
    assert faults[0]["result"] == "unknown"
    assert "a defect" in faults[0]["error"]
    assert quick.closed
    assert stuck.closed


@pytest.mark.parametrize("text", ["mtp", "mtp:db=1", "mtp:nonsense"])
def test_a_side_must_be_whole(text: str) -> None:
    with pytest.raises(Exception, match="expected NAME:db="):
        parse_side(text)


class FakeDatabase:
    """Answers the look-up's queries from a dict of tables."""

    def __init__(self, tables: dict[str, dict[str, tuple[str, str]]]) -> None:
        self.tables = tables

    def execute(self, query: Any, arguments: tuple[list[str]]) -> list[tuple[str, ...]]:
        text = query if isinstance(query, str) else query.as_string()
        table = next(name for name in self.tables if name in text)
        rows = self.tables[table]
        return [(ident, *rows[ident]) if "sha256" in text else (ident,) for ident in arguments[0] if ident in rows]


def test_the_look_up_finds_every_missing_part() -> None:
    client = [
        '{"op":"write","outcome":"ack","kind":"login","id":"l1","local":true}\n',
        '{"op":"write","outcome":"ack","kind":"login","id":"l2","local":true}\n',
        '{"op":"write","outcome":"unknown","kind":"login","id":"l3"}\n',
        '{"op":"write","outcome":"ack","kind":"progress","id":"g1"}\n',
        '{"op":"write","outcome":"ack","kind":"upload","id":"u1","sha256":"d1"}\n',
        '{"op":"write","outcome":"ack","kind":"upload","id":"u2","sha256":"d2"}\n',
        '{"op":"read","outcome":"ack","kind":"course"}\n',
        '{"op":"wri',
    ]
    probes = [
        '{"op":"probe","result":"accept","kind":"db","side":"mtp","id":"p1"}\n',
        '{"op":"probe","result":"refuse","kind":"db","side":"tls","id":"p2"}\n',
        '{"op":"probe","result":"accept","kind":"guest","side":"mtp","id":"g2"}\n',
        '{"op":"probe","result":"accept","kind":"files","side":"mtp","id":"f1"}\n',
    ]
    wanted = lookup.wanted_from(client, probes)
    tables = {
        '"app"."logins"': {"l1": ("", ""), "l2": ("", "")},
        '"app"."progress"': {"g2": ("", "")},
        "app.uploads": {"u1": ("uploads/u1", "d1"), "u2": ("uploads/u2", "d2")},
        '"lab"."writer_probe"': {"p1": ("", "")},
    }

    def files(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        return (200, {}, file_body("f1")) if path == "/uploads/probe-f1" else (404, {}, b"")

    with http_server(files) as port:
        fetch = lookup.Fetcher(f"127.0.0.1:{port}").digest
        found = lookup.look_up("tls", wanted, FakeDatabase(tables), fetch, lambda: {"l1"})
    assert found["looked_up"] == ["f1", "g1", "g2", "l1", "l2", "p1", "u1", "u2"]
    assert found["missing"] == {"g1": ["row"], "u1": ["file"], "u2": ["file"], "l2": ["local"]}


def test_a_server_that_fails_is_not_taken_for_a_missing_file() -> None:
    with http_server(lambda *_: (500, {}, b"")) as port, pytest.raises(RuntimeError, match="HTTP 500"):
        lookup.Fetcher(f"127.0.0.1:{port}").digest("/uploads/x")
