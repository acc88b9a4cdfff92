"""Whether two sides are equal, from what each of them has digested; what was not proved is never equal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import rows

# What all databases share stands where a database of this name would: none can have it.
# What is not compared of a copy whose indexes nobody has checked.
INDEXES = "indexes and heaps"
CLUSTER = ""

Chunks = Mapping[str, "list[Any]"]


@dataclass
class Comparison:
    """What a comparison of two sides found."""

    mode: str = ""
    rows_compared: int = 0
    rows_different: int = 0
    rows_not_proved: int = 0
    details: list[str] = field(default_factory=list)
    not_proved: list[str] = field(default_factory=list)
    # What was not looked at, by name, each with the reason: no difference, and not called equal.
    not_compared: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    # Of how many tables which kind of digest was compared.
    digested: dict[str, int] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, list[str]] = field(default_factory=dict)
    consistency: dict[str, Any] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether no difference was found; what was not proved is counted apart."""
        return not self.details

    def doubt(self, text: str, unseen: int = 0) -> None:
        """Name what was not proved; it counts, however few rows it may have."""
        self.not_proved.append(text)
        self.rows_not_proved += max(1, unseen)

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, with the names of the project's figures."""
        return {
            "mode": self.mode,
            "rows_compared": self.rows_compared,
            "rows_different": self.rows_different,
            "rows_not_proved": self.rows_not_proved,
            "details": self.details,
            "not_proved": self.not_proved,
            "not_compared": self.not_compared,
            "tables": self.tables,
            "digested": self.digested,
            "counted": self.counted,
            "kinds": self.kinds,
            "consistency": self.consistency,
        }


def fold(how: str, chunks: Chunks) -> dict[str, Any]:
    """Return the digest of a table from those of its chunks: [rows, high, low] each, or [rows, SHA-256] of a stream.

    An empty chunk counts for nothing: a side may have room beyond its last row.
    """
    total = sum(int(chunk[0]) for chunk in chunks.values())
    if how in rows.STREAMS:
        digest = hashlib.sha256()
        for number in sorted(chunks, key=int):
            count, hashed = chunks[number]
            if int(count):
                digest.update(f"{number} {count} {hashed}\n".encode())
        return {"rows": total, "digest": digest.hexdigest()}
    high, low = (sum(int(chunk[index]) for chunk in chunks.values()) for index in (1, 2))
    return {"rows": total, "digest": f"{high} {low}"}


def compare(active: Mapping[str, Any], passive: Mapping[str, Any]) -> Comparison:
    """Compare the results of both sides; `active` is the side that opened, `passive` the one that stood still."""
    result = Comparison(mode=str(active.get("mode")))
    for key, what in (("epoch", "switches"), ("system_id", "clusters"), ("layout", "layouts"), ("mode", "modes")):
        if active.get(key) != passive.get(key) and (key != "system_id" or active.get("layout") != rows.LOGICAL):
            result.doubt(f"the results belong to different {what}: {active.get(key)}, {passive.get(key)}")
    if result.not_proved:
        result.rows_not_proved = max(1, count(active) + count(passive))
        return result
    _compare_schema(CLUSTER, active.get("cluster") or {}, passive.get("cluster") or {}, result)
    for database in sorted(set(active["databases"]) | set(passive["databases"])):
        one, other = active["databases"].get(database), passive["databases"].get(database)
        if one is None or other is None:
            result.details.append(f"database {rows.ident(database)} exists at one side only")
            result.rows_different += max(1, count({"databases": {database: one or other}}))
            continue
        reason = one.get("reason") or other.get("reason")
        if reason:
            # Neither what it holds nor what it is made of can be told from half of the answers.
            seen = max(count({"databases": {database: side}}) for side in (one, other))
            result.doubt(f"database {rows.ident(database)}: {reason}", seen)
            continue
        _compare_tables(database, one, other, result)
        for name in {*one.get("elsewhere", ()), *other.get("elsewhere", ())}:
            label = table_label(database, name)
            result.not_compared[f"foreign table {label}"] = "its rows lie at another server: compared by its definition"
        _compare_sequences(database, one["sequences"], other["sequences"], result)
        _compare_schema(database, one["schema"], other["schema"], result)
    for name in sorted({*active.get("left_out", ()), *passive.get("left_out", ())}):
        result.doubt(f"database {name}: it was not looked at")
    _consistency(active, passive, result)
    return result


