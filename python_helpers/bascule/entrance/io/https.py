"""Make one request to a given address under a given name: verified TLS, or plain HTTP. The standard library only."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ..requests import Answer

_BODY_LIMIT = 64 * 1024 * 1024
HTTP, HTTPS = SCHEMES = ("http", "https")


@dataclass(frozen=True)
class Target:
    """Where to connect to, and the name that its certificate must be for; plain HTTP has none."""

    address: str
    name: str
    ca_file: str
    port: int = 443
    scheme: str = HTTPS


class _Connection(http.client.HTTPConnection):
    """Connects to an address while name, certificate and Host header are those of the service."""

    def __init__(self, target: Target, context: ssl.SSLContext | None, timeout: float) -> None:
        super().__init__(target.name, target.port, timeout=timeout)
        self._target = target
        self._tls = context

    def connect(self) -> None:
        """Connect, and speak verified TLS unless the service has none."""
        plain = socket.create_connection((self._target.address, self._target.port), self.timeout)
        if self._tls is None:
            self.sock = plain
            return
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self._target.name)
        except BaseException:
            plain.close()
            raise


def request(
    target: Target,
    path: str = "/",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: str = "",
    timeout: float = 20.0,
) -> Answer:
    """Make the request; whatever goes wrong is told in the answer, never raised."""
    begun = time.monotonic()
    tls, certificate, connected = "", {}, False
    try:
        if not target.address.strip():
            # The system would take it for this very host, which proves nothing about an entrance.
            raise OSError("no address to ask")
        connection = _Connection(target, _context(target), timeout)
        try:
            connection.connect()
            connected = True
            if isinstance(connection.sock, ssl.SSLSocket):
                tls = connection.sock.version() or ""
                certificate = dict(connection.sock.getpeercert() or {})
            given = {"Host": target.name, "Connection": "close", "User-Agent": "bascule", **(headers or {})}
            connection.request(method, path, body=body.encode() if body else None, headers=given)
            answer = connection.getresponse()
            content = answer.read(_BODY_LIMIT)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        # The name of the error only where its text could quote what was sent.
        text = str(error) if isinstance(error, OSError) else type(error).__name__
        waited = round(time.monotonic() - begun, 3)
        where = f"{target.address}:{target.port}"
        return Answer(tls=tls, certificate=certificate, seconds=waited, error=f"{where}: {text}", connected=connected)
    return Answer(
        status=answer.status,
        headers={name.lower(): value for name, value in answer.getheaders()},
        body=content,
        tls=tls,
        certificate=certificate,
        seconds=round(time.monotonic() - begun, 3),
        connected=True,
    )


def _context(target: Target) -> ssl.SSLContext | None:
    """Return what TLS is verified with; None for plain HTTP."""
    if target.scheme not in SCHEMES:
        raise OSError(f"{target.scheme!r} is none of {', '.join(SCHEMES)}")
    if target.scheme == HTTP:
        return None
    context = ssl.create_default_context(cafile=target.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
