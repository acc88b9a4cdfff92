"""What a database server is asked, so that the rows of two copies can be compared without carrying them anywhere.

A table is read in chunks. A chunk's digest is either

- sums: the number of its rows and two exact sums over a 128-bit hash of each row, which is a multiset hash: order does
  not matter, every duplicate counts, and sums of chunks are the sums of the table whatever the chunks were; or
- a stream: SHA-256 over the rows in the order in which they lie, for copies whose rows lie alike.

What is hashed tells 1.0 from 1.00 and -0 from 0, which the hash functions of PostgreSQL's own types do not: the binary
form in which the server sends a row, from which its text follows, or the text itself where a type has no such form.

Both forms are made by the functions of the types themselves, as a dump does it. A value is never cast: a cast is a
function that anybody may have written, and it would run with the rights of whoever compares. Bytes are hashed as they
lie in the server, in no client's encoding: not all of them have a form in UTF-8.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FAST, STRICT = "fast", "strict"
MODES = (FAST, STRICT)
# Copies of the same files, with every row in the same place; or copies of the same rows, wherever they lie.
PHYSICAL, LOGICAL = "physical", "logical"
LAYOUTS = (PHYSICAL, LOGICAL)
# How a table is digested.
BINARY, TEXT, SHA256 = "binary", "text", "sha256"
BINARY_STREAM, TEXT_STREAM = "binary stream", "text stream"
STREAMS = (BINARY_STREAM, TEXT_STREAM)

# What a chunk costs beside its rows (a transaction, a pipe) is about a millisecond. Four times as many blocks would
# save one part in a hundred, and the sessions would no longer end at the same time. The digest of rows in their order
# depends on this number.
CHUNK_BLOCKS = 2048
BUCKETS = 1024
# A range of row addresses is read without looking at what lies before it only since this version.
RANGES_SINCE = 140000

# Whatever shapes the text of a value, or moves a row's place in what is read; both sides write and read alike.
_SETTINGS = (
    "SET datestyle = 'ISO, MDY'",
    "SET intervalstyle = 'postgres'",
    "SET timezone = 'UTC'",
    "SET extra_float_digits = 1",
    "SET bytea_output = 'hex'",
    "SET xmlbinary = 'base64'",
    "SET lc_monetary = 'C'",
    # Nobody's own functions, operators and types; what is temporary comes last.
    "SET search_path = pg_catalog, pg_temp",
    "SET row_security = off",
    "SET default_transaction_read_only = on",
    "SET client_encoding = 'SQL_ASCII'",
    # Whoever may not read a large object by name may compare it.
    "SET lo_compat_privileges = on",
    "SET synchronize_seqscans = off",
    "SET max_parallel_workers_per_gather = 0",
    "SET jit = off",
    "SET statement_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0",
    "SET lock_timeout = '30s'",
)
# Rows are read as they lie: an index has them in another order, and is used or not by what a VACUUM has left. What asks
# catalogs needs the indexes.
AS_THEY_LIE = ("SET enable_indexscan = off", "SET enable_indexonlyscan = off", "SET enable_bitmapscan = off")
# Types whose binary form is the number of another object, which a restored copy numbers anew.
_NUMBERS = "24, 2202, 2203, 2204, 2205, 2206, 4089, 4096, 3734, 3769, 4191"
_FIRST_USER_OID = 16384
# What somebody has made, by its number: also a table in a schema of the server's own, which no dump holds.
_USER = f"c.oid >= {_FIRST_USER_OID} AND n.nspname !~ '^pg_(toast|temp)'"

# Set where a server knows them. A table that was replaced by a view while it was compared would run the view's
# functions: https://www.postgresql.org/docs/15/runtime-config-client.html (restrict_nonsystem_relation_kind)
OPTIONAL = {
    "restrict_nonsystem_relation_kind": "view, foreign-table",
    "transaction_timeout": "0",
    # A query whose asker is gone ends by itself.
    "client_connection_check_interval": "1s",
}
# Reads every table, writes nothing, and is no superuser. It keeps out mistakes: code that runs could take the rights of
# the session back, so what counts is that none does.
READER, READER_SINCE = "pg_read_all_data", 140000
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")


def optional_query() -> str:
    """Return the query that names which of the optional settings a server knows."""
    return f"SELECT name FROM pg_settings WHERE name IN ({', '.join(map(literal, OPTIONAL))})"


def settings(known: Iterable[str]) -> tuple[str, ...]:
    """Return what a session sets before it digests; `known` are the optional settings of its server."""
    return (*_SETTINGS, *(f"SET {name} = {literal(OPTIONAL[name])}" for name in sorted(known)))


def ident(name: str) -> str:
    """Write a name as PostgreSQL does, readable on any terminal; two names are never written alike."""
    if _PLAIN.fullmatch(name):
        return name
    if name.isprintable():
        return quote(name)
    # Bytes of an encoding that nobody knows, and control characters.
    return "U&" + quote("".join(c if c.isprintable() and c != "\\" else f"\\+{ord(c):06x}" for c in name))


def label(*names: str) -> str:
    """Return the name of a thing by its path: no two things share one, whatever dots their names have."""
    return ".".join(ident(name) for name in names)


def quote(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Quote a string."""
    return "'" + value.replace("'", "''") + "'"


