"""Which findings of an audit make a move impossible. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..guard.state import CLOSED
from ..system.packages import install_command
from .part import WORTH

Found = Mapping[str, Any]
_NAMED = 20
_OR_PART = " (or take the weaker proof of a mount of its own: rsync_delta_sync_part_allowed)"
_MOVES = (
    "once it is mounted on itself (prepare), a move or hard link between it and the rest of the file system fails as "
    "between two file systems (EXDEV), services that have it open by then have to be restarted before a freeze, and "
    "without a recorder every transfer looks at the whole tree and the switch reads it"
)
_LONGEST = 200
# What stops a transfer, and what to do about it.
_BLOCKED = {
    "too_long": "paths too long to be carried or kept (shorten names above them)",
    "partial": "directories with the name that transfers give to their parts, which are never carried (rename them)",
    "unchangeable": "entries that are immutable or append-only, which no transfer to this side can replace or remove "
    "(chattr -i -a, or leave them out of the tree)",
    "apart": "directories of another device (mounts, subvolumes), which no transfer enters (make them plain "
    "directories, or components of their own)",
}


def faults(
    source: str,
    source_found: Found,
    target: str,
    target_found: Found,
    *,
    room_percent: float,
    clock_difference: float,
    clock_limit: float,
) -> list[str]:
    """Return every reason why the tree cannot move, all at once."""
    found = _of_one(source, source_found) + _of_one(target, target_found)
    here, there = source_found.get("survey", {}), target_found.get("survey", {})
    needed = int(here.get("bytes", 0) * (1 + room_percent / 100))
    if there.get("size_bytes", 0) < needed:
        found.append(
            f"{target} holds {there.get('size_bytes', 0)} bytes, {needed} are needed "
            f"({here.get('bytes', 0)} and {room_percent:g} % of room)"
        )
    elif there.get("free_bytes", 0) + there.get("bytes", 0) < needed:
        found.append(f"{target} has {there.get('free_bytes', 0)} bytes free, {needed} are needed")
    # Some file systems make inodes as they are needed and report none.
    inodes = there.get("free_inodes", 0)
    if inodes and inodes + there.get("entries", 0) < here.get("entries", 0):
        found.append(f"{target} has {inodes} inodes free for {here.get('entries', 0)} entries")
    for ability in ("acls", "xattrs"):
        if here.get(ability) and not there.get(ability):
            found.append(f"the file system of {target} does not keep {ability}, that of {source} does")
    if there.get("attribute_room"):
        sizes = here.get("attributes", {})
        found.append(
            f"the file system of {target} cannot hold the largest extended attributes of {source} "
            f"({sizes.get('largest')} bytes in one, {sizes.get('together')} in one entry): {there['attribute_room']}"
        )
    # At a side that is closed they are what an interrupted transfer has left there, and are swept by the next.
    if source_found.get("guard", {}).get("status") != CLOSED:
        found += _blocked(source, here, "partial")
    found += there.get("unmatched_owners", [])[:_NAMED]
    if abs(clock_difference) > clock_limit:
        found.append(f"the clocks differ by {abs(clock_difference):.1f} s (at most {clock_limit:g} s)")
    return found


def notes(source: str, source_found: Found) -> list[str]:
    """Return what a freeze would meet at the side that serves, so that it is dealt with before the evening."""
    survey = source_found.get("survey", {})
    told = [f"{source}: {WORTH}", f"{source}: {_MOVES}"] if source_found.get("mounts", {}).get("part") else []
    if source_found.get("mounts", {}).get("unwatched"):
        told.append(
            f"{source}: the tree is a subvolume of btrfs, of which the kernel tells no recorder: every transfer looks "
            "at the whole tree, and the switch reads it"
        )
    account = survey.get("account", "root")
    if account != "root":
        told.append(
            f"the account {account} (rsync_delta_sync_account) is worth as much as root in a passive tree: whoever "
            "comes in by SSH as it can replace or remove what lies there; who runs a program as it can let itself in"
        )
    told += [
        f"open for writing on {source} at this moment: {_cut(one)}; a freeze fails while that is so"
        for one in survey.get("writers", [])
    ]
    return told + [
        f"{source} exports {one} by NFS: what its clients hold open is not seen there, and stops a freeze as well"
        for one in survey.get("exports", [])
    ]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def left_out(survey: Found) -> dict[str, str]:
    """Return what no transfer carries and no manifest compares, each with how many entries of a tree have it."""
    found = {name: f"{count} entries have it, no transfer carries it" for name, count in survey["not_carried"].items()}
    if survey["flags_unknown"]:
        found["flags"] = f"neither the kernel nor the file system tells those of {survey['flags_unknown']} entries"
    return found


def fences(*sides: Found) -> dict[str, str]:
    """Return what the fences of the sides that are parts of a larger file system do not prove, by side."""
    return {f"the fence of {one['guard']['side']}": WORTH for one in sides if one.get("mounts", {}).get("part")}


def apart(survey: Found) -> list[str]:
    """Return what lies in a tree and was not entered: nobody has compared it."""
    return [f"not entered: {one}" for one in _blocked("the active side", survey, "apart")]


def _blocked(name: str, survey: Found, what: str) -> list[str]:
    found = survey.get("blocking", {}).get(what, {})
    if not found.get("count"):
        return []
    return [f"{name} has {found['count']} {_BLOCKED[what]}; among them {', '.join(found['names'])}"]


def _of_one(name: str, found: Found) -> list[str]:
    mounts, survey = found.get("mounts", {}), found.get("survey", {})
    part = bool(mounts.get("part"))
    if mounts.get("state") == "absent" and not part:
        return [f"no file system of its own is mounted at the tree's path on {name}{_OR_PART}"]
    reasons = [f"the tree on {name} cannot be closed alone: {one}" for one in survey.get("part_faults", [])]
    if mounts.get("root", "/") != "/" and mounts.get("kind") != "btrfs" and not part:
        reasons.append(
            f"the tree on {name} is a part of another file system, which cannot be made read-only alone{_OR_PART}"
        )
    if survey.get("nested_mounts"):
        reasons.append(f"file systems are mounted inside the tree on {name}: {', '.join(survey['nested_mounts'])}")
    if survey.get("shared"):
        reasons.append(
            f"the file system of the tree on {name} also holds {'; '.join(survey['shared'])}: a fence makes all of it "
            f"read-only; give the tree a file system of its own, or unmount the others{_OR_PART}"
        )
    if survey.get("beyond") and part:
        reasons.append(
            f"the tree on {name} could be written to past its own mount, by {'; by '.join(survey['beyond'][:_NAMED])}: "
            "restart these services, take away the other mounts and exports"
        )
    elif survey.get("beyond"):
        reasons.append(
            f"the tree on {name} could be written to while it is passive, by {'; by '.join(survey['beyond'])}: "
            "unmount the overlays, end the processes"
        )
    if survey.get("boot"):
        reasons.append(f"the tree on {name} could not be fenced after a reboot: {survey['boot']}")
    for what in ("too_long", "unchangeable", "apart"):
        reasons += _blocked(name, survey, what)
    reasons += [f"on {name}, {one}" for one in survey.get("transfer_faults", [])]
    account = survey.get("account", "root")
    reasons += [f"on {name}, {one} (rsync_delta_sync_account)" for one in survey.get("account_faults", [])]
    if survey.get("refused_in"):
        reasons.append(
            f"the SSH server of {name} would not let {account} in from the other side by a key of one forced command, "
            f"as transfers need: {'; '.join(survey['refused_in'])} (a Match block for that address alone is enough"
            + ("; or another account, rsync_delta_sync_account)" if account == "root" else ")")
        )
    # b3sum digests large files.
    lacking = [program for program in ("rsync", "b3sum") if not survey.get(program)]
    if lacking:
        command = install_command(lacking, str(survey.get("distribution", "")))
        reasons.append(f"{' and '.join(lacking)} is not installed on {name}: {command}")
    return reasons
