"""Equality of rows, by count and by a sum of hashes that does not cancel duplicates out.

A table's digest is the number of its rows and, for each half of the MD5 of a row's text, the exact sum over all rows: a
multiset hash, so order does not matter and every duplicate counts. Text tells 1.0 from 1.00 and -0 from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Whatever shapes the text of a value; set in the session, so that both sides write alike.
SETTINGS = (
    "SET datestyle = 'ISO, MDY'",
    "SET intervalstyle = 'postgres'",
    "SET timezone = 'UTC'",
    "SET extra_float_digits = 1",
    "SET bytea_output = 'hex'",
    "SET xmlbinary = 'base64'",
    "SET lc_monetary = 'C'",
    "SET search_path = pg_catalog",
    "SET row_security = off",
    "SET statement_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0",
    "SET lock_timeout = '30s'",
)

_SUMS = (
    "count(*) AS rows, "
    "coalesce(sum(('x' || substr(h, 1, 16))::bit(64)::bigint), 0)::text AS high, "
    "coalesce(sum(('x' || substr(h, 17))::bit(64)::bigint), 0)::text AS low"
)
_BUCKETS = 256
_ASKED = 8


def quote(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def tables_query() -> str:
    """Return the query that names every table with rows of its own (leaf partitions, not their parents)."""
    return (
        "SELECT n.nspname AS schema, c.relname AS name, c.relpersistence = 'u' AS unlogged, "
        "(SELECT jsonb_agg(a.attname ORDER BY k.ord) FROM pg_index i "
        "CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(attnum, ord) "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum "
        "WHERE i.indrelid = c.oid AND i.indisprimary) AS key "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' "
        "AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)' "
        "ORDER BY 1, 2"
    )


def table_digest(schema: str, name: str) -> str:
    """Return the query for one table's digest."""
    return f"SELECT {_SUMS} FROM (SELECT md5((t.*)::text) AS h FROM ONLY {quote(schema)}.{quote(name)} AS t) AS q"


def bucket_digest(schema: str, name: str, key: Iterable[str]) -> str:
    """Return the query that digests a table in buckets of its key, to narrow a difference down."""
    return (
        f"SELECT b, {_SUMS} FROM (SELECT md5((t.*)::text) AS h, "
        f"('x' || substr(md5({_key(key)}), 1, 2))::bit(8)::int AS b "
        f"FROM ONLY {quote(schema)}.{quote(name)} AS t) AS q GROUP BY b ORDER BY b"
    )


def bucket_rows(schema: str, name: str, key: Iterable[str], buckets: Iterable[int]) -> str:
    """Return the query for the masked keys and hashes of the rows in some buckets.

    A key leaves the host as a hash only: it may be somebody's name.
    """
    wanted = ", ".join(str(int(bucket)) for bucket in buckets)
    return (
        f"SELECT substr(md5({_key(key)}), 1, 12) AS key, md5((t.*)::text) AS hash "
        f"FROM ONLY {quote(schema)}.{quote(name)} AS t "
        f"WHERE ('x' || substr(md5({_key(key)}), 1, 2))::bit(8)::int IN ({wanted}) LIMIT 100000"
    )


def large_objects_digest() -> str:
    """Return the query for the digest of all large objects."""
    return (
        f"SELECT {_SUMS} FROM (SELECT md5(concat_ws('|', loid, pageno, encode(data, 'hex'))) AS h "
        "FROM pg_catalog.pg_largeobject) AS q"
    )


def sequences_query() -> str:
    """Return the query that names every sequence, with what one step and the cache are."""
    return (
        "SELECT n.nspname AS schema, c.relname AS name, s.seqincrement AS step, s.seqcache AS cache, "
        "s.seqcycle AS cycle "
        "FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relpersistence <> 'u' ORDER BY 1, 2"
    )


def sequence_value(schema: str, name: str) -> str:
    """Return the query for one sequence's position."""
    return f"SELECT last_value AS value, is_called AS called, log_cnt AS logged FROM {quote(schema)}.{quote(name)}"


