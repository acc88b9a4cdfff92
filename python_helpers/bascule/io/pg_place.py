"""Where a data directory lies: its neighbours have to be on its own file system, and its name has to be its own.

What is kept aside, and what is built anew, lies beside it and changes places with it by a rename.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import BasculeError
from ..files.mounts import mounted_at, parse_mountinfo
from ..postgresql.spec import Spec
from . import files


def misplaced(data: Path) -> str:
    """Return why a data directory cannot change places with its neighbours, or an empty text."""
    if data.is_symlink():
        return f"{data} is a symbolic link (to {os.readlink(data)}): a copy of it would be a copy of the link"
    if not data.exists():
        return ""
    # A directory bound from elsewhere on the same file system has the same device.
    mounts = parse_mountinfo(files.read_text("/proc/self/mountinfo") or "")
    if data.stat().st_dev != data.parent.stat().st_dev or mounted_at(mounts, os.path.realpath(data)):
        return f"{data} is a mount point: nothing can be renamed to it, and what lies beside it is on another volume"
    return ""


def way_out(data: Path) -> str:
    """Return what to do about it."""
    return (
        f"stop the cluster, mount the volume at {data.parent} or above, and have the data in an ordinary directory "
        f"{data} on it"
    )


def require(spec: Spec) -> None:
    """Refuse a data directory that is a link or a mount point, before anything is changed."""
    data = Path(spec.data)
    found = misplaced(data)
    if found:
        raise BasculeError(
            expected=f"an ordinary data directory on {spec.side}",
            found=found,
            state="nothing was changed",
            next_command=f"{way_out(data)}; then audit again",
        )
