"""Who has a file open or mapped, and where it is mounted by itself, out of /proc: see proc(5)."""

from __future__ import annotations

import os
from pathlib import Path

from ...system import mountinfo
from ...system.io import storage

PROC = Path("/proc")


def of(*files: str | Path, proc: Path = PROC) -> list[dict[str, object]]:
    """Return the processes that hold one of these files, by descriptor or by mapping, except this one.

    A file that was renamed is found as well: it is known by its device and its number.
    """
    wanted = {(status.st_dev, status.st_ino) for status in map(_status, files) if status is not None}
    found = []
    for process in proc.iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid() and _holds(process, wanted):
            name = (storage.read_text(process / "comm") or "?").strip() if process.is_dir() else "?"
            found.append({"pid": int(process.name), "command": name})
    return found


def mounted(path: str | Path, proc: Path = PROC) -> list[str]:
    """Return where this file itself, not its directory, is mounted, in any mount namespace of this host."""
    status, found, seen = _status(path), set(), set()
    if status is None:
        return []
    for process in proc.iterdir():
        try:
            space = os.readlink(process / "ns/mnt") if process.name.isdigit() else None
            if space is None or space in seen:
                continue
            seen.add(space)
            for mount in mountinfo.parse_mountinfo((process / "mountinfo").read_text(errors="surrogateescape")):
                there = _status(f"{process}/root{mount.path}") if mount.root.endswith(Path(path).name) else None
                if there and (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino):
                    found.add(mount.path)
        except OSError:
            # It has ended meanwhile.
            continue
    return sorted(found)


def _holds(process: Path, wanted: set[tuple[int, int]]) -> bool:
    for folder in ("fd", "map_files"):
        try:
            entries = list((process / folder).iterdir())
        except OSError:
            continue
        for entry in entries:
            status = _status(entry)
            if status is not None and (status.st_dev, status.st_ino) in wanted:
                return True
    return False


def _status(path: str | Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
