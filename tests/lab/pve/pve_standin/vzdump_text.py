"""How vzdump writes moments, sizes and progress."""

from __future__ import annotations

import datetime


def now() -> str:
    return datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")


def human(size: float) -> str:
    """Proxmox's sizes in progress lines: 1.0 GiB, 520.0 MiB, 0 B."""
    if size < 1024:
        return f"{int(size)} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def progress(done: int, total: int, elapsed: float, read: float, write: float) -> str:
    percent = 100 * done // total if total else 100
    return (
        f"{percent:3d}% ({human(done)} of {human(total)}) in {int(elapsed)}s, "
        f"read: {human(read)}/s, write: {human(write)}/s"
    )


def clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def whole_size(size: int) -> str:
    """The archive's size as vzdump rounds it."""
    for limit, unit in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")):
        if size >= limit:
            return f"{size / limit:.2f}{unit}" if unit == "GB" else f"{size // limit}{unit}"
    return f"{size}B"