def schema_queries() -> dict[str, str]:
    """Return the queries whose lines, sorted and hashed, stand for the schema and the rights in a database."""
    where = "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'"
    return {
        "roles": "SELECT md5(concat_ws('|', to_jsonb(r) - 'oid')) AS line FROM pg_authid r",
        "memberships": "SELECT concat_ws('|', pg_get_userbyid(roleid), pg_get_userbyid(member), admin_option) AS line "
        "FROM pg_auth_members",
        "databases": "SELECT concat_ws('|', datname, pg_get_userbyid(datdba), encoding, datcollate, datctype, datacl) "
        "AS line FROM pg_database",
        "extensions": "SELECT concat_ws('|', extname, extversion) AS line FROM pg_extension",
        "schemas": f"SELECT concat_ws('|', nspname, pg_get_userbyid(nspowner), nspacl) AS line FROM pg_namespace n "
        f"WHERE {where}",
        "relations": "SELECT concat_ws('|', n.nspname, c.relname, c.relkind, pg_get_userbyid(c.relowner), c.relacl, "
        "c.relrowsecurity, c.reloptions, pg_get_expr(c.relpartbound, c.oid)) AS line "
        f"FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {where}",
        "columns": "SELECT concat_ws('|', n.nspname, c.relname, a.attnum, a.attname, "
        "format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attacl, "
        "pg_get_expr(d.adbin, d.adrelid)) AS line FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
        f"WHERE a.attnum > 0 AND NOT a.attisdropped AND {where}",
        "indexes": "SELECT concat_ws('|', pg_get_indexdef(i.indexrelid), i.indisvalid) AS line FROM pg_index i "
        f"JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {where}",
        "constraints": "SELECT concat_ws('|', n.nspname, k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid)) "
        f"AS line FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE {where}",
        "functions": "SELECT md5(concat_ws('|', n.nspname, p.oid::regprocedure, p.proacl, p.prosrc, p.proconfig, "
        "p.prosecdef, pg_get_userbyid(p.proowner))) AS line FROM pg_proc p "
        f"JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {where}",
        "views": "SELECT concat_ws('|', c.oid::regclass, pg_get_viewdef(c.oid)) AS line FROM pg_class c "
        f"JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND {where}",
        "triggers": "SELECT concat_ws('|', pg_get_triggerdef(g.oid), g.tgenabled) AS line FROM pg_trigger g "
        "WHERE NOT g.tgisinternal",
        "types": "SELECT concat_ws('|', n.nspname, t.typname, t.typtype, t.typacl, "
        "(SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)) "
        f"AS line FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE {where}",
        "policies": "SELECT concat_ws('|', polrelid::regclass, polname, polcmd, pg_get_expr(polqual, polrelid), "
        "pg_get_expr(polwithcheck, polrelid)) AS line FROM pg_policy",
        "default_rights": "SELECT concat_ws('|', pg_get_userbyid(defaclrole), defaclobjtype, defaclacl) AS line "
        "FROM pg_default_acl",
    }


def lines_digest(query: str) -> str:
    """Return the query that digests the lines of another one."""
    return f"SELECT {_SUMS} FROM (SELECT md5(coalesce(line, '')) AS h FROM ({query}) AS l) AS q"


def _key(key: Iterable[str]) -> str:
    return "concat_ws(chr(31), " + ", ".join(f"t.{quote(column)}::text" for column in key) + ")"


@dataclass
class Comparison:
    """What a comparison of two sides found."""

    rows_compared: int = 0
    rows_different: int = 0
    rows_not_proved: int = 0
    details: list[str] = field(default_factory=list)
    not_proved: list[str] = field(default_factory=list)
    tables: dict[str, str] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether no difference was found; what was not proved is counted apart."""
        return not self.details

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, with the names of the project's figures."""
        return {
            "rows_compared": self.rows_compared,
            "rows_different": self.rows_different,
            "rows_not_proved": self.rows_not_proved,
            "details": self.details,
            "not_proved": self.not_proved,
            "tables": self.tables,
        }