def _compare_tables(database: str, one: Mapping[str, Any], other: Mapping[str, Any], result: Comparison) -> None:
    for name in sorted(set(one["tables"]) | set(other["tables"])):
        label = table_label(database, name)
        a, b = one["tables"].get(name), other["tables"].get(name)
        known = [entry for entry in (a, b) if entry is not None and entry.get("status") == "done"]
        total = max((int(entry["rows"]) for entry in known), default=0)
        unseen = max((int(entry.get("estimate") or 0) for entry in (a, b) if entry is not None), default=0)
        if a is None or b is None:
            result.tables[label] = "different"
            result.details.append(f"table {label} exists at one side only")
            result.rows_different += max(1, total)
            continue
        why = next((str(e.get("reason") or e.get("status")) for e in (a, b) if e.get("status") != "done"), "")
        if not why and a["how"] != b["how"]:
            why = f"digested in different ways: {a['how']}, {b['how']}"
        if not why and a["how"] in rows.STREAMS and a.get("chunk_blocks") != b.get("chunk_blocks"):
            # Of sums, those of a table are the same whatever its chunks were.
            sizes = ", ".join(str(entry.get("chunk_blocks") or "unknown") for entry in (a, b))
            why = f"digested in chunks of different sizes: {sizes} blocks"
        if why:
            result.tables[label] = "not_proved"
            # Rows nobody has counted are estimated by what the server believes there are.
            result.doubt(f"table {label}: {why}", total or unseen)
            continue
        result.digested[a["how"]] = result.digested.get(a["how"], 0) + 1
        if (a["rows"], a["digest"]) == (b["rows"], b["digest"]):
            result.tables[label] = "equal"
            result.rows_compared += total
        elif a.get("derived") and a["layout"] == rows.LOGICAL:
            # A restore fills it anew from its query; that is part of the schema, which is compared.
            result.tables[label] = "by definition"
            result.not_compared[f"materialized view {label}"] = "stale at one side: compared by its definition"
        else:
            result.tables[label] = "different"
            result.rows_compared += total
            # At least so many; the rows that are named may be more.
            result.counted[label] = max(1, abs(int(a["rows"]) - int(b["rows"])))
            result.rows_different += result.counted[label]
            result.details.append(
                f"table {label} differs: {a['rows']} rows at the active side, {b['rows']} at the other"
            )


def _compare_schema(database: str, one: Mapping[str, Any], other: Mapping[str, Any], result: Comparison) -> None:
    where = rows.ident(database) if database else "cluster"
    if "kinds" not in one or "kinds" not in other:
        reason = one.get("reason") or other.get("reason") or "nobody has asked for it at both sides"
        what = "the schema" if database else "roles and settings"
        result.doubt(f"{where}: {what} was not read: {reason}" if database else f"{what} were not read: {reason}")
        return
    for kind in sorted(set(one["kinds"]) | set(other["kinds"])):
        a, b = (side["kinds"].get(kind, {"rows": 0, "digest": "", "lines": {}}) for side in (one, other))
        if (a["rows"], a["digest"]) == (b["rows"], b["digest"]):
            continue
        if "lines" in a and "lines" in b:
            result.details += named(kind, database, a["lines"], b["lines"])
        else:
            result.kinds.setdefault(database, []).append(kind)
            result.details.append(f"{where}: something of kind {kind} differs")


def _compare_sequences(database: str, one: Mapping[str, Any], other: Mapping[str, Any], result: Comparison) -> None:
    for name in sorted(set(one) | set(other)):
        a, b = one.get(name), other.get(name)
        label = table_label(database, name)
        if a is None or b is None:
            result.details.append(f"sequence {label} exists at one side only")
            continue
        if a.get("unlogged") or b.get("unlogged"):
            result.doubt(f"sequence {label}: unlogged sequences are not replicated, it may give values again")
            continue
        reason = _sequence_differs(a, b)
        if not reason:
            continue
        text = f"sequence {label} is {reason}: {a['value']}, {b['value']} at the passive side"
        if a.get("cycle"):
            # One that starts over has no order to judge by.
            result.doubt(text)
        else:
            result.details.append(text)


def _sequence_differs(active: Mapping[str, Any], passive: Mapping[str, Any]) -> str:
    """Return how the active side's sequence differs from what the passive side had when it closed, or nothing."""
    step, mine, theirs = int(active["step"]), int(active["value"]), int(passive["value"])
    ahead = (mine - theirs) * (1 if step > 0 else -1)
    if ahead == 0:
        return "not yet called" if passive["called"] and not active["called"] else ""
    if ahead > 0:
        # A standby learns 32 values in advance, and what a session has cached is gone with it.
        allowed = abs(step) * (32 + int(active["cache"]))
        return f"ahead by {ahead}, more than {allowed}" if ahead > allowed else ""
    # The other way round after a return: the passive side stands where this side's own log had reserved values for it,
    # and has drawn none since (it would have logged that, and we would have replayed it).
    reserved = mine + step * int(active.get("logged", 0)) == theirs and int(passive.get("logged", 0)) == 0
    return "" if reserved else "behind"


