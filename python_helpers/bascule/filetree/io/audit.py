"""Measure one side of a file tree; changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from ...errors import BasculeError
from ...guard import state as rule
from ...system import mountinfo
from ...system.io import sshd, storage
from ...system.io.process import run
from ..mounts import CLOSED, FROZEN, View
from ..transfer import NAMES
from . import boot, own_mount
from .fence import file_servers, mount_tables, mounts
from .fence import side as fence_side
from .fence.side import Side
from .manifest import content, walk
from .manifest import survey as manifest_survey
from .manifest.survey import Survey
from .transfer import account, owners, probe

# Epoch, number, and the directory for parts, in the path of what is kept.
_KEPT_BELOW = 96
_WRITERS = 20
_OS_RELEASE = "/etc/os-release"
_NOT_TRIED = (
    "could not be tried, as it is read-only as a whole: ansible-playbook playbooks/30_sync.yml --limit {component} has "
    "it receive again (where prepare has not run, mount it writable), then audit again"
)


def mounts_of(side: Side) -> dict[str, Any]:
    """Return the state of the mounts, and what kind of file system it is."""
    view = fence_side.look(side)
    mount = view.public_mount
    if mount is None:
        return {"state": view.state, "writable": [], "part": side.part}
    return {
        "part": side.part,
        "unwatched": mount.unwatched,
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


def survey(
    side: Side, owners_there: Mapping[str, Any], attributes_there: Mapping[str, Any], peer: str = ""
) -> dict[str, Any]:
    """Return counts, room, abilities, versions and the clock.

    Where owners are told by name, also who owns something here, and who of the other side's is not the same here. Given
    the sizes of the other side's largest extended attributes, whether this side's file system can hold them; given its
    address, why the SSH server here would not let its transfers in.
    """
    view = fence_side.look(side, deep=True)
    room = os.statvfs(side.path) if os.path.isdir(side.path) else None
    began = time.monotonic()
    # What is replaced is kept below a longer path than the tree's own.
    longest = walk.LONGEST - len(os.fsencode(side.kept)) - _KEPT_BELOW
    # A part may not be mounted on itself yet; what it would be is looked at, and what would not let it.
    there = view.public_mount is not None or (side.part and os.path.isdir(side.path))
    faults = own_mount.faults(side.path) if side.part else []
    count = manifest_survey.survey(side.path, longest) if there else Survey()
    walked = round(time.monotonic() - began, 3)
    kept = manifest_survey.survey(str(side.kept)) if side.kept.is_dir() else Survey()
    return {
        "files": count.files,
        "directories": count.directories,
        "entries": count.entries,
        "bytes": count.bytes,
        "walk_seconds": walked,
        "blocking": count.blocking(),
        "not_carried": dict(count.not_carried),
        "flags_unknown": count.flags_unknown,
        "attributes": {"largest": count.largest_xattr, "together": count.largest_xattrs},
        "attribute_room": _attribute_room(side, view, attributes_there),
        "transfer_faults": probe.faults(side.owners),
        "account": side.account,
        "account_faults": account.faults(side.account, side.path),
        "refused_in": sshd.refusals(peer, side.account) if peer else [],
        "kept_bytes": kept.bytes,
        "size_bytes": room.f_blocks * room.f_frsize if room else 0,
        "free_bytes": room.f_bavail * room.f_frsize if room else 0,
        "free_inodes": room.f_favail if room else 0,
        "acls": _supports(view, "acl", "posix_acl", "nfs4_acl"),
        "xattrs": _supports(view, "user_xattr", "xattr"),
        "owners": owners.of_tree(side.path) if side.owners == NAMES and there else {},
        "unmatched_owners": owners.unmatched(side, owners_there),
        "nested_mounts": list(view.nested),
        # Before a part is mounted on itself all its paths lead past that mount, but no server may come into it later.
        "beyond": file_servers.ways(side.path) if side.part and not view.public_mount else list(view.beyond),
        "shared": list(view.shared),
        "part_faults": faults,
        "writers": mounts.writers(side.path, [side.path] if side.part else None)[:_WRITERS] if there else [],
        "exports": file_servers.exports(side.path),
        "boot": _boot(side, view) if there else "",
        "sentinel": os.path.isfile(os.path.join(side.path, side.sentinel)),
        "distribution": storage.read_text(_OS_RELEASE) or "",
        "rsync": _version(["rsync", "--version"]),
        content.PROGRAM: _version([content.PROGRAM, "--version"]),
        "python": _version(["/usr/bin/python3", "--version"]),
        "time": time.time(),
    }


def _boot(side: Side, view: View) -> str:
    """Tell why the tree could not be fenced after a reboot: by its mount unit, or by what holds a bind of ours."""
    orders = [boot.order(side.path)] if view.public_mount else []
    if side.part and own_mount.is_by_us(side.component, side.path):
        orders.append(boot.order_of_holder(side.path))
    return "; ".join(one.advice for one in orders if one.fault)


def _attribute_room(side: Side, view: View, there: Mapping[str, Any]) -> str:
    """Tell why this side's file system cannot hold what the other's holds; nothing is written to a side that serves.

    One that is read-only as a whole cannot be tried. After a move it held such a tree before; one that was never open,
    and that a boot has closed, is not known to.
    """
    largest, together = int(there.get("largest", 0)), int(there.get("together", 0))
    if not together or not (view.public_mount or side.part) or side.guard().status in (rule.OPEN, rule.OPENING):
        return ""
    if view.state in (FROZEN, CLOSED):
        never = rule.last_open(side.guard()) is None
        return _NOT_TRIED.format(component=side.component) if never else ""
    return manifest_survey.xattr_room(side.tree if view.private_mount else side.path, largest, together)


def _supports(view: View, *options: str) -> bool:
    """Tell whether the file system keeps this: ext4, xfs and btrfs do unless mounted otherwise."""
    mount = view.public_mount
    if mount is None and view.part:
        mount = mountinfo.holder(mount_tables.mounts_of("self"), view.path)
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
