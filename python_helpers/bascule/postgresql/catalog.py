"""What stands for the schema and the rights in a database: lines, each with a name, from the server's catalogs.

The lines of a kind are digested together; where the digests differ, the names of the lines that differ are asked for.
"""

from __future__ import annotations

_USER = "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'"
# What an index has of these, its definition has.
_TABLES = f"c.relkind NOT IN ('i', 'I') AND {_USER}"
_RELATION = "concat_ws('.', n.nspname, c.relname)"


def queries() -> dict[str, str]:
    """Return the query of every kind; its lines have a `name` and, as `line`, all that has to be alike."""
    return {
        "role": "SELECT rolname::text AS name, concat_ws('|', to_jsonb(r) - 'oid', (SELECT to_jsonb(array_agg("
        "concat_ws('|', d.datname, s.setconfig) ORDER BY d.datname)) FROM pg_db_role_setting s "
        "LEFT JOIN pg_database d ON d.oid = s.setdatabase WHERE s.setrole = r.oid)) AS line FROM pg_authid r",
        "membership": "SELECT concat_ws(' in ', pg_get_userbyid(member), pg_get_userbyid(roleid)) AS name, "
        "admin_option::text AS line FROM pg_auth_members",
        "database": "SELECT d.datname::text AS name, concat_ws('|', pg_get_userbyid(datdba), encoding, datcollate, "
        "datctype, (SELECT array_agg(a ORDER BY a) FROM unnest(datacl::text[]) AS a), "
        "(SELECT s.setconfig FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole = 0)) AS line "
        "FROM pg_database d",
        "extension": "SELECT extname::text AS name, concat_ws('|', extversion, n.nspname) AS line FROM pg_extension e "
        "JOIN pg_namespace n ON n.oid = e.extnamespace",
        "schema": "SELECT nspname::text AS name, concat_ws('|', pg_get_userbyid(nspowner), nspacl) AS line "
        f"FROM pg_namespace n WHERE {_USER}",
        "relation": f"SELECT {_RELATION} AS name, concat_ws('|', c.relkind, pg_get_userbyid(c.relowner), c.relacl, "
        "c.relrowsecurity, c.relforcerowsecurity, c.relpersistence, c.reloptions, pg_get_expr(c.relpartbound, c.oid), "
        "(SELECT array_agg(h.inhparent::regclass::text ORDER BY h.inhseqno) FROM pg_inherits h "
        "WHERE h.inhrelid = c.oid)) AS line "
        f"FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_TABLES}",
        "column": f"SELECT concat_ws('.', {_RELATION}, a.attname) AS name, concat_ws('|', a.attnum, "
        "format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attacl, "
        "a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid)) AS line "
        "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
        f"WHERE a.attnum > 0 AND NOT a.attisdropped AND {_TABLES}",
        "index": f"SELECT {_RELATION} AS name, concat_ws('|', pg_get_indexdef(i.indexrelid), i.indisvalid, "
        "i.indisready, i.indisreplident, i.indisclustered) AS line FROM pg_index i "
        f"JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_USER}",
        "constraint": "SELECT concat_ws('.', n.nspname, k.conrelid::regclass, k.conname) AS name, "
        "concat_ws('|', pg_get_constraintdef(k.oid), k.convalidated) AS line "
        f"FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE {_USER}",
        "function": "SELECT p.oid::regprocedure::text AS name, concat_ws('|', n.nspname, p.proacl, p.prosrc, "
        "p.proconfig, p.prosecdef, p.provolatile, (SELECT lanname FROM pg_language g WHERE g.oid = p.prolang), "
        "pg_get_userbyid(p.proowner)) AS line FROM pg_proc p "
        f"JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_USER}",
        "view": f"SELECT {_RELATION} AS name, pg_get_viewdef(c.oid) AS line "
        f"FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND {_USER}",
        "rule": "SELECT concat_ws('.', w.ev_class::regclass, w.rulename) AS name, pg_get_ruledef(w.oid) AS line "
        "FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE w.rulename <> '_RETURN' AND {_USER}",
        "trigger": "SELECT concat_ws('.', g.tgrelid::regclass, g.tgname) AS name, "
        "concat_ws('|', pg_get_triggerdef(g.oid), g.tgenabled) AS line FROM pg_trigger g WHERE NOT g.tgisinternal",
        "type": "SELECT concat_ws('.', n.nspname, t.typname) AS name, concat_ws('|', t.typtype, t.typacl, "
        "t.typdefault, t.typnotnull, pg_get_userbyid(t.typowner), "
        "(SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)) "
        f"AS line FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE {_USER}",
        "policy": "SELECT concat_ws('.', polrelid::regclass, polname) AS name, concat_ws('|', polcmd, polpermissive, "
        "polroles::regrole[], pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) AS line "
        "FROM pg_policy",
        "default_right": "SELECT concat_ws('.', pg_get_userbyid(defaclrole), defaclnamespace::regnamespace, "
        "defaclobjtype) AS name, defaclacl::text AS line FROM pg_default_acl",
        "statistics": "SELECT concat_ws('.', n.nspname, x.stxname) AS name, pg_get_statisticsobjdef(x.oid) AS line "
        f"FROM pg_statistic_ext x JOIN pg_namespace n ON n.oid = x.stxnamespace WHERE {_USER}",
        "publication": "SELECT pubname::text AS name, concat_ws('|', pg_get_userbyid(pubowner), puballtables, "
        "pubinsert, pubupdate, pubdelete, pubtruncate) AS line FROM pg_publication",
        "large_object": "SELECT oid::text AS name, concat_ws('|', pg_get_userbyid(lomowner), lomacl) AS line "
        "FROM pg_largeobject_metadata",
        "comment": "SELECT concat_ws(' ', d.classoid::regclass, pg_describe_object(d.classoid, d.objoid, d.objsubid)) "
        "AS name, d.description AS line FROM pg_description d WHERE d.objoid >= 16384",
    }


def digest(query: str) -> str:
    """Return the query that digests the lines of a kind, whatever their order."""
    return (
        "SELECT count(*) AS rows, coalesce(encode(sha256(string_agg(h, ''::bytea ORDER BY h)), 'hex'), '') AS digest "
        f"FROM (SELECT sha256(convert_to(concat_ws('|', name, line), 'UTF8')) AS h FROM ({query}) AS l) AS q"
    )


def names(query: str, limit: int = 200000) -> str:
    """Return the query for the names of a kind's lines, each with a short hash of the line."""
    return (
        f"SELECT coalesce(jsonb_object_agg(name, h), '{{}}') AS lines FROM (SELECT name, "
        f"substr(md5(string_agg(coalesce(line, ''), '|' ORDER BY line)), 1, 16) AS h FROM ({query}) AS l "
        f"GROUP BY name LIMIT {int(limit)}) AS q"
    )
