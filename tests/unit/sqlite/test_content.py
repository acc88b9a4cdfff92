"""Rows as values: no two different rows give the same bytes, and every difference is named."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.sqlite import content, decisions
from bascule.sqlite.content import Text
from bascule.sqlite.io import database

from .conftest import made

VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=8),
    st.binary(max_size=8).map(Text),
)
ROWS = st.lists(VALUES, max_size=4)


def told(row: list[Any]) -> list[tuple[str, str]]:
    """Return a row with its types, in which -0.0 is not 0.0, nor 1 the same as 1.0."""
    return [(type(value).__name__, repr(value)) for value in row]


@given(ROWS, ROWS)
def test_two_rows_are_the_same_bytes_only_when_they_are_the_same(one: list[Any], other: list[Any]) -> None:
    assert (content.row(one) == content.row(other)) == (told(one) == told(other))


def test_a_border_between_columns_and_the_kind_of_a_value_count() -> None:
    pairs: list[tuple[list[Any], list[Any]]] = [
        ([Text(b"x0"), Text(b"y")], [Text(b"x"), Text(b"0y")]),
        ([None], [Text(b"")]),
        ([Text(b"a")], [b"a"]),
        ([1], [1.0]),
        ([1], [Text(b"1")]),
        ([0.0], [-0.0]),
    ]
    for one, other in pairs:
        assert content.row(one) != content.row(other)


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE missions SET name = '' WHERE id = 2", "rows of missions"),
        ("UPDATE missions SET price = 0.5 WHERE id = 3", "rows of missions"),
        ("UPDATE missions SET photo = CAST(photo AS TEXT) WHERE id = 3", "rows of missions"),
        ("UPDATE keys SET value = 1", "rows of keys"),
        ("DELETE FROM stays", "rows of stays: its rows (1 and 0) differ"),
        ("DROP INDEX by_name", "index by_name: only at the first"),
        ("DROP VIEW named", "view named: only at the first"),
        ("DROP TRIGGER gone", "trigger gone: only at the first"),
        ("CREATE TABLE more (a)", "table more: only at the second"),
        ("PRAGMA user_version = 13", "user_version: 12 and 13"),
        ("PRAGMA application_id = 78", "application_id: 77 and 78"),
        ("PRAGMA journal_mode = delete", "journal_mode: wal and delete"),
    ],
)
def test_each_difference_of_two_databases_is_named(tmp_path: Path, sql: str, named: str) -> None:
    one, other = made(tmp_path / "one.db"), made(tmp_path / "other.db")
    assert content.differences(database.read(one), database.read(other)) == []
    connection = sqlite3.connect(other, isolation_level=None)
    connection.execute(sql)
    connection.close()
    here, there = database.read(one), database.read(other)
    assert any(named in found for found in content.differences(here, there))
    assert content.identity(here) != content.identity(there)


def test_what_is_not_compared_is_named_and_its_own_tables_are_compared(tmp_path: Path) -> None:
    path = made(tmp_path / "one.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE VIRTUAL TABLE words USING fts5 (text)")
    connection.execute("INSERT INTO words VALUES ('bail')")
    connection.close()
    found = database.read(path)
    assert [one.split(":")[0] for one in found["not_compared"]] == ["words"]
    assert found["tables"]["words_content"]["rows"] == 1


def test_a_damaged_database_and_a_row_without_parent_are_found(tmp_path: Path) -> None:
    path = made(tmp_path / "one.db", "delete")
    assert database.check(path) == []
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("INSERT INTO stays VALUES (8, 99)")
    connection.close()
    assert database.check(path) == ["row 8 of stays has no parent in missions"]
    data = bytearray(path.read_bytes())
    data[-4096:-2048] = b"\xff" * 2048
    path.write_bytes(data)
    assert database.check(path)


def test_a_receipt_is_of_exactly_what_lies_here() -> None:
    assert decisions.receipt_faults({"/a": "1"}, {"/a": "1"}, "b") == []
    assert decisions.receipt_faults({"/a": "1"}, {"/a": "2"}, "b") == ["/a is 1 by the receipt, and 2 at b"]
    assert decisions.receipt_faults({"/a": "1"}, {}, "b") == ["/a is 1 by the receipt, and missing at b"]
    assert decisions.receipt_faults({}, {"/a": "1"}, "b") == ["/a is not in the receipt"]


def test_paths_and_places_that_cannot_be_closed_are_named() -> None:
    assert decisions.path_faults(["/a/b"]) == []
    assert len(decisions.path_faults(["a", "/a/../b", "/a//b"])) == 3
    assert decisions.path_faults(["/a", "/a"]) == ["/a is declared twice"]
    assert decisions.path_faults([]) == ["no database is declared"]
    sound = {"path": "/a", "file_system": "ext4", "symlink": False, "links": 1, "mounted": [], "mode": "open"}
    assert decisions.faults(sound) == []
    for wrong, word in (
        ({"file_system": "nfs4"}, "nfs4"), ({"symlink": True}, "symbolic link"), ({"links": 2}, "2 names"),
        ({"mounted": ["/m"]}, "mounted by itself"), ({"mode": "between"}, "cut off"),
    ):  # fmt: skip
        (found,) = decisions.faults({**sound, **wrong})
        assert word in found
