"""What a restored dump cannot have alike although nothing is lost, and databases with troubles of their own.

After PostgreSQL's own regression database: rights that somebody has given and taken back, a dropped column, a column
that a parent got later than its child, a materialized view that nobody has refreshed; names and texts in encodings that
have no form in UTF-8, settings that get in the way of whoever comes in, a name with an equals sign.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.faults.pair import Pair

RESTORED = """
create schema odder;
create table odder.given (i int); grant select on odder.given to public; revoke select on odder.given from public;
grant create on database courses to public; revoke create on database courses from public;
create table odder.parent (a int); create table odder.child (b text) inherits (odder.parent);
insert into odder.child values (1, 'x'); alter table odder.parent add column c int default 3;
create table odder.dropped (a int, b int, c text); insert into odder.dropped values (1, 2, 'x');
alter table odder.dropped drop column b; insert into odder.dropped values (3, 'y');
create materialized view odder.stale as select * from odder.dropped;
insert into odder.dropped values (5, 'z');
create materialized view odder.fresh as select * from odder.dropped;
create unlogged table odder.gone (i int); drop table odder.gone;
"""
ENCODINGS = {"bytes": "SQL_ASCII", "win": "WIN1252", "mule": "MULE_INTERNAL"}
STALE = "courses.odder.stale"
# Bytes that have no form in UTF-8 are made of numbers: a name in the first database, a value in the next.
ELSEWHERE = {
    "x": 'create schema "y.z"; create table "y.z".t (i int primary key, v text); insert into "y.z".t values (1, $$a$$)',
    "x.y": "create schema z; create table z.t (i int primary key, v text); insert into z.t values (1, $$a$$)",
    "bytes": "do $$ begin execute format('create table %I (i int primary key, v text)', "
    "convert_from('\\x74e96c', 'SQL_ASCII')); end $$; "
    "create table m (i int primary key, v text); insert into m values (1, convert_from('\\xe9', 'SQL_ASCII'))",
    "win": "create table m (i int primary key, v text); "
    "insert into m values (1, convert_from('\\x618162', 'WIN1252')), (2, convert_from('\\x80', 'WIN1252'))",
    "mule": "create table m (i int primary key, v text); "
    "insert into m values (1, convert_from('\\x6181e962', 'MULE_INTERNAL'))",
    "k=v": "create table m (i int primary key, v text); insert into m values (1, $$a$$); "
    'alter database "k=v" set default_transaction_read_only = on',
    "ev": "create table m (i int primary key, v text); insert into m values (1, $$a$$); "
    "create function no() returns event_trigger language plpgsql as 'begin raise ''no DDL here''; end'; "
    "create event trigger no on ddl_command_start execute function no(); "
    "alter database ev set default_transaction_read_only = on; alter database ev set statement_timeout = '2s'; "
    "alter database ev set standard_conforming_strings = off; alter database ev set search_path = nowhere",
}


def in_database(pair: Pair, side: str, database: str, sql: str) -> None:
    """Run statements in another database of that cluster."""
    pair.must_run(
        side,
        ["runuser", "-u", "postgres", "--", "env", f"PGDATABASE={database}", "psql", "-Xqv", "ON_ERROR_STOP=1"],
        sql,
    )


def make(pair: Pair, databases: Iterable[str] = tuple(ELSEWHERE)) -> None:
    """Make all of it at the source; of the databases those that are named."""
    pair.sql("source", RESTORED)
    for database in databases:
        kind = f"template template0 encoding '{ENCODINGS[database]}' locale 'C'" if database in ENCODINGS else ""
        pair.sql("source", f'create database "{database}" {kind}')
        in_database(pair, "source", database, ELSEWHERE[database])
