"""Build a standby by a base backup over TLS."""

from __future__ import annotations

import datetime
import pwd
import shutil
import time
from pathlib import Path
from typing import Any

from ..errors import BasculeError
from ..guard import state as rule
from ..postgresql import conf
from . import files, guard_store
from .pg_cluster import HOME, STREAMING, Cluster, load_spec, world
from .pg_follow import size_of
from .pg_prepare import SEED_FILE
from .process import run

_MARK = "bascule.seeded"
_LONGEST = 7 * 86400


def seed(component: str, max_rate: str) -> int:
    """Take the base backup beside the data directory, check it, put it in place, start it; return an exit status."""
    spec = load_spec(component)
    cluster = Cluster(spec)
    started = time.monotonic()
    notes: dict[str, Any] = {"state": "running", "started_at": _now()}

    def note(**values: Any) -> None:
        notes.update(values)
        files.write_json(HOME / component / SEED_FILE, notes)

    try:
        note(step="base backup")
        partial = Path(f"{cluster.data}.bascule-seed")
        if partial.exists():
            # What an interrupted base backup left behind is of no use: it cannot be continued.
            shutil.rmtree(partial)
        run(
            [
                f"{spec.programs}/pg_basebackup",
                f"--dbname={conf.conninfo(spec)}",
                f"--pgdata={partial}",
                "--wal-method=stream",
                f"--slot={spec.slot}",
                "--checkpoint=fast",
                "--no-password",
                *([f"--max-rate={max_rate}"] if max_rate else []),
            ],
            timeout=_LONGEST,
            user=spec.owner,
            cwd="/",
        )
        note(step="checking the base backup", bytes=size_of(partial))
        run([f"{spec.programs}/pg_verifybackup", "--quiet", str(partial)], timeout=_LONGEST, user=spec.owner, cwd="/")
        note(step="putting it in place")
        with world(component):
            _put_in_place(cluster, partial)
            cluster.start(timeout=3600)
        note(step="connecting")
        _wait_streaming(cluster)
        note(state="done", step="streaming", ended_at=_now(), seconds=round(time.monotonic() - started, 1))
    except (BasculeError, OSError) as error:
        note(state="failed", error=str(error), ended_at=_now())
        return 1
    return 0


def _put_in_place(cluster: Cluster, partial: Path) -> None:
    spec = cluster.spec
    state = guard_store.read(spec.component, spec.side)
    if state.status != rule.CLOSED:
        raise BasculeError(expected=f"{spec.side} to be closed", found=state.describe(), state="nothing was replaced")
    owner = pwd.getpwnam(spec.owner)
    for name in ("standby.signal", _MARK):
        files.write_durably(partial / name, "", 0o600)
        shutil.chown(partial / name, owner.pw_uid, owner.pw_gid)
    if not cluster.stop(120):
        raise BasculeError(expected=f"the empty cluster on {spec.side} to stop", found="it still runs")
    cluster.fence()
    if (cluster.data / _MARK).exists():
        shutil.rmtree(cluster.data)
    elif cluster.data.exists():
        aside = cluster.data.with_name(f"{cluster.data.name}.bascule-before-{int(time.time())}")
        cluster.data.rename(aside)
    partial.rename(cluster.data)
    files.sync_directory(cluster.data.parent)
    cluster.follow_conf(connect=True)


def _wait_streaming(cluster: Cluster, timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    with cluster.session() as session:
        while not session.query(STREAMING):
            if time.monotonic() > deadline:
                raise BasculeError(
                    expected=f"{cluster.spec.side} to stream within {timeout:g} s",
                    found="no connection to the primary",
                    state="the base backup is in place",
                    next_command="see why in the server's log, then run prepare again",
                )
            time.sleep(0.2)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
