"""One value of every type, one object of every kind: changed at one side, each has to be named, in both modes.

As in test_equality both sides take changes, and the source counts as the active one. Odd names, odd encodings and types
whose cast somebody has written are there as well, and must keep nothing from being compared.
"""

from __future__ import annotations

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import SIDES, Pair

from .test_equality import WAIT, mode, pin

pytestmark = pytest.mark.long

# A type, the value both sides have, and what becomes of it at the passive side.
TYPES = {
    "numeric": ("1.0", "1.00"),
    "float8": ("0", "-0"),
    "float4": ("0.1", "0.10000001"),
    "char(10)": ("a", "b"),
    "bpchar": ("a", "a "),
    "text": ("a", "a "),
    "json": ('{"a":1}', '{"a": 1}'),
    "jsonb": ('{"a":1.0}', '{"a":1.00}'),
    "int[]": ("{1,2}", "[0:1]={1,2}"),
    "text[]": ("{NULL}", '{"NULL"}'),
    "timestamptz": ("infinity", "-infinity"),
    "timestamp": ("2024-01-01 00:00:00.000001", "2024-01-01 00:00:00.000002"),
    "time": ("24:00", "00:00"),
    "timetz": ("10:00+00", "12:00+02"),
    "interval": ("1 month", "30 days"),
    "numrange": ("[1.0,2.0)", "[1.00,2.0)"),
    "int4multirange": ("{[1,2)}", "{[1,3)}"),
    "inet": ("10.0.0.1/24", "10.0.0.1/25"),
    "uuid": ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"),
    "xml": ("<a/>", "<a></a>"),
    "varbit": ("0", "00"),
    "point": ("(0,0)", "(-0,0)"),
    "path": ("[(0,0),(1,1)]", "((0,0),(1,1))"),
    "tsvector": ("a:1", "a:1A"),
    "tsquery": ("a&b", "b&a"),
    "bytea": ("\\x00", "\\x01"),
    "aclitem[]": ("{=r/postgres}", "{=w/postgres}"),
    "regclass": ("pg_class", "pg_proc"),
    "jsonpath": ("$.a", "strict $.a"),
    "flips.mood": ("sad", "happy"),
    "flips.pair": ("(1,a)", "(2,a)"),
    "flips.padded": ("a", "a "),
    "flips.guile": ("(1)", "(2)"),
    "flips.refusal": ("(1)", "(2)"),
}
# The two last have a cast that an unprivileged role has written: one would tell who ran it, the other one fails.
MADE = """
create schema flips; create role eve; grant all on schema flips to eve;
create type flips.mood as enum ('sad', 'happy');
create type flips.pair as (a int, b text);
create domain flips.padded as bpchar;
set role eve;
create type flips.guile as (a int);
create function flips.tell(flips.guile) returns text language plpgsql as $$
  begin perform set_config('role', 'none', false);
  if current_setting('is_superuser') = 'on' then copy (select 1) to program 'touch /tmp/eve-was-here'; end if;
  return 'same'; end $$;
create cast (flips.guile as text) with function flips.tell(flips.guile);
create type flips.refusal as (a int);
create function flips.refuse(flips.refusal) returns text language plpgsql as $$ begin raise 'no'; end $$;
create cast (flips.refusal as text) with function flips.refuse(flips.refusal);
reset role;
create schema "a.b"; create schema a;
create table "a.b".c (i int primary key, t text); insert into "a.b".c values (1, 'x');
create table a."b.c" (i int primary key, t text); insert into a."b.c" values (1, 'x');
create table flips.scanned (a int) with (autovacuum_enabled = false);
insert into flips.scanned select n from generate_series(1, 50000) n order by md5(n::text);
delete from flips.scanned where a % 400 <> 0; alter table flips.scanned add primary key (a);
create table flips.plain (i int primary key, v text); create table flips.other (i int);
create function flips.body(int) returns int language sql begin atomic select $1 + 1; end;
create aggregate flips.agg(int) (sfunc = int4pl, stype = int, initcond = '0');
create operator flips.### (leftarg = int, rightarg = int, function = int4pl);
create text search configuration flips.words (copy = simple);
create publication flips_told for table flips.plain;
create foreign data wrapper flips_wrapper;
create server flips_server foreign data wrapper flips_wrapper options (host 'a');
create user mapping for eve server flips_server options (u 'x');
create collation flips.letters from "C";
create function flips.fired() returns trigger language plpgsql as 'begin return new; end';
create trigger fires before insert on flips.other for each row execute function flips.fired();
create database x; create database "x.y"; create database "k=v";
alter database "k=v" set default_transaction_read_only = on;
create database bytes template template0 encoding 'SQL_ASCII' locale 'C';
create database mule template template0 encoding 'MULE_INTERNAL' locale 'C';
"""
ELSEWHERE = {
    "x": 'create schema "y.z"; create table "y.z".t (i int primary key, v text); insert into "y.z".t values (1, $$a$$)',
    "x.y": "create schema z; create table z.t (i int primary key, v text); insert into z.t values (1, $$a$$)",
    "mule": "create table m (i int primary key, v text); insert into m values (1, $$a$$)",
    "bytes": "create table m (i int primary key, v text); "
    "insert into m values (1, convert_from($$\\xe9$$, $$SQL_ASCII$$))",
}
CHANGED = """
create or replace function flips.body(int) returns int language sql begin atomic select $1 + 2; end;
drop aggregate flips.agg(int); create aggregate flips.agg(int) (sfunc = int4mi, stype = int, initcond = '7');
drop operator flips.### (int, int); create operator flips.### (leftarg = int, rightarg = int, function = int4mi);
alter text search configuration flips.words alter mapping for word with english_stem;
alter publication flips_told drop table flips.plain;
alter server flips_server options (set host 'b');
alter user mapping for eve server flips_server options (set u 'y');
alter table flips.plain replica identity full;
alter table flips.plain alter v set storage external;
alter table flips.other disable trigger fires;
alter role all set work_mem = '77MB';
alter database x connection limit 7;
comment on database x is 'changed';
alter function flips.fired() parallel safe;
create cast (flips.pair as flips.mood) with inout;
alter collation flips.letters owner to eve;
grant set on parameter work_mem to eve;
update "a.b".c set t = 'y';
"""
NAMED = (
    "courses: function flips.body(integer) differs",
    "courses: function flips.fired() differs",
    "courses: aggregate flips.agg(integer) differs",
    "courses: operator flips.### differs",
    "courses: text search configuration flips.words differs",
    "courses: publication table flips.flips_told plain exists at the active side only",
    "courses: server flips_server differs",
    "courses: user mapping USER MAPPING eve SERVER flips_server differs",
    "courses: table flips.plain differs",
    "courses: trigger flips.other fires differs",
    "courses: cast CAST (flips.pair AS flips.mood) exists at the passive side only",
    "courses: collation flips.letters differs",
    "x: comment DATABASE x exists at the passive side only",
    "x: database properties x exists at the passive side only",
    "cluster: setting of all roles work_mem exists at the passive side only",
    "cluster: right on the parameter work_mem exists at the passive side only",
)


