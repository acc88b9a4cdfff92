"""Digest the tables of a server in chunks, by several sessions that all see the same snapshot.

Every chunk is a transaction of its own: no lock outlives it, so nobody's change of a table waits for the whole
comparison. What such a change takes away from the snapshot is not proved.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BasculeError
from ..integrity import catalog, compare, rows
from .hashed_pipe import HashedPipe
from .psql import Session, SqlError

_DAY = 86400.0
# A lock that somebody holds, a deadlock, a conflict with recovery, a connection that was ended.
_AGAIN = ("55P03", "40P01", "40001", "57P01", "57P05", "08006", "08003", "")
_TRIES = 6
_SAVE_EVERY = 1.0


class SnapshotGone(BasculeError):
    """The snapshot cannot be used any more: what is not digested yet never will be."""


@contextlib.contextmanager
def seeing(session: Session, snapshot: str) -> Iterator[None]:
    """Be inside a transaction that sees the snapshot."""
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        try:
            session.execute(f"SET TRANSACTION SNAPSHOT {rows.literal(snapshot)}")
        except SqlError as error:
            raise SnapshotGone(expected=f"the snapshot {snapshot}", found=error.found) from error
        yield
    finally:
        with contextlib.suppress(SqlError):
            session.execute("ROLLBACK")


class Connections:
    """Opens sessions that write and read values alike at both sides."""

    def __init__(self, connect: Callable[[str], Session]) -> None:
        self._connect = connect
        # Of the server, and of the databases that were opened.
        self.version = 0
        self.encodings: dict[str, str] = {}

    def open(self, database: str) -> Session:
        """Open a session."""
        session = self._connect(database)
        try:
            self.version = int(session.value("SELECT current_setting('server_version_num')"))
            self.encodings[database] = str(session.value("SELECT current_setting('server_encoding')"))
            session.execute(rows.settings(self.version, self.encodings[database]))
        except BasculeError:
            session.close()
            raise
        return session


class Digester:
    """Digests every table of every database into `result`, from where an earlier run has stopped."""

    def __init__(
        self,
        connections: Connections,
        result: dict[str, Any],
        snapshots: Mapping[str, str],
        save: Callable[[], None],
        *,
        pipes: Path,
        owner: str = "postgres",
        workers: int = 2,
        only: Sequence[str] = (),
    ) -> None:
        self.connections = connections
        self.result = result
        self.snapshots = snapshots
        self._save = save
        self._pipes = pipes
        self._owner = owner
        self._workers = max(1, workers)
        self._only = only
        self._seeds = rows.seeds(str(result["epoch"]))
        self._lock = threading.Lock()
        self._saved = 0.0
        self._pause = _SAVE_EVERY
        self._failed: BaseException | None = None
        self._begun = time.monotonic()
        self._blocks = [0, 0, 0]
        self._rows_now = 0

    def run(self) -> None:
        """Digest the schema and every table; raise SnapshotGone when the rest cannot be digested any more."""
        for database in sorted(self.snapshots):
            self._list(database)
        jobs = self._jobs()
        self._begun = time.monotonic()
        threads = [
            threading.Thread(target=self._work, args=(number, jobs), daemon=True) for number in range(self._workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._note(force=True)
        if self._failed is not None:
            raise self._failed

    def _list(self, database: str) -> None:
        found = self.result["databases"][database]
        if found.get("listed"):
            return
        with contextlib.closing(self.connections.open(database)) as session:
            with seeing(session, self.snapshots[database]):
                tables = session.query(rows.tables_query(self.connections.version), timeout=600)
            for kind, query in catalog.queries().items():
                with seeing(session, self.snapshots[database]):
                    found["schema"][kind] = session.query(catalog.digest(query), timeout=600)[0]
        for table in tables:
            label = f"{table['schema']}.{table['name']}"
            if self._only and label not in self._only:
                continue
            if rows.is_large_objects(table) and self.result["layout"] == rows.LOGICAL:
                table = rows.large_objects(table)
            reason = "unlogged tables are not replicated" if table["unlogged"] else ""
            found["tables"][label] = {
                **table,
                "how": rows.how(table, self.result["mode"], self.result["layout"]),
                "layout": self.result["layout"],
                "status": "not_proved" if reason else "pending",
                "reason": reason,
                "rows": 0,
                "chunks": {},
            }
        found["encoding"] = self.connections.encodings[database]
        self.result["version"] = self.connections.version
        found["listed"] = True
        self._note(force=True)

    def _jobs(self) -> queue.SimpleQueue[tuple[str, dict[str, Any], int, int]]:
        jobs: queue.SimpleQueue[tuple[str, dict[str, Any], int, int]] = queue.SimpleQueue()
        for database, found in sorted(self.result["databases"].items()):
            for table in found["tables"].values():
                blocks = max(1, int(table["blocks"]))
                if table["status"] != "pending":
                    continue
                count = rows.chunk_count(int(table["blocks"]), int(self.result["version"]))
                self._blocks[1] += blocks
                for number in range(count):
                    if str(number) in table["chunks"]:
                        self._blocks[0] += blocks // count
                        self._rows_now -= int(table["chunks"][str(number)][0])
                    else:
                        jobs.put((database, table, number, count))
        self._rows_now += self._rows()
        self._blocks[2] = self._blocks[0]
        return jobs

    def _work(self, number: int, jobs: queue.SimpleQueue[tuple[str, dict[str, Any], int, int]]) -> None:
        pipe = HashedPipe(self._pipes, f"rows-{number}", self._owner)
        session: Session | None = None
        connected = ""
        try:
            while self._failed is None:
                try:
                    database, table, part, count = jobs.get_nowait()
                except queue.Empty:
                    break
                if table["status"] != "pending":
                    continue
                for attempt in range(_TRIES):
                    try:
                        if session is None or connected != database:
                            if session is not None:
                                session.close()
                            session, connected = self.connections.open(database), database
                        value = self._chunk(session, pipe, database, table, part, count)
                        self._keep(table, part, count, value)
                        break
                    except SqlError as error:
                        last = attempt == _TRIES - 1
                        if error.code in _AGAIN and not last:
                            if session is not None:
                                session.close()
                            session = None
                            time.sleep(0.2 * attempt)
                            continue
                        if error.code in _AGAIN[3:]:
                            raise SnapshotGone(expected="a server that answers", found=error.found) from error
                        self._drop(table, error.found)
                        break
        except BaseException as error:
            with self._lock:
                self._failed = self._failed or error
        finally:
            if session is not None:
                session.close()
            pipe.remove()

    def _chunk(
        self, session: Session, pipe: HashedPipe, database: str, table: Mapping[str, Any], part: int, count: int
    ) -> list[Any] | None:
        """Return the digest of a chunk; None when the table no longer lies where it lay."""
        where, encoding = rows.chunk(part, count), str(self.result["databases"][database]["encoding"])
        value: list[Any]
        with seeing(session, self.snapshots[database]):
            if table["how"] == rows.STREAM:
                with pipe.reading() as reading:
                    session.execute(rows.stream(table, where, str(pipe.path), encoding=encoding), timeout=_DAY)
                value = [reading.lines, reading.hexdigest()]
            else:
                query = rows.sums(table, table["how"], where, self._seeds, encoding=encoding)
                found = session.query(query, timeout=_DAY)[0]
                value = [int(found["rows"]), found["high"], found["low"]]
            if table.get("source") is None:
                # To truncate or rewrite a table is not undone by an older snapshot. The lock taken above still holds.
                now = session.value(rows.filenode_query(table["oid"]))
                if now != table["filenode"]:
                    return None
        return value

    def _keep(self, table: dict[str, Any], part: int, count: int, value: list[Any] | None) -> None:
        if value is None:
            self._drop(table, "it was truncated or rewritten while it was compared")
            return
        with self._lock:
            table["chunks"][str(part)] = value
            self._blocks[0] += max(1, int(table["blocks"])) // count
            self._rows_now += int(value[0])
            if len(table["chunks"]) == count and table["status"] == "pending":
                table.update(compare.fold(table["how"], table["chunks"]), status="done")
        self._note()

    def _drop(self, table: dict[str, Any], reason: str) -> None:
        with self._lock:
            table.update(status="not_proved", reason=" ".join(reason.split())[-300:])
        self._note()

    def _rows(self) -> int:
        return sum(
            int(chunk[0])
            for found in self.result["databases"].values()
            for table in found["tables"].values()
            for chunk in table["chunks"].values()
        )

    def _note(self, *, force: bool = False) -> None:
        with self._lock:
            now = time.monotonic()
            if not force and now - self._saved < self._pause:
                return
            passed = max(0.001, now - self._begun)
            done, total, before = self._blocks
            speed = (done - before) / passed
            self.result["progress"] = {
                "rows": self._rows(),
                "rows_per_second": round(self._rows_now / passed),
                "done_percent": round(100 * done / total, 1) if total else 100.0,
                "remaining_seconds": round((total - done) / speed) if speed else None,
            }
            self._save()
            # A long list of chunks is not written all the time.
            self._saved = time.monotonic()
            self._pause = max(_SAVE_EVERY, 20 * (self._saved - now))
