"""Digest one side's rows from a snapshot that was taken at the switch, while users already write."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BasculeError
from ..integrity import rows
from ..postgresql.spec import Spec
from . import files, units
from .pg_cluster import Cluster, load_spec
from .pg_pin import equality_file
from .psql import Session, SqlError

LINGER = 900.0
ROLES = ("active", "passive", "standing")


class Comparer:
    """The comparison at one side of one switch."""

    def __init__(self, component: str, epoch: str, role: str) -> None:
        self.spec = load_spec(component)
        self.cluster = Cluster(self.spec)
        self.epoch = epoch
        self.role = role
        self.sessions: dict[str, Session] = {}
        self.result: dict[str, Any] = {
            "component": component,
            "side": self.spec.side,
            "role": role,
            "epoch": epoch,
            "status": "running",
            "mode": "text",
            "databases": {},
        }

    def run(self) -> int:
        """Pin, digest, answer questions about differences for a while; return an exit status."""
        Path(equality_file(self.spec, self.epoch, "released")).unlink(missing_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                self._pin(stack)
                for database in sorted(self.sessions):
                    self._digest(database)
                self._finish("done", "")
            except BasculeError as error:
                # A return, or the end of the server, ends the comparison: what is missing is not proved.
                self._finish("cut", error.found or str(error))
                return 1
            self._linger()
        return 0

    def _pin(self, stack: contextlib.ExitStack) -> None:
        first = stack.enter_context(contextlib.closing(self.cluster.session()))
        deadline = time.monotonic() + 60
        while self.role == "active" and first.value("SELECT pg_is_in_recovery()"):
            if time.monotonic() > deadline:
                raise BasculeError(expected="a promotion within 60 s", found="none")
            time.sleep(0.01)
        names = first.query("SELECT datname AS name FROM pg_database WHERE datallowconn AND NOT datistemplate")
        control = self.cluster.control()
        self.result["system_id"] = control.system_id
        for row in names:
            name = str(row["name"])
            session = stack.enter_context(contextlib.closing(self.cluster.session(database=name)))
            session.execute(rows.SETTINGS)
            session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            tables = session.query(rows.tables_query())
            found: dict[str, Any] = {"tables": {}, "sequences": {}, "schema": {}}
            for table in tables:
                label = f"{table['schema']}.{table['name']}"
                reason = "unlogged tables are not replicated" if table["unlogged"] else ""
                found["tables"][label] = {**table, "status": "pending", "rows": 0, "reason": reason}
            # Sequences know no snapshots: they are read before anybody draws from them again.
            for sequence in session.query(rows.sequences_query()):
                label = f"{sequence['schema']}.{sequence['name']}"
                value = session.query(rows.sequence_value(sequence["schema"], sequence["name"]))[0]
                found["sequences"][label] = {**sequence, **value}
            self.result["databases"][name] = found
            self.sessions[name] = session
        self.result["end_lsn"] = first.value(
            "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text"
        )
        self.result["timeline"] = control.newest_timeline
        self.result["pinned_at"] = _now()
        self._save()
        files.write_durably(equality_file(self.spec, self.epoch, "pinned"), self.result["pinned_at"] + "\n")

    def _digest(self, database: str) -> None:
        session, found = self.sessions[database], self.result["databases"][database]
        for kind, query in rows.schema_queries().items():
            found["schema"][kind] = session.query(rows.lines_digest(query), timeout=600)[0]
        for label, table in found["tables"].items():
            if table["reason"]:
                table["status"] = "not_proved"
                continue
            self._digest_table(session, table)
            if table["status"] == "failed":
                raise BasculeError(expected=f"a digest of {database}.{label}", found=table["reason"])
            self._save()
        large = session.query(rows.large_objects_digest(), timeout=86400)[0]
        found["tables"]["pg_catalog.pg_largeobject"] = {**large, "status": "done", "key": None}

    def _digest_table(self, session: Session, table: dict[str, Any]) -> None:
        try:
            if table["key"]:
                query = rows.bucket_digest(table["schema"], table["name"], table["key"])
                buckets = {str(row.pop("b")): row for row in session.query(query, timeout=86400)}
                table["buckets"] = buckets
                table["rows"] = sum(int(row["rows"]) for row in buckets.values())
                table["high"] = str(sum(int(row["high"]) for row in buckets.values()))
                table["low"] = str(sum(int(row["low"]) for row in buckets.values()))
            else:
                table.update(session.query(rows.table_digest(table["schema"], table["name"]), timeout=86400)[0])
            table["status"] = "done"
        except SqlError as error:
            table["status"], table["reason"] = "failed", error.found

    def _linger(self) -> None:
        """Keep the snapshot for a while, to name the rows of tables that differ when the comparison asks."""
        asked = Path(equality_file(self.spec, self.epoch, "asked"))
        released = Path(equality_file(self.spec, self.epoch, "released"))
        deadline = time.monotonic() + LINGER
        while time.monotonic() < deadline and not released.exists():
            question = files.read_json(asked)
            if question:
                files.remove(asked)
                files.write_json(equality_file(self.spec, self.epoch, "answer"), self._answer(question))
            time.sleep(0.25)

    def _answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {"id": question.get("id"), "tables": {}}
        for database, tables in question["tables"].items():
            for label, buckets in tables.items():
                table = self.result["databases"][database]["tables"][label]
                query = rows.bucket_rows(table["schema"], table["name"], table["key"], buckets)
                answer["tables"][f"{database}.{label}"] = self.sessions[database].query(query, timeout=3600)
        return answer

    def _finish(self, status: str, reason: str) -> None:
        self.result["status"] = status
        self.result["reason"] = reason
        self.result["ended_at"] = _now()
        for database in self.result["databases"].values():
            for table in database["tables"].values():
                if table["status"] == "pending":
                    table.update(status="not_proved", reason=reason or "the comparison was cut short")
        self._save()

    def _save(self) -> None:
        files.write_json(equality_file(self.spec, self.epoch, "json"), self.result)


def collect(
    component: str, side: str, epoch: str, *, wait: float, question: Mapping[str, Any] | None, let_go: bool
) -> dict[str, Any]:
    """Wait for this side's digest and return it; ask for rows, or let the unit go, when told so."""
    spec = load_spec(component, side)
    path = equality_file(spec, epoch, "json")
    found: dict[str, Any] = {"changed": False}
    deadline = time.monotonic() + wait
    while True:
        result = files.read_json(path)
        ended = result and result["status"] != "running"
        # The passive side's digest begins once it has kept its state aside: that unit runs before this one.
        under_way = any(units.is_running(spec.unit_name(name)) for name in ("equality", "follow"))
        if ended or time.monotonic() > deadline or not under_way:
            break
        time.sleep(0.5)
    result = files.read_json(path)
    if result and result["status"] == "running" and not units.is_running(spec.unit_name("equality")):
        result["status"] = "cut"
        for database in result["databases"].values():
            for table in database["tables"].values():
                if table["status"] != "done":
                    table.update(status="not_proved", reason="the comparison was ended from outside")
    found["result"] = result
    if question:
        found["rows"] = _ask(spec, epoch, question)
    if let_go and result and not Path(equality_file(spec, epoch, "released")).exists():
        files.write_durably(equality_file(spec, epoch, "released"), _now() + "\n")
    return found


def _ask(spec: Spec, epoch: str, tables: Mapping[str, Any], timeout: float = 60) -> dict[str, Any] | None:
    """Ask the unit on this host for the masked rows of some buckets; None when it no longer has its snapshot."""
    if not units.is_running(spec.unit_name("equality")):
        return None
    answer_file = equality_file(spec, epoch, "answer")
    question = {"id": _now(), "tables": dict(tables)}
    files.remove(answer_file)
    files.write_json(equality_file(spec, epoch, "asked"), question)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        answer = files.read_json(answer_file)
        if answer and answer.get("id") == question["id"]:
            tables_found: dict[str, Any] = answer["tables"]
            return tables_found
        time.sleep(0.1)
    return None


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
