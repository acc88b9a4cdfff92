"""Values as texts that give back the same value with the same type: cursors, keys, and what a row held. Pure."""

from __future__ import annotations

import hashlib
import json
import marshal
import zlib
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from operator import eq
from typing import Any
from uuid import UUID

from .contract import DataError

Key = tuple[Any, ...]
_FROM: dict[str, Any] = {
    "uuid": UUID,
    "decimal": Decimal,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "span": lambda text: timedelta(microseconds=int(text)),
    "bytes": bytes.fromhex,
}


def encode(values: Any) -> str:
    """Return plain values, lists and mappings as one text; raise DataError for a value of another type."""
    return json.dumps(values, default=_tagged, ensure_ascii=True, separators=(",", ":"))


def decode(text: str) -> Any:
    """Return what `encode` was given; tuples come back as lists."""
    return json.loads(text, object_hook=_untagged)


def _tagged(value: Any) -> dict[str, str]:
    for name, kind in (("uuid", UUID), ("decimal", Decimal), ("datetime", datetime), ("date", date), ("time", time)):
        if isinstance(value, kind):
            return {f"${name}": value.isoformat() if isinstance(value, (date, time)) else str(value)}
    if isinstance(value, timedelta):
        return {"$span": str(value // timedelta(microseconds=1))}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": bytes(value).hex()}
    raise DataError(expected="values that can be kept as text", found=f"one of type {type(value).__name__}")


def _untagged(found: dict[str, Any]) -> Any:
    if len(found) == 1:
        ((name, text),) = found.items()
        if name[:1] == "$" and name[1:] in _FROM:
            return _FROM[name[1:]](text)
    return found


def checked(keys: Sequence[Key], after: Any = None) -> None:
    """Raise DataError where keys that were read in their order cannot be a cursor: a NULL, a twin, a float."""
    kinds = {type(value) for one in keys for value in one}
    if wrong := kinds & {type(None), bool, float}:
        what = "NULL" if type(None) in wrong else f"a {min(kind.__name__ for kind in wrong)}"
        raise DataError(expected="whole numbers, texts, times or identifiers as KEY", found=what)
    if (keys and after is not None and keys[0] == tuple(after)) or any(map(eq, keys, keys[1:])):
        raise DataError(expected="a KEY that tells all rows of `select` apart", found="two rows with one key")


def packed(keys: Sequence[Key]) -> bytes:
    """Return keys as few bytes."""
    flat = [one[0] for one in keys] if keys and len(keys[0]) == 1 else keys
    return zlib.compress(encode(flat).encode(), 1)


def unpacked(data: bytes) -> list[Key]:
    """Return what was packed."""
    return [tuple(one) if isinstance(one, list) else (one,) for one in decode(zlib.decompress(data).decode())]


def digest(rows: Sequence[Sequence[Any]]) -> str:
    """Return the SHA-256 of rows as they were read: 1 is not '1', and where a column ends is told.

    Column by column, as `marshal` is twice as fast as `repr`, and knows plain values only. Format 2 of it writes equal
    values equally; see the version argument of marshal.dump.
    """
    found = hashlib.sha256()
    for column in zip(*rows):
        try:
            data = marshal.dumps(column, 2)
        except ValueError:
            data = repr(column).encode("utf-8", "surrogatepass")
        found.update(len(data).to_bytes(8, "big"))
        found.update(data)
    return found.hexdigest()
