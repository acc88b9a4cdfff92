"""What it takes to keep a closed side's state aside: asked of the file system, and tried with a file without a name."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CLONE = 0x40049409  # FICLONE of linux/fs.h
_TRIED = 8 << 20
_BLOCK = 1 << 20


def measure(data: Path) -> dict[str, Any]:
    """Return whether a copy beside the data shares its blocks, and how fast one is written that does not."""
    if not (data / "PG_VERSION").exists():
        return {"shares_blocks": False, "copy_bytes_per_second": None}
    shares = shares_blocks(data)
    return {"shares_blocks": shares, "copy_bytes_per_second": None if shares else _rate(data.parent)}


def shares_blocks(data: Path) -> bool:
    """Whether a copy beside the data directory shares its blocks: tried, with one file of it."""
    try:
        with _nameless(data.parent) as copy, (data / "PG_VERSION").open("rb") as original:
            fcntl.ioctl(copy, _CLONE, original.fileno())
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


@contextlib.contextmanager
def _nameless(directory: Path) -> Iterator[int]:
    """Open a file that nobody sees, and that is gone when it is closed."""
    descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
