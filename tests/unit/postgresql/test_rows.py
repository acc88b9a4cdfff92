"""What the server is asked: every row once, in chunks that cover a table, and nothing of a key in clear."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.postgresql import catalog, compare, rows

FORMS = (rows.BINARY, rows.TEXT, rows.SHA256)


def table(*columns: str, key: list[str] | None = None, **changes: Any) -> dict[str, Any]:
    """Make a table."""
    made = [{"name": name, "binary": True, "portable": True} for name in columns or ("id", "a b")]
    return {"schema": "app", "name": 'Weird ".Name', "columns": made, "key": key, **changes}


@given(blocks=st.integers(0, 40 * rows.CHUNK_BLOCKS), version=st.sampled_from([130000, 140000, 150018]))
def test_chunks_cover_every_block_once(blocks: int, version: int) -> None:
    """Each block is in exactly one chunk, and the last chunk has no end: a row is never left out."""
    count = rows.chunk_count(blocks, version)
    bounds = []
    for number in range(count):
        where = rows.chunk(number, count)
        low = re.search(r">= '\((\d+),0\)'", where)
        high = re.search(r"< '\((\d+),0\)'", where)
        bounds.append((int(low[1]) if low else 0, int(high[1]) if high else None))
    assert bounds[0][0] == 0
    assert bounds[-1][1] is None
    assert all(one[1] == two[0] for one, two in zip(bounds, bounds[1:]))
    if version < rows.RANGES_SINCE:
        assert count == 1


def test_the_seeds_belong_to_the_switch() -> None:
    """Two numbers of 64 bits that are not alike, and others the next time."""
    one, two = rows.seeds("1.x")
    assert one != two
    assert all(-(2**63) <= seed < 2**63 for seed in (one, two))
    assert rows.seeds("1.x") == (one, two)
    assert set(rows.seeds("2.y")).isdisjoint({one, two})


@pytest.mark.parametrize(
    ("mode", "layout", "columns", "expected"),
    [
        (rows.FAST, rows.PHYSICAL, [{"binary": True, "portable": False}], rows.BINARY),
        (
            rows.FAST,
            rows.PHYSICAL,
            [{"binary": True, "portable": True}, {"binary": False, "portable": True}],
            rows.TEXT,
        ),
        (rows.FAST, rows.LOGICAL, [{"binary": True, "portable": False}], rows.TEXT),
        (rows.FAST, rows.LOGICAL, [{"binary": True, "portable": True}], rows.BINARY),
        (rows.FAST, rows.PHYSICAL, [], rows.BINARY),
        (rows.STRICT, rows.PHYSICAL, [{"binary": True, "portable": False}], rows.BINARY_STREAM),
        (rows.STRICT, rows.PHYSICAL, [{"binary": False, "portable": False}], rows.TEXT_STREAM),
        (rows.STRICT, rows.LOGICAL, [{"binary": True, "portable": True}], rows.SHA256),
    ],
)
def test_how_a_table_is_digested(mode: str, layout: str, columns: list[dict[str, bool]], expected: str) -> None:
    """A type without a binary form takes its table to the text; rows that lie elsewhere are no stream."""
    assert rows.how({"columns": columns}, mode, layout) == expected


def test_a_table_that_is_stored_by_others_is_no_stream() -> None:
    """Nobody knows in which order another storage gives its rows."""
    assert rows.how({"columns": [], "foreign_storage": True}, rows.STRICT, rows.PHYSICAL) == rows.SHA256


@pytest.mark.parametrize("form", FORMS)
def test_quoting(form: str) -> None:
    """An odd name stays one name."""
    query = rows.sums(table(), form, rows.chunk(1, 3), (1, -2))
    assert 'FROM ONLY "app"."Weird "".Name" AS t WHERE t.ctid >= ' in query
    assert 't."id", t."a b"' in query
    assert "'-2'::bigint" in query
    assert rows.quote('a"b') == '"a""b"'
    assert rows.literal("it's") == "'it''s'"


def test_a_stream_goes_where_it_is_told() -> None:
    """The rows as they lie; bytes nobody can read are not converted."""
    assert rows.stream(table("id"), rows.TEXT_STREAM, "", "/run/x'y") == (
        'COPY (SELECT t."id" FROM ONLY "app"."Weird "".Name" AS t) TO \'/run/x\'\'y\' (FORMAT text)'
    )
    assert rows.stream(table(), rows.BINARY_STREAM, "", "/x").endswith("(FORMAT binary)")


def test_a_session_sets_only_what_its_server_knows() -> None:
    """Bytes are taken as they are, nobody's own functions are found, and nothing is written."""
    known = rows.settings([])
    for text in ("client_encoding = 'SQL_ASCII'", "search_path = pg_catalog, pg_temp", "transaction_read_only = on"):
        assert any(text in line for line in known)
    assert not any("restrict_nonsystem" in line for line in known)
    some = rows.settings(["restrict_nonsystem_relation_kind"])
    assert set(some) - set(known) == {"SET restrict_nonsystem_relation_kind = 'view, foreign-table'"}


