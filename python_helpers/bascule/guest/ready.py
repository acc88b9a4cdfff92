"""Ask, while the guest still serves, what would stop its move in the window or be lost in it. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ..guard import state as guard
from . import (
    blocks,
    config_keys,
    containers,
    decisions,
    disk_kinds,
    drift,
    observed,
    placement,
    preflight,
    prepare,
    storages,
)
from .chunks import CHUNK
from .guest import Guest
from .observed import View, leading, look_at_both


def ready(source: Guest, target: Guest, left: View, entered: View, way: str, block: int = 1 << 14) -> dict[str, Any]:
    """Return every reason why the window could not end well, and what differs in the copy.

    Disks are compared in blocks of `block` bytes.

    There is nothing to ask when the side that is entered holds the latest data; nor of a guest that does not serve any
    more: the window has begun, and what an interrupted run has left there is put right by the verbs that come next.
    """
    result: dict[str, Any] = {"changed": False, "asked": False, "refusals": [], "differences": []}
    serves = left.guard.status in (guard.UNKNOWN, guard.OPEN) and not left.guard.frozen
    if not left.exists or not serves or leading(left, entered) == entered.machine:
        return result
    sides = [(source, left)] + ([(target, entered)] if entered.guard.status != guard.UNKNOWN else [])
    refusals = []
    if way == decisions.DELTA and not blocks.is_block(block):
        refusals.append(f"proxmox_guest_transfer_block_size is {block}; blocks have {blocks.SMALLEST} to {CHUNK} bytes")
    refusals += preflight.busy(source, left) + preflight.busy(target, entered)
    if way == decisions.ARCHIVE:
        refusals += preflight.retention(source, way, in_window=True) + containers.excluded(source)
    # A copy starts with what its own config names; an archive and a migration of the window bring that of the guest.
    brought = way in (decisions.ARCHIVE, decisions.REMOTE)
    for node, starts in ((source, left), *([(target, left)] if brought else sides[1:])):
        refusals += [line for line in preflight.lent(node, starts, way) if line not in refusals]
    refusals += containers.way_refused(left, way)
    refusals += [
        f"the guest {left.vmid} at {left.machine}: {line}" for line in config_keys.refused(left.config, left.kind)
    ]
    for guest, seen in sides:
        refusals += storages.disks(guest, seen, way)
        refusals += preflight.left_behind(seen, guest.side.vmid, way)
        refusals += preflight.snapshots(guest, seen)
        refusals += preflight.managed(guest, seen)
        refusals += preflight.connects(seen, guest.side.vmid, way)
    refusals += placement.impossible(source, target, left) if way != decisions.REMOTE else []
    refusals += _room(source, target, left, entered, way)
    lost = prepare.fence_lost(target, entered.config) if entered.exists else ""
    refusals += [f"the guest {entered.vmid} at {entered.machine}: {lost}"] if lost else []
    differs: list[str] = []
    if way in (decisions.DELTA, decisions.WARM) and entered.guard.status == guard.CLOSED:
        mapped = {*source.side.overrides, *target.side.overrides}
        names = (left.machine, entered.machine)
        refusals += [f"the passive guest {entered.vmid} at {entered.machine}: {w}" for w in prepare.loose(entered)]
        refusals += _other_disks(left, entered, exact=way == decisions.DELTA)
        differs = drift.differences(drift.settings(left.config, mapped), drift.settings(entered.config, mapped), *names)
    return {**result, "asked": True, "refusals": refusals, "differences": differs}


def _other_disks(left: View, entered: View, exact: bool) -> list[str]:
    """Name disks that differ, each with what mends it: one that its copy's storage has rounded up can grow to that."""
    here, there = ({disk.name: disk.size for disk in side.disks} for side in (left, entered))
    vmid, found = entered.vmid, []
    for line in prepare.disks_differ(left, entered, exact=exact):
        name = line.partition(" ")[0]
        mend = (
            f"remove the guest {vmid} at {entered.machine} ('{entered.kind.tool} destroy {vmid}' there), then "
            "ansible-playbook playbooks/20_prepare.yml makes it anew"
        )
        if name != "efidisk0" and disk_kinds.is_rounded(name, here.get(name, 0), there.get(name, 0)):
            mend = f"resize it at {left.machine} to {there[name]} bytes (its copy was rounded up), or use way archive"
        found.append(f"disk {line}: {mend}")
    return found


