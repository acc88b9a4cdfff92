"""What a comparison of two sides counts and says, to the last figure and word."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from bascule.postgresql import compare as subject
from bascule.postgresql import rows

from .test_compare import compare, digest, row, sequence, table


def figures(found: subject.Comparison) -> tuple[int, int, int]:
    """Return the rows that were compared, those that differ, and those that were not proved."""
    return found.rows_compared, found.rows_different, found.rows_not_proved


def of_tables(one: dict[str, Any] | None, other: dict[str, Any] | None) -> subject.Comparison:
    """Compare one table; None where it is not there."""
    return compare(*({"tables": {} if side is None else {"app.t": side}} for side in (one, other)))


NOTHING_CHECKED = {"indexes and heaps": "nothing was checked"}


def of_schema(one: dict[str, Any], other: dict[str, Any]) -> subject.Comparison:
    """Compare what two sides say of a schema."""
    return compare({"schema": one}, {"schema": other})


def test_a_comparison_tells_all_it_has_found() -> None:
    assert compare({}, {}).to_dict() == {
        "mode": "fast",
        "rows_compared": 10,
        "rows_different": 0,
        "rows_not_proved": 0,
        "details": [],
        "not_proved": [],
        "not_compared": {"indexes and heaps": "nothing was checked"},
        "tables": {"courses.app.logins": "equal"},
        "digested": {rows.BINARY: 1},
        "counted": {},
        "kinds": {},
        "consistency": {"indexes": 0, "tables": 0, "findings": [], "skipped": ["nothing was checked"]},
    }


def test_a_comparison_that_nobody_made_says_nothing_but_why() -> None:
    assert subject.Comparison(not_proved=["not restored"]).to_dict() == {
        "mode": "", "rows_compared": 0, "rows_different": 0, "rows_not_proved": 0, "details": [],
        "not_proved": ["not restored"], "not_compared": {}, "tables": {}, "digested": {}, "counted": {}, "kinds": {},
        "consistency": {},
    }  # fmt: skip


def test_every_doubt_counts_for_a_row_at_least() -> None:
    found = subject.Comparison()
    for unseen in (0, 1, 7):
        found.doubt("x", unseen)
    found.doubt("y")
    assert (found.rows_not_proved, found.not_proved, found.equal) == (1 + 1 + 7 + 1, ["x", "x", "x", "y"], True)


def test_sums_of_chunks_are_added() -> None:
    chunks: dict[str, list[Any]] = {"0": [2, "10", "-3"], "1": [0, "0", "0"], "2": ["3", "-4", "1"]}
    assert subject.fold(rows.BINARY, chunks) == {"rows": 5, "digest": "6 -2"}
    assert subject.fold(rows.SHA256, {}) == {"rows": 0, "digest": "0 0"}


@pytest.mark.parametrize("how", rows.STREAMS)
def test_chunks_of_a_stream_are_hashed_in_the_order_of_their_numbers(how: str) -> None:
    chunks = {"10": [1, "b"], "9": [2, "a"], "11": [0, "c"]}
    wanted = hashlib.sha256(b"9 2 a\n10 1 b\n").hexdigest()
    assert subject.fold(how, chunks) == {"rows": 3, "digest": wanted}


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("epoch", "2.y", "the results belong to different switches: 2.y, 1.x"),
        ("system_id", "8", "the results belong to different clusters: 8, 7"),
        ("layout", rows.LOGICAL, "the results belong to different layouts: logical, physical"),
        ("mode", rows.STRICT, "the results belong to different modes: strict, fast"),
    ],
)
def test_results_of_different_things_are_not_compared(key: str, value: str, text: str) -> None:
    found = subject.compare({**digest(), key: value}, digest())
    assert (found.not_proved, figures(found)) == ([text], (0, 0, 20))
    assert (found.tables, found.consistency) == ({}, {})
    empty = subject.compare({**digest(tables={}), key: value}, digest(tables={}))
    assert figures(empty) == (0, 0, 1)


def test_a_restored_copy_of_another_switch_is_not_compared() -> None:
    active = {**digest(), "layout": rows.LOGICAL, "epoch": "2.y", "system_id": "8"}
    found = subject.compare(active, {**digest(), "layout": rows.LOGICAL})
    assert found.not_proved == ["the results belong to different switches: 2.y, 1.x"]


def test_a_database_at_one_side_only_does_not_hide_the_others() -> None:
    for rows_of, different in ((4, 4), (0, 1)):
        more = digest(tables={"app.t": table(rows=rows_of)})["databases"]["courses"]
        active, passive = digest(), digest(tables={"app.logins": table(digest="5 8")})
        active["databases"]["A b"] = more
        for sides in ((active, passive), (passive, active)):
            found = subject.compare(*sides)
            assert found.details[0] == 'database "A b" exists at one side only'
            assert found.details[1].startswith("table courses.app.logins differs")
            assert figures(found) == (10, different + 1, 0)


def test_a_database_that_one_side_could_not_read_does_not_hide_the_others() -> None:
    broken = {"reason": "odd encoding", "tables": {"app.t": table(rows=3)}, "sequences": {}, "schema": {}}
    whole = digest(tables={"app.t": table(rows=8)})["databases"]["courses"]
    for one, other in ((broken, whole), (whole, broken)):
        active, passive = digest(), digest()
        active["databases"]["bad"], passive["databases"]["bad"] = one, other
        found = subject.compare(active, passive)
        assert found.not_proved == ["database bad: odd encoding"]
        assert figures(found) == (10, 0, 8)
        assert (found.details, list(found.tables)) == ([], ["courses.app.logins"])


def test_what_both_sides_left_out_is_named_once_and_in_order() -> None:
    one, other = ({**digest(), "left_out": names} for names in (["z", "b"], ["b", "a"]))
    found = subject.compare(one, other)
    assert found.not_proved == [f"database {name}: it was not looked at" for name in ("a", "b", "z")]


@pytest.mark.parametrize(("rows_of", "different"), [(10, 10), (1, 1), (0, 1)])
def test_a_table_at_one_side_only_differs_by_all_its_rows(rows_of: int, different: int) -> None:
    for sides in ((table(rows=rows_of), None), (None, table(rows=rows_of))):
        found = of_tables(*sides)
        assert found.details == ["table courses.app.t exists at one side only"]
        assert found.tables == {"courses.app.t": "different"}
        assert figures(found) == (0, different, 0)


@pytest.mark.parametrize(
    ("one", "other", "text", "unseen"),
    [
        ({"status": "pending", "reason": "", "rows": 0}, {}, "pending", 10),
        ({}, {"status": "failed", "reason": "a lock", "rows": 99}, "a lock", 10),
        ({"status": "failed", "reason": "x"}, {"status": "failed", "reason": "y"}, "x", 12),
        ({"status": "failed", "reason": "x", "estimate": None}, {"status": "failed", "estimate": 30}, "x", 30),
        ({"status": "failed", "reason": "x", "estimate": 0}, {"status": "failed", "estimate": 0}, "x", 1),
        ({"status": "failed", "reason": "x", "how": rows.TEXT}, {}, "x", 10),
        (
            {"status": "failed", "reason": "x", "how": rows.TEXT_STREAM, "chunk_blocks": 1},
            {"how": rows.TEXT_STREAM},
            "x",
            10,
        ),
        ({"how": rows.TEXT, "rows": 4}, {}, "digested in different ways: text, binary", 10),
        ({"how": rows.TEXT, "digest": "6 6"}, {"rows": 11}, "digested in different ways: text, binary", 11),
    ],
)
def test_a_table_that_cannot_be_judged_counts_as_many_rows_as_it_may_have(
    one: dict[str, Any], other: dict[str, Any], text: str, unseen: int
) -> None:
    found = of_tables(table(**one), table(**other))
    assert found.not_proved == [f"table courses.app.t: {text}"]
    assert found.tables == {"courses.app.t": "not_proved"}
    assert (figures(found), found.digested, found.details) == ((0, 0, unseen), {}, [])


def test_streams_of_chunks_of_one_size_are_compared() -> None:
    for how in rows.STREAMS:
        one = table(how=how, chunk_blocks=2048)
        found = of_tables(one, one)
        assert (figures(found), found.digested) == ((10, 0, 0), {how: 1})


@pytest.mark.parametrize(
    ("mine", "theirs", "compared", "different"), [(10, 10, 10, 1), (10, 7, 10, 3), (7, 10, 10, 3), (0, 1, 1, 1)]
)
def test_a_table_differs_by_as_many_rows_as_it_has_more_or_less(
    mine: int, theirs: int, compared: int, different: int
) -> None:
    found = of_tables(table(rows=mine), table(rows=theirs, digest="5 8"))
    assert found.details == [f"table courses.app.t differs: {mine} rows at the active side, {theirs} at the other"]
    assert figures(found) == (compared, different, 0)
    assert found.counted == {"courses.app.t": different}
    assert found.tables == {"courses.app.t": "different"}


def test_as_many_rows_with_the_same_digest_are_wanted() -> None:
    assert figures(of_tables(table(rows=10), table(rows=9))) == (10, 1, 0)


def test_tables_are_counted_by_how_they_were_digested() -> None:
    tables = {"app.a": table(), "app.b": table(), "app.c": table(how=rows.TEXT)}
    found = compare({"tables": tables}, {"tables": tables})
    assert (found.digested, found.rows_compared) == ({rows.BINARY: 2, rows.TEXT: 1}, 30)


def test_all_tables_with_a_trouble_are_named() -> None:
    one = {"a": table(), "b": table(status="failed", reason="x"), "c": table(digest="1 1"), "d": table()}
    other = {"b": table(), "c": table(), "d": table(digest="1 1")}
    found = compare({"tables": one}, {"tables": other})
    assert found.tables == {
        "courses.a": "different", "courses.b": "not_proved", "courses.c": "different", "courses.d": "different",
    }  # fmt: skip
    assert (figures(found), len(found.details)) == ((20, 12, 10), 3)


def test_a_stale_view_is_named_and_its_rows_do_not_count() -> None:
    view = table(derived=True, layout=rows.LOGICAL)
    found = of_tables(view, {**view, "digest": "1 1"})
    assert found.not_compared == {
        "materialized view courses.app.t": "stale at one side: compared by its definition",
        **NOTHING_CHECKED,
    }
    assert (figures(found), found.details) == ((0, 0, 0), [])
    assert of_tables(view, view).tables == {"courses.app.t": "equal"}
    assert of_tables({**view, "derived": False}, {**view, "digest": "1 1"}).tables == {"courses.app.t": "different"}


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ({}, {"kinds": {}}, "nobody has asked for it at both sides"),
        ({"kinds": {}}, {}, "nobody has asked for it at both sides"),
        ({"reason": "a lock"}, {"reason": "no right"}, "a lock"),
        ({"kinds": {}}, {"reason": "no right"}, "no right"),
    ],
)
def test_a_schema_that_a_side_could_not_read_is_in_doubt(one: dict[str, Any], other: dict[str, Any], why: str) -> None:
    found = of_schema(one, other)
    assert (found.not_proved, found.rows_not_proved) == ([f"courses: the schema was not read: {why}"], 1)
    sides = [{**digest(), "cluster": one}, {**digest(), "cluster": other}]
    assert subject.compare(*sides).not_proved == [f"roles and settings were not read: {why}"]


def test_nothing_said_of_roles_is_in_doubt() -> None:
    sides = [{key: value for key, value in digest().items() if key != "cluster"} for _ in range(2)]
    assert subject.compare(*sides).not_proved == [
        "roles and settings were not read: nobody has asked for it at both sides"
    ]


def test_each_kind_that_differs_is_named_with_its_names_where_they_are_known() -> None:
    def kind(digest_: str, number: int = 1, **lines: Any) -> dict[str, Any]:
        return {"rows": number, "digest": digest_, **lines}

    one = {"a": kind("x"), "b": kind("x", lines={"i": "1"}), "c": kind("x"), "d": kind("x", 2), "f": kind("x")}
    other = {
        "a": kind("x"), "b": kind("y", lines={"i": "2"}), "c": kind("y", lines={}), "d": kind("x", 3), "e": kind("x"),
    }  # fmt: skip
    found = of_schema({"kinds": one}, {"kinds": other})
    assert found.details == [
        "courses: b i differs",
        *(f"courses: something of kind {name} differs" for name in ("c", "d", "e", "f")),
    ]
    assert found.kinds == {"courses": ["c", "d", "e", "f"]}
    named = of_schema({"kinds": {}}, {"kinds": {"b": kind("x", lines={"i": "1"})}})
    assert named.details == ["courses: b i exists at the passive side only"]
    assert of_schema({"kinds": {}}, {"kinds": {"empty": {"rows": 0, "digest": ""}}}).equal


def test_sequences_are_named_with_what_both_sides_have() -> None:
    one = {
        "a": sequence(), "b": sequence(unlogged=True), "c": sequence(value=5), "d": sequence(), "e": sequence(value=5),
        "f": sequence(cycle=True, value=2),
    }  # fmt: skip
    other = {
        "b": sequence(), "c": sequence(value=9), "d": sequence(unlogged=True), "e": sequence(value=9), "f": sequence(),
        "g": sequence(),
    }  # fmt: skip
    found = compare({"sequences": one}, {"sequences": other})
    assert found.details == [
        "sequence courses.a exists at one side only",
        "sequence courses.c is behind: 5, 9 at the passive side",
        "sequence courses.e is behind: 5, 9 at the passive side",
        "sequence courses.g exists at one side only",
    ]
    assert found.not_proved == [
        "sequence courses.b: unlogged sequences are not replicated, it may give values again",
        "sequence courses.d: unlogged sequences are not replicated, it may give values again",
        "sequence courses.f is behind: 2, 100 at the passive side",
    ]
    assert found.rows_not_proved == 3


@pytest.mark.parametrize(
    ("active", "passive", "text"),
    [
        ({"value": 100 + 2 * 37, "step": 2, "cache": 5}, {"step": 2}, ""),
        ({"value": 101 + 2 * 37, "step": 2, "cache": 5}, {"step": 2}, "ahead by 75, more than 74"),
        ({"value": 100 - 3 * 33, "step": -3}, {"step": -3}, ""),
        ({"value": 99 - 3 * 33, "step": -3}, {"step": -3}, "ahead by 100, more than 99"),
        ({"value": 101, "step": -1}, {"step": -1}, "behind"),
        ({"value": 132, "step": -1, "logged": 32}, {"step": -1}, ""),
        ({"value": 36, "step": 2, "logged": 32}, {"step": 2}, ""),
        ({"value": 68}, {}, "behind"),
        ({"value": 99, "called": False}, {}, "behind"),
        ({}, {"called": False}, ""),
        ({"called": False, "value": 101}, {}, ""),
    ],
)
def test_how_far_a_sequence_may_be_ahead(active: dict[str, Any], passive: dict[str, Any], text: str) -> None:
    found = compare({"sequences": {"app.ids": sequence(**active)}}, {"sequences": {"app.ids": sequence(**passive)}})
    first, second = (sequence(**side)["value"] for side in (active, passive))
    wanted = [f"sequence courses.app.ids is {text}: {first}, {second} at the passive side"] if text else []
    assert (found.details, found.not_proved) == (wanted, [])


def test_a_sequence_whose_reserve_nobody_told_is_judged_without() -> None:
    bare = {key: value for key, value in sequence().items() if key != "logged"}
    for value, equal in ((100, True), (99, False)):
        assert compare({"sequences": {"s": {**bare, "value": value}}}, {"sequences": {"s": bare}}).equal is equal
    reserved = sequence(value=68, logged=32)
    assert compare({"sequences": {"s": reserved}}, {"sequences": {"s": bare}}).equal


def test_tables_whose_rows_lie_elsewhere_are_named() -> None:
    for one, other in ((["app.far"], []), ([], ["app.far"]), (["app.far"], ["app.far"])):
        found = compare({"elsewhere": one}, {"elsewhere": other})
        why = "its rows lie at another server: compared by its definition"
        assert found.not_compared == {"foreign table courses.app.far": why, **NOTHING_CHECKED}
        assert (found.details, found.not_proved) == ([], [])


def test_what_was_checked_is_added_up() -> None:
    checked = {
        "a": {"indexes": 4, "tables": 2, "findings": ["x", "y"], "skipped": ["s"]},
        "b": {"indexes": 1},
        "c": {"tables": 5, "skipped": ["t"]},
    }
    wanted = {"indexes": 5, "tables": 7, "findings": ["x", "y"], "skipped": ["s", "t"]}
    for sides in (({**digest(), "consistency": checked}, digest()), (digest(), {**digest(), "consistency": checked})):
        found = subject.compare(*sides)
        assert found.consistency == wanted
        assert found.details == ["not consistent: x", "not consistent: y"]
        assert found.not_compared == {"indexes and heaps": "s; t"}
    mine = {**digest(), "consistency": {"a": {"indexes": 9}}}
    found = subject.compare(mine, {**digest(), "consistency": checked})
    assert found.consistency == {"indexes": 9, "tables": 0, "findings": [], "skipped": []}
    assert found.not_compared == {}


def test_rows_are_counted_over_all_tables_that_were_digested() -> None:
    tables = {"a": {"rows": 3}, "b": {"rows": None}, "c": {}, "d": {"rows": "4"}}
    databases = {
        "one": {"tables": tables},
        "two": {"tables": {"a": {"rows": 5}}},
        "three": None,
        "four": {"tables": {}},
    }
    assert subject.count({"databases": databases}) == 12


def test_what_a_side_says_of_a_schema_is_a_copy() -> None:
    side = {**digest(), "cluster": {"kinds": {"role": {}}}}
    assert subject.described(side, subject.CLUSTER) == {"kinds": {"role": {}}}
    assert subject.described(side, "courses") == {"kinds": {"index": {"rows": 3, "digest": "aa"}}}
    assert subject.described(side, "none") == subject.described({"databases": {}}, "") == {}
    assert subject.described({"databases": {"x": {}}}, "x") == {}
    found = subject.described(side, "courses")
    found["kinds"] = {}
    assert side["databases"]["courses"]["schema"]["kinds"]


def test_what_is_kept_of_a_digest_is_all_but_what_its_host_alone_needs() -> None:
    side = digest(tables={"app.t": table(chunks={"0": [1]}, columns=[{"name": "x"}], key=["x"])})
    wanted = digest(tables={"app.t": table()})
    assert subject.slim(side) == subject.slim(side, lines=True) == wanted
    assert "chunks" in side["databases"]["courses"]["tables"]["app.t"]
    told = digest(schema={"kinds": {"index": {"rows": 1, "digest": "a", "lines": {"i": "h"}}}})
    assert subject.slim(told)["databases"]["courses"]["schema"] == {"kinds": {"index": {"rows": 1, "digest": "a"}}}
    unread = {**digest(schema={"reason": "a lock"}), "cluster": {"reason": "no right"}}
    assert subject.slim(unread) == unread
    assert subject.slim({"databases": {}}) == {"databases": {}, "cluster": {}}


@pytest.mark.parametrize(("number", "more"), [(19, []), (20, []), (21, ["x: 1 more of kind index"])])
def test_20_names_of_a_kind_are_told(number: int, more: list[str]) -> None:
    lines = subject.named("index", "x", {}, {f"{n:02}": "h" for n in range(number)})
    assert lines == [*(f"x: index {n:02} exists at the passive side only" for n in range(min(20, number))), *more]


def test_what_differs_of_a_kind_is_told_in_order() -> None:
    lines = subject.named("role", subject.CLUSTER, {"a": "1", "b": "1", "d": "1"}, {"b": "2", "c": "1", "d": "1"}, 2)
    assert lines == [
        "cluster: role a exists at the active side only",
        "cluster: role b differs",
        "cluster: 1 more of kind role",
    ]
    assert subject.named("index", "A", {"i": "1"}, {}) == ['"A": index i exists at the active side only']


def test_rows_that_differ_are_told_each_for_itself() -> None:
    columns = ["id", "b", "a"]
    one = [
        row("k", "1", "2", "3"), row("k", "1", "2", "4"), row("m", "1", "1", "1", times=3), row("n", "9"),
        row("p", "1", "2", "3", "4"), row("q", "1", "2", "3"), row("r", "1", "2", "3"),
    ]  # fmt: skip
    other = [
        row("k", "1", "2", "4"), row("k", "1", "2", "3"), row("m", "1", "1", "1", times=2), row("n", "8", "7"),
        row("p", "1", "2", "3", "5"), row("q", "1", "7", "8"), row("s", "1", "2", "3"), row("r", "1", "2", "3"),
    ]  # fmt: skip
    assert subject.differing_rows(one, other, columns) == {
        "m": {"how": "there 3 times at the active side, 2 times at the other", "columns": []},
        "n": {"how": "changed", "columns": ["id"]},
        "p": {"how": "changed", "columns": []},
        "q": {"how": "changed", "columns": ["a", "b"]},
        "s": {"how": "missing at the active side", "columns": []},
    }
    assert list(subject.differing_rows(one, [], columns)) == ["k", "m", "n", "p", "q", "r"]
    assert subject.differing_rows([row("k", "1")], [row("k", "1", times=2)], columns) == {
        "k": {"how": "there once at the active side, 2 times at the other", "columns": []}
    }