def seeds(epoch: str) -> tuple[int, int]:
    """Return the two seeds of a comparison: what collides once does not collide the next time."""
    digest = hashlib.sha256(epoch.encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True), int.from_bytes(digest[8:16], "big", signed=True)


def tables_query(version: int) -> str:
    """Return the query that names every table with rows of its own (leaf partitions, not their parents).

    `binary` of a column: its type, and all that its type is made of, has a binary form. `portable`: that form is the
    same in a copy whose objects have other numbers.
    """
    ranges = "r.rngtypid = t.oid" + (" OR r.rngmultitypid = t.oid" if version >= RANGES_SINCE else "")
    return (
        "WITH RECURSIVE parts (root, part) AS ("
        "SELECT DISTINCT a.atttypid, a.atttypid FROM pg_attribute a WHERE a.attnum > 0 AND NOT a.attisdropped "
        "UNION SELECT p.root, x.part FROM parts p JOIN pg_type t ON t.oid = p.part CROSS JOIN LATERAL ("
        "SELECT t.typelem AS part WHERE t.typelem <> 0 AND t.typlen = -1 "
        "UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0 "
        "UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid "
        "AND a.attnum > 0 AND NOT a.attisdropped "
        f"UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE {ranges}) AS x), "
        "forms AS (SELECT p.root, bool_and(t.typsend <> 0) AS binary, "
        f"bool_and(t.oid < {_FIRST_USER_OID} AND t.oid NOT IN ({_NUMBERS})) AS portable "
        "FROM parts p JOIN pg_type t ON t.oid = p.part GROUP BY p.root) "
        "SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relpersistence = 'u' AS unlogged, "
        "c.relfilenode::bigint AS filenode, c.relam <> 2 AS foreign_storage, "
        "c.relrowsecurity AS guarded, c.relkind = 'm' AS derived, "
        # What the server last counted; to measure it would wait for whoever has locked one of them.
        "greatest(c.relpages, 1)::bigint AS pages, greatest(c.reltuples, 0)::bigint AS estimate, "
        "(SELECT coalesce(jsonb_agg(jsonb_build_object('name', a.attname, 'binary', f.binary, 'portable', f.portable) "
        "ORDER BY a.attnum), '[]') FROM pg_attribute a JOIN forms f ON f.root = a.atttypid "
        "WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns, "
        "(SELECT jsonb_agg(a.attname ORDER BY k.ord) FROM pg_index i "
        "CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(attnum, ord) "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum "
        "WHERE i.indrelid = c.oid AND i.indisprimary) AS key "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence <> 't' "
        f"AND ({_USER} OR c.oid = 'pg_catalog.pg_largeobject'::regclass) ORDER BY 2, 3"
    )


