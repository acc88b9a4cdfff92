"""Only the maintenance page proves that an entrance is closed."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from bascule.entrance import requests
from bascule.entrance.requests import Answer, Request
from bascule.errors import PlanError

CLOSED = Answer(status=503, headers={"retry-after": "5"})


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (CLOSED, None),
        (Answer(error="timed out"), "proves nothing: timed out"),
        (Answer(status=200), "status 200"),
        (Answer(status=502), "status 502"),
        (Answer(status=503), "without Retry-After"),
        (Answer(status=503, headers={"retry-after": "soon"}), "without Retry-After"),
    ],
)
def test_the_proof_of_a_closed_entrance(answer: Answer, why: str | None) -> None:
    """Unreachable, failing or answering is no proof."""
    fault = requests.refusal_fault(answer)
    assert (fault is None) if why is None else (fault is not None and why in fault)


@pytest.mark.parametrize(
    ("request_", "answer", "why"),
    [
        (Request("a", "/"), Answer(status=200), None),
        (Request("a", "/", status=(200, 304)), Answer(status=304), None),
        (Request("a", "/"), Answer(status=503), "gave 503, not 200"),
        (Request("a", "/"), Answer(error="refused"), "refused"),
        (Request("a", "/", contains="é"), Answer(status=200, body="été".encode()), None),
        (Request("a", "/", contains="<h1>"), Answer(status=200, body=b"-"), "without '<h1>'"),
        (Request("a", "/", sha256=hashlib.sha256(b"x").hexdigest()), Answer(status=200, body=b"x"), None),
        (Request("a", "/", sha256=hashlib.sha256(b"x").hexdigest()), Answer(status=200, body=b"y"), "other bytes (1)"),
    ],
)
def test_answers_are_judged(request_: Request, answer: Answer, why: str | None) -> None:
    """By status, text and digest."""
    fault = requests.judge(request_, answer)
    assert (fault is None) if why is None else (fault is not None and why in fault)


def test_a_repeated_request_has_the_same_identity() -> None:
    """So that a smoke test that runs again writes nothing twice; another run or request has another one."""
    declared: list[dict[str, Any]] = [
        {"name": "login", "method": "post", "path": "/u/{uuid}", "body": '{"id": "{uuid}"}', "status": [201]}
    ]
    first, again, other = (requests.parse_requests(declared, run)[0] for run in ("1", "1", "2"))
    assert first == again
    assert first.path != other.path
    assert first.path.removeprefix("/u/") in first.body
    assert (first.method, first.status) == ("POST", (201,))


def test_every_fault_of_the_declaration_is_named() -> None:
    """At once."""
    declared: list[dict[str, Any]] = [
        {"name": "a", "path": "x"},
        {"name": "b", "path": "/", "method": "DELETE"},
        {"name": "c", "path": "/", "statuses": 200},
        {"name": "d", "path": "/", "status": "ok"},
    ]
    with pytest.raises(PlanError) as caught:
        requests.parse_requests(declared, "1")
    for text in ("a: path 'x'", "b: method DELETE", "c: unknown statuses", "d: status 'ok'"):
        assert text in caught.value.found


def test_certificates_are_judged() -> None:
    """By name and by the days that are left."""
    certificate = {"notAfter": "Jan 11 00:00:00 2030 GMT", "subjectAltName": (("DNS", "courses.example.org"),)}
    now = 1893456000.0  # 1 January 2030
    assert requests.certificate_faults(certificate, "courses.example.org", now, 10) == []
    assert "ends in 10 days" in requests.certificate_faults(certificate, "courses.example.org", now, 11)[0]
    assert "not for other" in requests.certificate_faults(certificate, "other", now, 1)[0]
    assert requests.certificate_faults({}, "other", now, 1) == ["no certificate was seen"]
