"""Take the dump by which a cluster moves: every database, encrypted, with the digest of every row as it was dumped.

A rehearsal is taken from the running primary under one snapshot for each database; the dump that counts from the closed
side, which stands in recovery, where nothing can be written at all.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ....system.io import age_keys, sealed, storage
from ....system.moments import now
from ... import compare, dump_restore, rows
from ..cluster import databases as cluster_databases
from ..cluster.cluster import Cluster, load_spec
from ..cluster.psql import Session
from ..rows.digest import Connections, Digester
from ..rows.schema import Definitions
from ..rows.snapshot import sequences
from . import pg_dump
from .fetch import CONTENTS
from .job import TAKE, Job, directory, forget_older
from .scratch_cluster import jobs, like

PIPES = Path("/run/bascule-rows")
# Databases that are dumped side by side.
SIDE_BY_SIDE = 3


class Take:
    """One dump of a whole cluster; what is finished of it is found by the next run, and read before it is used."""

    def __init__(self, component: str, name: str, refused: str = "") -> None:
        self.spec = load_spec(component)
        self.cluster = Cluster(self.spec)
        self.name = name
        self.directory = directory(component, name)
        # A rehearsal that the other side has restored and refused: what is mended since is in no dump of before.
        self.refused = refused
        self.job = Job(self.spec, TAKE, {"name": name, "refused": refused})
        self.final = not name.startswith("rehearsal-")
        self.contents: dict[str, Any] = {}
        self._spent_before = 0.0

    def run(self) -> int:
        """Take it; return an exit status."""
        try:
            return self.job.done(self._run())
        except (BasculeError, OSError) as error:
            return self.job.failed(error)

    def _run(self) -> dict[str, Any]:
        self.job.note(step="looking what there is")
        recipients = age_keys.recipients(self.spec.component)
        storage.make_directory(self.directory, 0o700)
        forget_older(self.spec.component, self.directory)
        position = self._position()
        with self.cluster.session() as session:
            before = self._finished(recipients, position)
            if before is not None:
                return before
            self._begin(session, position)
            cluster_databases.require_all(self.cluster, session)
            names = cluster_databases.names(session)
        self._dump([name for name in names if name not in self.contents["databases"]], recipients)
        if self.final and self._position() != position:
            raise BasculeError(expected=f"{self.spec.side} to stand still at {position}", found=str(self._position()))
        self.contents.update(
            seconds=self._spent(),
            ended_at=now(),
            done=True,
        )
        self._save()
        return self._result(changed=True)

    def _position(self) -> dict[str, str]:
        position = self.cluster.control().position()
        if self.final and self.name != dump_restore.final(position):
            raise BasculeError(
                expected=f"{self.spec.side} where it was closed ({self.name})",
                found=str(position),
                state="nothing was dumped",
                next_command="run the same playbook again",
            )
        return position

    def _finished(self, recipients: list[str], position: Mapping[str, str]) -> dict[str, Any] | None:
        """Take over what an earlier run has finished; return the result when that was all."""
        contents = self.directory / CONTENTS
        if not self.final and self.refused and contents.exists() and sealed.digest(contents) == self.refused:
            return None
        found = storage.read_json(contents) or {}
        same = found.get("recipients") == recipients and found.get("mode") == self.spec.compare_mode
        if not same or (self.final and not dump_restore.same_place(found["position"], position)):
            return None
        known = [*found["databases"].items(), *([("globals", found["globals"])] if found.get("globals") else [])]
        for number, (name, one) in enumerate(known):
            self.job.tell(f"reading what was dumped before, {number + 1} of {len(known)}")
            dump = one["dump"]
            path = self.directory / dump["file"]
            if not path.exists() or sealed.digest(path) != dump["sha256"]:
                # Damaged since: this one is taken again.
                found["done"] = False
                found["databases"].pop(name, None)
        self.contents = found
        self._spent_before = float(found["spent"])
        return self._result(changed=False) if found.get("done") else None

    def _begin(self, session: Session, position: Mapping[str, str]) -> None:
        standing = bool(session.value("SELECT pg_is_in_recovery()"))
        if standing is not self.final:
            raise BasculeError(
                expected=f"{self.spec.side} to {'stand in recovery, closed' if self.final else 'run as the primary'}",
                found="it is in recovery" if standing else "it runs as a primary: something could still be written",
                state="nothing was dumped",
            )
        size = int(session.value("SELECT sum(pg_database_size(oid)) FROM pg_database"))
        free = shutil.disk_usage(self.directory).free
        if free < size * dump_restore.SOURCE_FACTOR:
            raise BasculeError(
                expected=f"{int(size * dump_restore.SOURCE_FACTOR)} bytes free at {self.directory} on {self.spec.side}",
                found=f"{free} bytes",
                state="nothing was dumped",
                next_command="free space there, then run the same playbook again",
            )
        checksums = ["--data-checksums"] if self.cluster.control().checksums else []
        self.contents = {
            "databases": {},
            "started_at": now(),
            "spent": 0.0,
            **self.contents,
            "name": self.name,
            "component": self.spec.component,
            "side": self.spec.side,
            "version": self.spec.version,
            "position": dict(position),
            "recipients": age_keys.recipients(self.spec.component),
            "mode": self.spec.compare_mode,
            "size_bytes": size,
            "initdb": [*like(session), *checksums],
            "libraries": session.value("SELECT current_setting('shared_preload_libraries')"),
            "done": False,
        }

    def _dump(self, names: list[str], recipients: list[str]) -> None:
        """Dump databases side by side, and digest them meanwhile, each under one snapshot."""
        left = len(names)
        self.job.note(step="dumping", progress=f"{left} databases")
        with contextlib.ExitStack() as stack:
            snapshots, stands = {}, {}
            for name in names:
                session = stack.enter_context(contextlib.closing(self._connections().open(name)))
                session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                snapshots[name] = str(session.value("SELECT pg_export_snapshot() AS id"))
                # No snapshot holds a sequence: it may be ahead in the dump, never behind.
                stands[name] = sequences(session)
            pool = stack.enter_context(ThreadPoolExecutor(max_workers=SIDE_BY_SIDE))
            globals_ = pool.submit(self._seal, pg_dump.dump_globals(self.spec), "globals.sql.age", recipients)
            sealed = {
                name: pool.submit(
                    self._seal,
                    pg_dump.dump_database(self.spec, name, snapshots[name]),
                    f"{_file_name(name)}.dump.age",
                    recipients,
                )
                for name in names
            }
            self.contents["globals"] = {"dump": globals_.result()}
            for name in names:
                digest = self._digest(name, snapshots[name])
                dump = sealed[name].result()
                self.contents["databases"][name] = {"dump": dump, "digest": digest, "sequences": stands[name]}
                self.contents["spent"] = self._spent()
                self._save()
                left -= 1
                self.job.note(progress=f"{left} databases left")

    def _seal(self, argv: list[str], name: str, recipients: list[str]) -> dict[str, Any]:
        made = sealed.seal(pg_dump.as_owner(self.spec, argv), self.directory / name, recipients, self.spec.way_in)
        return {"file": name, "bytes": made["bytes"], "sha256": made["sha256"]}

    def _digest(self, name: str, snapshot: str) -> dict[str, Any]:
        result = {**empty(self.name, self.spec.compare_mode, [name]), "cluster": self.contents.get("cluster") or {}}
        pipes = PIPES / f"{self.spec.component}-take"
        Digester(
            self._connections(),
            result,
            {name: snapshot},
            lambda: None,
            pipes=pipes,
            owner=self.spec.owner,
            workers=jobs(),
        ).run(Definitions(self.spec, self.spec.port))
        slim = compare.slim(result, lines=True)
        self.contents["cluster"] = slim["cluster"]
        found: dict[str, Any] = slim["databases"][name]
        return found

    def _connections(self) -> Connections:
        return Connections(lambda database: self.cluster.session(database=database))

    def _spent(self) -> float:
        return round(self._spent_before + time.time() - float(self.job.notes["began"]), 1)

    def _result(self, *, changed: bool) -> dict[str, Any]:
        path = self.directory / CONTENTS
        return {
            "changed": changed,
            "name": self.name,
            "manifest": sealed.digest(path),
            "position": self.contents["position"],
            "bytes": sum(int(one["dump"]["bytes"]) for one in self.contents["databases"].values()),
            "size_bytes": self.contents["size_bytes"],
            "seconds": self.contents["seconds"],
        }

    def _save(self) -> None:
        storage.write_json(self.directory / CONTENTS, self.contents)


def empty(epoch: str, mode: str, databases: list[str]) -> dict[str, Any]:
    """Return a result that a digest can be written into."""
    return {
        "epoch": epoch,
        "mode": mode,
        "layout": rows.LOGICAL,
        "databases": {name: {"tables": {}, "schema": {}, "sequences": {}} for name in databases},
    }


def _file_name(database: str) -> str:
    return "".join(f"%{ord(c):02x}" if not (c.isascii() and c.isalnum()) and c not in "_-" else c for c in database)


def work(component: str, name: str, refused: str) -> int:
    """Take one dump; the unit `dump-take`."""
    return Take(component, name, refused).run()
