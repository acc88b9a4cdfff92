"""Speak to a member of the set by the driver that the hosts have (Debian: python3-pymongo).

Bascule comes in as the members do among themselves: with the key of the set, which root of each host can read. It needs
no account, and the inventory no secret. Each question has a connection of its own: who steps down ends the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ...system.io import storage
from ...system.packages import install_command
from ..refusals import MongoError

try:
    import bson
    import pymongo
    from bson import json_util, raw_bson
    from pymongo import errors
except ImportError:
    # Named by `missing`; nothing else here is called then.
    FOUND = False
else:
    FOUND = True

SOCKET = "/run/mongodb/mongodb-27017.sock"
# Codes of the server: not the primary (any more), not yet a member, already there.
NOT_PRIMARY = (10107, 13435, 11602, 189, 91)
NOT_READABLE = 13436
NOT_INITIALIZED = 94
NO_MEMBER = 93


class Refused(MongoError):
    """The server has answered with an error; `code` is its number."""

    code: int = 0


class NotReached(MongoError):
    """No answer came."""


@dataclass(frozen=True)
class Client:
    """A way into one member: by its socket, or by name and port of another host, over TLS."""

    place: str
    key_file: str
    ca_file: str
    certificate_file: str = ""

    @contextlib.contextmanager
    def connected(self, **options: Any) -> Iterator[Any]:
        """Connect, and disconnect; errors of the driver become ours."""
        refuse_missing()
        # A server that demands TLS demands it of its socket as well, which has no name that a certificate could have.
        tls: dict[str, Any] = {
            "tls": True,
            "tlsCAFile": self.ca_file,
            "tlsAllowInvalidHostnames": self.place.startswith("/"),
        }
        if self.certificate_file:
            tls["tlsCertificateKeyFile"] = self.certificate_file
        try:
            client: Any = pymongo.MongoClient(
                f"mongodb://{quote(self.place, safe='[]:')}/", directConnection=True,
                username="__system", password=self._key(), authSource="local", authMechanism="SCRAM-SHA-256",
                serverSelectionTimeoutMS=5000, connectTimeoutMS=5000,
                retryWrites=False, retryReads=False, **tls, **options,
            )  # fmt: skip
            try:
                yield client
            finally:
                client.close()
        except (errors.PyMongoError, OSError) as error:
            # The driver has a class of its own for "not the primary", in which the server's answer lies.
            details = getattr(error, "details", None)
            code = int(details.get("code") or 0) if isinstance(details, Mapping) else 0
            if not code:
                raise NotReached(expected=f"MongoDB at {self.place} to answer", found=_said(error)) from error
            refused = Refused(
                expected=f"MongoDB at {self.place} to do what it was told", found=f"{code}: {_said(error)}"
            )
            refused.code = code
            raise refused from error

    def run(self, command: Mapping[str, Any], database: str = "admin") -> dict[str, Any]:
        """Run one command; its first key is its name."""
        with self.connected() as client:
            answer: dict[str, Any] = client[database].command(bson.SON(command))
            return answer

    def _key(self) -> str:
        text = storage.read_text(self.key_file)
        if not text or not text.strip():
            raise MongoError(
                expected=f"the key of the replica set in {self.key_file}",
                found="no such file" if text is None else "an empty file",
                state="nothing was changed",
                next_command="set mongodb_replication_key_file to security.keyFile, the same at both sides",
            )
        # The server leaves out whatever is white.
        return "".join(text.split())


def missing() -> list[str]:
    """Return what this host lacks, with the command to type; nothing where all is there."""
    if FOUND:
        return []
    command = install_command(["python3-pymongo"], storage.read_text("/etc/os-release") or "")
    return [f"MongoDB is spoken to by pymongo, which this host does not have: {command}"]


def refuse_missing() -> None:
    """Refuse to go on without the driver."""
    for fault in missing():
        raise MongoError(expected="the driver of MongoDB on this host", found=fault, state="nothing was changed")


def raw_options() -> Any:
    """Return the options by which documents stay the bytes that the server has."""
    return bson.CodecOptions(document_class=raw_bson.RawBSONDocument)


def raw(data: bytes) -> Any:
    """Return a document of these bytes."""
    return raw_bson.RawBSONDocument(data)


def text(value: Any) -> str:
    """Return a value of the server as one text in which each type of BSON is named."""
    return str(json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS))


def _said(error: Exception) -> str:
    return str(error).partition(", full error:")[0].partition(", Timeout:")[0][:500]
