"""What a server is asked, case by case: which rows, in which form, under which name, by which key."""

from __future__ import annotations

import hashlib
import re

import pytest

from bascule.postgresql import rows

from .test_rows import table

BLOCKS = rows.CHUNK_BLOCKS


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("logins", "logins"),
        ("_a1$", "_a1$"),
        ("1a", '"1a"'),
        ("Logins", '"Logins"'),
        ("a b", '"a b"'),
        ('a"b', '"a""b"'),
        ("", '""'),
        ("é", '"é"'),
        ("a\n\\", 'U&"a\\+00000a\\+00005c"'),
        ("\udce9x", 'U&"\\+00dce9x"'),
    ],
)
def test_a_name_is_written_as_the_server_reads_it(name: str, written: str) -> None:
    assert rows.ident(name) == written
    assert rows.label("app", name) == f"app.{written}"


def test_what_is_quoted_stays_one_thing() -> None:
    assert rows.quote('a"; DROP') == '"a""; DROP"'
    assert rows.literal("a'; DROP") == "'a''; DROP'"


def test_only_known_settings_are_asked_for_and_set() -> None:
    asked = re.findall(r"'(\w+)'", rows.optional_query())
    assert asked == ["restrict_nonsystem_relation_kind", "transaction_timeout", "client_connection_check_interval"]
    some = rows.settings(reversed(asked))
    assert some[len(rows.settings([])) :] == (
        "SET client_connection_check_interval = '1s'",
        "SET restrict_nonsystem_relation_kind = 'view, foreign-table'",
        "SET transaction_timeout = '0'",
    )
    assert some[: -len(asked)] == rows.settings([])


def test_both_sides_take_the_same_seeds_from_the_epoch() -> None:
    digest = hashlib.sha256(b"1.x").hexdigest()
    unsigned = [int(digest[:16], 16), int(digest[16:32], 16)]
    assert [seed % 2**64 for seed in rows.seeds("1.x")] == unsigned
    for seeds in zip(*(rows.seeds(epoch) for epoch in "abcdefgh")):
        assert {seed < 0 for seed in seeds} == {True, False}, "a bigint of the server has a sign"


@pytest.mark.parametrize(("version", "known"), [(130022, False), (139999, False), (140000, True), (150000, True)])
def test_what_only_newer_servers_know_is_asked_of_them_alone(version: int, known: bool) -> None:
    query = rows.tables_query(version)
    assert ("r.rngmultitypid" in query) is known
    assert (f"FROM pg_range r WHERE r.rngtypid = t.oid{' OR r.rngmultitypid = t.oid' if known else ''})") in query
    assert rows.chunk_count(BLOCKS + 1, version) == (2 if known else 1)


def test_the_objects_of_users_begin_where_the_server_says() -> None:
    query = rows.tables_query(150000)
    assert "AND (c.oid >= 16384 AND n.nspname !~ '^pg_(toast|temp)' OR" in query, "in whatever schema somebody made it"
    assert "t.oid < 16384" in query, "FirstNormalObjectId: what lies below is numbered alike"


@pytest.mark.parametrize(
    ("blocks", "count"), [(0, 1), (1, 1), (BLOCKS, 1), (BLOCKS + 1, 2), (2 * BLOCKS, 2), (2 * BLOCKS + 1, 3)]
)
def test_a_table_is_read_in_as_many_chunks_as_it_fills(blocks: int, count: int) -> None:
    assert rows.chunk_count(blocks, 150000) == count


def test_chunks_are_named_by_their_first_and_last_block() -> None:
    assert rows.chunk(0, 1) == ""
    assert [rows.chunk(number, 3) for number in range(3)] == [
        f" WHERE t.ctid >= '(0,0)' AND t.ctid < '({BLOCKS},0)'",
        f" WHERE t.ctid >= '({BLOCKS},0)' AND t.ctid < '({2 * BLOCKS},0)'",
        f" WHERE t.ctid >= '({2 * BLOCKS},0)'",
    ]