@pytest.mark.parametrize("how", [*FORMS, rows.BINARY_STREAM, rows.TEXT_STREAM])
@pytest.mark.parametrize("layout", rows.LAYOUTS)
@pytest.mark.parametrize("key", [None, ["id"]])
def test_no_value_is_cast(how: str, layout: str, key: list[str] | None) -> None:
    """Somebody may have written the cast: a value's text comes from its row, which nobody can write a cast for."""
    one = table(key=key, how=how)
    form = how if how in FORMS else rows.BINARY
    for query in (
        rows.sums(one, form, "", (1, 2)),
        rows.bucket_sums(one, how, [""], layout, (1, 2)),
        rows.bucket_rows(one, [""], [3], layout, "pepper"),
        rows.stream(one, rows.TEXT_STREAM, "", "/x"),
    ):
        assert not re.search(r'"::', query.replace('ROW(t."id", t."a b")::text', "")), query


def test_names_are_never_alike() -> None:
    """Whatever dots, quotes and bytes they have; and a terminal can show them."""
    assert rows.label("app", "logins") == "app.logins"
    names = [("a", "b.c"), ("a.b", "c"), ('a"', "b"), ("a", '"b'), ("A", "b"), ("a", "b"), ("a.b", ".c"), ("a\n", "b")]
    names += [("a\\+00000a", "b"), ("t\udce9l", "b"), ("\\+00dce9", "\n"), ("", "a.b"), ("a.b", "")]
    found = [rows.label(*pair) for pair in names]
    assert len(set(found)) == len(names)
    assert all(text.isprintable() for text in found)


@given(st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), unique=True, max_size=8))
def test_labels_of_any_names_differ(names: list[tuple[str, str]]) -> None:
    """A label leads back to one path."""
    assert len({rows.label(*pair) for pair in names}) == len(names)


def test_a_key_leaves_the_host_as_a_hash() -> None:
    """Keys are masked, columns salted; without a key a row is named by its place, or by a hash of all of it."""
    query = rows.bucket_rows(table("id", "name", key=["name"], how=rows.TEXT), [""], [3], rows.PHYSICAL, "pepper")
    assert 'SELECT substr(md5(ROW(t."name")::text), 1, 12) AS k' in query
    assert "substr(md5('pepper' || ROW(t.\"id\")::text), 1, 8)" in query
    assert "b IN (3)" in query
    assert "SELECT t.ctid::text AS k" in rows.bucket_rows(
        table("id", how=rows.TEXT), [""], [3], rows.PHYSICAL, "pepper"
    )
    assert "md5(ROW(" in rows.bucket_rows(table("id", how=rows.TEXT), [""], [3], rows.LOGICAL, "pepper")


def test_large_objects_of_a_restored_copy() -> None:
    """Their pages are the business of the server that made them; the objects are compared whole."""
    catalogue = table("loid", "pageno", "data", schema="pg_catalog", name="pg_largeobject", key=["loid", "pageno"])
    assert rows.is_large_objects(catalogue)
    whole = rows.large_objects(catalogue)
    assert "lo_get(m.oid)" in rows.sums(whole, rows.BINARY, "", (1, 2))
    assert [column["name"] for column in whole["columns"]] == ["loid", "data"]


