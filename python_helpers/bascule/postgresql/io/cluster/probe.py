"""Knock at a PostgreSQL server as a client would, over TLS, and tell an answer from silence."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct

from ... import wire
from ...wire import Answer


def knock(address: str, port: int, user: str, database: str, *, timeout: float = 5) -> Answer:
    """Ask to come in as `user`; no password is needed to be refused.

    The certificate is not verified: a refusal only counts as one when it comes from the address itself, and nothing
    secret is sent.
    """
    try:
        with contextlib.closing(socket.create_connection((address, port), timeout=timeout)) as plain:
            plain.settimeout(timeout)
            plain.sendall(wire.SSL_REQUEST)
            if _exactly(plain, 1) != b"S":
                return Answer("unclear", "", "the server does not offer TLS")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(plain) as secure:
                secure.sendall(wire.startup(user, database))
                kind = _exactly(secure, 1)
                length = struct.unpack("!i", _exactly(secure, 4))[0]
                return wire.answer(kind, _exactly(secure, min(max(length - 4, 0), 65536)))
    except ConnectionRefusedError:
        return Answer("refused", "ECONNREFUSED", "nothing listens there: the host itself refuses the connection")
    except (TimeoutError, socket.timeout):
        return Answer("none", "", f"no answer within {timeout:g} s: that is no proof")
    except (OSError, EOFError) as error:
        return Answer("unclear", "", str(error) or type(error).__name__)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise EOFError("the server closed the connection without an answer")
        data += chunk
    return data
