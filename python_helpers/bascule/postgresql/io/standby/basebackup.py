"""Build a standby by a base backup over TLS, or out of a side that has diverged."""

from __future__ import annotations

import pwd
import shutil
import time
from pathlib import Path
from typing import Any

from ....errors import BasculeError, CommandFailed
from ....guard import state as rule
from ....guard.io import store
from ....system.io import storage, units
from ....system.io.process import run
from ....system.moments import now
from ... import conf
from ...spec import Spec
from ..cluster import peer
from ..cluster import settings as cluster_settings
from ..cluster.cluster import HOME, SEEDED_MARK, STREAMING, Cluster, load_spec, world
from . import data_directory, rewind
from .follow import FOLLOW_FILE, size_of
from .prepare import SEED_FILE

_LONGEST = 7 * 86400
# How long the primary may take to notice that the link of an earlier attempt is dead.
_SLOT_FREE = 180
# From the best to none. The server compresses and the client unpacks again: less goes over the link.
COMPRESSION = ("server-zstd", "server-lz4", "server-gzip:1", "")


def seed(component: str, max_rate: str) -> int:
    """Take the base backup beside the data directory, check it, put it in place, start it; return an exit status."""
    spec = load_spec(component)
    cluster = Cluster(spec)
    started = time.monotonic()
    begun = storage.read_json(HOME / component / SEED_FILE) or {}
    notes: dict[str, Any] = {
        "state": "running",
        "started_at": now(),
        "began": time.time(),
        "total": int(begun.get("total", 0)),
    }

    def note(**values: Any) -> None:
        notes.update(values)
        storage.write_json(HOME / component / SEED_FILE, notes)

    try:
        partial = Path(f"{cluster.data}.bascule-seed")
        if partial.exists():
            # What an interrupted base backup left behind is of no use: it cannot be continued.
            shutil.rmtree(partial)
        followed = storage.read_json(HOME / component / FOLLOW_FILE) or {"state": "streaming"}
        diverged = followed.get("diverged")
        rewound = False
        if diverged:
            note(step="going back to the fork")
            try:
                rewind.rewind(cluster, partial)
                rewound = True
            except (BasculeError, OSError) as error:
                note(not_rewound=str(error))
        note(method="pg_rewind" if rewound else "base backup")
        if not rewound:
            note(step="base backup")
            note(compression=_copy(spec, partial, max_rate))
            note(step="checking the base backup", bytes=size_of(partial))
            verify = [f"{spec.programs}/pg_verifybackup", "--quiet", str(partial)]
            run(verify, timeout=_LONGEST, user=spec.owner, cwd="/")
        note(step="putting it in place", bytes=size_of(partial))
        with world(component):
            aside = _put_in_place(cluster, partial, doubtful=followed["state"] != "streaming")
            note(aside=aside)
            # A start that follows nobody, or another, would only be seen after minutes.
            wanted = {conf.MARK: spec.side, "primary_slot_name": spec.slot, "primary_conninfo": conf.conninfo(spec)}
            cluster_settings.require_standing(spec, wanted)
            cluster.start(timeout=3600)
        # What an earlier attempt to follow has said is no longer about this cluster.
        storage.remove(HOME / component / FOLLOW_FILE)
        note(step="connecting")
        _wait_streaming(cluster)
        note(state="done", step="streaming", ended_at=now(), seconds=round(time.monotonic() - started, 1))
    except (BasculeError, OSError) as error:
        note(state="failed", error=str(error), ended_at=now())
        return 1
    return 0


def _copy(spec: Spec, partial: Path, max_rate: str) -> str:
    """Take the base backup with the best compression that both builds have; return which it was."""
    deadline = time.monotonic() + _SLOT_FREE
    methods = list(COMPRESSION)
    while True:
        try:
            run(
                [
                    f"{spec.programs}/pg_basebackup",
                    f"--dbname={conf.conninfo(spec)}",
                    f"--pgdata={partial}",
                    "--wal-method=stream",
                    f"--slot={spec.slot}",
                    "--checkpoint=fast",
                    "--no-password",
                    *([f"--compress={methods[0]}"] if methods[0] else []),
                    *([f"--max-rate={max_rate}"] if max_rate else []),
                ],
                timeout=_LONGEST,
                user=spec.owner,
                cwd="/",
            )
            return methods[0] or "none"
        except CommandFailed as error:
            if partial.exists():
                # What an interrupted base backup leaves behind is of no use: it cannot be continued.
                shutil.rmtree(partial)
            if methods[0] and not_built_in(error.found):
                methods.pop(0)
            elif "is active for PID" in error.found and time.monotonic() < deadline:
                # The primary has yet to notice that the link of the last attempt is dead.
                time.sleep(3)
            else:
                raise


