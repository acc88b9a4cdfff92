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
from functools import partial
from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ... import catalog, compare, definitions, rows
from ..cluster.psql import Session, SqlError
from .hashed_pipe import HashedPipe
from .schema import Definitions

_DAY = 86400.0
# A lock that somebody holds, a deadlock, a conflict with recovery, a connection that was ended.
_AGAIN = ("55P03", "40P01", "40001", "57P01", "57P05", "08006", "08003", "")
_TRIES = 6
# How long a description of the schema may wait for a lock: at first, and once the rows are digested.
_LOCKS = (2, 30)
_SAVE_EVERY = 1.0


class SnapshotGone(BasculeError):
    """The snapshot cannot be used any more: what is not digested yet never will be."""


@contextlib.contextmanager
def seeing(session: Session, snapshot: str, role: str = "") -> Iterator[None]:
    """Be inside a transaction that sees the snapshot, with the rights of a role."""
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        try:
            session.execute(f"SET TRANSACTION SNAPSHOT {rows.literal(snapshot)}")
        except SqlError as error:
            raise SnapshotGone(expected=f"the snapshot {snapshot}", found=error.found) from error
        if role:
            session.execute(f"SET LOCAL ROLE {role}")
        yield
    finally:
        with contextlib.suppress(SqlError):
            session.execute("ROLLBACK")


