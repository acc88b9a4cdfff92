"""One server on this host: what it is, what it follows, what it has; each asked anew."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from ...system import polling
from ...system.io import storage
from .. import events as scheduled
from .. import gtid, settings
from ..refusals import ACCOUNT, EQUAL, OWN_SCHEMAS, REQUIRED, MysqlError
from .client import Client, pump, texts

# The name of Bascule's own replication connection is the unnamed one: every tool shows it.
CONNECTION = ""
_ASKED = (
    *(name for name, _, _ in REQUIRED),
    *EQUAL,
    "version", "server_id", "read_only", "event_scheduler", "wsrep_on", "port", "datadir", "ssl_cert", "ssl_ca",
    "replicate_do_db", "replicate_ignore_db", "replicate_do_table", "replicate_wild_do_table",
    "gtid_binlog_state", "gtid_slave_pos", "gtid_binlog_pos",
)  # fmt: skip
# What a dump has, of which nothing is to be missing.
CONTENT = (
    "--single-transaction", "--routines", "--events", "--triggers", "--hex-blob", "--default-character-set=utf8mb4",
    "--flush-privileges",
)  # fmt: skip
_DUMP = ("--all-databases", "--gtid", "--master-data=1", *CONTENT)
# To read everything and to follow; none of them passes read_only.
_PRIVILEGES = "SELECT, SHOW VIEW, EVENT, TRIGGER, RELOAD, REPLICATION SLAVE, BINLOG MONITOR, SLAVE MONITOR"


class Server:
    """One server, as root through its socket."""

    def __init__(self, client: Client | None = None) -> None:
        """Name the way in."""
        self.client = client or Client()

    def variables(self) -> dict[str, str]:
        """Return what is asked of every side, numbers for ON and OFF where the server has them so."""
        names = ", ".join(settings.literal(name) for name in _ASKED)
        rows = self.client.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
        shown = {str(row["Variable_name"]): str(row["Value"] or "") for row in rows}
        flags = {"ON": "1", "OFF": "0"}
        return {
            name: value if name in ("event_scheduler",) else flags.get(value, value) for name, value in shown.items()
        }

    def measure(self) -> dict[str, Any]:
        """Return what decides whether this side can be moved, and what stands there now."""
        return {
            "variables": self.variables(),
            "tables": self.tables(),
            "connections": [
                {"name": one["Connection_name"], "master": one["Master_Host"], "user": one["Master_User"]}
                for one in self.connections()
            ],
            "replicas": [
                {"user": str(row["USER"]), "host": str(row["HOST"]).rsplit(":", 1)[0]}
                for row in self.client.rows(
                    "SELECT USER, HOST FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'"
                )
            ],
            "events": self.events(),
            "position": self.position(),
            "known": self.known(),
        }

    def tables(self) -> list[dict[str, Any]]:
        """Return every table of users, with its engine and the columns of its primary key."""
        own = ", ".join(settings.literal(name) for name in OWN_SCHEMAS)
        keys: dict[tuple[str, str], list[str]] = {}
        for row in self.client.rows(
            "SELECT TABLE_SCHEMA s, TABLE_NAME t, COLUMN_NAME c FROM information_schema.STATISTICS WHERE "
            f"INDEX_NAME = 'PRIMARY' AND TABLE_SCHEMA NOT IN ({own}) ORDER BY TABLE_SCHEMA, TABLE_NAME, SEQ_IN_INDEX"
        ):
            keys.setdefault((str(row["s"]), str(row["t"])), []).append(str(row["c"]))
        rows = self.client.rows(
            "SELECT TABLE_SCHEMA s, TABLE_NAME t, ENGINE e, TABLE_TYPE k FROM information_schema.TABLES WHERE "
            f"TABLE_SCHEMA NOT IN ({own}) ORDER BY TABLE_SCHEMA, TABLE_NAME"
        )
        return [
            {
                "schema": one["s"],
                "name": one["t"],
                "engine": one["e"],
                "type": one["k"],
                "key": keys.get((one["s"], one["t"]), []),
            }
            for one in map(texts, rows)
        ]

    def schemas(self) -> list[str]:
        """Return the databases of users."""
        own = ", ".join(settings.literal(name) for name in OWN_SCHEMAS)
        rows = self.client.rows(
            f"SELECT SCHEMA_NAME n FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN ({own})"
        )
        return sorted(str(row["n"]) for row in rows)

    def connections(self) -> list[dict[str, str]]:
        """Return what this server follows, each connection as SHOW ALL SLAVES STATUS has it."""
        return [texts(row) for row in self.client.rows("SHOW ALL SLAVES STATUS")]

    def events(self) -> list[dict[str, str]]:
        """Return the scheduled events: schema, name, status."""
        rows = self.client.rows(
            "SELECT EVENT_SCHEMA `schema`, EVENT_NAME `name`, STATUS `status` FROM information_schema.EVENTS"
        )
        return [texts(row) for row in rows]

    def schedule(self) -> scheduled.Schedule:
        """Return what runs by itself now."""
        return scheduled.seen(self.client.value("SELECT @@GLOBAL.event_scheduler"), self.events())

    def position(self) -> str:
        """Return what this server has applied or written: the last transaction of each domain."""
        row = self.client.rows("SELECT @@GLOBAL.gtid_slave_pos s, @@GLOBAL.gtid_binlog_pos b")[0]
        return gtid.merge(row["s"] or "", row["b"] or "")

    def known(self) -> str:
        """Return every transaction's place that this server knows of, by domain and server."""
        row = self.client.rows("SELECT @@GLOBAL.gtid_slave_pos s, @@GLOBAL.gtid_binlog_state b")[0]
        return ",".join(filter(None, (row["s"], row["b"])))

    def account(self, password: str) -> bool:
        """Make Bascule's account, and the table by which a fence is tried; return whether that changed anything.

        Written to the binary log, so that the other side has it as well and no position is ever empty.
        """
        there = self.client.value(f"SELECT COUNT(*) FROM mysql.global_priv WHERE User = '{ACCOUNT}'")
        user = f"'{ACCOUNT}'@'%'"
        if (
            there != "0"
            and self.client.value(
                f"SELECT JSON_VALUE(Priv, '$.authentication_string') = PASSWORD({settings.text(password)}) "
                f"FROM mysql.global_priv WHERE User = '{ACCOUNT}' AND Host = '%'"
            )
            == "1"
        ):
            return False
        self.client.execute(
            "CREATE DATABASE IF NOT EXISTS bascule",
            "CREATE TABLE IF NOT EXISTS bascule.probe (id INT PRIMARY KEY, at DATETIME(6) NOT NULL) ENGINE=InnoDB",
            f"CREATE OR REPLACE USER {user} IDENTIFIED BY {settings.literal(password)} REQUIRE SSL",
            f"GRANT {_PRIVILEGES} ON *.* TO {user}",
            f"GRANT INSERT, UPDATE, DELETE ON bascule.probe TO {user}",
            f"GRANT EXECUTE ON bascule.* TO {user}",
            # With the rights of the account, which has none that passes read_only, whoever calls it.
            f"CREATE OR REPLACE DEFINER = {user} PROCEDURE bascule.try_write() SQL SECURITY DEFINER "
            "REPLACE INTO bascule.probe VALUES (1, NOW(6))",
            "REPLACE INTO bascule.probe VALUES (0, NOW(6))",
            binlog=True,
        )
        return True

    def seed(self, options: str, address: str, port: int, ca: str, timeout: float) -> bool:
        """Fill a server that is known to be empty with all that the other one has, and follow it from there.

        Return whether that was needed.
        """
        if self.follows(address, port):
            return False
        self.client.execute("STOP ALL SLAVES", "RESET SLAVE ALL", "RESET MASTER", "SET GLOBAL gtid_slave_pos = ''")
        # What a dump has left half-way is found as databases by the next run: they are dropped here, and here alone.
        try:
            pump(
                ["mariadb-dump", f"--defaults-file={options}", *_DUMP],
                [
                    *self.client.argv(),
                    "--batch",
                    "--default-character-set=utf8mb4",
                    "--init-command=SET SESSION sql_log_bin = 0",
                ],
                timeout,
            )
        except BaseException:
            for name in self.schemas():
                self.client.execute(f"DROP DATABASE {settings.name(name)}")
            raise
        self.follow(options, address, port, ca)
        return True

    def follow(self, options: str, address: str, port: int, ca: str) -> bool:
        """Follow the other side from what this one has; return whether it did not yet."""
        if self.follows(address, port):
            return False
        password = secret(options)
        start = gtid.merge(self.position())
        self.client.execute(
            "STOP ALL SLAVES",
            "RESET SLAVE ALL",
            f"SET GLOBAL gtid_slave_pos = '{start}'",
            f"CHANGE MASTER TO MASTER_HOST = {settings.literal(address)}, MASTER_PORT = {int(port)}, "
            f"MASTER_USER = '{ACCOUNT}', MASTER_PASSWORD = {settings.literal(password)}, MASTER_USE_GTID = slave_pos, "
            "MASTER_SSL = 1, "
            f"MASTER_SSL_CA = {settings.literal(ca)}, MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 1",
            "START SLAVE",
        )
        return True

    def follows(self, address: str, port: int) -> bool:
        """Tell whether both threads of the only connection run, toward this address."""
        there = self.connections()
        return [(one["Master_Host"], one["Master_Port"]) for one in there] == [(address, str(port))] and all(
            one["Slave_SQL_Running"] == "Yes"
            and (one["Slave_IO_Running"] == "Yes" or (one["Slave_IO_Running"] != "No" and not one["Last_IO_Error"]))
            for one in there
        )

    def wait_for(self, want: str, timeout: float) -> str:
        """Wait until a position is applied; return why it is not after `timeout` seconds, or nothing."""
        began = time.monotonic()
        while True:
            fault = gtid.behind(self.position(), want)
            waited = time.monotonic() - began
            if not fault or waited > timeout:
                return fault and f"{fault}{self.stopped_by()}"
            time.sleep(polling.pause(waited, 0.05))

    def stopped_by(self) -> str:
        """Return what a replication thread has stopped for, as words to add; nothing when none has."""
        errors = [one[key] for one in self.connections() for key in ("Last_IO_Error", "Last_SQL_Error") if one.get(key)]
        return f"; replication says: {'; '.join(errors)[:500]}" if errors else ""

    def lag(self) -> float | None:
        """Return the seconds that this replica is behind; None when nobody can say."""
        there = self.connections()
        if len(there) != 1 or there[0]["Slave_IO_Running"] != "Yes" or not there[0]["Seconds_Behind_Master"]:
            return None
        return float(there[0]["Seconds_Behind_Master"])

    def strangers(self, but: Collection[int] = ()) -> list[str]:
        """Return the connections of anybody but the server, Bascule's account, who asks, and those of these numbers."""
        rows = self.client.rows(
            "SELECT ID, USER, HOST FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND USER NOT IN "
            f"('system user', 'event_scheduler', '{ACCOUNT}') AND COMMAND <> 'Daemon'"
        )
        return [f"{row['ID']} ({row['USER']}@{row['HOST']})" for row in rows if int(row["ID"] or 0) not in but]

    def drain(self, but: Collection[int] = ()) -> None:
        """End every connection of clients."""
        ids = [one.split()[0] for one in self.strangers(but)]
        for number in ids:
            # One that has gone in between is gone.
            self.client.runner([*self.client.argv(), "--batch", f"--execute=KILL {int(number)}"], check=False)


def secret(options: str) -> str:
    """Return the password of an option file that prepare has written."""
    for line in (storage.read_text(options) or "").splitlines():
        if line.startswith("password="):
            return line.partition("=")[2].strip('"')
    raise MysqlError(
        expected=f"a password in {options}", found="none", next_command="ansible-playbook playbooks/20_prepare.yml"
    )


def summary(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a journal keeps of a measurement: no account, no path."""
    kept = ("version", "server_id", "read_only", "event_scheduler", "gtid_slave_pos", "gtid_binlog_pos")
    return {
        "variables": {name: measured["variables"].get(name, "") for name in kept},
        "position": measured["position"],
        "tables": len(measured["tables"]),
        "events": len(measured["events"]),
    }
