"""Whether one machine lets another one's connection in, seen from the machine that asks."""

from __future__ import annotations

import socket


def why_not(address: str, port: int, timeout: float = 3.0) -> str:
    """Return why no connection to the address comes about within `timeout` seconds; nothing where one does.

    Nothing is sent, and what was opened is closed at once.
    """
    try:
        with socket.create_connection((address, port), timeout):
            return ""
    except OSError as error:
        return f"no connection to {address}, port {port}: {error.strerror or error or type(error).__name__}"


def addresses(name: str) -> list[str]:
    """Return the addresses that this machine finds for a name, sorted; nothing where it finds none."""
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(name, None)})
    except OSError:
        return []