def table(kind: str) -> str:
    """The table of a type."""
    return "flips." + "".join(c if c.isalnum() else "_" for c in f"t_{kind}")


def in_database(pair: Pair, side: str, database: str, sql: str) -> None:
    """Run statements in another database of that cluster."""
    pair.must_run(
        side,
        ["runuser", "-u", "postgres", "--", "env", f"PGDATABASE={database}", "psql", "-Xqv", "ON_ERROR_STOP=1"],
        sql,
    )


@pytest.fixture(scope="module")
def two(start_pair: StartPair) -> Pair:
    """Two sides with the same rows, both of which take changes; nothing has been switched."""
    pair = start_pair("db", "flips")
    in_database(pair, "source", "courses", MADE)
    values = [
        f"create table {table(kind)} (i int primary key, v {kind}); insert into {table(kind)} values (1, $v${old}$v$);"
        for kind, (old, _) in TYPES.items()
    ]
    in_database(pair, "source", "courses", "\n".join(values))
    for database, sql in ELSEWHERE.items():
        in_database(pair, "source", database, sql)
    pair.must("prepare", "sync")
    pair.sql("target", "select pg_promote()")
    return pair


@pytest.mark.parametrize("how", ["strict", "fast"])
def test_a_vacuum_of_one_side_is_no_difference(two: Pair, how: str) -> None:
    mode(two, how)
    two.sql("source", "vacuum analyze flips.scanned")
    pin(two)
    two.must("verify", extra=WAIT)
    found = two.fact("verify")
    assert (found["details"], found["rows_different"], found["rows_not_proved"]) == ([], 0, 0), found
    for label in ('courses."a.b".c', 'courses.a."b.c"', 'x."y.z".t', '"x.y".z.t', "mule.public.m", "bytes.public.m"):
        assert found["tables"][label] == "equal"


@pytest.mark.parametrize("how", ["strict", "fast"])
def test_every_change_is_named(two: Pair, how: str) -> None:
    mode(two, how)
    if two.sql("target", "select count(*) from pg_db_role_setting where setrole = 0 and setdatabase = 0") == "0":
        changes = [f"update {table(kind)} set v = $v${new}$v$;" for kind, (_, new) in TYPES.items()]
        in_database(two, "target", "courses", "\n".join([*changes, CHANGED]))
        in_database(two, "target", "x", "update \"y.z\".t set v = 'b'")
    pin(two)
    assert not two.verb("verify", extra=WAIT).ok
    found = two.fact("verify")
    rows = found["differing_rows"]
    for label in [*(f"courses.{table(kind)}" for kind in TYPES), 'x."y.z".t', 'courses."a.b".c']:
        (row,) = rows.get(label, {"": "none"}).values()
        assert row == {"how": "changed", "columns": ["t" if "a.b" in label else "v"]}, label
    assert found["tables"]['"x.y".z.t'] == found["tables"]['courses.a."b.c"'] == "equal"
    told = "\n".join(found["details"])
    assert [text for text in NAMED if text not in told] == [], told
    for side in SIDES:
        assert two.run(side, ["test", "-e", "/tmp/eve-was-here"]).rc != 0, "somebody's cast ran as a superuser"
