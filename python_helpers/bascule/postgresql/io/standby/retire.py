"""Take leave of a retired side: an encrypted last dump first, then what the migration has left behind."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ....errors import BasculeError, CommandFailed
from ....guard import state as rule
from ....guard.io import store
from ....system.io import storage, units
from ....system.moments import now
from ... import conf
from ...rows import literal
from ..cluster.cluster import HOME, RETIRED_FILE, Cluster, load_spec, world
from ..dump import job
from ..rows import snapshot
from . import before, canary

_LONGEST = 7 * 86400


def retire(
    component: str, side: str, *, active: bool, recipient: str, directory: str, check: bool = False
) -> dict[str, Any]:
    """Retire one side; return what was removed."""
    spec = load_spec(component, side)
    cluster = Cluster(spec)
    state = store.read(component, side)
    wanted = rule.OPEN if active else rule.CLOSED
    if state.status != wanted:
        raise BasculeError(
            expected=f"{side} to be {wanted}",
            found=state.describe(),
            state="nothing was removed",
            next_command="ansible-playbook playbooks/status.yml",
        )
    record = HOME / component / RETIRED_FILE
    done = storage.read_json(record)
    # Only while the guard is as it was then: a side that has moved since has something to dump and to remove again.
    if done and done.get("guard", state.to_dict()) == state.to_dict():
        return {"changed": False, "changes": [], "dump": done.get("dump")}
    changes = [str(path) for path in leftovers(cluster)]
    dump: dict[str, Any] | None = None
    if active:
        changes += [f"slot {spec.slot}", *(str(path) for path in before.traces(cluster))]
    else:
        if not recipient.startswith("age1"):
            raise BasculeError(
                expected="an age recipient for the encrypted last dump of the retired side",
                found=repr(recipient) if recipient else "none",
                state="nothing was removed",
                next_command="set postgresql_replication_retire_recipient",
            )
        changes += [f"last dump in {directory}", f"{spec.unit} stopped"]
    if check:
        return {"changed": True, "changes": changes}
    # A take-back that still tries has nothing to take back here.
    units.stop(spec.unit_name("deadman"))
    with world(component):
        if active:
            with cluster.session() as session:
                changes += canary.remove(session)
                inactive = f"SELECT 1 AS one FROM pg_replication_slots WHERE slot_name = '{spec.slot}'"
                if session.query(inactive):
                    session.execute(
                        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
                        f"WHERE slot_name = '{spec.slot}' AND active_pid IS NOT NULL"
                    )
                    session.execute(f"SELECT pg_drop_replication_slot('{spec.slot}')")
                if session.query(f"SELECT 1 AS one FROM pg_roles WHERE rolname = {literal(spec.replication_user)}"):
                    session.execute(f'ALTER ROLE "{spec.replication_user}" NOLOGIN')
            before.give_back(cluster)
            # Nobody is behind the other side's port any more.
            units.stop(spec.unit_name("fence-probe"))
        else:
            for operation in (
                "follow",
                *snapshot.UNITS,
                "safety-dump",
                "seed",
                "dump-take",
                "dump-bring",
                "dump-carry",
            ):
                units.stop(spec.unit_name(operation))
            if cluster.postmaster() is None:
                cluster.start()
            dump = last_dump(cluster, recipient, Path(directory))
            if not cluster.stop(120):
                raise BasculeError(expected=f"{spec.unit} to stop", found="it still runs", state="the dump was written")
        for path in [*leftovers(cluster), *(path for path in [job.directory(component)] if path.exists())]:
            shutil.rmtree(path)
        storage.remove(conf.passfile(spec))
        storage.write_json(record, {"retired_at": now(), "dump": dump, "active": active, "guard": state.to_dict()})
    return {"changed": True, "changes": changes, "dump": dump}


def leftovers(cluster: Cluster) -> list[Path]:
    """Return the directories the migration has put beside the data directory."""
    return sorted(cluster.data.parent.glob(f"{cluster.data.name}.bascule-*"))


def last_dump(cluster: Cluster, recipient: str, directory: Path) -> dict[str, Any]:
    """Dump everything, encrypted before it touches the disk; return path and digest."""
    storage.make_directory(directory, 0o700)
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    path = directory / f"{cluster.spec.component}-{cluster.spec.side}-{stamp}.sql.age"
    partial = path.with_name(path.name + ".partial")
    dump_argv = [
        *("runuser", "-u", cluster.spec.owner, "--"),
        f"{cluster.spec.programs}/pg_dumpall",
        "-p",
        str(cluster.spec.port),
    ]
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with subprocess.Popen(
            dump_argv,
            env={**os.environ, **cluster.spec.way_in},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
        ) as dump:
            sealed = subprocess.run(
                ["age", "--encrypt", "--recipient", recipient],
                stdin=dump.stdout,
                stdout=descriptor,
                stderr=subprocess.PIPE,
                check=False,
                timeout=_LONGEST,
            )
            complaint = (dump.stderr.read() if dump.stderr else b"").decode("utf-8", "replace")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if dump.returncode != 0 or sealed.returncode != 0:
        partial.unlink()
        raise CommandFailed(
            expected="an encrypted last dump",
            found=(complaint + sealed.stderr.decode("utf-8", "replace")).strip()[-1000:],
            state="nothing was removed",
        )
    partial.rename(path)
    storage.sync_directory(directory)
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return {"path": str(path), "sha256": digest.hexdigest(), "bytes": path.stat().st_size}
