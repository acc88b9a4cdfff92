"""Digest one side's rows under a snapshot that was taken at the switch, while users already write."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ....system.io import storage, units
from ....system.moments import now
from ....system.readable import readable
from ... import compare, definitions, locate, rows
from ...spec import Spec
from ..cluster.cluster import Cluster, load_spec
from ..cluster.psql import Session, SqlError
from . import snapshot
from .amcheck import Checker
from .digest import Connections, Digester, seeing
from .schema import Definitions
from .snapshot import LINGER, digesting, equality_file

PIPES = Path("/run/bascule-rows")
_ANSWER = 3600.0


class Comparer:
    """The comparison at one side of one switch."""

    def __init__(self, component: str, epoch: str) -> None:
        self.spec = load_spec(component)
        self.epoch = epoch
        cluster = Cluster(self.spec)
        self.connections = Connections(lambda database: cluster.session(database=database))
        self.snapshots: dict[str, str] = {}
        self.result: dict[str, Any] = {}

    def run(self) -> int:
        """Digest, or go on where an earlier run was killed; answer questions for a while; return an exit status."""
        try:
            self._begin()
            if self.result["status"] == "running":
                self._digest()
                self._finish("done", "")
        except BasculeError as error:
            # A return, or the end of the server, ends the comparison: what is missing is not proved.
            self._finish("cut", error.found or str(error))
            return 1
        self._linger()
        return 0

    def _digest(self) -> None:
        Digester(
            self.connections,
            self.result,
            self.snapshots,
            self._save,
            pipes=PIPES / self.spec.component,
            owner=self.spec.owner,
            workers=self.spec.compare_workers or os.cpu_count() or 1,
        ).run(Definitions(self.spec, self.spec.port))
        self.result["digested_at"] = now()
        if self.result["role"] == "active":
            self._check()

    def _begin(self) -> None:
        pinned = storage.read_json(equality_file(self.spec, self.epoch, "snapshot"))
        if not pinned or pinned.get("epoch") != self.epoch:
            raise BasculeError(expected=f"a snapshot for epoch {self.epoch}", found="none")
        self.snapshots = {name: str(one["snapshot"]) for name, one in pinned["databases"].items() if one["snapshot"]}
        before = storage.read_json(equality_file(self.spec, self.epoch, "json"))
        if before and before["status"] != "cut" and before.get("pinned_at") == pinned["pinned_at"]:
            self.result = before
            self.result["resumed"] = int(before.get("resumed", 0)) + 1
            return
        self.result = {
            **pinned,
            "status": "running",
            "resumed": 0,
            "databases": {
                name: {"tables": {}, "schema": {}, "sequences": one["sequences"], "reason": one.get("reason", "")}
                for name, one in pinned["databases"].items()
            },
            "consistency": {},
        }
        self._save()

    def _check(self) -> None:
        for database in sorted(self.snapshots):
            if database in self.result["consistency"]:
                continue
            try:
                with contextlib.closing(self.connections.open(database)) as session:
                    self.result["consistency"][database] = Checker(session, database).run()
            except SqlError as error:
                # The rows are digested: that stands.
                self.result["consistency"][database] = {"skipped": [f"{database}: {error.found[-200:]}"]}
            self._save()

    def _linger(self) -> None:
        """Answer questions about differences while the snapshot is held."""
        asked = equality_file(self.spec, self.epoch, "asked")
        released = Path(equality_file(self.spec, self.epoch, "released"))
        deadline = time.monotonic() + LINGER
        while time.monotonic() < deadline and not released.exists():
            question = storage.read_json(asked)
            if question:
                storage.remove(asked)
                storage.write_json(equality_file(self.spec, self.epoch, "answer"), self._answer(question))
                deadline = time.monotonic() + LINGER
            time.sleep(0.25)

    def _answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        asked = question["question"]
        salt = str(asked.get("salt", ""))
        answer: dict[str, Any] = {"id": question.get("id"), "tables": {}, "kinds": {}}
        # Whoever asks has been told the names in a form that can travel.
        names = {readable(name): name for name in self.result["databases"]}
        for told, kinds in (asked.get("kinds") or {}).items():
            known = compare.described(self.result, names.get(told, told)).get("kinds", {})
            answer["kinds"][told] = {
                kind: {"lines": definitions.masked(known.get(kind, {}).get("lines", {}), salt)} for kind in kinds
            }
        for told, tables in (asked.get("tables") or {}).items():
            database, found = names.get(told, told), answer["tables"].setdefault(told, {})
            try:
                with contextlib.closing(self.connections.open(database)) as session:
                    for name, step in tables.items():
                        found[name] = self._one(session, database, name, step, salt)
            except BasculeError as error:
                found.update({name: _failed(error) for name in tables if name not in found})
        return answer

    def _one(self, session: Session, database: str, name: str, step: Mapping[str, Any], salt: str) -> dict[str, Any]:
        table = self.result["databases"][database]["tables"][name]
        if step["step"] == locate.CHUNKS:
            return {"chunks": table["chunks"]}
        layout = str(self.result["layout"])
        count = rows.chunk_count(int(table["blocks"] or 0), int(self.result["version"]))
        wheres = [""] if step["chunks"] is None else [rows.chunk(int(part), count) for part in step["chunks"]]
        try:
            with seeing(session, self.snapshots[database], self.connections.reader(table)):
                if step["step"] == locate.BUCKETS:
                    query = rows.bucket_sums(table, table["how"], wheres, layout, rows.seeds(self.epoch))
                    found = session.query(query, timeout=_ANSWER)
                    return {"buckets": {str(row["b"]): [row["rows"], row["high"], row["low"]] for row in found}}
                query = rows.bucket_rows(table, wheres, step["buckets"], layout, salt)
                columns = [rows.ident(column["name"]) for column in table["columns"]]
                return {"rows": session.query(query, timeout=_ANSWER), "columns": columns}
        except BasculeError as error:
            return _failed(error)

    def _finish(self, status: str, reason: str) -> None:
        if not self.result:
            return
        self.result["status"] = status
        self.result["reason"] = reason
        self.result["ended_at"] = now()
        _give_up(self.result, reason or "the comparison was cut short")
        self._save()

    def _save(self) -> None:
        storage.write_json(equality_file(self.spec, self.epoch, "json"), self.result)


def collect(
    component: str,
    side: str,
    epoch: str,
    *,
    wait: float,
    question: Mapping[str, Any] | None,
    let_go: bool,
    resume: bool = True,
) -> dict[str, Any]:
    """Wait for this side's digest and return it; ask for what differs, or let the snapshot go, when told so."""
    spec = load_spec(component, side)
    path = equality_file(spec, epoch, "json")
    found: dict[str, Any] = {"changed": False, "ended": False, "progress": ""}
    deadline = time.monotonic() + wait
    while True:
        # The unit first: one that has ended by now has written its last word.
        digesting_now = units.is_running(spec.unit_name("equality"))
        held = units.is_running(spec.unit_name("snapshot"))
        result = storage.read_json(path)
        running = result is not None and result["status"] == "running"
        if running and not digesting_now and held and resume and not let_go:
            # Killed in the middle, while its snapshot is still held: it goes on where it was.
            units.start(spec.unit_name("equality"), digesting(component, epoch))
            found["changed"] = digesting_now = True
        # The passive side's snapshot is taken once its state is kept aside: that unit runs before.
        coming = held or units.is_running(spec.unit_name("follow"))
        under_way = digesting_now or (coming and not result)
        found["ended"] = bool(result and not running) or not under_way
        if found["ended"] or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    result = storage.read_json(path)
    found["progress"] = progress(side, result)
    if result:
        if result["status"] == "running" and found["ended"]:
            result["status"] = "cut"
            _give_up(result, "the comparison was ended from outside")
        elif result["status"] == "running":
            _give_up(result, "the comparison had not come so far")
        result = compare.slim(result)
    found["result"] = result
    if question:
        found["rows"] = _ask(spec, epoch, question)
    # One that is only just pinned has no digest yet, and is held all the same.
    if let_go and (result or held) and not Path(equality_file(spec, epoch, "released")).exists():
        storage.write_durably(equality_file(spec, epoch, "released"), now() + "\n")
    return found