def compare(active: Mapping[str, Any], passive: Mapping[str, Any]) -> Comparison:
    """Compare the results of both sides; `active` is the side that opened, `passive` the one that stood still."""
    result = Comparison()
    for key, what in (("epoch", "switch"), ("system_id", "cluster")):
        if active.get(key) != passive.get(key):
            result.not_proved.append(f"the results belong to different {what}es: {active.get(key)}, {passive.get(key)}")
    if result.not_proved:
        result.rows_not_proved = count(active) + count(passive)
        return result
    databases = sorted(set(active["databases"]) | set(passive["databases"]))
    for database in databases:
        one, other = active["databases"].get(database), passive["databases"].get(database)
        if one is None or other is None:
            result.details.append(f"database {database} exists at one side only")
            result.rows_different += count({"databases": {database: one or other}})
            continue
        _compare_tables(database, one, other, result)
        _compare_sequences(database, one["sequences"], other["sequences"], result)
        for kind in sorted(set(one["schema"]) | set(other["schema"])):
            if one["schema"].get(kind) != other["schema"].get(kind):
                result.details.append(f"{database}: the {kind} differ")
    return result


def _compare_tables(database: str, one: Mapping[str, Any], other: Mapping[str, Any], result: Comparison) -> None:
    for name in sorted(set(one["tables"]) | set(other["tables"])):
        label = f"{database}.{name}"
        a, b = one["tables"].get(name), other["tables"].get(name)
        known = [entry for entry in (a, b) if entry is not None and entry.get("status") == "done"]
        rows = max((int(entry["rows"]) for entry in known), default=0)
        if a is None or b is None:
            result.tables[label] = "different"
            result.details.append(f"table {label} exists at one side only")
            result.rows_different += rows
        elif len(known) < 2:
            why = next(str(e.get("reason") or e.get("status")) for e in (a, b) if e.get("status") != "done")
            result.tables[label] = "not_proved"
            result.not_proved.append(f"table {label}: {why}")
            result.rows_not_proved += rows
        elif (a["rows"], a["high"], a["low"]) == (b["rows"], b["high"], b["low"]):
            result.tables[label] = "equal"
            result.rows_compared += rows
        else:
            result.tables[label] = "different"
            result.rows_compared += rows
            result.rows_different += max(1, abs(int(a["rows"]) - int(b["rows"])))
            result.details.append(
                f"table {label} differs: {a['rows']} rows at the active side, {b['rows']} at the other"
            )


def _compare_sequences(database: str, one: Mapping[str, Any], other: Mapping[str, Any], result: Comparison) -> None:
    for name in sorted(set(one) | set(other)):
        a, b = one.get(name), other.get(name)
        if a is None or b is None:
            result.details.append(f"sequence {database}.{name} exists at one side only")
            continue
        reason = _sequence_differs(a, b)
        if not reason:
            continue
        text = f"sequence {database}.{name} is {reason}: {a['value']}, {b['value']} at the passive side"
        if a.get("cycle"):
            # One that starts over has no order to judge by.
            result.not_proved.append(text)
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


def narrow(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[int]:
    """Return the buckets in which two bucket digests differ."""
    return [b for b in range(_BUCKETS) if one.get(str(b)) != other.get(str(b))]


def differing_rows(one: Iterable[Mapping[str, Any]], other: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the masked keys of differing rows, and how they differ."""
    a = {str(row["key"]): str(row["hash"]) for row in one}
    b = {str(row["key"]): str(row["hash"]) for row in other}
    found = {key: "changed" for key in a.keys() & b.keys() if a[key] != b[key]}
    found.update(dict.fromkeys(a.keys() - b.keys(), "missing at the passive side"))
    found.update(dict.fromkeys(b.keys() - a.keys(), "missing at the active side"))
    return dict(sorted(found.items()))


def questions(active: Mapping[str, Any], passive: Mapping[str, Any], found: Comparison) -> dict[str, Any]:
    """Return which buckets of which tables to ask both sides about: the ones that differ, of tables with a key."""
    asked: dict[str, Any] = {}
    for database, one in active["databases"].items():
        other = (passive["databases"].get(database) or {}).get("tables") or {}
        for label, table in one["tables"].items():
            mine, theirs = table.get("buckets"), (other.get(label) or {}).get("buckets")
            if found.tables.get(f"{database}.{label}") == "different" and mine and theirs:
                asked.setdefault(database, {})[label] = narrow(mine, theirs)[:_ASKED]
    return asked


def count(result: Mapping[str, Any]) -> int:
    """Return how many rows a digest has seen."""
    return sum(
        int(table.get("rows") or 0)
        for database in result["databases"].values()
        if database
        for table in database["tables"].values()
    )