def elsewhere_query() -> str:
    """Return the query that names the tables whose rows lie at another server."""
    return (
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind = 'f' ORDER BY 1, 2"
    )


def large_objects(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of large objects as a restored copy is compared: whole objects, whatever their pages."""
    whole = "(SELECT m.oid AS loid, pg_catalog.lo_get(m.oid) AS data FROM pg_catalog.pg_largeobject_metadata AS m)"
    columns = [{"name": name, "binary": True, "portable": True} for name in ("loid", "data")]
    return {**table, "source": whole, "columns": columns, "key": ["loid"]}


def is_large_objects(table: Mapping[str, Any]) -> bool:
    """Tell whether this is the catalog that holds large objects."""
    return (table["schema"], table["name"]) == ("pg_catalog", "pg_largeobject")


def how(table: Mapping[str, Any], mode: str, layout: str) -> str:
    """Return how a table is digested; both sides decide alike, by its columns."""
    form = "binary" if layout == PHYSICAL else "portable"
    binary = all(column["binary"] and column[form] for column in table["columns"])
    if mode == FAST:
        return BINARY if binary else TEXT
    if layout == LOGICAL or table.get("foreign_storage"):
        return SHA256
    return BINARY_STREAM if binary else TEXT_STREAM


def chunk_count(blocks: int, version: int) -> int:
    """Return in how many chunks a table of so many blocks is read."""
    return max(1, -(-blocks // CHUNK_BLOCKS)) if version >= RANGES_SINCE else 1


def sums(table: Mapping[str, Any], form: str, where: str, pair: Sequence[int]) -> str:
    """Return the query for the sums of a part of a table."""
    return f"SELECT {_summed(pair)} FROM (SELECT {_hashed(table, form)} AS r FROM {_of(table, where)}) AS q"


def stream(table: Mapping[str, Any], form: str, where: str, destination: str) -> str:
    """Return the statement that writes a part of a table; it tells how many rows it has written."""
    query = f"SELECT {_columns(table)} FROM {_from(table, where)}"
    return f"COPY ({query}) TO {literal(destination)} (FORMAT {'binary' if form == BINARY_STREAM else 'text'})"


def blocks_query(oid: int) -> str:
    """Return the query for the size of a table in blocks, now: more than the snapshot sees, never less."""
    size = f"pg_relation_size({int(oid)}::oid::regclass)"
    return f"SELECT ceil({size} / current_setting('block_size')::numeric)::bigint AS blocks"


def filenode_query(oid: int) -> str:
    """Return the query for where a table lies now, whatever the snapshot; nothing when it is gone."""
    return f"SELECT pg_relation_filenode({int(oid)}::oid)::bigint AS filenode"


def chunk(number: int, count: int) -> str:
    """Return the condition that takes one chunk of so many."""
    if count == 1:
        return ""
    first, last = number * CHUNK_BLOCKS, (number + 1) * CHUNK_BLOCKS
    end = f" AND t.ctid < '({last},0)'" if number < count - 1 else ""
    return f" WHERE t.ctid >= '({first},0)'{end}"


def bucket_sums(table: Mapping[str, Any], form: str, wheres: Iterable[str], layout: str, pair: Sequence[int]) -> str:
    """Return the query for the sums of a part of a table by buckets of the rows' keys."""
    # By sums, whatever the order.
    form = {BINARY_STREAM: BINARY, TEXT_STREAM: SHA256}.get(form, form)
    parts = " UNION ALL ".join(
        f"(SELECT {_hashed(table, form)} AS r, {_bucket(table, layout)} AS b FROM {_of(table, where)})"
        for where in wheres
    )
    return f"SELECT b, {_summed(pair)} FROM ({parts}) AS q GROUP BY b"


def bucket_rows(
    table: Mapping[str, Any], wheres: Iterable[str], buckets: Iterable[int], layout: str, salt: str, limit: int = 20000
) -> str:
    """Return the query for the rows in some buckets: their masked keys, and a salted short hash of every column.

    A key leaves the host as a hash only: it may be somebody's name. Rows without a key are named by where they lie.
    """
    send = table["how"] in (BINARY, BINARY_STREAM)
    hashes = ", ".join(_salted(f"ROW(t.{quote(column['name'])})", salt, send=send) for column in table["columns"])
    wanted = ", ".join(str(int(bucket)) for bucket in buckets)
    parts = " UNION ALL ".join(
        f"(SELECT {_masked(table, layout)} AS k, ARRAY[{hashes}]::text[] AS c, {_bucket(table, layout)} AS b "
        f"FROM {_of(table, where)})"
        for where in wheres
    )
    return (
        f"SELECT k AS key, to_jsonb(c) AS columns, count(*) AS times FROM ({parts}) AS q WHERE b IN ({wanted}) "
        f"GROUP BY k, c ORDER BY k LIMIT {int(limit)}"
    )


def sequences_query() -> str:
    """Return the query that names every sequence, with what one step and the cache are."""
    return (
        "SELECT n.nspname AS schema, c.relname AS name, s.seqincrement AS step, s.seqcache AS cache, "
        "s.seqcycle AS cycle, c.relpersistence = 'u' AS unlogged "
        "FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relpersistence <> 't' ORDER BY 1, 2"
    )


def sequence_values(sequences: Sequence[Mapping[str, Any]]) -> str:
    """Return one query for the positions of these sequences, numbered as they come."""
    return " UNION ALL ".join(
        f"SELECT {number} AS number, last_value AS value, is_called AS called, log_cnt AS logged "
        f"FROM {quote(one['schema'])}.{quote(one['name'])}"
        for number, one in enumerate(sequences)
    )


def _columns(table: Mapping[str, Any]) -> str:
    return ", ".join(f"t.{quote(column['name'])}" for column in table["columns"])


def _from(table: Mapping[str, Any], where: str) -> str:
    name = table.get("source") or f"ONLY {quote(table['schema'])}.{quote(table['name'])}"
    return f"{name} AS t{where}"


def _of(table: Mapping[str, Any], where: str) -> str:
    # Without the offset the hash would be taken twice, once for each sum.
    return f"{_from(table, where)} OFFSET 0"


def _hashed(table: Mapping[str, Any], form: str) -> str:
    row = f"ROW({_columns(table)})"
    if form == BINARY:
        return f"ARRAY[record_send({row})]"
    if form == TEXT:
        return f'ARRAY[{row}::text COLLATE "C"]'
    # To this encoding nothing is converted.
    return f"ARRAY[sha256(convert_to({row}::text, 'SQL_ASCII'))]"


def _salted(row: str, salt: str, *, send: bool) -> str:
    # Of a row no cast can be made by anybody: its text comes from the output functions of its columns.
    value = f"{literal(salt)}::bytea || record_send({row})" if send else f"{literal(salt)} || {row}::text"
    return f"substr(md5({value}), 1, 8)"


def _summed(pair: Sequence[int]) -> str:
    # An array of one element, because SQL can call no seeded hash function of bytea: its hash is that of the bytes, and
    # a constant. The hash of a row of columns is a linear sum of theirs: two rows could swap values unseen.
    high, low = (f"coalesce(sum(hash_array_extended(r, '{int(seed)}'::bigint)), 0)::text" for seed in pair)
    return f"count(*) AS rows, {high} AS high, {low} AS low"


def _key(table: Mapping[str, Any], layout: str) -> str:
    if table.get("key"):
        return "ROW(" + ", ".join(f"t.{quote(column)}" for column in table["key"]) + ")::text"
    return "t.ctid::text" if layout == PHYSICAL else f"md5(ROW({_columns(table)})::text)"


def _masked(table: Mapping[str, Any], layout: str) -> str:
    if not table.get("key") and layout == PHYSICAL:
        return "t.ctid::text"
    return f"substr(md5({_key(table, layout)}), 1, 12)"


def _bucket(table: Mapping[str, Any], layout: str) -> str:
    return f'(hashtextextended({_key(table, layout)} COLLATE "C", 0) & {BUCKETS - 1})::int'
