"""The digests of one side's files, kept from run to run, and by which right an old one is believed.

A digest that was taken earlier stands only while size, both time stamps and inode are what they were. On a side that
services write to, that is not enough: a page that was mapped before the file was read may change without a trace in its
time stamps. There a digest stands only if a recorder has watched the tree since, without a gap, and has not named the
file; in doubt every file is read. On a side that only a transfer writes to nothing is mapped, and the time stamps tell.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Optional

from ....guard import state as rule
from ....system.io import storage
from ...changes import Changes
from ..fence import side as fence_side
from ..fence.side import Side
from ..recorder import client
from . import flush
from . import take as manifest_take

READER = "digests"
_WAIT = 3600.0


def take(side: Side, progress: Optional[manifest_take.Progress] = None) -> tuple[str, manifest_take.Count, str]:
    """Take the manifest; return its digest, what was done, and why no earlier digest was believed, if none was."""
    guard = side.guard()
    # A side that gave its receipt without a look at its tree may hold what was written through a mapping before.
    if guard.status == rule.CLOSED and not fence_side.facts(side).get("unsealed"):
        return *take_still(side, progress), ""
    since, now = None, None
    if side.recorder:
        known = client.remembered(side, READER) if side.manifest.exists() else None
        since, now = client.since(side.component, known)
    digest, count = _take(side, since.touches if since else _everything, progress)
    if now:
        # The mark is from before the first file was read: what changed meanwhile is read again next time.
        client.remember(side, READER, now)
    return digest, count, _doubt(since)


def take_still(side: Side, progress: Optional[manifest_take.Progress] = None) -> tuple[str, manifest_take.Count]:
    """Take the manifest of a tree that only transfers write to."""
    return _take(side, None, progress)


@contextlib.contextmanager
def keeping(side: Side) -> Iterator[None]:
    """Have the digests that are kept for oneself: what one takes out of them is not put back by another."""
    with storage.locked(side.manifest.with_name("own.lock"), _WAIT):
        yield


def forget(side: Side, names: Iterable[bytes]) -> None:
    """Believe no digest of these files that was taken before; without names, none at all."""
    gone = set(names)
    with keeping(side):
        _drop_parts(side)
        if not gone:
            storage.remove(side.manifest)
        elif side.manifest.exists():
            manifest_take.without(side.manifest, gone)


def replace(side: Side, read: Path) -> None:
    """Believe what was just read from the disk, on a side that only transfers write to, in place of what was kept."""
    with keeping(side):
        _drop_parts(side)
        fresh = side.manifest.with_name("own.new")
        storage.remove(fresh)
        os.link(read, fresh)
        os.replace(fresh, side.manifest)
        storage.sync_directory(side.manifest.parent)


def trust(side: Side) -> None:
    """Note that the manifest just taken holds from this point of the recorder on: nobody could write meanwhile."""
    now = client.mark(side.component) if side.recorder else None
    if now:
        client.remember(side, READER, now)


def total(side: Side) -> int:
    """Return about how many bytes the files of the tree have: what is used of its file system."""
    room = os.statvfs(side.path)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


def _take(
    side: Side, touched: Optional[manifest_take.Touched], progress: Optional[manifest_take.Progress]
) -> tuple[str, manifest_take.Count]:
    lost = flush.lost(side)
    with keeping(side):
        found = manifest_take.take_manifest(
            side.tree, side.manifest, owners=side.owners, cached=not lost, touched=touched, progress=progress
        )
    if lost:
        flush.found_again(side)
    return found


def _drop_parts(side: Side) -> None:
    for ending in (".part", ".interrupted"):
        storage.remove(side.manifest.with_suffix(ending))


def _everything(_: bytes) -> bool:
    return True


def _doubt(since: Optional[Changes]) -> str:
    if since is None:
        return "no recorder is wanted for this tree"
    return "" if since.complete else since.why
