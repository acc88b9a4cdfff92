"""Requests over real TLS: verified by name and authority, 1.3 only, and an error never raises."""

from __future__ import annotations

import datetime
import http.server
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bascule.entrance.io import https, side
from bascule.entrance.io.https import Target
from bascule.entrance.requests import certificate_faults, parse_requests

NAME = "courses.example.org"


@dataclass
class Site:
    """A server and what it was sent."""

    port: int
    ca_file: str
    seen: list[tuple[str, str, dict[str, str], bytes]]

    def target(self, name: str = NAME) -> Target:
        """Return where it is."""
        return Target("127.0.0.1", name, self.ca_file, self.port)


def certificate(directory: Path) -> Path:
    """Make a certificate that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "site.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_3])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A running server."""
    seen: list[tuple[str, str, dict[str, str], bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(503 if self.path == "/closed" else 200)
            self.send_header("Retry-After", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None:
            return

    pem = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = request.param
    context.load_cert_chain(pem)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Site(server.server_address[1], str(pem), seen)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_request_names_the_service_and_not_the_address(site: Site) -> None:
    """In TLS and in the Host header."""
    answer = https.request(site.target(), "/x", "POST", {"X-Bascule-Smoke": "t"}, "body")
    assert (answer.error, answer.status, answer.body, answer.tls) == ("", 200, b"hello", "TLSv1.3")
    method, path, headers, body = site.seen[0]
    assert (method, path, body, headers["host"], headers["x-bascule-smoke"]) == ("POST", "/x", b"body", NAME, "t")
    assert certificate_faults(answer.certificate, NAME, datetime.datetime.now().timestamp(), 30) == []


def test_another_name_is_an_error(site: Site) -> None:
    """The certificate is not for it."""
    assert "certificate" in https.request(site.target("other.example.org")).error.lower()


@pytest.mark.parametrize("site", [ssl.TLSVersion.TLSv1_2], indirect=True)
def test_an_old_tls_is_an_error(site: Site) -> None:
    """Less than 1.3 is not spoken."""
    assert https.request(site.target()).error


def test_nobody_there_is_an_error() -> None:
    """Told, not raised."""
    answer = https.request(Target("127.0.0.1", NAME, "/etc/hostname", 1), timeout=1)
    assert answer.error
    assert answer.status == 0


def test_requests_are_made_in_turn_and_judged(site: Site) -> None:
    """With the headers that were given."""
    requests = parse_requests(
        [
            {"name": "login", "path": "/login", "method": "POST", "body": "{uuid}", "status": 201},
            {"name": "page", "path": "/", "contains": "hello"},
        ],
        "run",
    )
    results = side.make(requests, site.target(), {"X-Bascule-Smoke": "t"})
    assert [result["fault"] for result in results] == ["login: POST /login gave 200, not 201", ""]
    assert {seen[2]["x-bascule-smoke"] for seen in site.seen} == {"t"}
    assert site.seen[0][2]["content-type"] == "application/json"