def test_sequences_are_read_at_once() -> None:
    """One query for many, numbered, so that a switch does not wait for each of them."""
    query = rows.sequence_values([{"schema": "a", "name": "one"}, {"schema": "a", "name": "t'wo"}])
    assert query.count("UNION ALL") == 1
    assert 'SELECT 1 AS number, last_value AS value, is_called AS called, log_cnt AS logged FROM "a"."t\'wo"' in query


def test_rights_that_were_given_and_taken_back_are_those_of_the_beginning() -> None:
    rights = "unnest(coalesce(lomacl, acldefault('L', lomowner))) AS r"
    query = catalog.queries(rows.LOGICAL)["large object"]
    assert f"(SELECT array_agg(r::text ORDER BY r::text) FROM {rights})" in query


@pytest.mark.parametrize("layout", rows.LAYOUTS)
def test_every_kind_has_names_and_lines(layout: str) -> None:
    """The hash is over the lines; the names are what a difference is reported by."""
    for query in [*catalog.queries(layout).values(), catalog.of_all_roles()]:
        assert " AS name" in query
        assert " AS line" in query
        assert query in catalog.lines(query)
    assert "pg_parameter_acl" in catalog.shared(150000)
    assert "pg_parameter_acl" not in catalog.shared(140000)


def sums(values: list[str], pair: tuple[int, int] = (1, 2)) -> list[Any]:
    """Do what the server does, with another hash."""
    found: list[Any] = [len(values), 0, 0]
    for value in values:
        for place, seed in enumerate(pair, 1):
            hashed = hashlib.blake2b(value.encode(), digest_size=8, key=seed.to_bytes(8, "big")).digest()
            found[place] += int.from_bytes(hashed, "big", signed=True)
    return [found[0], str(found[1]), str(found[2])]


VALUES = st.lists(st.sampled_from(["a", "b", "c", "(1.0)", "(1.00)", "(-0)", "(0)"]), max_size=12)


@given(VALUES, st.randoms())
def test_the_sums_are_a_multiset_hash(values: list[str], random: Any) -> None:
    """Order does not matter; a duplicate does, and two of them do not cancel out."""
    shuffled = list(values)
    random.shuffle(shuffled)
    assert sums(shuffled) == sums(values)
    assert sums([*values, "x", "x"]) != sums(values)


@given(VALUES, VALUES)
def test_equal_sums_are_equal_multisets(one: list[str], other: list[str]) -> None:
    """And the other way round."""
    assert (sums(one) == sums(other)) is (sorted(one) == sorted(other))


@given(VALUES, st.lists(st.integers(0, 12), max_size=4))
def test_sums_of_chunks_are_those_of_the_table(values: list[str], cuts: list[int]) -> None:
    """However a table is cut, its digest is the same, and empty chunks count for nothing."""
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    chunks = {str(n): sums(values[a:b]) for n, (a, b) in enumerate(zip(edges, edges[1:]))}
    assert compare.fold(rows.BINARY, chunks) == compare.fold(rows.BINARY, {"0": sums(values)})


@given(st.lists(VALUES, max_size=5), st.integers(0, 3))
def test_a_stream_knows_the_order_and_ignores_room_beyond_the_last_row(parts: list[list[str]], room: int) -> None:
    """Chunks of a stream are ordered; a side with more room at the end is equal."""

    def chunk(part: list[str]) -> list[Any]:
        return [len(part), hashlib.sha256("\n".join(part).encode()).hexdigest()]

    chunks = {str(number): chunk(part) for number, part in enumerate(parts)}
    longer = {**chunks, **{str(len(parts) + more): chunk([]) for more in range(room)}}
    assert compare.fold(rows.BINARY_STREAM, longer) == compare.fold(rows.BINARY_STREAM, chunks)
    swapped = {str(number): chunk(part) for number, part in enumerate(reversed(parts))}
    alike = [part for part in parts if part] == [part for part in reversed(parts) if part] and parts == parts[::-1]
    assert (compare.fold(rows.BINARY_STREAM, swapped) == compare.fold(rows.BINARY_STREAM, chunks)) is (
        alike or not any(parts)
    )
