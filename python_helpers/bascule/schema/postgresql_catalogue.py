"""What is asked of PostgreSQL's catalogue. Pure texts; source: PostgreSQL 15, chapter 53 (system catalogs).

Each row is an object: its kind, its name and all that its definition says. The search path is pg_catalog, so every name
in a definition has its schema. Of the books of the migrations nothing is said, nor of `pg_attver`, a number that
a server (seen at 15.20, not at 15.18) puts among the options of each column when it is made.
"""

from __future__ import annotations

from .sql import LEDGER

_BASE = rf"""
WITH n AS (
  SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
  WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), r AS (
  SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN n ON n.oid = c.relnamespace
  WHERE c.relname !~ '^{LEDGER}'
)
"""
TABLES = f"""{_BASE}
SELECT r.name, n.nspname AS schema, r.relname AS relation FROM r JOIN n ON n.oid = r.relnamespace
WHERE r.relkind = 'r' OR (r.relkind = 'm' AND r.relispopulated) ORDER BY 1
"""
_RELATIONS = (
    """SELECT 'schema', format('%I', nspname), '' FROM n""",
    """SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN
         'materialized view'
         WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' ELSE 'composite type' END, name,
       concat_ws(' ', relkind, relpersistence, relrowsecurity, relforcerowsecurity, relreplident, reloptions::text,
         pg_get_expr(relpartbound, oid), pg_get_partkeydef(oid),
         (SELECT string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid =
         r.oid),
         CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) END)
     FROM r WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')""",
    """SELECT 'column', format('%s.%I', r.name, attname), concat(r.name, E'\\n', format_type(atttypid, atttypmod),
         E'\\n',
         concat_ws(' ', attnotnull, attidentity, attgenerated, attstorage, attcompression,
         (SELECT array_agg(o ORDER BY o)::text FROM unnest(attoptions) o WHERE o !~ '^pg_attver='),
         attstattarget,
         pg_get_expr(d.adbin, d.adrelid), (SELECT collname FROM pg_collation WHERE oid = attcollation)))
     FROM r JOIN pg_attribute a ON attrelid = r.oid AND attnum > 0 AND NOT attisdropped AND relkind NOT IN ('i',
         'I', 't', 'S')
     LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = attnum""",
    """SELECT 'column order', r.name, string_agg(attname, ', ' ORDER BY attnum) FROM r
     JOIN pg_attribute ON attrelid = r.oid AND attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'f', 'c')
     GROUP BY r.name""",
    """SELECT 'constraint', format('%s.%I', coalesce(r.name, contypid::regtype::text), conname),
       concat_ws(' ', pg_get_constraintdef(c.oid), convalidated, condeferrable, condeferred)
     FROM pg_constraint c JOIN n ON n.oid = connamespace LEFT JOIN r ON r.oid = conrelid
     WHERE (conrelid = 0 OR r.oid IS NOT NULL) AND contype <> 'n'""",
    """SELECT 'index', format('%I', i.indexrelid::regclass), concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid,
         indisclustered, indisreplident, (SELECT reloptions::text FROM pg_class WHERE oid = indexrelid))
     FROM pg_index i JOIN r ON r.oid = indrelid AND r.relkind <> 't'""",
    """SELECT 'sequence definition', r.name, concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmax,
         seqmin, seqcache,
         seqcycle, (SELECT refobjid::regclass::text || '.' || refobjsubid FROM pg_depend WHERE classid =
         'pg_class'::regclass
         AND objid = r.oid AND deptype IN ('a', 'i') AND refclassid = 'pg_class'::regclass LIMIT 1) IS NOT NULL)
     FROM r JOIN pg_sequence ON seqrelid = r.oid""",
    """SELECT 'trigger', format('%s.%I', r.name, tgname), concat_ws(' ', pg_get_triggerdef(t.oid), tgenabled)
     FROM pg_trigger t JOIN r ON r.oid = tgrelid WHERE NOT tgisinternal""",
    """SELECT 'policy', format('%s.%I', r.name, polname), concat_ws(' ', polcmd, polpermissive, polroles::regrole[],
         pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy JOIN r ON r.oid =
         polrelid""",
    """SELECT 'rule', format('%s.%I', r.name, rulename), concat_ws(' ', pg_get_ruledef(w.oid), ev_enabled)
     FROM pg_rewrite w JOIN r ON r.oid = ev_class WHERE rulename <> '_RETURN'""",
    """SELECT 'statistics', format('%I.%I', nspname, stxname), pg_get_statisticsobjdef(s.oid)
     FROM pg_statistic_ext s JOIN n ON n.oid = stxnamespace""",
)
_OTHERS = (
    """SELECT 'routine', p.oid::regprocedure::text, CASE WHEN prokind = 'a' THEN concat_ws(' ',
         format_type(prorettype, NULL),
         (SELECT to_jsonb(g) - 'aggfnoid' FROM pg_aggregate g WHERE aggfnoid = p.oid)) ELSE
         pg_get_functiondef(p.oid) END
     FROM pg_proc p JOIN n ON n.oid = pronamespace""",
    """SELECT 'type', format('%I.%I', nspname, typname), concat_ws(' ', typtype, typnotnull, typdefault,
         CASE WHEN typtype = 'd' THEN format_type(typbasetype, typtypmod) END,
         (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid =
         t.oid))
     FROM pg_type t JOIN n ON n.oid = typnamespace WHERE typtype IN ('d', 'e', 'r', 'b') AND typelem = 0""",
    """SELECT 'operator', o.oid::regoperator::text, concat_ws(' ', oprresult::regtype, oprcode)
     FROM pg_operator o JOIN n ON n.oid = oprnamespace""",
    """SELECT 'extension', extname, concat_ws(' ', extversion, extnamespace::regnamespace) FROM pg_extension""",
    """SELECT 'event trigger', evtname, concat_ws(' ', evtevent, evtenabled, evttags, evtfoid::regproc) FROM
         pg_event_trigger""",
    """SELECT 'publication', pubname, concat_ws(' ', puballtables, pubinsert, pubupdate, pubdelete, pubtruncate,
         (SELECT
         string_agg(prrelid::regclass::text, ', ' ORDER BY prrelid::regclass::text) FROM pg_publication_rel
         WHERE prpubid = p.oid)) FROM pg_publication p""",
    """SELECT 'comment', concat_ws(' ', i.type, i.identity), d.description FROM pg_description d,
       pg_identify_object(classoid, objoid, objsubid) i
     WHERE i.schema IN (SELECT quote_ident(nspname) FROM n) OR (i.type = 'schema' AND i.name IN (SELECT nspname
         FROM n))
       OR i.schema IS NULL AND i.type IN ('trigger', 'policy', 'rule', 'table constraint')""",
    """SELECT 'owner', name, relowner::regrole::text FROM r WHERE relkind NOT IN ('i', 'I', 't')
     UNION ALL SELECT 'owner', format('schema %I', nspname), nspowner::regrole::text FROM n
     UNION ALL SELECT 'owner', p.oid::regprocedure::text, proowner::regrole::text FROM pg_proc p JOIN n ON n.oid =
         pronamespace""",
)


