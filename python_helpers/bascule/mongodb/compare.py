"""How documents are told apart, and what two sides' documents come to. Pure.

A document is the bytes that the server has: order of fields, types and all. Each is hashed by itself and compared with
the one of the same _id, range by range; nothing is summed, so nothing cancels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

# Bytes of a value by its type; what is not here says its own length.
_FIXED = {
    0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0,
}  # fmt: skip
_TEXT = (0x02, 0x0D, 0x0E)
_BINARY = 0x05
_EMBEDDED = (0x03, 0x04)
_ID = b"_id\x00"


def identity(document: bytes) -> bytes:
    """Return the _id of a document as BSON has it, with its type; nothing where the first field is no _id.

    The server puts _id first into whatever it stores.
    """
    if document[5:9] != _ID:
        return b""
    kind, at = document[4], 9
    if kind in _FIXED:
        length = _FIXED[kind]
    elif kind in _TEXT:
        length = 4 + int.from_bytes(document[at : at + 4], "little")
    elif kind == _BINARY:
        length = 5 + int.from_bytes(document[at : at + 4], "little")
    elif kind in _EMBEDDED:
        length = int.from_bytes(document[at : at + 4], "little")
    else:
        return b""
    return document[4:5] + document[at : at + length]


def bound(identity_: bytes) -> bytes:
    """Return a document of this _id alone, by which a range begins or ends, whatever the type."""
    body = identity_[:1] + _ID + identity_[1:] + b"\x00"
    return (len(body) + 4).to_bytes(4, "little") + body


def hashed(documents: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return the SHA-256 of each document by its _id; one without an _id stands under its own hash."""
    found = {}
    for one in documents:
        digest = hashlib.sha256(one).digest()
        found[identity(one) or digest] = digest
    return found


def different(active: Mapping[bytes, bytes], passive: Mapping[bytes, bytes]) -> list[bytes]:
    """Return the _ids of documents that are at one side only, or are not the same."""
    if active == passive:
        return []
    return sorted(one for one in {*active, *passive} if active.get(one) != passive.get(one))


def unsettled(before: Mapping[bytes, bytes], here: Mapping[bytes, bytes], after: Mapping[bytes, bytes]) -> list[bytes]:
    """Return the _ids of documents that the passive side has otherwise than the active one had it, before and after.

    For what cannot be read at one moment on both sides; a document that changed twice meanwhile is among them.
    """
    names = {*before, *here, *after}
    return sorted(one for one in names if here.get(one) not in (before.get(one), after.get(one)))


def capped(description: str) -> bool:
    """Tell whether a collection is capped, by the text of its kind, options and indexes."""
    return bool(json.loads(description)[1].get("capped"))


def named(identity_: bytes) -> str:
    """Return an _id as a message may have it: an ObjectId or a number as it is, anything else as a digest."""
    kind, value = identity_[:1], identity_[1:]
    if kind == b"\x07":
        return value.hex()
    if kind in (b"\x10", b"\x12"):
        return str(int.from_bytes(value, "little", signed=True))
    return f"sha256:{hashlib.sha256(identity_).hexdigest()[:16]}"


def descriptions(active: Mapping[str, str], passive: Mapping[str, str]) -> list[str]:
    """Name the collections whose options or indexes differ between two sides.

    Args:
        active: options and indexes by collection, as texts that name each type.
        passive: those of the other side.
    """
    found = []
    for name in sorted({*active, *passive}):
        if name not in active or name not in passive:
            found.append(f"{name} is at one side only")
        elif active[name] != passive[name]:
            found.append(f"options or indexes of {name} differ")
    return found
