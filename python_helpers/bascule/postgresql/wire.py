"""The few words of PostgreSQL's protocol that a proof needs: ask to come in, and read the answer.

The server looks into pg_hba.conf before it asks for a password, so that a refusal there can be proved without one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_PROTOCOL = 196608
REPLICATION = "replication"


@dataclass(frozen=True)
class Answer:
    """What came back.

    `kind`: refused (by the network's or the server's answer), admitted (asked for a password, or let in), unclear (an
    answer that proves nothing) or none (no answer).
    """

    kind: str
    code: str
    text: str

    @property
    def is_refusal(self) -> bool:
        """Whether this proves that the client is kept out; silence does not."""
        return self.kind == "refused"


def startup(user: str, database: str) -> bytes:
    """Return the startup message; `replication` stands for what it stands for in pg_hba.conf: no database at all.

    Only a walsender matches that word there: a session in a database of that name never does.
    """
    where = ("replication", "true") if database == REPLICATION else ("database", database)
    body = b"".join(part.encode() + b"\0" for part in ("user", user, *where, "application_name", "bascule-proof"))
    return struct.pack("!ii", 9 + len(body), _PROTOCOL) + body + b"\0"


def error_fields(body: bytes) -> dict[str, str]:
    """Read the fields of an ErrorResponse."""
    fields = {}
    for part in body.split(b"\0"):
        if part:
            fields[part[:1].decode("ascii", "replace")] = part[1:].decode("utf-8", "replace")
    return fields


def answer(kind: bytes, body: bytes) -> Answer:
    """Judge the first message after the startup message."""
    if kind == b"R":
        method = struct.unpack("!i", body[:4])[0] if len(body) >= 4 else -1
        text = "the server lets the client in" if method == 0 else "the server asks for a password"
        return Answer("admitted", str(method), text)
    if kind == b"E":
        fields = error_fields(body)
        code, text = fields.get("C", ""), fields.get("M", "")
        # 28000: pg_hba.conf refuses. Others keep this client out by chance or for a moment only (53300: too many
        # connections, 57P03: starting or stopping) and prove nothing.
        if code == "28000":
            return Answer("refused", code, text)
        return Answer("unclear", code, text)
    return Answer("unclear", kind.decode("ascii", "replace"), "an answer that is not PostgreSQL's")
