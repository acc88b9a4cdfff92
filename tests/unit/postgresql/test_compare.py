"""Two sides are equal when everything is; a difference is found and named, and what was cut short is neither."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bascule.postgresql import compare as subject
from bascule.postgresql import locate, rows


def table(**changes: Any) -> dict[str, Any]:
    """Make a digest of a table."""
    return {
        "schema": "app",
        "name": "logins",
        "how": rows.BINARY,
        "layout": rows.PHYSICAL,
        "status": "done",
        "reason": "",
        "rows": 10,
        "estimate": 12,
        "digest": "5 7",
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
        "schema": {"kinds": {"index": {"rows": 3, "digest": "aa"}}},
    }
    return {
        "side": "db-tls",
        "epoch": "1.x",
        "system_id": "7",
        "mode": rows.FAST,
        "layout": rows.PHYSICAL,
        "cluster": {"kinds": {}},
        "databases": {"courses": {**database, **changes}},
    }


def compare(active: dict[str, Any], passive: dict[str, Any]) -> subject.Comparison:
    """Compare two digests of the database."""
    return subject.compare(digest(**active), digest(**passive))


def test_equal() -> None:
    """Everything alike: all rows compared, nothing to say."""
    found = compare({}, {})
    assert found.equal
    assert (found.mode, found.rows_compared, found.rows_different, found.rows_not_proved) == ("fast", 10, 0, 0)
    assert found.consistency["skipped"] == ["nothing was checked"]


def test_a_database_that_nobody_looked_at_is_named() -> None:
    """Whichever side names it: it is not proved, and no difference either."""
    nothing: dict[str, Any] = {}
    told: dict[str, Any] = {"left_out": ["model (a template)"]}
    for sides in ((told, nothing), (nothing, told)):
        found = subject.compare(*({**digest(), **side} for side in sides))
        assert found.not_proved == ["database model (a template): it was not looked at"]
        assert found.equal


def test_a_changed_row() -> None:
    """The same number of rows with another sum is a difference, and is looked for."""
    active, passive = digest(), digest(tables={"app.logins": table(digest="5 8")})
    found = subject.compare(active, passive)
    assert found.rows_different == 1
    assert "courses.app.logins differs" in found.details[0]
    asked = locate.first(active, passive, found, "salt")
    assert asked == {"salt": "salt", "tables": {"courses": {"app.logins": {"step": "chunks"}}}, "kinds": {}}


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


def test_rows_that_nobody_counted_are_estimated() -> None:
    """Cut short at both sides, a table still counts as rows that were not proved."""
    cut = {"tables": {"app.logins": table(status="not_proved", reason="a return", rows=0)}}
    assert compare(cut, cut).rows_not_proved == 12


def test_digests_of_different_kinds_are_not_compared() -> None:
    """The text at one side and the binary form at the other say nothing about each other."""
    found = compare({}, {"tables": {"app.logins": table(how=rows.TEXT)}})
    assert found.tables == {"courses.app.logins": "not_proved"}
    assert found.rows_not_proved == 10


@pytest.mark.parametrize(("other", "told"), [(2048, "4096, 2048 blocks"), (None, "4096, unknown blocks")])
def test_streams_of_different_chunks_are_not_compared(other: int | None, told: str) -> None:
    """Equal or not, they say nothing about each other."""
    changes = {} if other is None else {"chunk_blocks": other}
    for digest_ in ("5 7", "5 8"):
        one, two = (
            table(how=rows.BINARY_STREAM, chunk_blocks=4096),
            table(how=rows.BINARY_STREAM, digest=digest_, **changes),
        )
        found = compare({"tables": {"app.logins": one}}, {"tables": {"app.logins": two}})
        assert found.tables == {"courses.app.logins": "not_proved"}
        assert found.not_proved == [f"table courses.app.logins: digested in chunks of different sizes: {told}"]
        assert (found.rows_compared, found.rows_not_proved) == (0, 10)


def test_sums_are_compared_whatever_the_chunks_were() -> None:
    """A difference is narrowed down over the whole table then: chunks with the same number are not the same rows."""
    one, two = ({"tables": {"app.logins": table(chunk_blocks=size)}} for size in (4096, 2048))
    assert compare(one, two).equal
    active, passive = digest(**one), digest(tables={"app.logins": table(chunk_blocks=2048, digest="5 8")})
    asked = locate.first(active, passive, subject.compare(active, passive), "salt")
    assert asked["tables"] == {"courses": {"app.logins": {"step": "buckets", "chunks": None}}}


@pytest.mark.parametrize(
    ("change", "text"),
    [({"epoch": "2.y"}, "switches"), ({"system_id": "8"}, "clusters"), ({"mode": "strict"}, "modes")],
)
def test_another_switch_proves_nothing(change: dict[str, str], text: str) -> None:
    """Digests of different switches, clusters or modes say nothing about each other."""
    found = subject.compare({**digest(), **change}, digest())
    assert (found.rows_compared, found.rows_not_proved) == (0, 20)
    assert f"different {text}" in found.not_proved[0]


def test_a_restored_copy_is_another_cluster() -> None:
    """A copy that was restored from a dump has a system identifier of its own."""
    one, other = digest(), digest()
    one["layout"] = other["layout"] = rows.LOGICAL
    other["system_id"] = "8"
    assert subject.compare(one, other).rows_compared == 10


def test_a_database_at_one_side_only() -> None:
    """It is named, and its rows are different."""
    active = digest()
    active["databases"]["more"] = copy.deepcopy(active["databases"]["courses"])
    found = subject.compare(active, digest())
    assert found.rows_different == 10
    assert "database more" in found.details[0]


def test_a_missing_index_is_named() -> None:
    """Equal rows with another schema are not equal; the object is asked for by name."""
    active, passive = digest(), digest(schema={"kinds": {"index": {"rows": 2, "digest": "bb"}}})
    found = subject.compare(active, passive)
    assert found.details == ["courses: something of kind index differs"]
    asked = locate.first(active, passive, found, "salt")
    assert asked["kinds"] == {"courses": {"index": {"step": "lines"}}}
    answers = [{"tables": {}, "kinds": {"courses": {"index": {"lines": lines}}}} for lines in ({"a": "1"}, {"b": "1"})]
    shown = locate.following(asked, *answers)
    assert shown["details"] == [
        "courses: index a exists at the active side only",
        "courses: index b exists at the passive side only",
    ]
    assert shown["ask"] == {}


def test_a_schema_that_was_not_read_is_not_proved() -> None:
    """Nothing read at both sides is not equal."""
    nothing: dict[str, Any] = {"schema": {}}
    for active in (nothing, {}):
        found = compare(active, nothing)
        assert found.not_proved[0].startswith("courses: the schema was not read")
        assert found.rows_not_proved == 1
    assert "a lock" in compare({}, {"schema": {"reason": "a lock"}}).not_proved[0]


def test_roles_that_differ_are_named() -> None:
    """They stand beside the databases, under a name that none can have."""
    kinds = {"role": {"rows": 1, "digest": "a"}}
    active, passive = {**digest(), "cluster": {"kinds": kinds}}, digest()
    found = subject.compare(active, passive)
    assert found.details == ["cluster: something of kind role differs"]
    asked = locate.first(active, passive, found, "salt")
    answers = [{"kinds": {"": {"role": {"lines": lines}}}} for lines in ({"bob": "1"}, {})]
    shown = locate.following(asked, *answers)
    assert shown["details"] == ["cluster: role bob exists at the active side only"]
    # Half an answer shows nothing.
    assert "no answer" in locate.following(asked, answers[0], {"kinds": {}})["unanswered"][0]
    read = subject.compare({**digest(), "cluster": {"reason": "changed"}}, digest())
    assert read.not_proved == ["roles and settings were not read: changed"]


def test_names_with_dots_are_different_things() -> None:
    """Two tables, or two databases with one table each, are never taken for one another."""
    one, two = rows.label("a", "b.c"), rows.label("a.b", "c")
    active = {"tables": {one: table(name="b.c"), two: table(name="c")}}
    found = compare(active, {"tables": {one: table(name="b.c"), two: table(name="c", digest="5 8")}})
    assert found.tables == {'courses.a."b.c"': "equal", 'courses."a.b".c': "different"}
    side = digest()
    plain = side["databases"]["courses"]
    names = {"x": rows.label("y.z", "t"), "x.y": rows.label("z", "t")}
    side["databases"] = {name: {**plain, "tables": {label: table()}} for name, label in names.items()}
    other = copy.deepcopy(side)
    other["databases"]["x"]["tables"][names["x"]]["digest"] = "5 8"
    found = subject.compare(side, other)
    assert found.tables == {'x."y.z".t': "different", '"x.y".z.t': "equal"}
    assert set(locate.first(side, other, found, "salt")["tables"]) == {"x"}


def test_an_unlogged_sequence_is_not_proved() -> None:
    """A standby has none of its values: it may give them again."""
    unlogged = {"sequences": {"app.ids": {"step": 1, "cache": 1, "cycle": False, "unlogged": True}}}
    found = compare(unlogged, unlogged)
    assert "sequence courses.app.ids: unlogged" in found.not_proved[0]
    assert found.rows_not_proved == 1


@pytest.mark.parametrize(("layout", "expected"), [(rows.LOGICAL, "by definition"), (rows.PHYSICAL, "different")])
def test_a_stale_materialized_view(layout: str, expected: str) -> None:
    """A restore fills it anew, a standby has its rows."""
    one, two = (digest(tables={"app.v": table(derived=True, layout=layout, digest=x)}) for x in ("1 1", "2 2"))
    one["layout"] = two["layout"] = layout
    found = subject.compare(one, two)
    assert found.tables == {"courses.app.v": expected}
    assert found.equal is (expected == "by definition")
    assert any("materialized view" in name for name in found.not_compared) is (expected == "by definition")


def test_what_leaves_a_host_names_no_columns_and_no_roles() -> None:
    """Hashes of definitions stay behind, those of roles always."""
    kinds = {"kinds": {"role": {"rows": 1, "digest": "a", "lines": {"bob": "h"}}}}
    side = {
        **digest(schema=kinds, tables={"app.t": table(chunks={}, columns=[{"name": "é"}], key=["é"])}),
        "cluster": kinds,
    }
    bare = {"kinds": {"role": {"rows": 1, "digest": "a"}}}
    for lines in (True, False):
        found = subject.slim(side, lines=lines)
        assert found["cluster"] == bare
        assert found["databases"]["courses"]["schema"] == (kinds if lines else bare)
        assert not {"chunks", "columns", "key"} & set(found["databases"]["courses"]["tables"]["app.t"])


def test_many_names_are_cut() -> None:
    """A reader gets some names and a number."""
    lines = subject.named("index", "courses", {str(n): "x" for n in range(30)}, {})
    assert len(lines) == 21
    assert lines[-1] == "courses: 10 more of kind index"


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


def test_damage_is_a_difference() -> None:
    """An index that does not know a row is not equal to one that does, whatever the rows."""
    active = digest()
    active["consistency"] = {
        "courses": {"indexes": 4, "tables": 2, "findings": ["index courses.app.i: lacks a row"], "skipped": []}
    }
    found = subject.compare(active, digest())
    assert found.details == ["not consistent: index courses.app.i: lacks a row"]
    assert found.consistency["indexes"] == 4


def row(key: str, *columns: str, times: int = 1) -> dict[str, Any]:
    """Make a masked row."""
    return {"key": key, "columns": list(columns), "times": times}


def test_differing_rows() -> None:
    """Changed, with the columns; missing here, missing there; there twice."""
    one = [row("a", "1", "2"), row("b", "1", "2"), row("c", "3", "4"), row("e", "5", "6", times=2)]
    other = [row("a", "1", "2"), row("b", "1", "9"), row("d", "4", "4"), row("e", "5", "6")]
    assert subject.differing_rows(one, other, ["id", "score"]) == {
        "b": {"how": "changed", "columns": ["score"]},
        "c": {"how": "missing at the passive side", "columns": []},
        "d": {"how": "missing at the active side", "columns": []},
        "e": {"how": "there 2 times at the active side, once at the other", "columns": []},
    }


def narrowed(layout: str, *answers: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """Ask until there is nothing more to ask."""
    active, passive = (
        digest(tables={"app.logins": table(layout=layout, digest=digest_)}) for digest_ in ("5 7", "5 8")
    )
    active["layout"] = passive["layout"] = layout
    found = subject.compare(active, passive)
    before: dict[str, Any] = {"ask": locate.first(active, passive, found, "salt"), "asked": []}
    for pair in answers:
        before["asked"].append(before["ask"]["tables"]["courses"]["app.logins"])
        one, other = ({"tables": {"courses": {"app.logins": answer}}, "kinds": {}} for answer in pair)
        before = {**before, **locate.following(before["ask"], one, other)}
    before["found"] = locate.finished(found.to_dict(), before)
    return before


def test_a_difference_is_narrowed_down_to_a_row_and_its_columns() -> None:
    """From chunks to buckets to rows; two rows that differ are two, though their number is alike."""
    last = (
        {"rows": [row("a", "1", "2"), row("b", "1", "2")], "columns": ["id", "score"]},
        {"rows": [row("a", "1", "3"), row("b", "1", "3")], "columns": ["id", "score"]},
    )
    found = narrowed(
        rows.PHYSICAL,
        ({"chunks": {"0": [5, "x", "y"], "1": [5, "x", "y"]}}, {"chunks": {"0": [5, "x", "y"], "1": [5, "x", "z"]}}),
        ({"buckets": {"7": [2, "x", "y"], "9": [3, "x", "y"]}}, {"buckets": {"7": [2, "x", "q"], "9": [3, "x", "y"]}}),
        last,
    )
    assert found["asked"] == [
        {"step": "chunks"},
        {"step": "buckets", "chunks": [1]},
        {"step": "rows", "chunks": [1], "buckets": [7]},
    ]
    assert found["ask"] == {}
    assert found["found"]["rows_different"] == 2
    assert "row a of courses.app.logins is changed in score" in found["found"]["details"]
    assert found["found"]["differing_rows"]["courses.app.logins"]["b"]["columns"] == ["score"]


def test_a_restored_copy_is_narrowed_down_by_keys() -> None:
    """Its rows lie elsewhere: chunks say nothing."""
    found = narrowed(rows.LOGICAL, ({"buckets": {"7": [2, "x", "y"]}}, {"buckets": {}}))
    assert found["asked"] == [{"step": "buckets", "chunks": None}]
    assert found["ask"]["tables"]["courses"]["app.logins"] == {"step": "rows", "chunks": None, "buckets": [7]}


def test_a_snapshot_that_is_gone_names_nothing() -> None:
    """The difference stands, and it is said that its rows are not named."""
    active, passive = digest(), digest(tables={"app.logins": table(digest="5 8")})
    found = subject.compare(active, passive)
    shown = locate.following(locate.first(active, passive, found, "salt"), None, {"tables": {}})
    assert shown["ask"] == {}
    result = locate.finished(found.to_dict(), shown)
    assert result["rows_different"] == 1
    assert "cannot be named" in result["not_named"][0]


def test_an_answer_that_failed_is_told() -> None:
    """One side could not answer about one table: the others go on."""
    found = narrowed(rows.PHYSICAL, ({"error": "the table is gone"}, {"chunks": {}}))
    assert found["unanswered"] == ["courses.app.logins: the table is gone"]
