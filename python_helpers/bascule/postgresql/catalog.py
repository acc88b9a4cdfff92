"""What belongs to a database and is in no dump of its schema: lines, each with a name, from the server's catalogs."""

from __future__ import annotations

from . import rows

_USER = "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'"
_LARGE_OBJECTS = "'pg_catalog.pg_largeobject'::regclass"
# Rights that somebody has given and taken back are those of the beginning, in whatever order they stand.
_RIGHTS = "(SELECT array_agg(r::text ORDER BY r::text) FROM unnest(coalesce(lomacl, acldefault('L', lomowner))) AS r)"


def queries(layout: str) -> dict[str, str]:
    """Return the query of every kind; its lines have a `name` and, as `line`, all that has to be alike."""
    found = {
        # A dump takes the version that it finds.
        "extension version": "SELECT extname::text AS name, extversion AS line FROM pg_extension",
        "large object": "SELECT oid::text AS name, concat_ws('|', pg_get_userbyid(lomowner), "
        f"{_RIGHTS}) AS line FROM pg_largeobject_metadata",
        "comment on large object": "SELECT d.objoid::text AS name, d.description AS line FROM pg_description d "
        f"WHERE d.classoid = {_LARGE_OBJECTS}",
    }
    if layout == rows.PHYSICAL:
        found |= {
            "invalid index": "SELECT concat_ws('.', quote_ident(n.nspname), quote_ident(c.relname)) AS name, "
            "concat_ws('|', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisready) AS line FROM pg_index i "
            "JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            f"WHERE NOT (i.indisvalid AND i.indisready) AND {_USER}",
            # What an extension has made is in no dump, even when somebody has changed it since.
            "function of an extension": "SELECT p.oid::regprocedure::text AS name, concat_ws('|', p.prosrc, p.probin, "
            "p.proconfig, p.prosecdef, p.provolatile, p.proisstrict, p.proparallel, pg_get_userbyid(p.proowner)) "
            "AS line FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_catalog.pg_proc'::regclass "
            "AND d.objid = p.oid AND d.deptype = 'e'",
        }
    return found


def of_all_roles() -> str:
    """Return the lines of what is set for all roles: the dump of a cluster has those of single roles only."""
    return (
        "SELECT split_part(x, '=', 1) AS name, x AS line FROM pg_db_role_setting s "
        "CROSS JOIN LATERAL unnest(s.setconfig) AS x WHERE s.setrole = 0 AND s.setdatabase = 0"
    )


def shared(version: int) -> str:
    """Return the query for a digest of what all databases share, by which a change of it is seen."""
    names = ["pg_authid", "pg_auth_members", "pg_db_role_setting", "pg_database", "pg_tablespace", "pg_shdescription"]
    names += ["pg_shseclabel", *(["pg_parameter_acl"] if version >= 150000 else [])]
    parts = " UNION ALL ".join(
        # What a VACUUM writes down is nobody's change.
        f"SELECT '{name}' AS c, (to_jsonb(t) - 'datfrozenxid' - 'datminmxid')::text AS l FROM pg_catalog.{name} AS t"
        for name in names
    )
    return (
        "SELECT encode(sha256(convert_to(coalesce(string_agg(c || l, chr(10) ORDER BY c, l COLLATE \"C\"), ''), "
        f"'SQL_ASCII')), 'hex') AS digest FROM ({parts}) AS q"
    )


def lines(query: str) -> str:
    """Return the query for the names of a kind's lines, each with a hash of what stands under that name."""
    return (
        "SELECT name, encode(sha256(convert_to(string_agg(coalesce(line, ''), chr(10) "
        f"ORDER BY line COLLATE \"C\"), 'SQL_ASCII')), 'hex') AS hash FROM ({query}) AS l GROUP BY name"
    )