class Connections:
    """Opens sessions that write and read values alike at both sides."""

    def __init__(self, connect: Callable[[str], Session]) -> None:
        self._connect = connect
        self.version = 0

    def reader(self, table: Mapping[str, Any]) -> str:
        """Return the role that a table is read as; only a superuser sees all rows of one that has policies."""
        return rows.READER if self.version >= rows.READER_SINCE and not table["guarded"] else ""

    def open(self, database: str) -> Session:
        """Open a session."""
        session = self._connect(database)
        try:
            self.version = int(session.value("SELECT current_setting('server_version_num')"))
            known = [str(row["name"]) for row in session.query(rows.optional_query())]
            session.execute(rows.settings(known))
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
        # Blocks digested, of how many, and how many of them by earlier runs.
        self._blocks: list[float] = [0, 0, 0]
        self._rows_before = 0
        self._unmeasured = 0
        self._jobs: queue.SimpleQueue[tuple[str, dict[str, Any], int]] = queue.SimpleQueue()

    def run(self, schema: Definitions) -> None:
        """Digest the schema and every table; raise SnapshotGone when the rest cannot be digested any more."""
        self.list_tables()
        # As early as can be, before anybody changes it; what somebody keeps locked is asked for again in the end.
        self.describe(schema, _LOCKS[0])
        self.digest_rows()
        self.describe(schema, _LOCKS[1])

    def list_tables(self) -> None:
        """Name every table; a database that cannot be read is named, and keeps no other from being compared."""
        for database in sorted(self.snapshots):
            self._guarded(self.result["databases"][database], partial(self._list, database))

    def describe(self, schema: Definitions, patience: int) -> None:
        """Digest what is not digested yet of the schema; a lock is waited for so many seconds."""
        cluster = self.result.setdefault("cluster", {})
        if "kinds" not in cluster and self.snapshots:
            self._guarded(cluster, partial(self._describe_cluster, schema, cluster))
        for database in sorted(self.snapshots):
            found = self.result["databases"][database]
            if "kinds" not in found["schema"] and not found.get("reason"):
                self._guarded(found["schema"], partial(self._describe, schema, database, patience))
        self._note(force=True)

    def _guarded(self, found: dict[str, Any], step: Callable[[], None]) -> None:
        """Do a step of one database; what stands in its way is written down, unless it stands in the way of all."""
        try:
            step()
            found.pop("reason", None)
        except SnapshotGone:
            raise
        except BasculeError as error:
            found["reason"] = " ".join((error.found or str(error)).split())[-300:]

    def _describe_cluster(self, schema: Definitions, found: dict[str, Any]) -> None:
        """Digest roles and settings, which no snapshot holds: they count only when nobody has changed them since."""
        database = min(self.snapshots)
        with contextlib.closing(self.connections.open(database)) as session:
            shared = catalog.shared(self.connections.version)
            with seeing(session, self.snapshots[database]):
                before = session.value(shared)
                kinds = {"setting of all roles": self._lines(session, catalog.of_all_roles())}
            kinds.update(schema.cluster())
            if session.value(shared) != before:
                raise BasculeError(
                    expected="roles and settings as the snapshot has them",
                    found="somebody has changed a role, a setting or a database since the snapshot was taken",
                )
        found["kinds"] = {kind: definitions.digest(lines) for kind, lines in kinds.items() if lines}

    def _describe(self, schema: Definitions, database: str, patience: int) -> None:
        kinds: dict[str, dict[str, str]] = {}
        with contextlib.closing(self.connections.open(database)) as session:
            session.execute(f"SET lock_timeout = '{patience}s'")
            with seeing(session, self.snapshots[database]):
                for kind, query in catalog.queries(self.result["layout"]).items():
                    kinds[kind] = self._lines(session, query)
        kinds.update(schema.database(database, self.snapshots[database], patience))
        self.result["databases"][database]["schema"]["kinds"] = {
            kind: definitions.digest(lines) for kind, lines in kinds.items() if lines
        }

    @staticmethod
    def _lines(session: Session, query: str) -> dict[str, str]:
        return {str(row["name"]): str(row["hash"]) for row in session.query(catalog.lines(query), timeout=600)}

    def digest_rows(self) -> None:
        """Digest what is not digested yet of the tables that are listed."""
        self._queue()
        self._begun = time.monotonic()
        threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(self._workers)]
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
        with contextlib.closing(self.connections.open(database)) as session, seeing(session, self.snapshots[database]):
            tables = session.query(rows.tables_query(self.connections.version), timeout=600)
            elsewhere = session.query(rows.elsewhere_query(), timeout=600)
        found["elsewhere"] = [rows.label(one["schema"], one["name"]) for one in elsewhere]
        for table in tables:
            label = rows.label(table["schema"], table["name"])
            if self._only and label not in self._only:
                continue
            if rows.is_large_objects(table) and self.result["layout"] == rows.LOGICAL:
                table = rows.large_objects(table)
            if self.result["layout"] == rows.LOGICAL:
                # A restored copy has its columns where it was told; those of a parent come first there.
                table["columns"].sort(key=lambda column: str(column["name"]))
            reason = "unlogged tables are not replicated" if table["unlogged"] else ""
            found["tables"][label] = {
                **table,
                "how": rows.how(table, self.result["mode"], self.result["layout"]),
                "layout": self.result["layout"],
                "chunk_blocks": rows.CHUNK_BLOCKS,
                "status": "not_proved" if reason else "pending",
                "reason": reason,
                "rows": 0,
                "blocks": None,
                "chunks": {},
            }
        self.result["version"] = self.connections.version
        found["listed"] = True
        self._note(force=True)

    def _queue(self) -> None:
        for database, found in sorted(self.result["databases"].items()):
            for table in found["tables"].values():
                self._cut_alike(table)
                if table["status"] != "pending":
                    continue
                if table["blocks"] is None:
                    # Its first chunk tells how many more there are.
                    self._unmeasured += 1
                    self._blocks[1] += int(table["pages"])
                    self._jobs.put((database, table, 0))
                else:
                    self._blocks[1] += int(table["blocks"])
                    self._blocks[0] += sum(self._share(table) for _ in table["chunks"])
                    self._rows_before += sum(int(chunk[0]) for chunk in table["chunks"].values())
                    self._queue_rest(database, table)
        self._blocks[2] = self._blocks[0]

    @staticmethod
    def _cut_alike(table: dict[str, Any]) -> None:
        """Begin a table again that an earlier run has cut into chunks of another size: their digests do not mix."""
        if table.get("chunk_blocks") != rows.CHUNK_BLOCKS:
            table["chunk_blocks"] = rows.CHUNK_BLOCKS
            if table["status"] != "not_proved":
                table.update(status="pending", rows=0, blocks=None, chunks={})
                table.pop("digest", None)

    def _queue_rest(self, database: str, table: dict[str, Any], first: int = 0) -> None:
        for number in range(first, self._count(table)):
            if str(number) not in table["chunks"]:
                self._jobs.put((database, table, number))

    def _count(self, table: Mapping[str, Any]) -> int:
        whole = table.get("source") is not None
        return 1 if whole else rows.chunk_count(int(table["blocks"]), int(self.result["version"]))

    def _share(self, table: Mapping[str, Any]) -> float:
        return int(table["blocks"]) / self._count(table)

    def _next(self) -> tuple[str, dict[str, Any], int] | None:
        """Return the next chunk; None when there is none, and no table that may have more of them."""
        while self._failed is None:
            try:
                return self._jobs.get_nowait()
            except queue.Empty:
                if not self._unmeasured:
                    return None
                # Somebody holds that table; how far the others have come is written down meanwhile.
                self._note()
                time.sleep(0.005)
        return None

    def _work(self, number: int) -> None:
        pipe = HashedPipe(self._pipes, f"rows-{number}", self._owner)
        held: tuple[str, Session] | None = None
        try:
            while (job := self._next()) is not None:
                database, table, part = job
                for attempt in range(_TRIES):
                    if table["status"] != "pending":
                        break
                    try:
                        if held is None or held[0] != database:
                            if held is not None:
                                held[1].close()
                            held = (database, self.connections.open(database))
                            held[1].execute(rows.AS_THEY_LIE)
                        self._keep(table, part, self._chunk(held[1], pipe, database, table, part))
                        break
                    except SqlError as error:
                        if error.code in _AGAIN and attempt < _TRIES - 1:
                            if held is not None:
                                held[1].close()
                            held = None
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
            if held is not None:
                held[1].close()
            pipe.remove()

    def _chunk(
        self, session: Session, pipe: HashedPipe, database: str, table: dict[str, Any], part: int
    ) -> list[Any] | None:
        """Return the digest of a chunk; None when the table no longer lies where it lay."""
        value: list[Any]
        streamed = table["how"] in rows.STREAMS
        # To let the server write into a pipe, a superuser is needed.
        with seeing(session, self.snapshots[database], "" if streamed else self.connections.reader(table)):
            if table["blocks"] is None:
                blocks = session.value(rows.blocks_query(table["oid"]), timeout=_DAY)
                if blocks is None:
                    return None
                self._measured(database, table, int(blocks))
            where = rows.chunk(part, self._count(table))
            if streamed:
                copy = rows.stream(table, table["how"], where, str(pipe.path))
                with pipe.reading() as reading:
                    count = session.copied(copy, timeout=_DAY)
                value = [count, reading.hexdigest()]
            else:
                query = rows.sums(table, table["how"], where, self._seeds)
                found = session.query(query, timeout=_DAY)[0]
                value = [int(found["rows"]), found["high"], found["low"]]
            if table.get("source") is None:
                # To truncate or rewrite a table is not undone by an older snapshot. The lock taken above still holds.
                now = session.value(rows.filenode_query(table["oid"]))
                if now != table["filenode"]:
                    return None
        return value

    def _measured(self, database: str, table: dict[str, Any], blocks: int) -> None:
        with self._lock:
            table["blocks"] = blocks
            self._blocks[1] += blocks - int(table["pages"])
            self._queue_rest(database, table, first=1)
            self._unmeasured -= 1

    def _keep(self, table: dict[str, Any], part: int, value: list[Any] | None) -> None:
        if value is None:
            self._drop(table, "it was truncated, rewritten or dropped while it was compared")
            return
        with self._lock:
            table["chunks"][str(part)] = value
            self._blocks[0] += self._share(table)
            if len(table["chunks"]) == self._count(table) and table["status"] == "pending":
                table.update(compare.fold(table["how"], table["chunks"]), status="done")
        self._note()

    def _drop(self, table: dict[str, Any], reason: str) -> None:
        with self._lock:
            table.update(status="not_proved", reason=" ".join(reason.split())[-300:])
            if table["blocks"] is None:
                table["blocks"] = 0
                self._unmeasured -= 1
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
            seen = self._rows()
            self.result["progress"] = {
                "rows": seen,
                "rows_per_second": round(max(0, seen - self._rows_before) / passed),
                "done_percent": round(min(100, 100 * done / total), 1) if total else 100.0,
                "remaining_seconds": round(max(0, total - done) / speed) if speed else None,
            }
            self._save()
            # A long list of chunks is not written all the time.
            self._saved = time.monotonic()
            self._pause = max(_SAVE_EVERY, 20 * (self._saved - now))