def not_built_in(text: str) -> bool:
    """Whether a program complains that it has no such compression, or no such option at all."""
    words = text.lower()
    return "compress" in words and any(
        part in words for part in ("not supported", "unrecognized", "invalid", "does not support", "unsupported")
    )


def seeding(spec: Spec) -> dict[str, Any]:
    """Say how far the base backup is; one that failed is an error."""
    notes: dict[str, Any] = storage.read_json(HOME / spec.component / SEED_FILE) or {"state": "none"}
    # The unit first: one that has ended by now has written its last word. What stands there may be what it replaces.
    if units.is_running(spec.unit_name("seed")):
        partial = Path(f"{spec.data}.bascule-seed")
        return progress(notes, size_of(partial) if partial.exists() else 0, time.time())
    notes = storage.read_json(HOME / spec.component / SEED_FILE) or notes
    if notes["state"] == "done":
        known = {key: notes.get(key) for key in ("method", "compression", "not_rewound", "aside")}
        return {"state": "done", "bytes": notes.get("bytes", 0), **known}
    raise BasculeError(
        expected=f"the base backup of {spec.component} to run or to be done",
        found=str(notes.get("error") or "it was interrupted"),
        state=f"{spec.side} is closed and holds no usable copy; {spec.peer_side} serves as before",
        next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {spec.component}",
    )


def progress(notes: dict[str, Any], done: int, now: float) -> dict[str, Any]:
    """Return what has come, how fast, and what is left."""
    elapsed = max(now - float(notes.get("began") or now), 0.001)
    total, rate = int(notes.get("total") or 0), done / elapsed
    left = max(0, total - done)
    return {
        "state": "running",
        "step": str(notes.get("step") or ""),
        "bytes": done,
        "total": total,
        "bytes_per_second": int(rate),
        # The log that comes beside the data is not in the total.
        "remaining_seconds": round(left / rate) if total and rate > 0 else None,
    }


def _put_in_place(cluster: Cluster, partial: Path, *, doubtful: bool) -> str:
    """Replace the data directory; return where the old one lies now, or an empty text when it was a mere copy.

    One that was to follow and could not is doubtful: what it has was not, or not wholly, looked at.
    """
    spec = cluster.spec
    state = store.read(spec.component, spec.side)
    if state.status != rule.CLOSED:
        raise BasculeError(expected=f"{spec.side} to be closed", found=state.describe(), state="nothing was replaced")
    owner = pwd.getpwnam(spec.owner)
    for name in ("standby.signal", SEEDED_MARK):
        storage.write_durably(partial / name, "", 0o600)
        shutil.chown(partial / name, owner.pw_uid, owner.pw_gid)
    if not cluster.stop(120):
        raise BasculeError(expected=f"the cluster on {spec.side} to stop", found="it still runs")
    # As it stopped, and before the fence gives it the look of a standby.
    copy = not doubtful and data_directory.is_mere_copy(cluster)
    cluster.fence()
    aside: Path | None = None
    if copy:
        shutil.rmtree(cluster.data)
    elif cluster.data.exists():
        aside = cluster.data.with_name(f"{cluster.data.name}.bascule-before-{int(time.time())}")
        cluster.data.rename(aside)
    partial.rename(cluster.data)
    storage.sync_directory(cluster.data.parent)
    cluster.follow_conf(connect=True)
    return str(aside or "")


def _wait_streaming(cluster: Cluster, timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    with cluster.session() as session:
        while not session.query(STREAMING):
            if time.monotonic() > deadline:
                raise BasculeError(
                    expected=f"{cluster.spec.side} to stream within {timeout:g} s",
                    found=peer.complaint(cluster.spec) or "no connection to the primary",
                    state="the base backup is in place",
                    next_command="see why in the server's log, then run prepare again",
                )
            time.sleep(0.2)
