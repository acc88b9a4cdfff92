"""What a SQLite database holds, as values that two sides can be compared by. Pure."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class Text(bytes):
    """A text as it lies in the database, in UTF-8 or what was put there for it; a BLOB of the same bytes is another."""


def row(values: Sequence[Any]) -> bytes:
    """Return one row so that no other row gives the same bytes: each value with its type and its length before it.

    Args:
        values: None, int, float, Text, or bytes for a BLOB; the five storage classes of SQLite.
    """
    parts = [struct.pack(">I", len(values))]
    for value in values:
        if value is None:
            parts.append(b"n")
        elif isinstance(value, int):
            parts.append(b"i" + struct.pack(">q", value))
        elif isinstance(value, float):
            parts.append(b"r" + struct.pack(">d", value))
        else:
            parts.append((b"t" if isinstance(value, Text) else b"b") + struct.pack(">Q", len(value)) + value)
    return b"".join(parts)


def rows(found: Iterable[Sequence[Any]]) -> tuple[int, str]:
    """Return how many rows there are, and the SHA-256 of all of them in their order; one row at a time is held."""
    digest, count = hashlib.sha256(), 0
    for one in found:
        digest.update(row(one))
        count += 1
    return count, digest.hexdigest()


def identity(content: Mapping[str, Any]) -> str:
    """Return one SHA-256 of everything that is compared of a database."""
    kept = {name: content[name] for name in ("header", "schema", "tables")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return what differs between two contents, a few words each; nothing when they are the same."""
    found = [
        f"{name}: {here['header'].get(name)} and {there['header'].get(name)}"
        for name in sorted({*here["header"], *there["header"]})
        if here["header"].get(name) != there["header"].get(name)
    ]
    ours, theirs = ({tuple(one[:2]): one for one in side["schema"]} for side in (here, there))
    for kind, name in sorted({*ours, *theirs}):
        if ours.get((kind, name)) != theirs.get((kind, name)):
            found.append(f"{kind} {name}: {_which(ours.get((kind, name)), theirs.get((kind, name)), 'its definition')}")
    for name in sorted({*here["tables"], *there["tables"]}):
        one, other = here["tables"].get(name), there["tables"].get(name)
        if one != other:
            counts = f"its rows ({one['rows']} and {other['rows']})" if one and other else ""
            found.append(f"rows of {name}: {_which(one, other, counts)}")
    return found


def _which(here: Any, there: Any, both: str) -> str:
    if here is None or there is None:
        return "only at the second" if here is None else "only at the first"
    return f"{both} differ"
