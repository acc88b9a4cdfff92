"""What it takes to keep a closed side's state aside: asked of the file system, tried with a file without a name.

How far a dump will shrink, and how fast one is made, is estimated from parts of the largest files of the data.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CLONE = 0x40049409  # FICLONE of linux/fs.h
_TRIED = 8 << 20
_BLOCK = 1 << 20
# As pg_dump is told to compress.
_LEVEL = 3
_SAMPLES, _SAMPLE = 16, 1 << 19


def measure(data: Path, dumps: Path) -> dict[str, Any]:
    """Return what a copy beside the data takes, and what a dump of it in `dumps` would."""
    place = next(path for path in (dumps, *dumps.parents) if path.exists())
    found: dict[str, Any] = {
        "shares_blocks": False,
        "copy_bytes_per_second": None,
        "dump_bytes_per_second": None,
        "dump_ratio": 1.0,
        "dumps_in": str(dumps),
        "dumps_free_bytes": shutil.disk_usage(place).free,
        "dumps_beside": place.stat().st_dev == data.parent.stat().st_dev if data.parent.exists() else False,
    }
    if not (data / "PG_VERSION").exists():
        return found
    if shares_blocks(data):
        found["shares_blocks"] = True
    else:
        found["copy_bytes_per_second"] = _rate(data.parent)
    return {**found, **_dumping(data)}


def shares_blocks(data: Path) -> bool:
    """Whether a copy beside the data directory shares its blocks: tried, with one file of it."""
    try:
        with _nameless(data.parent) as copy, (data / "PG_VERSION").open("rb") as original:
            fcntl.ioctl(copy, CLONE, original.fileno())
    except OSError:
        return False
    return True


def _rate(directory: Path) -> int | None:
    block = os.urandom(_BLOCK)
    try:
        with _nameless(directory) as copy:
            begun = time.monotonic()
            for _ in range(_TRIED // _BLOCK):
                os.write(copy, block)
            os.fdatasync(copy)
            return int(_TRIED / max(time.monotonic() - begun, 0.001))
    except OSError:
        return None


def _dumping(data: Path) -> dict[str, Any]:
    """Compress parts of the largest files; what vanishes meanwhile does not count."""
    sizes: dict[Path, int] = {}
    for path in (data / "base").glob("*/*"):
        with contextlib.suppress(OSError):
            sizes[path] = path.stat().st_size
    large = sorted(path for path, size in sizes.items() if size and 2 * size >= max(sizes.values()))
    read = packed = 0
    begun = time.monotonic()
    for path in large[:: max(1, len(large) // _SAMPLES)]:
        with contextlib.suppress(OSError), path.open("rb") as stream:
            stream.seek(max(0, sizes[path] - _SAMPLE) // 2)
            part = stream.read(_SAMPLE)
            read, packed = read + len(part), packed + len(zlib.compress(part, _LEVEL))
    if not read:
        return {}
    took = max(time.monotonic() - begun, 0.001)
    return {"dump_bytes_per_second": int(read / took), "dump_ratio": round(packed / read, 3)}


@contextlib.contextmanager
def _nameless(directory: Path) -> Iterator[int]:
    """Open a file that nobody sees, and that is gone when it is closed."""
    descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
