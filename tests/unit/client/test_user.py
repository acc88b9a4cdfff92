"""The user outside, against real sockets."""

from __future__ import annotations

import io
import json
import threading
import time
from typing import Any

import pytest
from client.resolver import ResolveError, Resolver, dns_answer, dns_query
from client.user import Account, Site, User, judge_write, parse
from tests.unit.client.servers import CoursesSite, NameServer, http_server


def run_user(port: int, name_server: int, seconds: float, *arguments: str) -> list[dict[str, Any]]:
    options = parse(
        ["--name", "courses.techcorp.test", "--port", str(port), "--plain", "--seconds", str(seconds), "--timeout", "2",
         "--resolver", "127.0.0.1", "--resolver-port", str(name_server), "--files", "a/b.txt", *arguments]
    )  # fmt: skip
    out = io.StringIO()
    site = Site(options.name, options.port, Resolver(options.resolver, options.resolver_port), None, options.timeout)
    User(site, Account(out), options).run()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def operations(lines: list[dict[str, Any]], op: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["op"] == op]


def test_it_writes_in_turns_and_keeps_account() -> None:
    site = CoursesSite()
    with http_server(site.handle) as port, NameServer("127.0.0.1", 60) as names:
        lines = run_user(port, names.port, 1.5)
    writes, reads = operations(lines, "write"), operations(lines, "read")
    assert lines[0]["op"] == "start"
    assert lines[-1]["op"] == "end"
    assert 12 <= len(writes) <= 16
    assert {line["outcome"] for line in writes + reads} == {"ack"}
    assert {line["kind"] for line in writes} == {"login", "progress", "upload"}
    assert {line["id"] for line in writes} == set(site.rows)
    assert all(site.rows[line["id"]] == line["sha256"] for line in writes if line["kind"] == "upload")
    assert all(line["local"] == (line["kind"] == "login") for line in writes)
    assert writes[0]["committed"] == {"system_id": "77", "timeline": 1, "db": "courses"}
    assert all(line["answered"] >= line["sent"] for line in writes)
    assert {line["path"].split("/")[1] for line in reads} == {"course", "file", "healthz"}
    # One answer of the resolver serves as long as its TTL.
    assert names.questions == 1


def test_maintenance_refusal_and_silence_are_told_apart() -> None:
    site = CoursesSite()
    with http_server(site.handle) as port, NameServer("127.0.0.1", 60) as names:
        site.maintenance = True
        assert {line["outcome"] for line in operations(run_user(port, names.port, 0.6), "write")} == {"maintenance"}
        site.maintenance, site.cut = False, True
        broken = run_user(port, names.port, 0.6)
    assert {line["outcome"] for line in operations(broken, "write")} == {"unknown"}
    with NameServer("127.0.0.1", 60) as names:
        closed = run_user(port, names.port, 0.4)
    assert {line["outcome"] for line in operations(closed, "write")} == {"refused"}
    assert {line["outcome"] for line in operations(closed, "read")} == {"refused"}


def test_a_slow_answer_does_not_stop_the_clock() -> None:
    site = CoursesSite()
    first = threading.Event()

    def slow(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        if method != "GET" and not first.is_set():
            first.set()
            time.sleep(1.0)
        return site.handle(method, path, body)

    with http_server(slow) as port, NameServer("127.0.0.1", 60) as names:
        lines = operations(run_user(port, names.port, 1.2), "write")
    late = max(lines, key=lambda line: float(line["answered"] - line["sent"]))
    assert late["answered"] - late["sent"] >= 1.0
    during = [line for line in lines if late["sent"] < line["sent"] < late["answered"]]
    # A clock that waits for the answer sends nothing meanwhile; a busy machine sends less.
    assert len(during) >= 2


def test_without_a_free_worker_it_says_so_and_blames_nobody() -> None:
    site = CoursesSite()

    def slow(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        time.sleep(0.5)
        return site.handle(method, path, body)

    with http_server(slow) as port, NameServer("127.0.0.1", 60) as names:
        lines = operations(run_user(port, names.port, 0.6, "--workers", "1"), "write")
    assert {line["outcome"] for line in lines} == {"ack", "not_sent"}


def test_other_bytes_than_the_first_time_are_a_read_error() -> None:
    site = CoursesSite()
    with http_server(site.handle) as port, NameServer("127.0.0.1", 60) as names:
        threading.Timer(0.9, lambda: setattr(site, "file_bytes", b"damaged")).start()
        lines = operations(run_user(port, names.port, 1.8, "--read-interval", "0.1"), "read")
    outcomes = [line["outcome"] for line in lines if line["kind"] == "file"]
    assert outcomes[0] == "ack"
    assert outcomes[-1] == "error"


def test_a_new_address_is_used_when_the_ttl_is_over() -> None:
    now = [100.0]
    with NameServer("127.0.0.1", 5) as names:
        resolver = Resolver("127.0.0.1", names.port, clock=lambda: now[0])
        assert resolver.lookup("courses.techcorp.test") == "127.0.0.1"
        names.address = "198.18.9.2"
        now[0] += 4.9
        assert resolver.lookup("courses.techcorp.test") == "127.0.0.1"
        now[0] += 0.2
        assert resolver.lookup("courses.techcorp.test") == "198.18.9.2"
        assert names.questions == 2


def test_a_resolver_that_fails_is_not_asked_by_every_worker_in_turn() -> None:
    now = [100.0]
    with NameServer("127.0.0.1", 5, code=2) as names:
        resolver = Resolver("127.0.0.1", names.port, clock=lambda: now[0])
        for _ in range(5):
            with pytest.raises(ResolveError, match="code 2"):
                resolver.lookup("courses.techcorp.test")
        assert names.questions == 3
        now[0] += 1.0
        with pytest.raises(ResolveError):
            resolver.lookup("courses.techcorp.test")
        assert names.questions == 6


@pytest.mark.parametrize(
    "packet", [b"", b"\x00\x07\x81\x80" + bytes(4), b"\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x05ab"]
)
def test_a_broken_answer_is_an_error_not_an_address(packet: bytes) -> None:
    with pytest.raises(ResolveError):
        dns_answer(packet, 7)


def test_an_answer_to_another_question_is_refused() -> None:
    with pytest.raises(ResolveError, match="another question"):
        dns_answer(dns_query("courses.techcorp.test", 8), 7)


@pytest.mark.parametrize(
    ("status", "retry", "body", "outcome"),
    [
        (201, None, b'{"id": "a"}', "ack"),
        (201, None, b'{"id": "b"}', "unknown"),
        (201, None, b"<html>", "unknown"),
        (503, "60", b"", "maintenance"),
        (503, None, b"no", "error"),
        (502, None, b"", "error"),
    ],
)
def test_what_counts_as_acknowledged(status: int, retry: str | None, body: bytes, outcome: str) -> None:
    from client.user import Reply

    reply = Reply()
    reply.sent = reply.whole = True
    reply.status, reply.retry_after, reply.body = status, retry, body
    assert judge_write(reply, "a")[0] == outcome
