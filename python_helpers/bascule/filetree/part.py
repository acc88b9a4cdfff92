"""A tree that is a part of a larger file system: which mounts show it, and which of them no flag of ours closes. Pure.

Such a tree cannot be made read-only with its file system, as others use that. It is mounted on itself (a bind), and
that mount is closed by its flag. What reaches the same files past it has to be looked for: a mount of something above
the tree, on which no other mount covers it; a second name of a file, outside the tree.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Optional

from ..system.mountinfo import Mount, holder

# What the fence of such a tree is worth, wherever that is said.
WORTH = (
    "the tree is a part of a larger file system: its fence is a bind of its own, closed by its flag; every mount, open "
    "file, mapping, second name, loop device and export that was found to lead past it is refused, but root can make a "
    "new one at any time, as by mounting the larger file system once more; files on their way in the queue of a "
    "socket, or registered with io_uring, are not seen"
)


def inside(root: str, place: str) -> bool:
    """Tell whether a place in a file system is `root` or lies below it."""
    return f"{place.rstrip('/')}/".startswith(f"{root.rstrip('/')}/")


def mount_of(mounts: Iterable[Mount], path: str) -> Optional[Mount]:
    """Return what a bind of `path` on itself would look like; None when no mount holds it."""
    above = holder(mounts, path)
    return replace(above, root=place_of(above, path), path=path) if above else None


def place_of(mount: Mount, path: str) -> str:
    """Return where a path that is seen below a mount lies in its file system."""
    below = path[len(mount.path.rstrip("/")) :].strip("/")
    return posixpath.join(mount.root, below) if below else mount.root


def past(root: str, device: str, mounts: Mapping[int, Mount]) -> list[Mount]:
    """Return the writable mounts that show the tree at `root` of a device as a part of more, with nothing over it."""
    return [
        mount
        for mount in mounts.values()
        if mount.device == device
        and mount.root != root
        and inside(mount.root, root)
        and not mount.read_only
        and not mount.super_read_only
        and not _covered(root, mount, mounts.values())
    ]


def _covered(root: str, mount: Mount, mounts: Iterable[Mount]) -> bool:
    """Tell whether another mount stands on this one, between its root and the tree: no path leads through."""
    return any(
        one.parent_id == mount.mount_id and inside(mount.path, one.path) and inside(place_of(mount, one.path), root)
        for one in mounts
    )


def unfit(path: str, system: Iterable[str]) -> str:
    """Return which of the host's own places a fence at `path` would hit; empty when none."""
    return next((place for place in system if inside(path, place)), "")
