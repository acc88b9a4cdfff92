"""SCRAM verifiers, made here so that a password never reaches the server's log."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

ITERATIONS = 4096


def verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """Return what PostgreSQL keeps in pg_authid for this password.

    The password must be ASCII: other characters need SASLprep, which the standard library does not have.
    """
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    client = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    stored = hashlib.sha256(client).digest()
    server = hmac.new(salted, b"Server Key", hashlib.sha256).digest()
    return f"SCRAM-SHA-256${iterations}:{_b64(salt)}${_b64(stored)}:{_b64(server)}"


def matches(password: str, stored: str | None) -> bool:
    """Return whether `stored` is a verifier of `password`."""
    parts = (stored or "").split("$")
    if len(parts) != 3 or parts[0] != "SCRAM-SHA-256":
        return False
    iterations, _, salt = parts[1].partition(":")
    try:
        expected = verifier(password, base64.b64decode(salt, validate=True), int(iterations))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(expected, stored or "")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
