-- What real databases hold and simple comparisons get wrong. Variables: seed, scale.
begin;
set role courses;
set local search_path = odd, public;

-- No primary key, and rows that are there more than once.
create table no_primary_key (a int, b text);
insert into no_primary_key select i % 500, case when i % 7 = 0 then null else 'row ' || i % 500 end
from generate_series(1, 5000 * :scale) as i;
insert into no_primary_key select 1, 'thrice' from generate_series(1, 3);
insert into no_primary_key values (null, null), (null, null);
alter table no_primary_key replica identity full;

create table documents (id int primary key, j json, b jsonb);
insert into documents values
    (1, '{"b": 1,   "a": [1.0, 1.00, 1e0], "b": 2}', '{"b": 1, "a": [1.0, 1.00, 1e0]}'),
    (2, 'null', 'null'), (3, null, null), (4, '"\u00e9\t"', '"é"'), (5, '{}', '{}'), (6, '[]', '[[], {}]');
insert into documents
select i, json_build_object('n', i, 'h', md5(:'seed' || i)), jsonb_build_object('n', i, 'list', array[i, i * 2])
from generate_series(10, 4000 * :scale) as i;

create table arrays (id int primary key, numbers int[], words text[], grid int[][], flags bool[]);
insert into arrays values
    (1, '{}', '{}', '{}', '{}'), (2, null, '{NULL,"NULL",""}', '{{1,2},{3,4}}', '{t,f,null}'),
    (3, '[0:2]={7,8,9}', E'{"a,b","{c}","d\\"e","f\\\\g"}', null, null);

create table bytes (id int primary key, b bytea, c char(10), v varbit, note text);
insert into bytes values
    (1, '\x', 'pad', b'', E'tab\there'), (2, '\x00ff00', null, b'10101', E'line\nfeed'), (3, null, '', null, E'back\\slash \\N \\.');
insert into bytes
select i, decode(repeat(md5(:'seed' || i), 400), 'hex'), 'c' || i, null, null from generate_series(10, 400 * :scale) as i;

create table numbers (id int primary key, n numeric, d double precision, r real, m numeric(12, 4));
insert into numbers values
    (1, 1.0, 0, 0, 1), (2, 1.00, '-0', '-0', 1.0), (3, 'NaN', 'NaN', 'NaN', null), (4, 'Infinity', 'Infinity', '-Infinity', null),
    (5, 1e100, 0.1, 0.1, 0.1), (6, -1e-100, 1e-310, 1e-40, -0.0001), (7, 0.30, 0.1::float8 + 0.2::float8, 16777217, 12345678.9012);

-- Partitions by range, one of them split by hash, and a default.
create table events (id bigint not null, at timestamptz not null, kind text, primary key (id, at)) partition by range (at);
create table events_2024 partition of events for values from ('2024-01-01+00') to ('2025-01-01+00');
create table events_2025 partition of events for values from ('2025-01-01+00') to ('2026-01-01+00') partition by hash (id);
create table events_2025_a partition of events_2025 for values with (modulus 2, remainder 0);
create table events_2025_b partition of events_2025 for values with (modulus 2, remainder 1);
create table events_rest partition of events default;
insert into events
select i, timestamptz '2023-12-01 00:00:00+00' + i * interval '101 minutes', (array['open', 'close', null])[1 + i % 3]
from generate_series(1, 12000 * :scale) as i;

create type address as (street text, zip text, at point);
create type mood as enum ('sad', 'ok', 'happy');
create domain percent as int check (value between 0 and 100);
create table people (
    id int generated always as identity primary key,
    home address,
    mood mood,
    score percent,
    first text not null,
    last text not null,
    full_name text generated always as (first || ' ' || last) stored
);
insert into people (home, mood, score, first, last) values
    (row('1, rue "du" Lac', '34000', point(1.5, -0)), 'happy', 100, 'Ana', 'Solé'),
    (row(null, '', null), null, null, '', ''), (null, 'sad', 0, 'O''Neil', E'x\ty');

create table shapes (
    p point, b box, c circle, poly polygon, i inet, n cidr, m macaddr, span interval, tz timetz, ts timestamp, r int4range, tr tstzrange, mr int4multirange,
    v tsvector, u uuid, x xml, big oid, bits bit(5), day date
);
insert into shapes values
    ('(1,2)', '((0,0),(1,1))', '<(0,0),5>', '((0,0),(1,0),(1,1))', '198.18.1.10/24', '198.18.0.0/16', '02:00:00:00:00:01', '1 mon -1 day 00:00:01.5', '10:00+02',
     'infinity', '[1,5)', '["2025-01-01 00:00+00",)', '{[1,3),[7,9)}', 'a:1 b:2A', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '<a b="1"/>', 4294967295, b'10101',
     '-infinity'),
    (null, null, null, null, '::1', '2001:db8::/32', null, '-178000000 years', '24:00:00-15:59', '4713-01-01 00:00:00 BC', 'empty', 'empty', '{}', '', null, null, 0,
     null, '5874897-12-31');

create table "Weird "".Name" ("sélect" int primary key, " " text, "UPPER" text);
insert into "Weird "".Name" values (1, 'spaces', 'ÉTÉ'), (2, '', null);

create table parent (id int primary key, a text);
create table child (b text) inherits (parent);
insert into parent values (1, 'parent');
insert into child values (2, 'child', 'x');

create table empty (id int primary key);
create table no_columns ();
insert into no_columns default values;
insert into no_columns default values;

create table long_rows (id int primary key, body text);
insert into long_rows
select i, (select string_agg(md5(:'seed' || i || ':' || k), '') from generate_series(1, 640) as k) from generate_series(1, 250 * :scale) as i;

create sequence standalone start 42 increment 7;
select setval('standalone', 4242, true);
create sequence never_called minvalue -5 start -5;
create sequence cycling as smallint minvalue 1 maxvalue 3 cycle cache 10;
select nextval('cycling'), nextval('cycling');

create view happy_people as select id, full_name from people where mood = 'happy';
create materialized view course_counts as select course, count(*) as rows from app.progress group by course;
create function touch() returns trigger language plpgsql as $$ begin new.a := coalesce(new.a, 'touched'); return new; end $$;
create trigger touch before insert on parent for each row execute function touch();

-- Large objects live outside every table.
create table attachments (id int primary key, content oid not null);
insert into attachments select i, lo_from_bytea(0, decode(repeat(md5(:'seed' || 'lo' || i), 3000), 'hex')) from generate_series(1, 12) as i;
insert into attachments values (100, lo_create(0));
select lo_put(content, 1048576, '\x656e64') from attachments where id = 1;
commit;
