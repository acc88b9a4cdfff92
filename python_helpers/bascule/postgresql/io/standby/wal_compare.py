"""Whether this side's log is the other side's, byte by byte, where both are on one timeline.

A standby that was started without its standby.signal writes on in the timeline it was in: no history tells. The other
side's log comes the same way as a standby gets it, so it is compared whoever is let in there.
"""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

from ....errors import BasculeError
from ....system.io.process import run
from ... import conf, lsn
from ...spec import Spec
from ..cluster.cluster import Cluster

PAGE = 8192
_PIECE = 1 << 20
_SECONDS = 600
# Where it lies before all that both sides still have.
UNKNOWN = "0/0"


def parted(cluster: Cluster, timeline: int, begin: str, end: str, peer_end: str) -> str | None:
    """Return where the logs part on a timeline that began at `begin`; None when ours, up to `end`, is all theirs."""
    size = cluster.control().segment_bytes
    common = min(lsn.parse(end), lsn.parse(peer_end))
    # One whole segment before the last one, as that may have hardly begun.
    first = last = (common - 1) // size
    if _own(cluster, timeline, last - 1, size).exists():
        first = last - 1
    while True:
        place = _compare(cluster, timeline, first, common, size)
        if place is None:
            return peer_end if lsn.parse(end) > lsn.parse(peer_end) else None
        # The same up to there: a page that differs from its very beginning may continue what differs before it.
        if place >= first * size + PAGE or first * size <= lsn.parse(begin):
            return lsn.render(place)
        if not _own(cluster, timeline, first - 1, size).exists():
            return UNKNOWN
        first -= 1


def file_name(timeline: int, number: int, size: int) -> str:
    """Return the name of a log file."""
    each = (1 << 32) // size
    return f"{timeline:08X}{number // each:08X}{number % each:08X}"


def _own(cluster: Cluster, timeline: int, number: int, size: int) -> Path:
    return cluster.data / "pg_wal" / file_name(timeline, number, size)


def _compare(cluster: Cluster, timeline: int, first: int, upto: int, size: int) -> int | None:
    """Compare from the beginning of segment `first`; return the first byte that differs."""
    directory = cluster.data.with_name(f"{cluster.data.name}.bascule-log")
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(mode=0o700)
    try:
        _receive(cluster.spec, timeline, first, upto, size, directory)
        for number in range(first, (upto - 1) // size + 1):
            name = file_name(timeline, number, size)
            whole, partial = directory / name, directory / f"{name}.partial"
            theirs = whole if whole.exists() else partial
            own = cluster.data / "pg_wal" / name
            if not theirs.exists() or not own.exists():
                raise _unseen(cluster.spec, f"no log file {name} {'here' if theirs.exists() else 'came'}")
            place = _first_difference(own, theirs, min(size, upto - number * size))
            if place is not None:
                return number * size + place
    finally:
        shutil.rmtree(directory)
    return None


def _receive(spec: Spec, timeline: int, first: int, upto: int, size: int, directory: Path) -> None:
    """Have the other side send its log from the beginning of a segment on."""
    # It goes on after the last whole file it finds, of which it looks at name and length only.
    before = directory / file_name(timeline, first - 1, size)
    with before.open("wb") as stream:
        stream.truncate(size)
    owner = pwd.getpwnam(spec.owner)
    for path in (directory, before):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    argv = [
        f"{spec.programs}/pg_receivewal",
        f"--dbname={conf.conninfo(spec)}",
        f"--directory={directory}",
        "--no-loop",
        "--no-password",
        # It ends when it has more than this.
        f"--endpos={lsn.render(upto - 1)}",
    ]
    done = run(argv, timeout=_SECONDS, user=spec.owner, cwd="/", check=False)
    if done.rc != 0:
        raise _unseen(spec, " ".join(done.stderr.split())[-400:])


def _unseen(spec: Spec, why: str) -> BasculeError:
    return BasculeError(
        expected=f"to compare the log of {spec.side} with that of {spec.peer_side}",
        found=why,
        state=f"{spec.side} is closed and stands still; {spec.peer_side} serves as before",
        next_command=f"mend what is named, then ansible-playbook playbooks/30_sync.yml --limit {spec.component}; log "
        f"that {spec.peer_side} no longer has cannot be followed either: run prepare, which keeps {spec.side} aside",
    )


def _first_difference(own: Path, theirs: Path, length: int) -> int | None:
    with own.open("rb") as mine, theirs.open("rb") as other:
        place = 0
        while place < length:
            a, b = (stream.read(min(_PIECE, length - place)) for stream in (mine, other))
            if a != b:
                short = min(len(a), len(b))
                return place + next((i for i in range(short) if a[i] != b[i]), short)
            if not a:
                return place
            place += len(a)
    return None