def _room(source: Guest, target: Guest, left: View, entered: View, way: str) -> list[str]:
    """Name storages without room for all archives that the window puts there: its own, and that of the fence."""
    needs: list[tuple[Guest, int]] = []
    if way == decisions.ARCHIVE:
        used = sum(disk.used or disk.size for disk in left.disks)
        needs += [(source, used), (target, used)]
    if prepare.keeps_by_archive(target, entered):
        needs.append((target, sum(disk.used or disk.size for disk in entered.disks)))
    total: dict[tuple[str, str], int] = {}
    for guest, needed in needs:
        place = (guest.side.machine, guest.side.backup_storage or guest.side.storage)
        total[place] = total.get(place, 0) + needed
    found: list[str] = []
    for (machine, storage), needed in total.items():
        guest = source if machine == source.side.machine else target
        status = preflight.ask(guest, found, f"nodes/{guest.side.node}/storage/{storage}/status")
        if status is not None and int(status.get("avail", 0)) < needed:
            found.append(
                f"storage '{storage}' at {machine} has {int(status.get('avail', 0))} bytes free; the archives of the "
                f"window may need {needed}"
            )
    return found


def _images(view: View) -> list[str]:
    """Name disks of which a digest would not be of what the guest sees."""
    return [
        f"disk {disk.name} is {disk.volid}, and its storage states {disk.format}: nobody knows how to read it"
        for disk in view.disks
        if disk_kinds.is_another_image(disk.volid, disk.format)
    ]


def guards(source: Guest, target: Guest, way: str, kept: Optional[Mapping[str, Any]], returns: bool) -> dict[str, Any]:
    """Return the guards of both sides, by machine, and who did not answer; of a return also what would stop it.

    `kept` is a guard that was written down when a copy of ours began.
    """
    read, unread, missing = observed.guards(source, target, noted=guard.GuardState.from_dict(kept) if kept else None)
    return {
        "changed": False,
        "guards": {machine: found.to_dict() for machine, found in read.items()},
        "unread": unread,
        "gone": "".join(missing),
        "stops": stops(source, target, way) if returns and not unread else [],
    }


def stops(source: Guest, target: Guest, way: str) -> list[str]:
    """Name what would stop a return once the guest is shut down; asked of it before anything is frozen.

    A return asks less than a cutover, for which `ready` is: what stands in its way now, and nothing that might.
    """
    left, entered = look_at_both(source, target, all_disks=False)
    serves = left.guard.status == guard.OPEN and not left.guard.frozen
    if not serves or entered.guard.status != guard.CLOSED:
        return []
    found = [
        f"the guest {view.vmid} at {view.machine} is managed by Proxmox HA: take it out"
        for view in (left, entered)
        if view.ha_managed
    ]
    if way != decisions.WARM:
        found += preflight.snapshots(target, entered)
    found += [f"the guest {view.vmid} at {view.machine}: {line}" for view in (left, entered) for line in _images(view)]
    if way == decisions.DELTA:
        found += [
            f"disk {line}: changed blocks are never carried into a smaller volume; return by way archive"
            for line in prepare.disks_differ(left, entered)
        ]
    lost = prepare.fence_lost(target, entered.config)
    found += [f"the guest {entered.vmid} at {entered.machine}: {lost}"] if lost else []
    if way == decisions.REMOTE:
        found += preflight.left_behind(entered, target.side.vmid, way)
    return found