def _consistency(active: Mapping[str, Any], passive: Mapping[str, Any], result: Comparison) -> None:
    """Take over what the active side found about its own indexes and heaps."""
    found = active.get("consistency") or passive.get("consistency") or {}
    checked = [dict(one) for one in found.values()]
    result.consistency = {
        "indexes": sum(int(one.get("indexes", 0)) for one in checked),
        "tables": sum(int(one.get("tables", 0)) for one in checked),
        "findings": [text for one in checked for text in one.get("findings", [])],
        "skipped": [text for one in checked for text in one.get("skipped", [])],
    }
    if not checked:
        result.consistency["skipped"] = ["nothing was checked"]
    if result.consistency["skipped"]:
        result.not_compared[INDEXES] = "; ".join(result.consistency["skipped"])
    result.details += [f"not consistent: {text}" for text in result.consistency["findings"]]


def count(result: Mapping[str, Any]) -> int:
    """Return how many rows a digest has seen."""
    return sum(
        int(table.get("rows") or 0)
        for database in result["databases"].values()
        if database
        for table in database["tables"].values()
    )


def table_label(database: str, name: str) -> str:
    """Return the name of a table or a sequence, which is a label already, in its database."""
    return f"{rows.ident(database)}.{name}"


def described(result: Mapping[str, Any], database: str) -> dict[str, Any]:
    """Return what a digest knows of the schema of a database, or of what all databases share."""
    found = result.get("cluster") if database == CLUSTER else (result["databases"].get(database) or {}).get("schema")
    return dict(found or {})


def slim(result: Mapping[str, Any], *, lines: bool = False) -> dict[str, Any]:
    """Return a digest without what only its own host needs: pieces of tables, their columns, names of all objects.

    `lines` keeps the names of a database's objects. Those of roles and the like never leave with their hashes: what is
    behind them is a password's verifier.
    """
    databases = {}
    for name, database in result["databases"].items():
        tables = {
            label: {key: value for key, value in table.items() if key not in ("chunks", "columns", "key")}
            for label, table in database["tables"].items()
        }
        schema = database["schema"] if lines else _without_lines(database["schema"])
        databases[name] = {**database, "tables": tables, "schema": schema}
    return {**result, "databases": databases, "cluster": _without_lines(result.get("cluster") or {})}


def _without_lines(found: Mapping[str, Any]) -> dict[str, Any]:
    if "kinds" not in found:
        return dict(found)
    kinds = {kind: {"rows": one["rows"], "digest": one["digest"]} for kind, one in found["kinds"].items()}
    return {**found, "kinds": kinds}


def named(kind: str, database: str, one: Mapping[str, str], other: Mapping[str, str], limit: int = 20) -> list[str]:
    """Return what differs of a kind, by name."""
    where = rows.ident(database) if database else "cluster"
    found = []
    for name in sorted(set(one) | set(other)):
        if one.get(name) == other.get(name):
            continue
        how = "differs"
        if name not in one or name not in other:
            how = f"exists at the {'active' if name in one else 'passive'} side only"
        found.append(f"{where}: {kind} {name} {how}")
    more = len(found) - limit
    return [*found[:limit], *([f"{where}: {more} more of kind {kind}"] if more > 0 else [])]


def differing_rows(
    one: Iterable[Mapping[str, Any]], other: Iterable[Mapping[str, Any]], columns: list[str]
) -> dict[str, dict[str, Any]]:
    """Return the masked keys of the rows that differ, how, and in which columns."""
    a, b = _by_key(one), _by_key(other)
    found: dict[str, dict[str, Any]] = {}
    for key in sorted(set(a) | set(b)):
        mine, theirs = a.get(key, []), b.get(key, [])
        if mine == theirs:
            continue
        if not mine or not theirs:
            found[key] = {"how": f"missing at the {'passive' if mine else 'active'} side", "columns": []}
            continue
        if len(mine) != len(theirs):
            found[key] = {
                "how": f"there {_times(mine)} at the active side, {_times(theirs)} at the other",
                "columns": [],
            }
            continue
        differing = {
            columns[index]
            for x, y in zip(mine, theirs)
            for index in range(min(len(columns), len(x), len(y)))
            if x[index] != y[index]
        }
        found[key] = {"how": "changed", "columns": sorted(differing)}
    return found


def _by_key(answer: Iterable[Mapping[str, Any]]) -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = {}
    for row in answer:
        hashes = [str(value) for value in row["columns"]]
        found.setdefault(str(row["key"]), []).extend([hashes] * int(row["times"]))
    return {key: sorted(values) for key, values in found.items()}


def _times(values: list[list[str]]) -> str:
    return "once" if len(values) == 1 else f"{len(values)} times"
