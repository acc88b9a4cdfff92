"""A value of every type of the server, of its extensions and of users, and another value that must not pass for it.

Each is a type and two expressions of SQL: what both sides have, and what the passive side is changed to. Most pairs are
equal, or look equal, in some way that a comparison could go by: as numbers, as printed, as bytes without their padding.
"""

from __future__ import annotations

EXTENSIONS = ("citext", "cube", "hstore", "isn", "ltree", "seg")
# Types that the server keeps for its own catalogs: they take no value from anybody.
WITHOUT_INPUT = {
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
}
# Every type of the server that takes a value; what lies in arrays is in TYPES.
SERVERS_TYPES = (
    "select t.typname from pg_type t where t.typnamespace = 'pg_catalog'::regnamespace "
    "and t.typtype in ('b', 'r', 'm') and t.typcategory <> 'A'"
)

TYPES: dict[str, tuple[str, str, str]] = {
    # Numbers
    "bool": ("bool", "true", "false"),
    "int2": ("int2", "1", "2"),
    "int4": ("int4", "1", "2"),
    "int8": ("int8", "1", "2"),
    "oid": ("oid", "1", "2"),
    "money": ("money", "'1.00'", "'1.01'"),
    "numeric_scale": ("numeric", "1.0", "1.00"),
    "numeric_nan": ("numeric", "'NaN'", "'Infinity'"),
    "float8_zero": ("float8", "0", "'-0'"),
    "float8_nan": ("float8", "'NaN'", "'Infinity'::float8 - 'Infinity'::float8"),
    "float8_last_bit": ("float8", "0.1", "0.1::float8 + 1.3877787807814457e-17"),
    "float4_zero": ("float4", "0", "'-0'"),
    "float4_last_bit": ("float4", "0.1", "0.10000001"),
    # Text
    "char_padded": ("char(10)", "'a'", "'b'"),
    "bpchar": ("bpchar", "'a'", "'a '"),
    "bpchar_array": ("bpchar[]", "'{a}'", "array['a '::bpchar]"),
    "text_space": ("text", "'a'", "'a '"),
    "text_null": ("text", "null", "''"),
    "varchar": ("varchar", "'a'", "'a '"),
    "one_char": ('"char"', "'a'", "''"),
    "name": ("name", "'a'", "'b'"),
    "bytea": ("bytea", r"'\x00'", r"'\x01'"),
    "bit": ("bit(8)", "b'00000001'", "b'00000011'"),
    "varbit": ("varbit", "b'0'", "b'00'"),
    "refcursor": ("refcursor", "'a'", "'b'"),
    # Documents
    "json": ("json", """'{"a":1}'""", """'{"a": 1}'"""),
    "jsonb": ("jsonb", """'{"a":1.0}'""", """'{"a":1.00}'"""),
    "jsonpath": ("jsonpath", "'$.a'", "'strict $.a'"),
    "xml": ("xml", "'<a/>'", "'<a></a>'"),
    "tsvector": ("tsvector", "'a:1'", "'a:1A'"),
    "tsquery": ("tsquery", "'a&b'", "'b&a'"),
    # Time
    "date": ("date", "'infinity'", "'-infinity'"),
    "time": ("time", "'24:00'", "'00:00'"),
    "timetz": ("timetz", "'10:00+00'", "'12:00+02'"),
    "timestamp": ("timestamp", "'2024-01-01 00:00:00.000001'", "'2024-01-01 00:00:00.000002'"),
    "timestamptz": ("timestamptz", "'infinity'", "'-infinity'"),
    "interval_month": ("interval", "'1 month'", "'30 days'"),
    "interval_day": ("interval", "'24 hours'", "'1 day'"),
    # Geometry
    "point": ("point", "'(0,0)'", "'(-0,0)'"),
    "line": ("line", "'{1,0,0}'", "'{2,0,0}'"),
    "lseg": ("lseg", "'[(0,0),(1,1)]'", "'[(1,1),(0,0)]'"),
    "box": ("box", "'(0,0),(1,1)'", "'(0,0),(1,2)'"),
    "path": ("path", "'[(0,0),(1,1)]'", "'((0,0),(1,1))'"),
    "polygon": ("polygon", "'((0,0),(1,1))'", "'((1,1),(0,0))'"),
    "circle": ("circle", "'<(0,0),1>'", "'<(0,0),2>'"),
    # Networks
    "inet": ("inet", "'10.0.0.1/24'", "'10.0.0.1/25'"),
    "cidr": ("cidr", "'10.0.0.0/24'", "'10.0.0.0/25'"),
    "macaddr": ("macaddr", "'08:00:2b:01:02:03'", "'08:00:2b:01:02:04'"),
    "macaddr8": ("macaddr8", "'08:00:2b:01:02:03:04:05'", "'08:00:2b:01:02:03:04:06'"),
    "uuid": ("uuid", "'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"),
    # Ranges
    "int4range": ("int4range", "'[1,2)'", "'[1,3)'"),
    "int8range": ("int8range", "'[1,2)'", "'[1,)'"),
    "numrange": ("numrange", "'[1.0,2.0)'", "'[1.00,2.0)'"),
    "daterange": ("daterange", "'[2024-01-01,infinity)'", "'[2024-01-01,)'"),
    "tsrange": ("tsrange", "'[2024-01-01,infinity]'", "'[2024-01-01,infinity)'"),
    "tstzrange": ("tstzrange", "'empty'", "'(,)'"),
    "int4multirange": ("int4multirange", "'{[1,2)}'", "'{[1,3)}'"),
    "int8multirange": ("int8multirange", "'{}'", "'{[1,3)}'"),
    "nummultirange": ("nummultirange", "'{[1.0,2)}'", "'{[1.00,2)}'"),
    "datemultirange": ("datemultirange", "'{[2024-01-01,)}'", "'{[2024-01-01,infinity)}'"),
    "tsmultirange": ("tsmultirange", "'{}'", "'{(,)}'"),
    "tstzmultirange": ("tstzmultirange", "'{(,)}'", "'{(,infinity)}'"),
    # What the server numbers and names
    "oidvector": ("oidvector", "'1 2'", "'2 1'"),
    "int2vector": ("int2vector", "'1 2'", "'2 1'"),
    "tid": ("tid", "'(0,1)'", "'(0,2)'"),
    "xid": ("xid", "'1'", "'2'"),
    "cid": ("cid", "'1'", "'2'"),
    "xid8": ("xid8", "'1'", "'2'"),
    "pg_lsn": ("pg_lsn", "'0/1'", "'0/2'"),
    "pg_snapshot": ("pg_snapshot", "'1:2:'", "'1:3:'"),
    "txid_snapshot": ("txid_snapshot", "'1:2:'", "'1:3:'"),
    "aclitem": ("aclitem[]", "'{=r/postgres}'", "'{=w/postgres}'"),
    "regclass": ("regclass", "'pg_class'", "'pg_proc'"),
    "regcollation": ("regcollation", "'\"C\"'", "'\"POSIX\"'"),
    "regconfig": ("regconfig", "'simple'", "'english'"),
    "regdictionary": ("regdictionary", "'simple'", "'english_stem'"),
    "regnamespace": ("regnamespace", "'public'", "'pg_catalog'"),
    "regoper": ("regoper", "'|/'", "'||/'"),
    "regoperator": ("regoperator", "'+(int4,int4)'", "'-(int4,int4)'"),
    "regproc": ("regproc", "'now'", "'int4in'"),
    "regprocedure": ("regprocedure", "'abs(int4)'", "'abs(int8)'"),
    "regrole": ("regrole", "'postgres'", "'pg_monitor'"),
    "regtype": ("regtype", "'int4'", "'int8'"),
    # Made of others
    "array_from": ("int[]", "'{1,2}'", "'[0:1]={1,2}'"),
    "array_null": ("text[]", "'{NULL}'", "'{\"NULL\"}'"),
    "composite": ("flips.pair", "'(1,a)'", "'(2,a)'"),
    "composite_null": ("flips.pair", "null", "row(null, null)::flips.pair"),
    "composite_array": ("flips.pair[]", "'{\"(1,a)\"}'", '\'{"(1,\\"a \\")"}\''),
    "domain": ("flips.padded", "'a'", "'a '"),
    "enum": ("flips.mood", "'sad'", "'happy'"),
    "range_of_floats": ("flips.floats", "'[0,1)'", "'[-0,1)'"),
    # The two last have a cast that an unprivileged role has written: one would tell who ran it, the other one fails.
    "guile": ("flips.guile", "'(1)'", "'(2)'"),
    "refusal": ("flips.refusal", "'(1)'", "'(2)'"),
    # Of extensions
    "citext": ("citext", "'a'", "'A'"),
    "cube": ("cube", "'(0)'", "'(-0)'"),
    "hstore": ("hstore", "'a=>NULL'", "'a=>\"NULL\"'"),
    "isbn13": ("isbn13", "'978-0-11-000533-1'", "'978-0-306-40615-7'"),
    "ltree": ("ltree", "'a.b'", "'a.c'"),
    "seg": ("seg", "'1.0'", "'1.00'"),
}


def table(name: str) -> str:
    """Return the table of an entry."""
    return f"flips.t_{name}"


def made() -> str:
    """Return what makes every table, with its value and one that stays."""
    return "\n".join(
        f"create table {table(name)} (i int primary key, v {kind}); "
        f"insert into {table(name)} values (1, {old}), (2, {old});"
        for name, (kind, old, _) in TYPES.items()
    )


def changed() -> str:
    """Return what changes one row of every table."""
    return "\n".join(f"update {table(name)} set v = {new} where i = 1;" for name, (_, _, new) in TYPES.items())
