"""Digest an archive while vzdump writes it: the bytes are in memory anyway, and nobody reads them a second time."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Optional

from ...errors import CommandFailed
from ...system.io import storage, units
from ...system.io.process import Runner, run
from ...system.rsync import directory
from .. import kinds
from . import disks

# Of a virtual machine, and of a container.
_ENDINGS = tuple(f".{form}{packing}" for form in ("vma", "tar") for packing in (".zst", ".gz", ""))
_KINDS = "|".join(kind.name for kind in kinds.ALL)
_BLOCK = 1 << 20
Sleep = Callable[[float], None]


def unit_name(component: str) -> str:
    """Return the systemd unit that follows an archive."""
    return f"bascule-{component}-archive-digest"


def job_path(component: str) -> Path:
    """Return where the job stands; its result stands beside it."""
    return Path(directory(component)) / "archive-digest.job.json"


def result_path(component: str) -> Path:
    """Return where the digest is written when the archive is complete."""
    return Path(directory(component)) / "archive-digest.json"


def begin(component: str, folder: str, vmid: int, seconds: float, runner: Runner = run) -> None:
    """Follow the next archive of this guest in a unit of its own; one that is followed already is let go."""
    units.stop(unit_name(component), runner)
    storage.remove(result_path(component))
    known = sorted(path.name for path in candidates(Path(folder), vmid))
    storage.write_json(job_path(component), {"folder": folder, "vmid": vmid, "known": known, "seconds": seconds})
    units.start(unit_name(component), [*units.AGENT, "archive_follow", component], runner)


def digest_of(component: str, path: str, runner: Runner = run, wait: float = 20) -> tuple[str, bool]:
    """Return the SHA-256 of a finished archive, and whether it was taken while the archive was written.

    What was followed counts only for this very file, at this very length; anything else is read again.
    """
    size = os.stat(path).st_size
    deadline = time.monotonic() + wait
    try:
        while True:
            found = storage.read_json(result_path(component))
            if found or time.monotonic() >= deadline or not units.is_running(unit_name(component), runner):
                break
            time.sleep(0.1)
        units.stop(unit_name(component), runner)
    except CommandFailed:
        found = None
    if found and found.get("path") == path and found.get("size") == size:
        return str(found["sha256"]), True
    return disks.file_sha256(path), False


def candidates(folder: Path, vmid: int) -> Iterable[Path]:
    """Return archives of this guest, finished or being written: `….vma.dat`, `….dat` when it is not compressed."""
    named = re.compile(rf"vzdump-(?:{_KINDS})-{vmid}-")
    found = [path for path in folder.glob(f"vzdump-*-{vmid}-*") if named.match(path.name)]
    return [path for path in found if path.suffix == ".dat" or path.name.endswith(_ENDINGS)]


def follow(
    job: Mapping[str, Any], clock: Callable[[], float] = time.monotonic, sleep: Sleep = time.sleep
) -> Optional[dict[str, Any]]:
    """Digest the next archive while it grows; None when none was finished in time."""
    folder, vmid, known = Path(job["folder"]), int(job["vmid"]), frozenset(job["known"])
    deadline = clock() + float(job["seconds"])
    while clock() < deadline:
        fresh = [path for path in candidates(folder, vmid) if path.name not in known]
        for path in fresh:
            done = _digest_growing(path, folder, deadline, clock, sleep)
            if done:
                return done
        sleep(0.1)
    return None


def _digest_growing(
    path: Path, folder: Path, deadline: float, clock: Callable[[], float], sleep: Sleep
) -> Optional[dict[str, Any]]:
    sha, size = hashlib.sha256(), 0
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return None
    with handle:
        while clock() < deadline:
            # Asked before reading: what is read after the archive has its final name is all there is.
            name = _finished_name(handle.fileno(), path, folder)
            while block := handle.read(_BLOCK):
                sha.update(block)
                size += len(block)
            if name:
                return {"path": str(folder / name), "size": size, "sha256": sha.hexdigest()}
            if os.fstat(handle.fileno()).st_nlink == 0:
                return None
            sleep(0.05)
    return None


def _finished_name(descriptor: int, path: Path, folder: Path) -> str:
    stem = path.name.removesuffix(".dat").partition(".vma")[0].partition(".tar")[0]
    inode = os.fstat(descriptor).st_ino
    for ending in _ENDINGS:
        try:
            if os.stat(folder / (stem + ending)).st_ino == inode:
                return stem + ending
        except FileNotFoundError:
            continue
    return ""


def work(component: str) -> int:
    """Digest the next archive of a guest while vzdump writes it, and write the digest down when it is complete."""
    job = storage.read_json(job_path(component))
    found = follow(job) if job else None
    if found is None:
        print("no archive was finished in time", file=sys.stderr)
        return 1
    storage.write_json(result_path(component), found)
    return 0
