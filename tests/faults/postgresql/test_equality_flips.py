"""One value of every type, one object of every kind: changed at one side, each has to be named, in both modes.

As in test_equality both sides take changes, and the source counts as the active one. Odd names, odd encodings and types
whose cast somebody has written are there as well, and must keep nothing from being compared.
"""

from __future__ import annotations

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import SIDES, Pair

from . import flips
from .odd_databases import ELSEWHERE, in_database
from .test_equality import WAIT, mode, pin

pytestmark = pytest.mark.long

MADE = """
create schema flips; create role eve; grant all on schema flips to eve;
create type flips.mood as enum ('sad', 'happy');
create type flips.pair as (a int, b text);
create domain flips.padded as bpchar;
create type flips.floats as range (subtype = float8);
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
create table flips.swapped (i int primary key, v text, w text);
insert into flips.swapped values (1, 'a', 'b'), (2, 'a', 'b');
create table flips.made (i int primary key, v int, w int generated always as (v * 2) stored);
insert into flips.made values (1, 1), (2, 2);
create table flips.keyless (v text); insert into flips.keyless values ('a'), ('a');
create table flips.by_text (k bpchar primary key, v text); insert into flips.by_text values ('a', 'x'), ('b', 'y');
create table flips.parted (i int, v text) partition by list (i);
create table flips.parted_one partition of flips.parted for values in (1);
create table flips.parted_rest partition of flips.parted default; insert into flips.parted values (1, 'a'), (2, 'a');
create table flips.parent (i int, v text); create table flips.child () inherits (flips.parent);
insert into flips.child values (1, 'a'); insert into flips.parent values (2, 'a');
create table flips.long (i int primary key, v text);
insert into flips.long select n, (select string_agg(md5((n * m)::text), '') from generate_series(1, 4000) m)
from generate_series(1, 3) n;
select lo_from_bytea(424242, 'hello');
create table flips.no_columns ();
insert into flips.no_columns default values; insert into flips.no_columns default values;
create table flips.dropped (a int); alter table flips.dropped drop column a; insert into flips.dropped default values;
select 'create table flips.wide (' || string_agg(format('c%s int', n), ',') || ')'
from generate_series(1, 1600) n \\gexec
insert into flips.wide (c1, c1600) values (1, 1), (2, 2);
create table flips.guarded (i int primary key, v text); alter table flips.guarded enable row level security;
alter table flips.guarded force row level security; create policy p on flips.guarded using (false);
insert into flips.guarded select n, 'x' from generate_series(1, 10) n;
create schema "quo""te
new'line\\back";
create table "quo""te
new'line\\back"."ta""b	le%s {{ 1 }} :x :'y' $1 \u2603" ("co""l
umn" int primary key, "{{ lookup('pipe','id') }}" text);
insert into "quo""te
new'line\\back"."ta""b	le%s {{ 1 }} :x :'y' $1 \u2603" values (1, 'a');
create function flips.body(int) returns int language sql begin atomic select $1 + 1; end;
create aggregate flips.agg(int) (sfunc = int4pl, stype = int, initcond = '0');
create operator flips.### (leftarg = int, rightarg = int, function = int4pl);
create text search configuration flips.words (copy = simple);
create publication flips_told for table flips.plain;
create foreign data wrapper flips_wrapper;
create server flips_server foreign data wrapper flips_wrapper options (host 'a');
create user mapping for eve server flips_server options (u 'x');
create foreign table flips.elsewhere (i int) server flips_server options (t 'a');
create function flips.strictly(int) returns int language sql as 'select $1';
create collation flips.letters from "C";
create function flips.fired() returns trigger language plpgsql as 'begin return new; end';
create trigger fires before insert on flips.other for each row execute function flips.fired();
create database x; create database "x.y"; create database "k=v";
create database ev;
create database bytes template template0 encoding 'SQL_ASCII' locale 'C';
create database win template template0 encoding 'WIN1252' locale 'C';
create database mule template template0 encoding 'MULE_INTERNAL' locale 'C';
"""
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
alter foreign table flips.elsewhere options (set t 'b');
alter table flips.long alter v set storage external;
alter table flips.long alter v set statistics 7;
alter table flips.long alter v set compression pglz;
alter function flips.strictly(int) strict;
update "a.b".c set t = 'y';
update flips.swapped set v = w, w = v where i = 1;
alter table flips.made alter w drop expression; update flips.made set w = 99 where i = 1;
insert into flips.keyless values ('a');
update flips.by_text set v = 'z' where k = 'a';
update flips.parted set v = 'b';
update flips.child set v = 'b';
update flips.long set v = left(v, 70000) || 'x' || substr(v, 70002) where i = 2;
select lo_put(424242, 0, 'j');
"""
EQUAL = (
    'courses."a.b".c',
    'courses.a."b.c"',
    'x."y.z".t',
    '"x.y".z.t',
    "bytes.public.m",
    'bytes.public.U&"t\\+00dce9l"',
    "win.public.m",
    "mule.public.m",
    '"k=v".public.m',
    "ev.public.m",
    "courses.flips.no_columns",
    "courses.flips.dropped",
    "courses.flips.wide",
    "courses.flips.guarded",
)
# What becomes of which columns: a row without a key is found where it lies, and a changed one lies elsewhere.
MOVED = [("missing at the active side", ()), ("missing at the passive side", ())]
ROWS = {
    'x."y.z".t': [("changed", ("v",))],
    'courses."a.b".c': [("changed", ("t",))],
    "courses.flips.swapped": [("changed", ("v", "w"))],
    "courses.flips.made": [("changed", ("w",))],
    "courses.flips.keyless": [("missing at the active side", ())],
    "courses.flips.by_text": [("changed", ("v",))],
    "courses.flips.parted_one": MOVED,
    "courses.flips.parted_rest": MOVED,
    "courses.flips.child": MOVED,
    "courses.flips.long": [("changed", ("v",))],
    "courses.pg_catalog.pg_largeobject": [("changed", ("data",))],
    **{f"courses.{flips.table(name)}": [("changed", ("v",))] for name in flips.TYPES},
}
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
    "courses: table flips.long differs",
    "courses: table flips.made differs",
    "courses: foreign table flips.elsewhere differs",
    "courses: function flips.strictly(integer) differs",
    "courses: trigger flips.other fires differs",
    "courses: cast CAST (flips.pair AS flips.mood) exists at the passive side only",
    "courses: collation flips.letters differs",
    "x: comment DATABASE x exists at the passive side only",
    "x: database properties x exists at the passive side only",
    "cluster: setting of all roles work_mem exists at the passive side only",
    "cluster: right on the parameter work_mem exists at the passive side only",
)


@pytest.fixture(scope="module")
def two(start_pair: StartPair) -> Pair:
    """Two sides with the same rows, both of which take changes; nothing has been switched."""
    pair = start_pair("db", "flips")
    extensions = "".join(f"create extension {name};\n" for name in flips.EXTENSIONS)
    in_database(pair, "source", "courses", f"{extensions}{MADE}{flips.made()}")
    for database, sql in ELSEWHERE.items():
        in_database(pair, "source", database, sql)
    pair.must("prepare", "sync")
    pair.sql("target", "select pg_promote()")
    return pair


def test_the_types_are_all_that_the_server_has(two: Pair) -> None:
    tried = {kind.split("(")[0].strip('"').removesuffix("[]") for kind, _, _ in flips.TYPES.values()}
    assert set(two.sql("source", flips.SERVERS_TYPES).splitlines()) - tried == flips.WITHOUT_INPUT


@pytest.mark.parametrize("how", ["strict", "fast"])
def test_a_vacuum_of_one_side_is_no_difference(two: Pair, how: str) -> None:
    mode(two, how)
    two.sql("source", "vacuum analyze flips.scanned")
    pin(two)
    two.must("verify", extra=WAIT)
    found = two.fact("verify")
    assert (found["details"], found["rows_different"], found["rows_not_proved"]) == ([], 0, 0), found
    for label in EQUAL:
        assert found["tables"][label] == "equal", label


@pytest.mark.parametrize("how", ["strict", "fast"])
def test_every_change_is_named(two: Pair, how: str) -> None:
    mode(two, how)
    if two.sql("target", "select count(*) from pg_db_role_setting where setrole = 0 and setdatabase = 0") == "0":
        in_database(two, "target", "courses", f"{flips.changed()}\n{CHANGED}")
        in_database(two, "target", "x", "update \"y.z\".t set v = 'b'")
    for side in SIDES:
        two.sql(side, f"create database spare_{how}")
    pin(two)
    assert not two.verb("verify", extra=WAIT).ok
    found = two.fact("verify")
    differ = {
        label: sorted((row["how"], tuple(row["columns"])) for row in rows.values())
        for label, rows in found["differing_rows"].items()
    }
    assert differ == ROWS
    assert {label for label, word in found["tables"].items() if word != "equal"} == set(ROWS)
    told = "\n".join(found["details"])
    assert [text for text in NAMED if text not in told] == [], told
    for side in SIDES:
        assert two.run(side, ["test", "-e", "/tmp/eve-was-here"]).rc != 0, "somebody's cast ran as a superuser"
        # Whatever was found, nobody is held back by it.
        drop = f"runuser -u postgres -- psql -Xqc 'drop database spare_{how}'"
        two.until(side, drop, seconds=60)
