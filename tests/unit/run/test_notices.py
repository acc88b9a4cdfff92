"""People are told by the real apprise, at sinks on loopback; one that refuses, hangs or is gone holds up nothing."""

from __future__ import annotations

import http.server
import json
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from bascule.report.notes import note_lines
from bascule.run import monitor, notices
from bascule.run.io import notifier
from bascule.run.monitor import Sample, Series, Wanted
from bascule.system.io.process import run

SECRET = "s3cret-of-the-chat"
DISK, LAG = Series("db", "disk_used", "db-tls"), Series("db", "replication_lag")
JUDGED = [
    monitor.judge(DISK, Sample(DISK, 91, "%", 0), Wanted(), 0),
    monitor.judge(LAG, None, Wanted(), 0),
    monitor.judge(Series("db", "load", "x"), Sample(Series("db", "load", "x"), 0, "", 0), Wanted(), 0),
]


def given(*urls: str, role: str = "system") -> dict[str, Any]:
    return {"role": role, "urls": list(urls), "title": "Bascule: à voir", "body": "disk_used: over"}


class Mail(socketserver.StreamRequestHandler):
    """A mail server that takes everything."""

    kept: list[str]

    def handle(self) -> None:
        """Speak as much SMTP as a sender asks for."""
        self.wfile.write(b"220 sink\r\n")
        for line in self.rfile:
            word = line.split()[0].upper() if line.split() else b""
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.kept.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """Serve on loopback, and end it."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def answering(status: int, kept: list[Any]) -> type[http.server.BaseHTTPRequestHandler]:
    """Return a web server that keeps what it is sent and answers with a status."""

    class Web(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Web


def test_mail_and_web_are_told() -> None:
    mails: list[str] = []
    posts: list[Any] = []
    sink = type("Sink", (Mail,), {"kept": mails})
    with serving(sink) as mail, serving(answering(200, posts)) as web:
        url = f"mailto://127.0.0.1:{mail}?from=bascule@example.org&to=nadia@example.org&mode=insecure"
        assert notifier.send([given(url, f"json://user:{SECRET}@127.0.0.1:{web}/x")]) == []
    assert [one["message"] for one in posts] == ["disk_used: over"]
    assert posts[0]["title"] == "Bascule: à voir"
    assert len(mails) == 1
    assert "To: nadia@example.org" in mails[0]


def test_who_refuses_or_is_not_there_is_named_by_the_role_alone(caplog: Any, capfd: Any) -> None:
    caplog.set_level(logging.DEBUG)
    posts: list[Any] = []
    with socket.socket() as free, serving(answering(500, posts)) as refuses, serving(answering(200, posts)) as takes:
        free.bind(("127.0.0.1", 0))
        gone = free.getsockname()[1]
        said = notifier.send(
            [
                given(f"json://user:{SECRET}@127.0.0.1:{refuses}/", role="dba"),
                given(f"json://user:{SECRET}@127.0.0.1:{gone}/", role="network"),
                given(f"nosuch://{SECRET}", role="tester"),
                given(f"json://user:{SECRET}@127.0.0.1:{takes}/", role="system"),
            ]
        )
    assert said == [
        "dba: not told: a service has refused it",
        "network: not told: a service has refused it",
        "tester: not told: an address that apprise does not know",
    ]
    assert len(posts) == 2, "the others are told all the same"
    assert SECRET not in "".join([*said, caplog.text, *capfd.readouterr()])


def test_one_that_hangs_is_given_up_and_its_address_was_in_no_argument_list() -> None:
    seen: list[bool] = []

    class Hangs(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            processes = run(["ps", "-eo", "args"]).stdout
            seen.append("bascule.run.io.notifier" in processes and SECRET not in processes)
            # It answers, and never to an end: apprise itself would give up one that says nothing.
            answer, until = b"HTTP/1.1 200 OK\r\nX: y", time.monotonic() + 60
            with suppress(OSError):
                while time.monotonic() < until:
                    self.request.sendall(answer)
                    answer = b"z"
                    time.sleep(0.5)

    with serving(Hangs) as port:
        # On a busy machine it may be given up before it has come so far as to ask.
        for patience in (2, 10, 60):
            assert notifier.send([given(f"json://user:{SECRET}@127.0.0.1:{port}/")], patience=patience) == [
                f"system: not told for certain: no answer within {patience} s"
            ]
            if seen:
                break
    assert seen == [True]


def test_a_notifier_that_cannot_begin_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert notifier.send([given("json://127.0.0.1/")]) == ["system: not told for certain: the notifier has failed"]
    assert notifier.send([]) == []


def test_each_role_that_is_called_gets_its_own_lines() -> None:
    found = notices.of_alarms("lab", "run-1", JUDGED, {"system": "Nadia"}, "/runs/page.md")
    assert [one.role for one in found] == ["system", "dba"]
    assert "Nadia," in found[0].body
    assert "db.disk_used@db-tls: over: 91 is above 85" in found[0].body
    assert "replication_lag" not in found[0].body
    assert "db.replication_lag: absent" in found[1].body
    assert "la surveillance de lab" in found[1].body
    assert notices.of_alarms("lab", "run-1", JUDGED[2:], {}, "") == []
    told, silent = notices.addressed(found, {"system": ["json://a"]})
    assert ([one["role"] for one in told], silent) == (["system"], ["dba"])
    told, silent = notices.addressed(found, {"lead": ["json://l"]})
    assert ([one["urls"] for one in told], silent) == ([["json://l"]] * 2, [])


@pytest.mark.parametrize(
    "declared",
    [[SECRET], {"boss": [f"json://{SECRET}"]}, {"lead": f"json://{SECRET}"}, {"lead": []}, {"lead": [SECRET]}],
)
def test_what_cannot_be_right_is_named_without_the_address(declared: Any) -> None:
    found = notices.problems(declared)
    assert found
    assert SECRET not in " ".join(found)


def test_the_report_names_who_was_not_told_of_a_window() -> None:
    def entry(number: int, data: dict[str, Any]) -> dict[str, Any]:
        known = {"n": number, "controller": "c", "epoch": "d", "kind": "state", "time": f"2026-12-05T21:00:0{number}Z"}
        return {**known, "data": {"event": "notices", **data}, "prev": "", "hash": str(number)}

    lead, nobody = "go lead: not told: a service has refused it", "nobody was told: no vault"
    entries = [
        entry(1, {"sent": [], "failed": [lead]}),
        entry(2, {"roles": ["dba"], "failed": ["dba: not told: no address"]}),
        entry(3, {"sent": ["go lead"], "failed": [lead, nobody]}),
    ]
    assert notices.not_told(entries) == [lead, nobody], "an alarm of monitoring stands on its page"
    said = note_lines({"not_told": [lead, nobody]}, "fr")["not_told"]
    assert said == ["lead, moment « go » : un service l'a refusé", "personne n'a été prévenu : no vault"]
    assert note_lines({"not_told": [lead]})["not_told"] == [lead]


def test_none_and_a_right_one_have_no_problems() -> None:
    assert notices.problems(None) == notices.problems({"lead": ["json://x"]}) == []
