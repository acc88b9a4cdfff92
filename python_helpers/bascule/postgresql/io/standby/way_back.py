"""The way of a return, tried while the source serves: the log of its standby streams back to it, into a scratch place.

It is the connection by which the source will follow after the switch: same address, TLS, account and password, same
rule at the other side. What comes is compared, byte for byte, with the log that this side has written itself. The log
gets a named restore point, so that there is something to come. No row is written, no slot is made, no server is
started, and the scratch place is removed however it ends.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ....errors import BasculeError
from ....guard import state as rule
from ....guard.io import store
from ... import conf, lsn
from ...spec import Spec
from ..cluster.cluster import Cluster, load_spec
from ..cluster.psql import Session

SUFFIX = "bascule-way-back"
# What comes may be the rest of one segment and the next ones; the database that serves needs room as well.
_SEGMENTS = 8
_NAME = "bascule_way_back"
# Seconds after which the log is marked again: who has connected meanwhile sees only what comes after that.
_AGAIN = 1.0
# A name in the log and nothing else: no row changes, nobody who decodes the log is told, and it is on the disk.
_MARK = (
    "SET synchronous_commit = local",
    "BEGIN",
    f"SELECT pg_create_restore_point('{_NAME}'), txid_current()",
    "COMMIT",
)


def attempt(component: str, side: str, wait: float) -> dict[str, Any]:
    """Have the other side's standby send its log to this side, and compare it.

    Args:
        component: the database.
        side: the side that serves.
        wait: for how many seconds the log is waited for.

    Returns:
        `bytes` that came and are the same, `end`, the position up to which they go, and `seconds`.

    Raises:
        BasculeError: this side does not serve, there is no room, nothing came, or it differs.
    """
    spec = load_spec(component, side)
    guard = store.read(component, side)
    if guard.status != rule.OPEN or guard.frozen:
        raise _error(f"{side} to be open to users", guard.describe())
    cluster = Cluster(spec)
    begun = time.monotonic()
    place = Path(f"{spec.data}.{SUFFIX}")
    with cluster.session() as session:
        size = int(session.value("SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'"))
        _require_room(spec, place.parent, _SEGMENTS * size)
        _remove(place)
        try:
            place.mkdir(mode=0o700)
            shutil.chown(place, spec.owner, spec.owner)
            with _receiving(spec, place, wait) as receiver:
                came, end = _come(cluster, session, receiver, size, begun + wait)
        finally:
            _remove(place)
    return {"bytes": came, "end": end, "seconds": round(time.monotonic() - begun, 3)}


def segment(timeline: int, end: int, size: int) -> str:
    """Return the name of the segment in which the log up to `end` ends, as the server names it."""
    number, each = (end - 1) // size, (1 << 32) // size
    return f"{timeline:08X}{number // each:08X}{number % each:08X}"


@contextlib.contextmanager
def _receiving(spec: Spec, place: Path, wait: float) -> Iterator[Receiver]:
    """Have the log come while the block runs, and no longer than said, whatever becomes of who has started it."""
    account = pwd.getpwnam(spec.owner)
    words = [
        *("timeout", "--signal=INT", "--kill-after=5", f"{wait + 5:g}"),
        f"{spec.programs}/pg_receivewal",
        f"--dbname={conf.conninfo(spec)} application_name={_NAME}",
        f"--directory={place}",
        "--no-loop",
        "--no-password",
        "--no-sync",
    ]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            words,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=os.getgrouplist(spec.owner, account.pw_gid),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, "HOME": account.pw_dir, "LC_ALL": "C"},
            cwd="/",
        )
        try:
            yield Receiver(spec, place, process, said)
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True)
class Receiver:
    """The program that takes the log, and what it says."""

    spec: Spec
    place: Path
    process: subprocess.Popen[bytes]
    said: IO[bytes]

    def must_run(self) -> None:
        """Refuse to wait for one that has ended."""
        if self.process.poll() is None:
            return
        self.said.seek(0)
        words = " ".join(self.said.read().decode("utf-8", "replace").split())[-1000:]
        raise _error(
            f"the standby at {self.spec.peer_side} to send its log to {self.spec.side}",
            words or f"pg_receivewal ended with {self.process.returncode}",
        )


def _come(cluster: Cluster, session: Session, receiver: Receiver, size: int, deadline: float) -> tuple[int, str]:
    """Mark the log until a mark has come back; return how much of its segment is the same, and where it ends."""
    timeline = cluster.control().newest_timeline
    while True:
        session.execute(_MARK)
        end = str(session.value("SELECT pg_current_wal_flush_lsn()::text"))
        name, much = segment(timeline, lsn.parse(end), size), (lsn.parse(end) - 1) % size + 1
        until = min(deadline, time.monotonic() + _AGAIN)
        while True:
            receiver.must_run()
            if _is_same(cluster, receiver.place, name, much):
                return much, end
            if time.monotonic() > until:
                break
            time.sleep(0.05)
        if time.monotonic() > deadline:
            came = sorted(path.name for path in receiver.place.iterdir())
            raise _error(
                f"the standby at {receiver.spec.peer_side} to send the log of {receiver.spec.side} up to {end}",
                f"of {name} not the same {much} bytes ({', '.join(came) or 'nothing'} came)",
            )


def _is_same(cluster: Cluster, place: Path, name: str, much: int) -> bool:
    """Compare what has come of a segment, as far as it was written, with this side's own."""
    found = [path for path in (place / f"{name}.partial", place / name) if path.exists()]
    if not found:
        return False
    with found[0].open("rb") as came, (cluster.data / "pg_wal" / name).open("rb") as own:
        theirs = came.read(much)
        return len(theirs) == much and theirs == own.read(much)


def _require_room(spec: Spec, place: Path, needed: int) -> None:
    free = shutil.disk_usage(place).free
    if free < needed:
        raise _error(f"{needed >> 20} MiB free beside the data of {spec.side}", f"{free >> 20} MiB")


def _remove(place: Path) -> None:
    if place.exists():
        shutil.rmtree(place)


def _error(expected: str, found: str) -> BasculeError:
    return BasculeError(
        expected=expected,
        found=found,
        state="nothing was changed, users are served; what was made for the trial is removed",
        next_command="mend what is named, then ansible-playbook playbooks/40_pretest.yml",
    )
