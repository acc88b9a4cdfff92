"""Judge what an entrance answered: is this the maintenance page, is this what a smoke request should get? Pure."""

from __future__ import annotations

import hashlib
import ssl
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import PlanError

# What plain HTTP leaves open, with the reason. Audit, verify and report name it.
NOT_ENCRYPTED: Mapping[str, str] = {
    "encryption": "web_entrance_scheme is http: who is on the way reads and changes what users send and get, and the "
    "smoke token; no certificate says that it is this entrance that answers"
}
METHODS = ("GET", "HEAD", "POST", "PUT")
_KEYS = {"name", "method", "path", "body", "content_type", "status", "contains", "sha256"}


@dataclass(frozen=True)
class Answer:
    """What came back; `error` says why nothing did, `connected` whether there was somebody to ask."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    tls: str = ""
    certificate: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""
    connected: bool = False


@dataclass(frozen=True)
class Request:
    """A request and what must come back."""

    name: str
    path: str
    method: str = "GET"
    body: str = ""
    content_type: str = "application/json"
    status: tuple[int, ...] = (200,)
    contains: str = ""
    sha256: str = ""


def parse_requests(declared: Sequence[Mapping[str, Any]], run: str) -> list[Request]:
    """Read a list such as `web_entrance_smoke`; every fault is named at once.

    "{uuid}" in a path or body becomes an identity that is the same whenever the same request is made for the same
    `run`, so that a repeated smoke test writes nothing twice.
    """
    faults, requests = [], []
    for number, entry in enumerate(declared, start=1):
        name = str(entry.get("name") or f"request {number}")
        unknown = sorted(set(entry) - _KEYS)
        method = str(entry.get("method", "GET")).upper()
        path = str(entry.get("path", ""))
        status = entry.get("status", 200)
        wanted = status if isinstance(status, (list, tuple)) else [status]
        if unknown:
            faults.append(f"{name}: unknown {', '.join(unknown)}")
        if method not in METHODS:
            faults.append(f"{name}: method {method} is none of {', '.join(METHODS)}")
        if not path.startswith("/"):
            faults.append(f"{name}: path {path!r} does not start with /")
        if not all(str(code).isdigit() and 100 <= int(code) <= 599 for code in wanted):
            faults.append(f"{name}: status {status!r} is no HTTP status")
            continue
        identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"bascule:{run}:{name}"))
        requests.append(
            Request(
                name=name,
                path=path.replace("{uuid}", identity),
                method=method,
                body=str(entry.get("body", "")).replace("{uuid}", identity),
                content_type=str(entry.get("content_type", "application/json")),
                status=tuple(int(code) for code in wanted),
                contains=str(entry.get("contains", "")),
                sha256=str(entry.get("sha256", "")),
            )
        )
    if faults:
        raise PlanError(expected="requests with a path and an expected status", found="; ".join(faults))
    return requests


def judge(request: Request, answer: Answer) -> str | None:
    """Return what is wrong with an answer, None when it is as it should be."""
    if answer.error:
        return f"{request.name}: {request.method} {request.path}: {answer.error}"
    said = f"{request.name}: {request.method} {request.path} gave {answer.status}"
    if answer.status not in request.status:
        return f"{said}, not {' or '.join(str(code) for code in request.status)}"
    if request.contains and request.contains.encode() not in answer.body:
        return f"{said} without {request.contains!r} in it"
    if request.sha256 and hashlib.sha256(answer.body).hexdigest() != request.sha256:
        return f"{said} with other bytes ({len(answer.body)}) than expected"
    return None


def refusal_fault(answer: Answer) -> str | None:
    """Return why an answer is no proof that the entrance is closed; None when it is one.

    Only the maintenance page proves it: an entrance that cannot be reached, or fails, may be open to others.
    """
    if answer.error:
        return f"no answer, which proves nothing: {answer.error}"
    if answer.status != 503:
        return f"status {answer.status}, not 503"
    if not answer.headers.get("retry-after", "").isdigit():
        return "status 503 without Retry-After: a failing backend, not the maintenance page"
    return None


def open_fault(answer: Answer) -> str | None:
    """Return why an answer does not show that this very probe tells an open entrance from a closed one."""
    if answer.error:
        return f"no answer: {answer.error}"
    if refusal_fault(answer) is None:
        return (
            "the maintenance page, or what looks like it, from an entrance that is open: seeing it later proves nothing"
        )
    return None


def plain_faults(answer: Answer) -> list[str]:
    """Return why an answer to plain HTTP is none of an entrance that serves by plain HTTP."""
    if answer.error:
        # Without a certificate nothing was shown by then, not even that it is an entrance.
        return [answer.error]
    if answer.status in (301, 302, 303, 307, 308) and answer.headers.get("location", "").startswith("https://"):
        return ["it sends users on to https, which would stay open: declare web_entrance_scheme: https, and its port"]
    if answer.status == 400:
        return ["it answers 400 to plain HTTP: it may speak TLS at this port, see web_entrance_scheme"]
    return []


def certificate_faults(certificate: Mapping[str, Any], name: str, now: float, days: int) -> list[str]:
    """Return what is wrong with a certificate that has been verified against the CA."""
    if not certificate:
        return ["no certificate was seen"]
    faults = []
    if name not in names(certificate):
        faults.append(f"the certificate is for {', '.join(names(certificate)) or 'no name'}, not for {name}")
    left = days_left(certificate, now)
    if left < days:
        faults.append(f"the certificate ends in {left} days ({certificate.get('notAfter')}), {days} are asked for")
    return faults


def names(certificate: Mapping[str, Any]) -> list[str]:
    """Return the names a certificate is for."""
    return [value for _, value in certificate.get("subjectAltName", ())]


def days_left(certificate: Mapping[str, Any], now: float) -> int:
    """Return how many whole days a certificate is still good for."""
    return int((ssl.cert_time_to_seconds(str(certificate["notAfter"])) - now) // 86400)
