"""A difference is narrowed down: from a table to its chunks, to buckets of its keys, to its rows and their columns.

Each step is a question that both sides answer from their snapshots; the answers give the next question. Plain types
only: questions and answers travel as arguments and results of modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import compare, rows

CHUNKS, BUCKETS, ROWS, LINES = "chunks", "buckets", "rows", "lines"
# A difference everywhere needs no complete list.
_CHUNKS = 8
_BUCKETS = 64
_ROWS = 100


def first(
    active: Mapping[str, Any], passive: Mapping[str, Any], found: compare.Comparison, salt: str
) -> dict[str, Any]:
    """Return the first question about what differs, or nothing."""
    tables: dict[str, dict[str, Any]] = {}
    for database, one in active["databases"].items():
        other = (passive["databases"].get(database) or {}).get("tables") or {}
        for label, table in one["tables"].items():
            if found.tables.get(compare.table_label(database, label)) == "different" and label in other:
                alike = table.get("chunk_blocks") == other[label].get("chunk_blocks")
                whole = table.get("layout") == rows.LOGICAL or not alike
                step = {"step": BUCKETS, "chunks": None} if whole else {"step": CHUNKS}
                tables.setdefault(database, {})[label] = step
    lines = {database: {kind: {"step": LINES} for kind in kinds} for database, kinds in found.kinds.items()}
    return {"salt": salt, "tables": tables, "kinds": lines} if tables or lines else {}


def following(question: Mapping[str, Any], active: Any, passive: Any) -> dict[str, Any]:
    """Return the next question, and what the answers to this one have shown."""
    rest: dict[str, dict[str, Any]] = {}
    shown: dict[str, Any] = {"rows": {}, "details": [], "unanswered": []}
    if not active or not passive:
        # A snapshot that is gone answers nothing: the difference stands, without its rows.
        if question:
            shown["unanswered"].append("the snapshots are gone: the rows that differ cannot be named")
        return {"ask": {}, **shown}
    for database, tables in (question.get("tables") or {}).items():
        for label, step in tables.items():
            one, other = _answers(active, passive, "tables", database, label)
            where = compare.table_label(database, label)
            if one.get("error") or other.get("error"):
                shown["unanswered"].append(f"{where}: {one.get('error') or other.get('error')}")
                continue
            more = _table(step, one, other)
            if step["step"] == ROWS:
                found = compare.differing_rows(one["rows"], other["rows"], list(one["columns"]))
                shown["rows"][where] = dict(list(found.items())[:_ROWS])
            elif more:
                rest.setdefault(database, {})[label] = more
    for database, kinds in (question.get("kinds") or {}).items():
        for kind in kinds:
            one, other = _answers(active, passive, "kinds", database, kind)
            if one.get("error") or other.get("error"):
                shown["unanswered"].append(f"{kind} of {rows.ident(database)}: {one.get('error') or other['error']}")
                continue
            shown["details"] += compare.named(kind, database, one["lines"], other["lines"])
    ask = {"salt": question.get("salt", ""), "tables": rest, "kinds": {}} if rest else {}
    return {"ask": ask, **shown}


def _answers(active: Any, passive: Any, what: str, database: str, name: str) -> tuple[Any, Any]:
    one, other = (
        ((side.get(what) or {}).get(database) or {}).get(name) or {"error": "no answer"} for side in (active, passive)
    )
    return one, other


def _table(step: Mapping[str, Any], one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    if step["step"] == CHUNKS:
        a, b = ({key: value for key, value in side["chunks"].items() if int(value[0])} for side in (one, other))
        differing = sorted((key for key in set(a) | set(b) if a.get(key) != b.get(key)), key=int)
        return {"step": BUCKETS, "chunks": [int(key) for key in differing[:_CHUNKS]]} if differing else {}
    if step["step"] == BUCKETS:
        a, b = one["buckets"], other["buckets"]
        wanted = sorted(int(key) for key in set(a) | set(b) if a.get(key) != b.get(key))[:_BUCKETS]
        return {"step": ROWS, "chunks": step["chunks"], "buckets": wanted} if wanted else {}
    return {}


def told(shown: Mapping[str, Mapping[str, Any]], limit: int = 5) -> list[str]:
    """Return lines for a reader about the rows that differ."""
    lines = []
    for table, found in shown.items():
        for key, row in list(found.items())[:limit]:
            where = f" in {', '.join(row['columns'])}" if row["columns"] else ""
            lines.append(f"row {key} of {table} is {row['how']}{where}")
        if len(found) > limit:
            lines.append(f"{len(found) - limit} more rows of {table}")
    return lines


def finished(comparison: Mapping[str, Any], narrowed: Mapping[str, Any]) -> dict[str, Any]:
    """Return a comparison with what narrowing has found: the rows, columns and objects that differ by name."""
    found = {key: value for key, value in comparison.items() if key not in ("ask", "kinds")}
    shown = narrowed.get("rows") or {}
    more = sum(
        max(0, len(differing) - max(1, int((comparison.get("counted") or {}).get(table, 1))))
        for table, differing in shown.items()
    )
    found["rows_different"] = int(found["rows_different"]) + more
    found["details"] = [*found["details"], *(narrowed.get("details") or []), *told(shown)]
    found["not_named"] = list(narrowed.get("unanswered") or [])
    found["differing_rows"] = {table: dict(differing) for table, differing in shown.items()}
    return found