def test_large_objects_are_read_whole_and_both_columns_in_binary_form() -> None:
    catalogue = table("loid", "pageno", "data", schema="pg_catalog", name="pg_largeobject", key=["loid", "pageno"])
    whole = rows.large_objects(catalogue)
    assert (whole["key"], whole["schema"], whole["name"]) == (["loid"], "pg_catalog", "pg_largeobject")
    for mode, wanted in ((rows.FAST, rows.BINARY), (rows.STRICT, rows.SHA256)):
        assert rows.how(whole, mode, rows.LOGICAL) == wanted
    query = rows.sums(whole, rows.BINARY, "", (1, 2))
    assert 'ROW(t."loid", t."data")' in query
    assert f"FROM {whole['source']} AS t" in query
    assert "ONLY" not in query
    assert rows.is_large_objects(whole)
    assert not rows.is_large_objects(table(schema="app", name="pg_largeobject"))
    assert not rows.is_large_objects(table(schema="pg_catalog", name="pg_class"))


@pytest.mark.parametrize(
    ("columns", "layout", "fast"),
    [
        ([(True, True), (True, True)], rows.LOGICAL, rows.BINARY),
        ([(True, True), (True, False)], rows.LOGICAL, rows.TEXT),
        ([(False, True)], rows.LOGICAL, rows.TEXT),
        ([(False, False), (True, True)], rows.LOGICAL, rows.TEXT),
        ([(False, True)], rows.PHYSICAL, rows.TEXT),
        ([(True, False)], rows.PHYSICAL, rows.BINARY),
        ([(True, False), (False, False)], rows.PHYSICAL, rows.TEXT),
    ],
)
def test_one_column_without_a_binary_form_takes_the_table_to_its_text(
    columns: list[tuple[bool, bool]], layout: str, fast: str
) -> None:
    made = {"columns": [{"binary": binary, "portable": portable} for binary, portable in columns]}
    assert rows.how(made, rows.FAST, layout) == fast
    stream = {rows.BINARY: rows.BINARY_STREAM, rows.TEXT: rows.TEXT_STREAM}[fast]
    assert rows.how(made, rows.STRICT, layout) == (rows.SHA256 if layout == rows.LOGICAL else stream)
    assert rows.how({**made, "foreign_storage": True}, rows.FAST, layout) == fast


@pytest.mark.parametrize(
    ("form", "row"),
    [
        (rows.BINARY, 'ARRAY[record_send(ROW(t."id"))]'),
        (rows.TEXT, 'ARRAY[ROW(t."id")::text COLLATE "C"]'),
        (rows.SHA256, "ARRAY[sha256(convert_to(ROW(t.\"id\")::text, 'SQL_ASCII'))]"),
    ],
)
def test_a_row_is_hashed_in_its_form(form: str, row: str) -> None:
    assert f"(SELECT {row} AS r FROM " in rows.sums(table("id"), form, "", (1, 2))
    assert f"(SELECT {row} AS r, " in rows.bucket_sums(table("id"), form, [""], rows.LOGICAL, (1, 2))


@pytest.mark.parametrize(
    ("how", "form"), [(rows.BINARY_STREAM, rows.BINARY), (rows.TEXT_STREAM, rows.SHA256), (rows.TEXT, rows.TEXT)]
)
def test_buckets_of_a_stream_are_sums_whatever_the_order(how: str, form: str) -> None:
    one, other = (rows.bucket_sums(table(), given, [""], rows.PHYSICAL, (1, 2)) for given in (how, form))
    assert one == other


def test_sums_are_two_with_a_seed_each() -> None:
    query = rows.sums(table(), rows.BINARY, "", (11, -22))
    found = re.findall(r"sum\(hash_array_extended\(r, '(-?\d+)'::bigint\)\), 0\)::text AS (high|low)", query)
    assert found == [("11", "high"), ("-22", "low")]
    assert "count(*) AS rows" in query
    assert " OFFSET 0)" in query


KEYED = 'ROW(t."name", t."id")::text'
WHOLE = 'md5(ROW(t."id", t."name")::text)'