def _privileges(name: str, acl: str, kind: str, owner: str, source: str) -> str:
    return f"""SELECT 'privileges', {name}, string_agg(concat_ws(' ', CASE grantee WHEN 0 THEN 'PUBLIC'
         ELSE grantee::regrole::text END, privilege_type, is_grantable, 'by', grantor::regrole), ', '
         ORDER BY grantee::regrole::text, privilege_type, grantor::regrole::text)
     FROM {source}, aclexplode(coalesce({acl}, acldefault({kind}, {owner}))) GROUP BY 2"""


_GRANTS = (
    _privileges(
        "name",
        "relacl",
        """(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char\"""",
        "relowner",
        "(SELECT * FROM r WHERE relkind NOT IN ('i', 'I', 't', 'c')) q",
    ),
    _privileges("format('schema %I', nspname)", "nspacl", "'n'", "nspowner", "n"),
    _privileges(
        "oid::regprocedure::text",
        "proacl",
        "'f'",
        "proowner",
        "(SELECT p.* FROM pg_proc p JOIN n ON n.oid = pronamespace) q",
    ),
    _privileges(
        "name",
        "attacl",
        "'c'",
        "relowner",
        "(SELECT format('%s.%I', r.name, attname) AS name, attacl, relowner FROM r JOIN pg_attribute ON "
        "attrelid = r.oid AND attacl IS NOT NULL) q",
    ),
)
CATALOGUE = (
    f"{_BASE} SELECT kind, name, coalesce(text, '') AS text FROM (\n"
    + "\nUNION ALL\n".join([*_RELATIONS, *_OTHERS, *_GRANTS])
    + "\n) AS said (kind, name, text)"
)