def progress(side: str, result: Mapping[str, Any] | None) -> str:
    """Return a line about how far a digest has come."""
    if not result:
        return f"{side}: the snapshot is not taken yet"
    known = result.get("progress")
    if result["status"] != "running" or not known:
        return f"{side}: {result['status']}"
    if result.get("digested_at"):
        return f"{side}: {known['rows']} rows digested, checking indexes"
    left = known["remaining_seconds"]
    return (
        f"{side}: {known['rows']} rows, {known['done_percent']} %, {known['rows_per_second']} rows/s, "
        f"{left if left is not None else 'unknown'} s left"
    )


def _failed(error: BasculeError) -> dict[str, str]:
    return {"error": " ".join(error.found.split())[-200:] or str(error)}


def _give_up(result: dict[str, Any], reason: str) -> None:
    for database in result["databases"].values():
        if not database.get("listed") and not database.get("reason"):
            # Which tables it has is not known: none of the other side's exists there only.
            database["reason"] = reason
        for table in database["tables"].values():
            if table["status"] == "pending":
                table.update(status="not_proved", reason=reason)


def _ask(spec: Spec, epoch: str, asked: Mapping[str, Any], timeout: float = 600) -> dict[str, Any] | None:
    """Ask the unit on this host; None when it no longer has its snapshot."""
    if not units.is_running(spec.unit_name("equality")) or not snapshot.is_running(spec):
        return None
    answer_file = equality_file(spec, epoch, "answer")
    question = {"id": now(), "question": dict(asked)}
    storage.remove(answer_file)
    storage.write_json(equality_file(spec, epoch, "asked"), question)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and units.is_running(spec.unit_name("equality")):
        answer = storage.read_json(answer_file)
        if answer and answer.get("id") == question["id"]:
            return {"tables": answer["tables"], "kinds": answer["kinds"]}
        time.sleep(0.1)
    return None


def work(component: str, epoch: str) -> int:
    """Digest the rows of one side, or go on with it; the unit `equality`."""
    return Comparer(component, epoch).run()
