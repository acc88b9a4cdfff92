"""What a database's catalogue says, as texts by (kind, name), and what two of them differ in. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

Catalogue = Mapping[tuple[str, str], str]
TABLE, COLUMN, ORDER = "table", "column", "column order"
OWNER, PRIVILEGES = "owner", "privileges"
# A restored copy has one owner, who runs the migrations.
NOT_IN_A_COPY = frozenset({OWNER, PRIVILEGES})
# A column that a .down gives back comes last.
NOT_AFTER_DOWN = frozenset({ORDER})
_SHOWN = 5
_ITEM = r"(?:'(?:[^']|'')*'::character varying(?:\(\d+\))?|[^'\[\],]+)"
_ITEMS = re.compile(_ITEM)
_ARRAY = re.compile(rf"\(ARRAY\[({_ITEM}(?:, {_ITEM})*)\]\)::text\[\]")


def fingerprint(found: Catalogue, without: frozenset[str] = frozenset()) -> str:
    """Return the SHA-256, in hex, of what a restored copy has as well; `without` are kinds that are left aside."""
    aside = NOT_IN_A_COPY | without
    said = sorted([*key, _restored(text)] for key, text in found.items() if key[0] not in aside)
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def differences(one: Catalogue, other: Catalogue, without: frozenset[str] = frozenset()) -> list[str]:
    """Return what differs, by name; `without` are kinds that are left aside. NOT_IN_A_COPY: the other is a copy."""
    said = []
    written = _restored if without == NOT_IN_A_COPY else str
    for kind, name in sorted({*one, *other}):
        before, after = one.get((kind, name)), other.get((kind, name))
        what = "was added" if before is None else "is gone" if after is None else "is another"
        if kind not in without and (before is None or after is None or written(before) != written(after)):
            said.append(f"{kind} {name} {what}")
    return said


def _restored(text: str) -> str:
    """Return a text as PostgreSQL writes it once it was restored: a cast of an array is one of each of its items."""

    def each(found: re.Match[str]) -> str:
        return f"ARRAY[{', '.join(f'({item.strip()})::text' for item in _ITEMS.findall(found[1]) if item.strip())}]"

    return _ARRAY.sub(each, text)


def shown(said: list[str]) -> str:
    """Return a list of differences as one line."""
    more = len(said) - _SHOWN
    return ", ".join(said[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def column(table: str, kind: str, rest: str) -> str:
    """Return the text of a column: its table, its type, and what else its definition says."""
    return f"{table}\n{kind}\n{rest}"


def _type(text: str) -> list[str]:
    return text.split("\n")[:2]


@dataclass(frozen=True)
class Table:
    """How many rows a table has, and a digest of them that does not depend on their order."""

    rows: int
    digest: str = ""


def lost(
    before: Catalogue, after: Catalogue, rows_before: Mapping[str, Table], rows_after: Mapping[str, Table]
) -> dict[str, int]:
    """Return what data a change destroys: what it is, and how many rows have it."""
    gone: dict[str, int] = {}
    for kind, name in sorted(before):
        if kind == TABLE and (kind, name) not in after and name in rows_before:
            gone[f"table {name}"] = rows_before[name].rows
    for kind, name in sorted(before):
        table = before[(kind, name)].partition("\n")[0] if kind == COLUMN else ""
        if table in rows_before and f"table {table}" not in gone:
            if (kind, name) not in after:
                gone[f"column {name}"] = rows_before[table].rows
            elif _type(before[(kind, name)]) != _type(after[(kind, name)]) and rows_before[table].rows:
                gone[f"column {name} (of another type: its values may change)"] = rows_before[table].rows
    for name, table_before in rows_before.items():
        fewer = table_before.rows - rows_after[name].rows if name in rows_after else 0
        if fewer > 0:
            gone[f"rows of table {name}"] = fewer
    return gone
