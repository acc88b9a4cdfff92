"""Knocking at a server: only an answer is a proof."""

from __future__ import annotations

import socket
import threading

import pytest

from bascule.postgresql import wire
from bascule.postgresql.io.cluster import probe


def error(code: str, text: str) -> bytes:
    """Make the body of an ErrorResponse."""
    return b"SFATAL\0VFATAL\0C" + code.encode() + b"\0M" + text.encode() + b"\0\0"


def test_startup_message_names_user_and_database() -> None:
    """The length covers the whole message."""
    message = wire.startup("courses", "db")
    assert int.from_bytes(message[:4], "big") == len(message)
    assert b"user\0courses\0database\0db\0" in message


def test_who_asks_for_replication_names_no_database() -> None:
    """pg_hba.conf's word `replication` never matches a session in a database, whatever the database is called."""
    message = wire.startup("bascule_replication", wire.REPLICATION)
    assert b"user\0bascule_replication\0replication\0true\0" in message
    assert b"database\0" not in message


@pytest.mark.parametrize(
    ("kind", "body", "expected", "refusal"),
    [
        (b"E", error("28000", "pg_hba.conf rejects connection"), "refused", True),
        (b"E", error("57P03", "the database system is starting up"), "unclear", False),
        (b"E", error("53300", "too many connections"), "unclear", False),
        (b"R", b"\0\0\0\x0a", "admitted", False),
        (b"R", b"\0\0\0\0", "admitted", False),
        (b"X", b"", "unclear", False),
    ],
)
def test_answers(kind: bytes, body: bytes, expected: str, refusal: bool) -> None:
    """A refusal by the rules counts; being kept out by chance or for a moment does not."""
    found = wire.answer(kind, body)
    assert (found.kind, found.is_refusal) == (expected, refusal)


def test_nobody_listens() -> None:
    """A refused connection is an answer of the host."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    found = probe.knock("127.0.0.1", port, "u", "d", timeout=2)
    assert (found.kind, found.code) == ("refused", "ECONNREFUSED")


@pytest.mark.parametrize(("reply", "kind"), [(None, "none"), (b"", "unclear"), (b"N", "unclear")])
def test_silence_is_no_proof(reply: bytes | None, kind: str) -> None:
    """A server that accepts and says nothing, hangs up, or offers no TLS proves nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                if reply is None:
                    done.wait(5)
                elif reply:
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        found = probe.knock("127.0.0.1", server.getsockname()[1], "u", "d", timeout=0.3)
        done.set()
        thread.join()
    assert found.kind == kind
    assert not found.is_refusal
