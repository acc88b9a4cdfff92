"""Every history of a few files: what fits is planned, whatever does not is refused; and what a SQL file may hold."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import PlanError
from bascule.schema import catalogue, files, planner, services, sql
from bascule.schema.catalogue import Table
from bascule.schema.planner import APPLIED, RUNNING, Row

MOST = 3
SETS = [lines for n in range(MOST + 1) for lines in itertools.combinations(range(1, MOST + 1), n)]


def named(numbers: list[int]) -> dict[str, bytes]:
    return {f"{n:03d}_f{n}.{way}.sql": f"SELECT '{n} {way}';".encode() for n in numbers for way in ("up", "down")}


def migrations(count: int) -> tuple[files.Migration, ...]:
    found, wrong = files.collect("s", sql.SQLITE, named(list(range(1, count + 1))))
    assert wrong == ()
    return found


def row(number: int, edited: bool = False, state: str = APPLIED, name: str = "") -> Row:
    one = migrations(MOST)[number - 1]
    return Row("s", number, name or one.name, "0" if edited else one.up.sha256, one.down.sha256, state)


def test_every_set_of_numbers_and_every_state_of_the_books() -> None:
    """Which files there are, which lines the books have, and which of those were edited: all of it up to three."""
    looked = 0
    for count in range(MOST + 1):
        for lines in itertools.chain.from_iterable(
            itertools.combinations(range(1, MOST + 1), n) for n in range(MOST + 1)
        ):
            for edited in itertools.chain([None], lines):
                rows = [row(number, edited=number == edited) for number in lines]
                one, wrong = planner.history("s", migrations(count), rows)
                fits = lines == tuple(range(1, len(lines) + 1)) and len(lines) <= count and edited is None
                assert (not wrong) == fits, (count, lines, edited)
                looked += 1
                if not fits:
                    continue
                assert one.applied == len(lines)
                for wanted in range(count + 1):
                    walk = list(lines)
                    for step in planner.steps(one, wanted):
                        # Up only the next number, down only the last one.
                        if step.direction == files.UP:
                            assert step.migration.number == len(walk) + 1
                            walk.append(step.migration.number)
                        else:
                            assert step.migration.number == walk.pop()
                    assert walk == list(range(1, wanted + 1))
    assert looked > 50


def test_a_file_without_its_end_is_the_last_one_or_refused() -> None:
    for state in RUNNING.values():
        for place in (1, 2):
            rows = [row(number, state=state if number == place else APPLIED) for number in (1, 2)]
            one, wrong = planner.history("s", migrations(2), rows)
            assert bool(wrong) == (place == 1)
            assert one.applied == (1 if state == RUNNING["up"] else 2)
    before = Row("s", 1, "f1", "", "", RUNNING["up"], before="b", after="a")
    assert [planner.settled(before, found) for found in ("b", "a", "x", "")] == [False, True, None, None]
    assert planner.settled(Row("s", 1, "f1", "", "", RUNNING["up"], before="b"), "") is None


@given(st.sets(st.integers(1, 12)), st.sets(st.integers(1, 12)), st.sets(st.integers(1, 12)))
def test_holes_twins_and_missing_ways_back_are_all_named(numbers: set[int], twins: set[int], cut: set[int]) -> None:
    given_files = named(sorted(numbers))
    for number in twins & numbers:
        given_files |= {f"{number:04d}_twin.{way}.sql": b"SELECT 1;" for way in ("up", "down")}
    for number in cut & numbers:
        del given_files[f"{number:03d}_f{number}.down.sql"]
    _, wrong = files.collect("s", sql.SQLITE, given_files)
    holes = set(range(1, max(numbers, default=0) + 1)) - numbers
    said = "; ".join(wrong)
    assert bool(wrong) == bool(holes or twins & numbers or cut & numbers)
    for number in holes:
        assert "no file has number" in said
        assert str(number) in said
    for number in twins & numbers:
        assert f"number {number} is given twice" in said
    for number in (cut & numbers) - twins:
        assert f"{number:03d}_f{number}.up.sql has no .down.sql" in said


def circle(graph: dict[str, set[str]]) -> bool:
    """Whether anybody comes back to where they began."""
    return any(name in reached(graph, name) for name in graph)


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    ahead = [start]
    while ahead:
        new = graph.get(ahead.pop(), set()) & set(graph) - found
        found |= new
        ahead += new
    return found


@given(st.dictionaries(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdef"))))
def test_services_come_after_what_they_depend_on_and_circles_are_named(graph: dict[str, set[str]]) -> None:
    said: Any = {}
    for name, others in graph.items():
        said[name] = {"engine": "sqlite", "folder": "f", "file": "x", "depends_on": sorted(others & set(graph))}
        said[name]["production"] = False
    if circle(graph):
        with pytest.raises(PlanError, match="in a circle"):
            services.read(said, "here")
        return
    found = services.read(said, "here") if said else {}
    placed = planner.order(found, {name: one.depends_on for name, one in found.items()})
    assert sorted(placed) == sorted(graph)
    for name, one in found.items():
        assert all(placed.index(other) < placed.index(name) for other in one.depends_on)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine": "mongodb"}, "engine is mongodb, and is one of postgresql, sqlite, mariadb"),
        ({"engine": "mariadb"}, "connection has service, and may have .*copy is not given: an account that may make"),
        ({"connection": {"password": "x"}}, r"connection has password, .*; a password stands in a file of libpq"),
        ({"connection": None}, "connection is not given"),
        ({"folder": ""}, "folder is a path"),
        ({"folder": "{{ there }}"}, "without a template"),
        ({"backups": ""}, "backups is a path"),
        ({"production": "no"}, "production is true or false"),
        ({"lock_timeout": 0}, "lock_timeout is a whole number"),
        ({"depends_on": ["x"]}, "depends_on names x, which is no service"),
        ({"file": "x"}, "file is not for postgresql"),
        ({"colour": "red"}, "colour is nothing that Bascule knows"),
    ],
)
def test_a_declaration_that_cannot_be_right_is_named(change: dict[str, Any], said: str) -> None:
    right = {"engine": "postgresql", "folder": "f", "backups": "b", "connection": {"service": "s"}}
    assert services.read({"auth": right}, "here")["auth"].copy == {"service": "s"}
    with pytest.raises(PlanError, match=said):
        services.read({"auth": {**right, **change}}, "here")


HOLDS = [
    (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END;",
        True,
    ),
    ("CREATE FUNCTION f() RETURNS void AS $$ BEGIN COMMIT; END; $$ LANGUAGE plpgsql;", True),
    ("CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2);", True),
    ("INSERT INTO t VALUES (E'it\\'s; COMMIT;', '\\d', $q$;\\x$q$, \"COMMIT;\");", True),
    ("/* COMMIT; /* nested */ \\d */ SELECT 1; -- COMMIT;", True),
    ("SELECT 1; COMMIT;", False),
    ("  commit", False),
    ("/* x */ Begin; SELECT 1;", False),
    ("PREPARE TRANSACTION 'x';", False),
    ("SAVEPOINT x;", False),
    ("\\connect other", False),
    ("SELECT 1 \\gexec", False),
    ("COPY t FROM STDIN;\n1\n\\.\n", False),
    ("SELECT 'no end", False),
    ("SELECT $a$ no end $b$", False),
    ("/* /* */ no end", False),
    ("CREATE INDEX CONCURRENTLY i ON t (x);", False),
    ("VACUUM t;", False),
    ("DELETE FROM public.bascule_migration;", False),
    ("DROP DATABASE other;", False),
    ("CREATE ROLE x;", False),
    ("ALTER SYSTEM SET work_mem = '1MB';", False),
    ("GRANT one TO other;", False),
    ("GRANT SELECT ON t TO other;", True),
    ("CREATE USER MAPPING FOR x SERVER y;", True),
    ("-- nothing but words", False),
    ("PREPARE q AS SELECT 1;", True),
]


@pytest.mark.parametrize(("text", "fits"), HOLDS)
def test_what_postgresql_may_be_given(text: str, fits: bool) -> None:
    assert (not sql.findings(text, sql.POSTGRESQL, True)) == fits, sql.findings(text, sql.POSTGRESQL, True)


def test_what_sqlite_may_be_given_and_a_file_without_a_transaction() -> None:
    trigger = (
        "CREATE TEMP TRIGGER t AFTER INSERT ON x BEGIN SELECT CASE WHEN 1 THEN 2 END; SELECT 1; END; SELECT [a;b], `c`;"
    )
    assert sql.findings(trigger, sql.SQLITE, True) == []
    assert sql.findings("SELECT 1; END;", sql.SQLITE, True) != []
    assert "no-transaction is for PostgreSQL" in sql.findings("SELECT 1;", sql.SQLITE, False)[0]
    assert sql.findings("CREATE INDEX CONCURRENTLY i ON t (x);", sql.POSTGRESQL, False) == []
    assert "has 2" in sql.findings("REINDEX TABLE CONCURRENTLY a; SELECT 1", sql.POSTGRESQL, False)[0]


@given(st.text(alphabet="ab'\"$;-/*\\E() \n"))
def test_no_text_makes_the_reader_fail_and_each_is_read_whole(text: str) -> None:
    for engine in sql.READ_HERE:
        assert isinstance(sql.findings(text, engine, True), list)
        # Where a text has an end, a COMMIT behind it is never overlooked.
        if not any("ends within" in one or "of psql" in one for one in sql.findings(f"{text}\n;", engine, True)):
            assert any("has COMMIT" in one for one in sql.findings(f"{text}\n;\nCOMMIT;", engine, True))


def test_a_file_says_what_it_is_for() -> None:
    for text, said in {
        "-- bascule: engine postgresql\nSELECT 1;": "is for postgresql, and the service's engine is sqlite",
        "-- bascule: no-transactions\nSELECT 1;": "which is nothing that Bascule knows",
    }.items():
        _, wrong = files.collect("s", sql.SQLITE, {**named([1]), "001_f1.up.sql": text.encode()})
        assert said in wrong[0]
    _, wrong = files.collect("s", sql.SQLITE, {**named([1]), "001_f1.up.sql": b"SELECT '\xff';"})
    assert "is not UTF-8 (byte 8)" in wrong[0]


def test_what_a_restored_copy_writes_otherwise_is_no_difference_and_what_it_means_is() -> None:
    """PostgreSQL writes the list of an IN otherwise once it was dumped and restored."""
    here = "CHECK (((kind)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))"
    copy = "CHECK (((kind)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))"
    one, other, third = ({("constraint", "c"): text} for text in (here, copy, here.replace("'b'", "'c'")))
    assert catalogue.differences(one, other, catalogue.NOT_IN_A_COPY) == []
    assert catalogue.fingerprint(one) == catalogue.fingerprint(other) != catalogue.fingerprint(third)
    assert catalogue.differences(one, third, catalogue.NOT_IN_A_COPY) == ["constraint c is another"]
    for is_one, is_other in (("('a b')", "('ab')"), ("((a OR b) AND c)", "(a OR (b AND c))"), ("x::text", "x")):
        two = [{("constraint", "c"): f"CHECK ({text})"} for text in (is_one, is_other)]
        assert catalogue.differences(two[0], two[1], catalogue.NOT_IN_A_COPY) == ["constraint c is another"]
        assert catalogue.fingerprint(two[0]) != catalogue.fingerprint(two[1])
    # Before and after on one copy nothing is let pass.
    assert catalogue.differences(one, other) == ["constraint c is another"]


def test_what_a_change_destroys_is_said_once_for_each_thing() -> None:
    before = {
        ("table", "t"): "",
        ("column", "t.a"): catalogue.column("t", "int", ""),
        ("table", "u"): "",
        ("column", "u.a"): catalogue.column("u", "int", "not null"),
        ("column", "u.b"): catalogue.column("u", "text", ""),
    }
    after = {("table", "u"): "", ("column", "u.b"): catalogue.column("u", "int", "")}
    rows = {"t": Table(3), "u": Table(5)}
    assert catalogue.lost(before, after, rows, {"u": Table(4)}) == {
        "table t": 3,
        "column u.a": 5,
        "column u.b (of another type: its values may change)": 5,
        "rows of table u": 1,
    }
    assert catalogue.lost(before, before, rows, rows) == {}
    one = planner.word("s", [], {"table t"})
    assert one.startswith("s/")
    assert one != planner.word("s", [], {"table u"})
