"""Measure one side of a file tree; changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from ...errors import BasculeError
from ...system.io.process import run
from ..mounts import View
from ..transfer import NAMES
from . import boot
from .fence import side as fence_side
from .fence.side import Side
from .manifest import content, take
from .transfer import owners


def mounts_of(side: Side) -> dict[str, Any]:
    """Return the state of the mounts, and what kind of file system it is."""
    view = fence_side.look(side)
    mount = view.public_mount
    if mount is None:
        return {"state": view.state, "writable": []}
    return {
        "state": view.state,
        "writable": view.writable,
        "private": view.private_mount is not None,
        "kind": mount.kind,
        "source": mount.source,
        "root": mount.root,
        "options": list(mount.options),
        "super_options": list(mount.super_options),
        "other_paths": [one.path for one in view.others],
    }


def survey(side: Side, owners_there: Mapping[str, Any]) -> dict[str, Any]:
    """Return counts, room, abilities, versions and the clock.

    Where owners are told by name, also who owns something here, and who of the other side's is not the same here.
    """
    view = fence_side.look(side, deep=True)
    room = os.statvfs(side.path) if os.path.isdir(side.path) else None
    began = time.monotonic()
    count = take.survey(side.path) if view.public_mount else take.Count()
    kept = take.survey(str(side.kept)) if side.kept.is_dir() else take.Count()
    return {
        "files": count.files,
        "directories": count.directories,
        "entries": count.entries,
        "bytes": count.bytes,
        "walk_seconds": round(time.monotonic() - began, 3),
        "kept_bytes": kept.bytes,
        "size_bytes": room.f_blocks * room.f_frsize if room else 0,
        "free_bytes": room.f_bavail * room.f_frsize if room else 0,
        "free_inodes": room.f_favail if room else 0,
        "acls": _supports(view, "acl", "posix_acl", "nfs4_acl"),
        "xattrs": _supports(view, "user_xattr", "xattr"),
        "owners": owners.of_tree(side.path) if side.owners == NAMES and view.public_mount else {},
        "unmatched_owners": owners.unmatched(side, owners_there),
        "nested_mounts": list(view.nested),
        "beyond": list(view.beyond),
        "shared": list(view.shared),
        "boot": boot.order(side.path).advice if view.public_mount else "",
        "sentinel": os.path.isfile(os.path.join(side.path, side.sentinel)),
        "rsync": _version(["rsync", "--version"]),
        content.PROGRAM: _version([content.PROGRAM, "--version"]),
        "python": _version(["/usr/bin/python3", "--version"]),
        "time": time.time(),
    }


def _supports(view: View, *options: str) -> bool:
    """Tell whether the file system keeps this: ext4, xfs and btrfs do unless mounted otherwise."""
    mount = view.public_mount
    if mount is None or any(f"no{option}" in mount.super_options for option in options):
        return False
    return mount.kind in ("ext4", "ext3", "xfs", "btrfs", "f2fs") or any(o in mount.super_options for o in options)


def _version(command: list[str]) -> str:
    try:
        first = run(command, check=False).stdout.splitlines()[:1]
    except BasculeError:
        return ""
    words = (first or [""])[0].split()
    return next((word for word in words if word[:1].isdigit()), "")
