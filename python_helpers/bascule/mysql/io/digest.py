"""Digest what a server holds: rows under a snapshot, definitions, accounts."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from ...errors import BasculeError
from .. import compare, settings
from ..refusals import OWN_SCHEMAS
from .client import Client, Session
from .server import Server

_COUNTER = re.compile(r" AUTO_INCREMENT=\d+")
# Who may do what, with the columns that are the same wherever a statement was run.
_ACCOUNTS = {
    "global_priv": "Host, User, Priv",
    "db": "*",
    "tables_priv": "Host, Db, User, Table_name, Table_priv, Column_priv",
    "columns_priv": "Host, Db, User, Table_name, Column_name, Column_priv",
    "procs_priv": "Host, Db, User, Routine_name, Routine_type, Proc_priv",
    "roles_mapping": "*",
    "proxies_priv": "Host, User, Proxied_host, Proxied_user, With_grant",
}
_DEFINITIONS = {
    "database": "SELECT SCHEMA_NAME a, '' b, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM "
    "information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN ({own})",
    "trigger": "SELECT TRIGGER_SCHEMA a, TRIGGER_NAME b, EVENT_MANIPULATION, EVENT_OBJECT_TABLE, ACTION_ORDER, "
    "ACTION_STATEMENT, ACTION_TIMING, SQL_MODE, DEFINER FROM information_schema.TRIGGERS "
    "WHERE TRIGGER_SCHEMA NOT IN ({own})",
    "routine": "SELECT db a, CONCAT(type, ' ', name) b, param_list, `returns`, body_utf8, definer, sql_mode, "
    "security_type, is_deterministic FROM mysql.proc WHERE db NOT IN ({own})",
    "event": "SELECT db a, name b, body_utf8, definer, execute_at, interval_value, interval_field, starts, ends, "
    "on_completion, sql_mode, time_zone FROM mysql.event WHERE db NOT IN ({own})",
}
# What runs as somebody, and who that is.
_DEFINERS = """SELECT w, d FROM (
SELECT CONCAT('view ', TABLE_SCHEMA, '.', TABLE_NAME) w, DEFINER d, TABLE_SCHEMA s FROM information_schema.VIEWS
UNION ALL SELECT CONCAT('trigger ', TRIGGER_SCHEMA, '.', TRIGGER_NAME), DEFINER, TRIGGER_SCHEMA
FROM information_schema.TRIGGERS
UNION ALL SELECT CONCAT('routine ', db, '.', name), definer, db FROM mysql.proc
UNION ALL SELECT CONCAT('event ', db, '.', name), definer, db FROM mysql.event) x
WHERE s NOT IN ({own}) AND d NOT IN (SELECT CONCAT(User, '@', Host) FROM mysql.global_priv)
AND d NOT IN (SELECT CONCAT(User, '@') FROM mysql.global_priv) AND d NOT IN (SELECT User FROM mysql.global_priv)"""
SNAPSHOT = "START TRANSACTION WITH CONSISTENT SNAPSHOT"


def take(client: Client, session: Session) -> dict[str, Any]:
    """Digest all that users have at one server.

    Args:
        client: for definitions and accounts, as they are now.
        session: in which a snapshot stands; it gives the rows.
    """
    server = Server(client)
    tables = [one for one in server.tables() if one["type"] == "BASE TABLE"]
    return {
        "tables": rows(client, session, tables),
        "definitions": definitions(client, [(str(one["schema"]), str(one["name"])) for one in server.tables()]),
        "accounts": accounts(client),
    }


def rows(client: Client, session: Session, tables: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Digest every row of tables with a primary key; the others say why they were not."""
    columns: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in client.rows(
        "SELECT TABLE_SCHEMA s, TABLE_NAME t, COLUMN_NAME c, DATA_TYPE d FROM information_schema.COLUMNS WHERE "
        f"TABLE_SCHEMA NOT IN ({_own()}) ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION"
    ):
        columns.setdefault((str(row["s"]), str(row["t"])), []).append((str(row["c"]), str(row["d"])))
    found: dict[str, dict[str, Any]] = {}
    for one in tables:
        place = (str(one["schema"]), str(one["name"]))
        name = ".".join(place)
        if not one["key"] or one["engine"] != "InnoDB":
            found[name] = {
                "rows": 0,
                "sha256": "",
                "fault": "no primary key" if not one["key"] else f"engine {one['engine']}",
            }
            continue
        found[name] = session.hashed(compare.query(*place, columns[place], one["key"]))
    return found


def definitions(client: Client, tables: list[tuple[str, str]]) -> dict[str, str]:
    """Return the digest of every definition: databases, tables and views, triggers, routines, events."""
    found = {}
    if tables:
        shown = client.rows(";".join(f"SHOW CREATE TABLE {settings.name(s)}.{settings.name(t)}" for s, t in tables))
        for (schema, table), row in zip(tables, shown):
            text = row.get("Create Table") or row.get("Create View") or ""
            found[f"table {schema}.{table}"] = _digest(_COUNTER.sub("", text, count=1))
    for what, sql in _DEFINITIONS.items():
        for row in client.rows(sql.format(own=_own())):
            found[f"{what} {row['a']}.{row['b']}".rstrip(".")] = _digest(row)
    return found


def accounts(client: Client) -> dict[str, str]:
    """Return the digest of every account and grant; no password leaves the host in it."""
    found = {}
    for table, names in _ACCOUNTS.items():
        for row in client.rows(f"SELECT {names} FROM mysql.{table}"):
            who = "/".join(
                str(row[key])
                for key in row
                if key.lower() in ("user", "host", "db", "table_name", "column_name", "role", "routine_name")
            )
            found[f"{table} {who}"] = _digest(row)
    return found


def broken_definers(client: Client) -> list[str]:
    """Name what runs as an account that is not there."""
    return [
        f"{row['w']} runs as {row['d']}, which is no account here" for row in client.rows(_DEFINERS.format(own=_own()))
    ]


def snapshot(client: Client) -> tuple[Session, str]:
    """Open a snapshot; return its session and the position at which it stands, by the server's own word."""
    session = Session(client)
    try:
        session.lines(SNAPSHOT)
        place = dict(
            line.split("\t", 1) for line in session.lines("SHOW STATUS LIKE 'binlog_snapshot%'") if "\t" in line
        )
        file, offset = place["Binlog_snapshot_file"], int(place["Binlog_snapshot_position"])
        position = session.lines(f"SELECT BINLOG_GTID_POS({settings.literal(file)}, {offset})")[0]
    except (BasculeError, KeyError, ValueError):
        session.close()
        raise
    return session, "" if position == "NULL" else position


def _own() -> str:
    return ", ".join(settings.literal(name) for name in OWN_SCHEMAS)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
