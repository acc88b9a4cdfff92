"""What keeps a pair of servers from being moved, each in words. Pure: from what was measured at both hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import BasculeError

# The one account of Bascule, without any privilege that passes read_only.
ACCOUNT = "bascule"
# What a server has to be set to before it is taken over: (variable, value, why).
REQUIRED = (
    ("log_bin", "1", "the other side follows by the binary log"),
    ("log_slave_updates", "1", "a side that has followed must be followed after the switch"),
    ("binlog_format", "ROW", "statements may give other rows at the other side"),
    ("gtid_strict_mode", "1", "a transaction out of order must stop, not pass"),
    ("have_ssl", "YES", "nothing crosses between the sites unencrypted"),
    ("sync_binlog", "1", "a final position must survive a crash"),
    ("innodb_flush_log_at_trx_commit", "1", "an acknowledged write must survive a crash"),
)
# They must be equal at both sides: what is stored would mean something else.
EQUAL = ("lower_case_table_names", "character_set_server", "collation_server", "sql_mode", "gtid_domain_id")
# Names of what Bascule and the server have for themselves.
OWN_SCHEMAS = ("mysql", "information_schema", "performance_schema", "sys", "bascule")


class MysqlError(BasculeError):
    """The server cannot be moved, or does not do what it was told."""


def product(version: str) -> str:
    """Return why a server of this version is not moved; nothing when it is a MariaDB that is."""
    if "mariadb" not in version.lower():
        return (
            f"the server is MySQL ({version}), not MariaDB: MySQL is not moved by this role, and from MySQL to MariaDB "
            "there is no way back by replication"
        )
    major = version.split(".")[:2]
    if not all(part.isdigit() for part in major) or tuple(map(int, major)) < (10, 11):
        return f"the server is MariaDB {version}; 10.11 or newer is needed"
    return ""


def side(measured: Mapping[str, Any]) -> list[str]:
    """Return what keeps one side from being moved.

    Args:
        measured: variables (name → text), tables (each with schema, name, engine, type, key), connections (names of
            replication connections and their master), replicas (account and host of each binlog reader).
    """
    variables = measured["variables"]
    wrong = product(str(variables.get("version", "")))
    if wrong:
        return [wrong]
    found = [
        f"{name} is {variables.get(name, 'not known')}, not {value}: {why}"
        for name, value, why in REQUIRED
        if str(variables.get(name)) != value
    ]
    if variables.get("wsrep_on", "0") not in ("0", ""):
        found.append("wsrep_on: it is a node of a Galera cluster, which decides itself who may write")
    found += [
        f"{name} is {variables[name]}: what a filter leaves out is at one side alone"
        for name in ("replicate_do_db", "replicate_ignore_db", "replicate_do_table", "replicate_wild_do_table")
        if variables.get(name)
    ]
    found += [
        f"it follows {one['master']} by the connection {one['name'] or '(unnamed)'}: a second source is not moved"
        for one in measured["connections"]
        if one["user"] != ACCOUNT
    ]
    found += [
        f"{one['host']} follows it as {one['user']}: a replica of somebody else would stay behind"
        for one in measured["replicas"]
        if one["user"] != ACCOUNT
    ]
    return found + tables(measured["tables"])


def tables(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the tables that replication, or the comparison, cannot be trusted with."""
    wrong = []
    for one in found:
        name = f"{one['schema']}.{one['name']}"
        if one["type"] == "SYSTEM VERSIONED":
            wrong.append(f"{name} is system versioned: its history is not compared")
        elif one["type"] == "BASE TABLE" and one["engine"] != "InnoDB":
            wrong.append(
                f"{name} is {one['engine']}: no snapshot and no crash keeps it whole; ALTER TABLE … ENGINE=InnoDB"
            )
        elif one["type"] == "BASE TABLE" and not one["key"]:
            wrong.append(f"{name} has no primary key: its rows cannot be told apart")
    return wrong


def pair(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """Return what must be otherwise between two servers, by their variables."""
    found = [
        f"{name}: {here.get(name)!r} and {there.get(name)!r}" for name in EQUAL if here.get(name) != there.get(name)
    ]
    if here.get("server_id") == there.get("server_id"):
        found.append(f"server_id is {here.get('server_id')} at both sides: each would skip what the other has written")
    if series(here) != series(there):
        found.append(f"version: {here.get('version')} and {there.get('version')}")
    return found


def series(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the first two numbers of a version."""
    return tuple(str(variables.get("version", "")).split(".")[:2])
