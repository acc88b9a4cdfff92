"""What is asked of MariaDB's catalogue, and what becomes of the answers. Pure; source: information_schema of 10.11.

Each object is its kind, its name and all that its definition says. The name of the database itself is left out, as a
copy has another. Of the books of the migrations nothing is said, and of events neither: a file may have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import catalogue as texts
from .catalogue import Catalogue
from .sql import LEDGER

Rows = Iterable[Sequence[Any]]
_MINE = f"LEFT({{0}}, {len(LEDGER)}) <> '{LEDGER}'"
# The first column is the object's name. Several rows of one name are one object.
QUERIES = {
    "table": "SELECT table_name, table_type, engine, row_format, table_collation, create_options, table_comment "
    "FROM information_schema.tables WHERE table_schema = database()",
    texts.COLUMN: "SELECT table_name, column_name, column_type, ordinal_position, column_default, is_nullable, "
    "character_set_name, collation_name, extra, generation_expression, column_comment "
    "FROM information_schema.columns WHERE table_schema = database() ORDER BY table_name, ordinal_position",
    "index": "SELECT CONCAT(table_name, '.', index_name), seq_in_index, column_name, sub_part, non_unique, collation, "
    "index_type, index_comment, ignored FROM information_schema.statistics WHERE table_schema = database() "
    "ORDER BY table_name, index_name, seq_in_index",
    "reference": "SELECT CONCAT(k.table_name, '.', constraint_name), ordinal_position, column_name, "
    "IF(referenced_table_schema = database(), '', referenced_table_schema), k.referenced_table_name, "
    "referenced_column_name, update_rule, delete_rule FROM information_schema.key_column_usage k "
    "JOIN information_schema.referential_constraints r USING (constraint_schema, constraint_name) "
    "WHERE constraint_schema = database() AND k.table_name = r.table_name "
    "ORDER BY k.table_name, constraint_name, ordinal_position",
    "check": "SELECT CONCAT(table_name, '.', constraint_name), level, check_clause "
    "FROM information_schema.check_constraints WHERE constraint_schema = database()",
    "partition": "SELECT table_name, partition_name, subpartition_name, partition_method, subpartition_method, "
    "partition_expression, subpartition_expression, partition_description, partition_comment "
    "FROM information_schema.partitions WHERE table_schema = database() AND partition_name IS NOT NULL "
    "ORDER BY table_name, partition_ordinal_position, subpartition_ordinal_position",
    "view": "SELECT table_name, view_definition, check_option, security_type, algorithm "
    "FROM information_schema.views WHERE table_schema = database()",
    "trigger": "SELECT trigger_name, event_manipulation, event_object_table, action_order, action_statement, "
    "action_timing, sql_mode, character_set_client, collation_connection "
    "FROM information_schema.triggers WHERE trigger_schema = database()",
    "routine": "SELECT CONCAT(LOWER(routine_type), ' ', routine_name), dtd_identifier, routine_definition, "
    "is_deterministic, sql_data_access, security_type, sql_mode, routine_comment "
    "FROM information_schema.routines WHERE routine_schema = database()",
    "parameter": "SELECT CONCAT(LOWER(routine_type), ' ', specific_name), ordinal_position, parameter_mode, "
    "parameter_name, dtd_identifier FROM information_schema.parameters WHERE specific_schema = database() "
    "ORDER BY routine_type, specific_name, ordinal_position",
    texts.OWNER: "SELECT CONCAT('view ', table_name), definer FROM information_schema.views "
    "WHERE table_schema = database() UNION ALL SELECT CONCAT('trigger ', trigger_name), definer "
    "FROM information_schema.triggers WHERE trigger_schema = database() UNION ALL "
    "SELECT CONCAT(LOWER(routine_type), ' ', routine_name), definer FROM information_schema.routines "
    "WHERE routine_schema = database()",
    "database": "SELECT 'database', default_character_set_name, default_collation_name "
    "FROM information_schema.schemata WHERE schema_name = database()",
}
# What holds rows of its own.
TABLES = (
    "SELECT table_name, table_type, engine FROM information_schema.tables WHERE table_schema = database() AND "
    f"table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND {_MINE.format('table_name')} ORDER BY table_name"
)
COLUMNS = (
    "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = database() "
    "ORDER BY table_name, ordinal_position"
)


def catalogue(database: str, answers: Mapping[str, Rows]) -> Catalogue:
    """Return a catalogue from the rows that each of QUERIES has found."""
    own = f"`{database.replace('`', '``')}`."
    found: dict[tuple[str, str], str] = {}
    order: dict[str, list[str]] = {}
    for kind, rows in answers.items():
        for row in rows:
            name, *said = [one.replace(own, "") if isinstance(one, str) else one for one in row]
            if name.startswith(LEDGER):
                continue
            if kind == texts.COLUMN:
                column, of_type, _, *rest = said
                order.setdefault(name, []).append(column)
                found[(kind, f"{name}.{column}")] = texts.column(name, of_type, repr(rest))
                continue
            if kind == "table" and said[0] not in ("BASE TABLE", "SYSTEM VERSIONED"):
                # What a view's row says of engine and comment is another's word.
                found[(f"{said[0].lower()} of", name)] = ""
                continue
            # Several rows are one text, in the order of the answer.
            found[(kind, name)] = found.get((kind, name), "") + f"{said!r}\n"
    for name, columns in order.items():
        found[(texts.ORDER, name)] = ", ".join(columns)
    return found


def digest(table: str, columns: Iterable[tuple[str, str]]) -> str:
    """Return a query for a table's rows: how many, a digest that does not depend on their order, how many had none.

    Each row is hashed whole, with the borders of its columns and NULL explicit; the four parts of the hashes are summed
    by themselves, exactly, so that equal rows do not cancel out.
    """
    parts = ", '|', ".join(f"COALESCE(SHA2({_bytes(name, kind)}, 256), 'N')" for name, kind in columns)
    whole = f"SHA2(CONCAT({parts}, '|'), 256)"
    sums = ", ':', ".join(
        f"COALESCE(SUM(CAST(CONV(SUBSTR(h, {place}, 16), 16, 10) AS DECIMAL(20))), 0)" for place in (1, 17, 33, 49)
    )
    hashed = f"(SELECT {whole} AS h FROM {quoted(table)}) AS hashed"
    return f"SELECT COUNT(*), CONCAT({sums}), COALESCE(SUM(h IS NULL), 0) FROM {hashed}"


def quoted(name: str) -> str:
    """Return a name as a statement has it."""
    return f"`{name.replace('`', '``')}`"


def _bytes(column: str, kind: str) -> str:
    """Return an expression whose bytes tell any two values of a column apart."""
    name = quoted(column)
    if kind in ("float", "double"):
        # A float is shown with fewer digits than it has.
        return f"CAST(CAST({name} AS DOUBLE) AS CHAR)"
    if kind == "bit":
        return f"CAST({name} + 0 AS CHAR)"
    holds = ("char", "text", "enum", "set", "json", "binary", "blob")
    spaces = ("geometry", "point", "linestring", "polygon")
    return name if any(word in kind for word in (*holds, *spaces)) else f"CAST({name} AS CHAR)"