@pytest.mark.parametrize(
    ("key", "layout", "bucket", "masked"),
    [
        (["name", "id"], rows.PHYSICAL, KEYED, f"substr(md5({KEYED}), 1, 12)"),
        (["name", "id"], rows.LOGICAL, KEYED, f"substr(md5({KEYED}), 1, 12)"),
        (None, rows.PHYSICAL, "t.ctid::text", "t.ctid::text"),
        (None, rows.LOGICAL, WHOLE, f"substr(md5({WHOLE}), 1, 12)"),
    ],
)
def test_rows_are_found_by_their_key_or_their_place_or_all_they_are(
    key: list[str] | None, layout: str, bucket: str, masked: str
) -> None:
    one = table("id", "name", key=key, how=rows.BINARY)
    found = f'(hashtextextended({bucket} COLLATE "C", 0) & 1023)::int AS b FROM '
    assert found in rows.bucket_sums(one, rows.BINARY, [""], layout, (1, 2))
    query = rows.bucket_rows(one, [""], [3], layout, "pepper")
    assert found in query
    assert f"(SELECT {masked} AS k, " in query


@pytest.mark.parametrize(
    ("how", "value"),
    [
        (rows.BINARY, "'pep''per'::bytea || record_send(ROW(t.\"id\"))"),
        (rows.BINARY_STREAM, "'pep''per'::bytea || record_send(ROW(t.\"id\"))"),
        (rows.TEXT, "'pep''per' || ROW(t.\"id\")::text"),
        (rows.TEXT_STREAM, "'pep''per' || ROW(t.\"id\")::text"),
        (rows.SHA256, "'pep''per' || ROW(t.\"id\")::text"),
    ],
)
def test_a_column_leaves_the_host_as_a_salted_hash(how: str, value: str) -> None:
    query = rows.bucket_rows(table("id", how=how), [""], [3], rows.PHYSICAL, "pep'per")
    assert f"ARRAY[substr(md5({value}), 1, 8)]::text[] AS c" in query


def test_rows_of_some_buckets_and_chunks_are_asked_for_at_once() -> None:
    wheres = [rows.chunk(number, 3) for number in (0, 2)]
    one = table("id", "name", key=["id"], how=rows.BINARY)
    query = rows.bucket_rows(one, wheres, [3, 17], rows.PHYSICAL, "salt")
    assert query.startswith("SELECT k AS key, to_jsonb(c) AS columns, count(*) AS times FROM (")
    assert query.endswith(" WHERE b IN (3, 17) GROUP BY k, c ORDER BY k LIMIT 20000")
    assert rows.bucket_rows(one, wheres, [3], rows.PHYSICAL, "salt", 7).endswith(" LIMIT 7")
    for asked in (query, rows.bucket_sums(one, rows.BINARY, wheres, rows.PHYSICAL, (1, 2))):
        assert asked.count(" UNION ALL ") == 1
        assert all(f"AS t{where} OFFSET 0)" in asked for where in wheres)
    assert rows.bucket_sums(one, rows.BINARY, wheres, rows.PHYSICAL, (1, 2)).endswith(" AS q GROUP BY b")


def test_a_table_is_measured_and_found_by_its_number() -> None:
    assert "pg_relation_size(77::oid::regclass)" in rows.blocks_query(77)
    assert "pg_relation_filenode(77::oid)" in rows.filenode_query(77)
    assert "AS blocks" in rows.blocks_query(1)
    assert "AS filenode" in rows.filenode_query(1)


def test_what_does_not_outlive_its_session_is_no_sequence_of_the_copy() -> None:
    query = rows.sequences_query()
    assert "c.relpersistence <> 't'" in query
    for name in ("schema", "name", "step", "cache", "cycle", "unlogged"):
        assert f" AS {name}" in query


def test_only_foreign_tables_have_their_rows_elsewhere() -> None:
    query = rows.elsewhere_query()
    assert query.startswith("SELECT n.nspname AS schema, c.relname AS name FROM pg_class c ")
    assert " WHERE c.relkind = 'f' " in query


def test_a_plan_and_a_report_know_these_words() -> None:
    """A plan asks for a mode by its name; a report and the host's result name the others."""
    assert rows.MODES == ("fast", "strict")
    assert rows.LAYOUTS == ("physical", "logical")
    assert (rows.BINARY, rows.TEXT, rows.SHA256, *rows.STREAMS) == (
        "binary", "text", "sha256", "binary stream", "text stream",
    )  # fmt: skip
    assert (rows.READER, rows.READER_SINCE) == ("pg_read_all_data", 140000)
    # Both sides of an earlier version have read in chunks of this size; those of another are not compared.
    assert rows.CHUNK_BLOCKS == 2048
