"""What MariaDB's own client would send of a file: it reads the file whole, and we listen.

DELIMITER, quotes and comments are thus read by who knows them, and no file is ever split at `;` by us. The client is
connected to a socket of ours, which notes each statement and answers that it is done; no server hears of it. In its
binary mode it knows no command of its own but DELIMITER.
Source: MariaDB's documentation, "Client/Server Protocol" (handshake 10, OK packet, COM_QUERY).
"""

from __future__ import annotations

import socket
import struct
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

from ...system.io.process import environment_in_english
from .. import mariadb_sql
from ..store import SchemaError

_ARGV = (
    "mariadb", "--no-defaults", "--protocol=socket", "--user=nobody", "--skip-ssl", "--skip-reconnect", "--batch",
    "--binary-mode", "--default-character-set=utf8mb4", "--max-allowed-packet=1G",
)  # fmt: skip
# LONG_PASSWORD, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH.
_CAN = 0x1 | 0x200 | 0x2000 | 0x8000 | 0x80000
_UTF8MB4, _AUTOCOMMIT = 45, 2
_HELLO = (
    b"\x0a5.5.5-10.11.0-MariaDB\0" + struct.pack("<I", 1) + b"noscrmbl\0" + struct.pack("<H", _CAN & 0xFFFF)
    + struct.pack("<BHHB", _UTF8MB4, _AUTOCOMMIT, _CAN >> 16, 21) + bytes(10) + b"noscrambling\0"
    + b"mysql_native_password\0"
)  # fmt: skip
_OK = b"\x00\x00\x00" + struct.pack("<HH", _AUTOCOMMIT, 0)
_QUIT, _QUERY = 1, 3
_LARGEST = 0xFFFFFF
_SECONDS = 60


@cache
def sent(data: bytes) -> tuple[str, ...]:
    """Return the statements of a file as the client sends them, without those that are comments alone.

    Raises SchemaError with what the client says of a file that it does not take to its end.
    """
    with tempfile.TemporaryDirectory(prefix="bascule-schema-") as folder, socket.socket(socket.AF_UNIX) as listening:
        place = str(Path(folder, "socket"))
        listening.bind(place)
        listening.listen(1)
        heard: list[bytes] = []
        thread = threading.Thread(target=_listen, args=(listening, heard), daemon=True)
        thread.start()
        try:
            done = subprocess.run(
                [*_ARGV, f"--socket={place}"],
                input=data,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
                env=environment_in_english(),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SchemaError(expected="the program mariadb to read a file", found=str(error)) from error
        finally:
            # A client that never came leaves nobody waiting.
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
    if done.returncode:
        raise SchemaError(expected="a file that the program mariadb takes to its end", found=_said(done.stderr))
    texts = (one.decode("utf-8").strip() for one in heard)
    return tuple(text for text in texts if (said := mariadb_sql.read(text)).words or said.begins)


def _said(stderr: bytes) -> str:
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.startswith("ERROR")]
    return " ".join(lines)[-600:] or "it gave no reason"


def _listen(listening: socket.socket, heard: list[bytes]) -> None:
    """Greet one client, and answer all it says with OK."""
    try:
        connection, _ = listening.accept()
    except OSError:
        return
    with connection:
        try:
            _send(connection, 0, _HELLO)
            number, _ = _packet(connection)
            _send(connection, number + 1, _OK)
            while True:
                _, said = _packet(connection)
                if said[:1] == bytes([_QUIT]):
                    return
                if said[:1] == bytes([_QUERY]):
                    heard.append(said[1:])
                _send(connection, 1, _OK)
        except (EOFError, OSError):
            return


def _send(connection: socket.socket, number: int, payload: bytes) -> None:
    connection.sendall(struct.pack("<I", len(payload))[:3] + bytes([number & 0xFF]) + payload)


def _packet(connection: socket.socket) -> tuple[int, bytes]:
    """Return the number and the payload of a packet; what is longer than one comes in several."""
    payload = b""
    while True:
        head = _exactly(connection, 4)
        length = int.from_bytes(head[:3], "little")
        payload += _exactly(connection, length)
        if length < _LARGEST:
            return head[3], payload


def _exactly(connection: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = connection.recv(min(length, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
