"""Bring the other side's dump here, restore it into a cluster beside the one that is there, and compare every row.

Only what was proved is put in place, closed as before; what was there is kept aside. A rehearsal is thrown away again.
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
from ....guard import state as rule
from ....guard.io import store
from ....system.io import storage
from ....system.io.process import run
from ....system.io.sealed import LONGEST, unseal
from ....system.moments import now
from ... import compare, dump_restore, rows
from ... import control as control_file
from ..cluster import settings as cluster_settings
from ..cluster.cluster import HOME, Cluster, load_spec, world
from ..rows.digest import Connections, Digester
from ..rows.schema import Definitions
from . import pg_dump
from .fetch import Fetcher
from .job import BRING, Job, directory, forget_older
from .scratch_cluster import Scratch, jobs
from .take import PIPES, SIDE_BY_SIDE, empty

RESTORED_FILE = "restored.json"
REHEARSED_FILE = "rehearsed.json"
# In a data directory that was restored and never opened: there is nothing in it that its dump does not hold.
MARK = "bascule.restored"
_NOT_OURS = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")


class Bring:
    """One dump, from the other side's disk to a cluster that holds every row of it."""

    def __init__(self, component: str, name: str, manifest: str, rate: str = "") -> None:
        self.spec = load_spec(component)
        self.cluster = Cluster(self.spec)
        self.name = name
        self.manifest = manifest
        self.rate = rate
        self.final = not name.startswith("rehearsal-")
        self.directory = directory(component, name)
        self.job = Job(self.spec, BRING, {"name": name, "manifest": manifest, "rate": rate})
        self.record = HOME / component / (RESTORED_FILE if self.final else REHEARSED_FILE)
        self.contents: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        # Whether the dump itself was tried, not only the way to here.
        self.tried = False

    def run(self) -> int:
        """Do it; return an exit status."""
        try:
            return self.job.done(self._run())
        except (BasculeError, OSError) as error:
            found = error.found if isinstance(error, BasculeError) else str(error)
            reason = " ".join(found.split())[-800:]
            self._write(state=dump_restore.NOT_PROVED, in_place=False, reason=reason, tried=self.tried)
            return self.job.failed(error)

    def _run(self) -> dict[str, Any]:
        began = time.monotonic()
        known = storage.read_json(self.record) or {}
        if self.final and known.get("manifest") == self.manifest and untouched(self.cluster, known):
            return {**known, "changed": False}
        if self.final:
            # What the record says is no longer true once anything is put in place of it.
            storage.remove(self.record)
        with self._timed("transfer"):
            fetcher = Fetcher(self.spec, self.directory, self.job, self.rate)
            self.contents = fetcher.contents(self.manifest)
            forget_older(self.spec.component, self.directory)
            fetcher.dumps([one["dump"] for one in (self.contents["globals"], *self.contents["databases"].values())])
        self._room()
        settings = {
            # It becomes a server that can stand in recovery, which a minimal log would not let it.
            "wal_level": "replica",
            "max_wal_size": "4GB",
            "maintenance_work_mem": "256MB",
            "shared_preload_libraries": str(self.contents["libraries"]),
            **{name: str(value) for name, value in cluster_settings.effective(self.spec).items()},
            "max_wal_senders": "0",
        }
        with Scratch(self.spec, self.contents["initdb"], settings, "bascule-restored") as fresh:
            self.tried = True
            with self._timed("restore"):
                self._restore(fresh)
            with self._timed("compare"):
                found, xid = self._compare(fresh)
            cluster = self._stop(fresh, xid) if self.final else {}
            if self.final:
                with self._timed("put in place"):
                    cluster = self._put_in_place(fresh, cluster)
        if not self.final:
            shutil.rmtree(self.directory)
        return self._write(
            state=dump_restore.PROVED,
            reason="",
            in_place=self.final,
            position=self.contents["position"],
            cluster=cluster,
            comparison=found.to_dict(),
            taken={name: self.contents[name] for name in ("seconds", "size_bytes", "started_at", "ended_at")},
            steps=self.seconds,
            seconds=round(time.monotonic() - began, 1),
        )

    # The restore

    def _room(self) -> None:
        largest = max((int(one["dump"]["bytes"]) for one in self.contents["databases"].values()), default=0)
        needed = int(self.contents["size_bytes"]) + SIDE_BY_SIDE * largest
        free = shutil.disk_usage(self.cluster.data.parent).free
        if free < needed:
            raise BasculeError(
                expected=f"{needed} bytes free beside {self.cluster.data} on {self.spec.side}",
                found=f"{free} bytes",
                state="nothing was restored",
                next_command=f"free space on {self.spec.side}, then run the same playbook again",
            )

    def _restore(self, fresh: Scratch) -> None:
        self.job.note(step="restoring roles and settings", progress="")
        plain = fresh.home / "globals"
        self._unseal(self.contents["globals"]["dump"], plain)
        pg_dump.restore_globals(self.spec, plain, fresh.port)
        plain.unlink()
        names = sorted(self.contents["databases"], key=lambda name: -int(self._dump_of(name)["bytes"]))
        done = 0
        if "postgres" in names:
            # Alone, and first: it is made anew, and where the others are made from.
            names.remove("postgres")
            self._restore_one(fresh, "postgres")
        with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
            for _ in pool.map(lambda name: self._restore_one(fresh, name), names):
                done += 1
                self.job.note(step="restoring", progress=f"{done} of {len(names)} databases")
        self.job.note(step="gathering statistics", progress="")
        argv = [f"{self.spec.programs}/vacuumdb", "--all", "--analyze-only", "--quiet", f"--jobs={jobs()}"]
        way_in = self.spec.way_in
        run([*argv, f"--port={fresh.port}"], timeout=LONGEST, user=self.spec.owner, cwd="/", env=way_in)

    def _restore_one(self, fresh: Scratch, name: str) -> None:
        plain = fresh.home / self._dump_of(name)["file"]
        self._unseal(self._dump_of(name), plain)
        pg_dump.restore_database(self.spec, plain, name, fresh.port, jobs())
        plain.unlink()

    def _dump_of(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.contents["databases"][name]["dump"]
        return found

    def _unseal(self, dump: Mapping[str, Any], path: Path) -> None:
        sealed = {"path": str(self.directory / dump["file"]), "sha256": dump["sha256"]}
        unseal(sealed, path, owner=self.spec.owner)

    # The proof

    def _compare(self, fresh: Scratch) -> tuple[compare.Comparison, int]:
        """Compare every row with what was digested under the dump's snapshot; return also who may write next."""
        self.job.note(step="comparing every row")
        names = sorted(self.contents["databases"])
        result = empty(self.name, str(self.contents["mode"]), names)
        source = {**empty(self.name, str(self.contents["mode"]), []), "cluster": self.contents.get("cluster") or {}}
        source["databases"] = {
            name: {**one["digest"], "sequences": {}} for name, one in self.contents["databases"].items()
        }
        wrong = []
        with contextlib.ExitStack() as stack:
            snapshots = {}
            first = stack.enter_context(contextlib.closing(fresh.session()))
            xid = int(str(first.value("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")))
            for name in names:
                session = stack.enter_context(contextlib.closing(Connections(fresh.session).open(name)))
                session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                snapshots[name] = str(session.value("SELECT pg_export_snapshot() AS id"))
                wrong += self._sequences(session, name)
            Digester(
                Connections(fresh.session),
                result,
                snapshots,
                lambda: self.job.tell(f"{(result.get('progress') or {}).get('done_percent', 0)} %"),
                pipes=PIPES / f"{self.spec.component}-bring",
                owner=self.spec.owner,
                workers=jobs(),
            ).run(Definitions(self.spec, fresh.port))
        found = compare.compare(source, compare.slim(result, lines=True))
        problems = [*found.details, *found.not_proved, *wrong]
        if problems:
            raise BasculeError(
                expected=f"every row of {self.spec.peer_side}'s dump restored on {self.spec.side}",
                found="; ".join(problems)[:1500],
                state="what was restored is thrown away; nothing was opened",
                next_command="mend what is named, then run the same playbook again",
            )
        return found, xid

    def _sequences(self, session: Any, database: str) -> list[str]:
        wrong = []
        for name, before in self.contents["databases"][database]["sequences"].items():
            if before.get("unlogged"):
                wrong.append(f"sequence {compare.table_label(database, name)} is unlogged: nobody knows where it was")
                continue
            path = f"{rows.quote(str(before['schema']))}.{rows.quote(str(before['name']))}"
            stands = session.query(f"SELECT last_value AS value, is_called AS called FROM {path}")
            if not stands or dump_restore.sequence_differs(before, stands[0], still=self.final):
                wrong.append(f"sequence {compare.table_label(database, name)} is not where it was")
        return wrong

    def _stop(self, fresh: Scratch, xid: int) -> dict[str, Any]:
        """Stop it cleanly and bring it to disk; nothing was written to it since its rows were compared."""
        self.job.note(step="bringing what was restored to disk", progress="")
        fresh.stop("fast", check=True)
        found = self._control(fresh.data)
        if found.state != control_file.SHUT_DOWN or found.next_xid != xid:
            raise BasculeError(
                expected=f"the restored cluster to stand where it was compared, before transaction {xid}",
                found=f"{found.state}, next transaction {found.next_xid}: somebody wrote to it",
                state="what was restored is thrown away; nothing was opened",
                next_command="run the same playbook again",
            )
        run([f"{self.spec.programs}/initdb", "--sync-only", f"--pgdata={fresh.data}"], timeout=LONGEST,
            user=self.spec.owner, cwd="/")  # fmt: skip
        return {"system_id": found.system_id, "checkpoint_lsn": found.checkpoint_lsn}

    def _put_in_place(self, fresh: Scratch, cluster: dict[str, Any]) -> dict[str, Any]:
        """Make it this side's cluster, closed: a standby of nobody that lets nobody in. What was there is kept."""
        self.job.note(step="putting it in place")
        spec, data = self.spec, self.cluster.data
        for name in _NOT_OURS:
            storage.remove(fresh.data / name)
        self.cluster.write(fresh.data / MARK, self.manifest + "\n", 0o600)
        self.cluster.write(fresh.data / "standby.signal", "", 0o600)
        own = storage.read_text(data / "postgresql.auto.conf")
        if own is not None:
            # What ALTER SYSTEM has set on this host is about this host.
            self.cluster.write(fresh.data / "postgresql.auto.conf", own, 0o600)
        with world(spec.component):
            guard = store.read(spec.component, spec.side)
            if guard.status != rule.CLOSED:
                raise BasculeError(
                    expected=f"{spec.side} to be closed", found=guard.describe(), state="nothing was replaced"
                )
            if not self.cluster.stop(120):
                raise BasculeError(expected=f"the cluster on {spec.side} to stop", found="it still runs")
            self.cluster.fence()
            self._make_way(data)
            fresh.data.rename(data)
            storage.sync_directory(data.parent)
            self.cluster.follow_conf(connect=False)
            self.cluster.start(timeout=600)
            with self.cluster.session() as session:
                end = str(session.value("SELECT pg_last_wal_replay_lsn()::text"))
        if self._control(data).checkpoint_lsn != cluster["checkpoint_lsn"]:
            raise BasculeError(expected=f"the restored cluster at {cluster}", found=str(self._control(data).position()))
        return {**cluster, "end_lsn": end}

    def _make_way(self, data: Path) -> None:
        if not data.exists():
            return
        if (data / MARK).exists():
            # Restored by an earlier attempt and never opened: its dump, and the other side, have all of it.
            shutil.rmtree(data)
            return
        aside = data.with_name(f"{data.name}.bascule-kept-{int(time.time())}")
        data.rename(aside)

    def _control(self, data: Path) -> control_file.Control:
        done = run([f"{self.spec.programs}/pg_controldata", "-D", str(data)], timeout=20)
        return control_file.parse(done.stdout)

    # What is written down

    @contextlib.contextmanager
    def _timed(self, step: str) -> Any:
        began = time.monotonic()
        yield
        self.seconds[step] = round(time.monotonic() - began, 1)

    def _write(self, **values: Any) -> dict[str, Any]:
        found = {"name": self.name, "manifest": self.manifest, "side": self.spec.side, "at": now(), **values}
        storage.write_json(self.record, found)
        return found


def untouched(cluster: Cluster, record: Mapping[str, Any]) -> bool:
    """Whether a restored cluster that was proved lies here as it was compared."""
    if record.get("state") != dump_restore.PROVED or not record.get("in_place") or not (cluster.data / MARK).exists():
        return False
    now_ = cluster.control()
    known = record["cluster"]
    return (now_.system_id, now_.checkpoint_lsn) == (known["system_id"], known["checkpoint_lsn"])


def work(component: str, name: str, manifest: str, rate: str) -> int:
    """Bring and prove one dump; the unit `dump-bring`."""
    return Bring(component, name, manifest, rate).run()
