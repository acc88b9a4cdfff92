"""How rows are hashed, and what two sides' hashes come to. Pure.

Each row is one SHA-256 of its columns, each with its length before it and NULL as something of its own; a table's
digest is the SHA-256 of its rows' hashes in the order of its key. Nothing is summed, so nothing cancels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import settings

# Values that may be longer than what a function of the server returns: they are hashed first.
_LONG = ("blob", "text", "tinyblob", "tinytext", "mediumblob", "mediumtext", "longblob", "longtext", "json")
_SPATIAL = (
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
)
# Bytes of one row's line: SHA-256 in hexadecimal, and its end.
LINE = 65


def column(name: str, kind: str) -> str:
    """Return the expression of one column's value, exactly, as bytes.

    Args:
        name: of the column.
        kind: its DATA_TYPE.
    """
    quoted, kind = settings.name(name), kind.lower()
    if kind in _LONG or kind in _SPATIAL:
        return f"SHA2({quoted}, 256)"
    if kind == "float":
        # As text a FLOAT loses digits; as DOUBLE it is exact.
        return f"CAST(CAST({quoted} AS DOUBLE) AS BINARY)"
    if kind in ("enum", "set"):
        # The empty label and an invalid value look alike, their numbers do not.
        return f"CONCAT({quoted} + 0, '/', CAST({quoted} AS BINARY))"
    if kind == "bit":
        return f"HEX({quoted})"
    return f"CAST({quoted} AS BINARY)"


def query(schema: str, table: str, columns: Sequence[tuple[str, str]], key: Sequence[str]) -> str:
    """Return the query that gives one hash per row, in the order of the key.

    Args:
        schema: of the table.
        table: its name.
        columns: name and DATA_TYPE of each, also of generated and invisible ones.
        key: the columns of its primary key.
    """
    parts = []
    for name, kind in columns:
        value = column(name, kind)
        parts.append(f"IF({settings.name(name)} IS NULL, 'N', CONCAT('V', OCTET_LENGTH({value}), ':', {value}))")
    order = ", ".join(settings.name(one) for one in key)
    where = f"{settings.name(schema)}.{settings.name(table)}"
    return f"SELECT SHA2(CONCAT({', '.join(parts)}), 256) FROM {where} ORDER BY {order}"


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return what differs between two digests; each has tables, definitions and accounts by name.

    A table that could not be hashed at a side differs, whatever the other one says.
    """
    found = []
    for what in ("definitions", "accounts", "tables"):
        one, other = here[what], there[what]
        for name in sorted(set(one) | set(other)):
            if name not in one or name not in other:
                found.append(f"{what}: {name} is at one side only")
            elif what == "tables" and (one[name]["fault"] or other[name]["fault"]):
                found.append(f"{what}: {name} was not hashed: {one[name]['fault'] or other[name]['fault']}")
            elif one[name] != other[name]:
                rows = f" ({one[name]['rows']} and {other[name]['rows']} rows)" if what == "tables" else ""
                found.append(f"{what}: {name} differs{rows}")
    return found


def rows(digest: Mapping[str, Any]) -> int:
    """Return how many rows were hashed."""
    return sum(int(one["rows"]) for one in digest["tables"].values())
