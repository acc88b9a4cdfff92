"""Rows are equal when count and sums are; a difference is found, named, and narrowed down."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.integrity import rows


def table(**changes: Any) -> dict[str, Any]:
    """Make a digest of a table."""
    return {
        "schema": "app",
        "name": "logins",
        "key": ["id"],
        "status": "done",
        "reason": "",
        "rows": 10,
        "high": "5",
        "low": "7",
        "buckets": {"3": {"rows": 10, "high": "5", "low": "7"}},
        **changes,
    }


def sequence(**changes: Any) -> dict[str, Any]:
    """Make a digest of a sequence."""
    return {"step": 1, "cache": 1, "cycle": False, "value": 100, "called": True, "logged": 0, **changes}


def digest(**changes: Any) -> dict[str, Any]:
    """Make a digest of one side."""
    database: dict[str, Any] = {
        "tables": {"app.logins": table()},
        "sequences": {"app.ids": sequence()},
        "schema": {"columns": {"rows": 3, "high": "1", "low": "2"}},
    }
    return {
        "side": "db-tls",
        "epoch": "1.x",
        "system_id": "7",
        "databases": {"courses": {**database, **changes}},
    }


def compare(active: dict[str, Any], passive: dict[str, Any]) -> rows.Comparison:
    """Compare two digests of the database."""
    return rows.compare(digest(**active), digest(**passive))


def test_equal() -> None:
    """Everything alike: all rows compared, nothing to say."""
    found = compare({}, {})
    assert found.equal
    assert (found.rows_compared, found.rows_different, found.rows_not_proved) == (10, 0, 0)


def test_a_changed_row() -> None:
    """The same number of rows with another sum is a difference, and says where to look."""
    other = table(
        low="8", buckets={"3": {"rows": 9, "high": "5", "low": "8"}, "4": {"rows": 1, "high": "0", "low": "0"}}
    )
    active, passive = digest(), digest(tables={"app.logins": other})
    found = rows.compare(active, passive)
    assert found.rows_different == 1
    assert "courses.app.logins differs" in found.details[0]
    assert rows.questions(active, passive, found) == {"courses": {"app.logins": [3, 4]}}


def test_missing_rows_are_counted() -> None:
    """Three rows less are three rows different."""
    assert compare({}, {"tables": {"app.logins": table(rows=7)}}).rows_different == 3


def test_a_table_at_one_side_only() -> None:
    """It is a difference of all its rows."""
    found = compare({}, {"tables": {}})
    assert found.rows_different == 10
    assert "one side only" in found.details[0]


@pytest.mark.parametrize("status", ["not_proved", "pending", "failed"])
def test_what_was_cut_short_is_not_proved(status: str) -> None:
    """It is never equal, and no difference either."""
    found = compare({}, {"tables": {"app.logins": table(status=status, reason="a return", rows=0)}})
    assert (found.rows_compared, found.rows_not_proved) == (0, 10)
    assert found.equal
    assert "a return" in found.not_proved[0]


def test_another_switch_proves_nothing() -> None:
    """Digests of different switches or clusters say nothing about each other."""
    found = rows.compare({**digest(), "epoch": "2.y"}, digest())
    assert found.rows_compared == 0
    assert found.rows_not_proved == 20
    assert "different switches" in found.not_proved[0]


def test_a_database_at_one_side_only() -> None:
    """It is named, and its rows are different."""
    active = digest()
    active["databases"]["more"] = copy.deepcopy(active["databases"]["courses"])
    found = rows.compare(active, digest())
    assert found.rows_different == 10
    assert "database more" in found.details[0]


def test_the_schema_differs() -> None:
    """Equal rows with other columns are not equal."""
    found = compare({}, {"schema": {"columns": {"rows": 3, "high": "1", "low": "3"}}})
    assert found.details == ["courses: the columns differ"]


@pytest.mark.parametrize(
    ("active", "passive", "text"),
    [
        ({"value": 132}, {}, ""),
        ({"value": 133}, {}, ""),
        ({"value": 134}, {}, "ahead by 34, more than 33"),
        ({"value": 99}, {}, "behind"),
        ({"value": 68, "logged": 32}, {}, ""),
        ({"value": 68, "logged": 32}, {"logged": 5}, "behind"),
        ({"value": 68, "logged": 31}, {}, "behind"),
        ({"called": False}, {}, "not yet called"),
        ({"called": False}, {"called": False}, ""),
        ({"value": -132, "step": -1}, {"value": -100, "step": -1}, ""),
        ({"value": -99, "step": -1}, {"value": -100, "step": -1}, "behind"),
    ],
)
def test_sequences(active: dict[str, Any], passive: dict[str, Any], text: str) -> None:
    """The active side may be ahead by what the log reserves; behind is a difference."""
    found = compare({"sequences": {"app.ids": sequence(**active)}}, {"sequences": {"app.ids": sequence(**passive)}})
    assert found.equal is not bool(text)
    assert text in "".join(found.details)


def test_a_cycling_sequence_has_no_order() -> None:
    """What cannot be judged is not proved."""
    found = compare(
        {"sequences": {"app.ids": sequence(value=1, cycle=True)}}, {"sequences": {"app.ids": sequence(cycle=True)}}
    )
    assert found.equal
    assert "app.ids" in found.not_proved[0]


def test_a_sequence_at_one_side_only() -> None:
    """It is a difference."""
    assert "one side only" in compare({"sequences": {}}, {}).details[0]


def test_differing_rows() -> None:
    """Changed, missing here, missing there."""
    one = [{"key": "a", "hash": "1"}, {"key": "b", "hash": "2"}, {"key": "c", "hash": "3"}]
    other = [{"key": "a", "hash": "1"}, {"key": "b", "hash": "9"}, {"key": "d", "hash": "4"}]
    assert rows.differing_rows(one, other) == {
        "b": "changed",
        "c": "missing at the passive side",
        "d": "missing at the active side",
    }


def _sums(texts: list[str]) -> tuple[int, int, int]:
    high = low = 0
    for text in texts:
        value = hashlib.md5(text.encode(), usedforsecurity=False).digest()
        high += int.from_bytes(value[:8], "big", signed=True)
        low += int.from_bytes(value[8:], "big", signed=True)
    return len(texts), high, low


@given(st.lists(st.sampled_from(["a", "b", "c", "(1.0)", "(1.00)", "(-0)", "(0)"]), max_size=12), st.randoms())
def test_the_sum_is_a_multiset_hash(texts: list[str], random: Any) -> None:
    """Order does not matter; a duplicate does, and two of them do not cancel out."""
    shuffled = list(texts)
    random.shuffle(shuffled)
    assert _sums(shuffled) == _sums(texts)
    assert _sums([*texts, "x", "x"]) != _sums(texts)


def test_quoting() -> None:
    """An odd name stays one name."""
    assert rows.quote('a"b') == '"a""b"'
    assert 'FROM ONLY "odd"."Weird "".Name" AS t' in rows.table_digest("odd", 'Weird ".Name')
    assert '(t."a b"::text' not in rows.bucket_digest("s", "t", ["id"])
    assert 't."a b"::text' in rows.bucket_digest("s", "t", ["a b"])
