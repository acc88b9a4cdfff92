"""Look at a guest and at the place it is to move to; refuse by name what cannot be moved. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ..guard import state as guard
from . import config as guest_config
from . import (
    config_keys,
    containers,
    decisions,
    disk_kinds,
    forecast,
    placement,
    preflight,
    prepare,
    processors,
    protection,
    storages,
)
from .errors import ApiRefused
from .guest import Guest
from .observed import View, agent_enabled, unasked


def audit(
    source: Guest,
    target: Guest,
    source_view: View,
    target_view: View,
    way: str = decisions.DELTA,
    stateless: bool = False,
    measured: Optional[Mapping[str, Any]] = None,
    window: float = 0,
    runs_inside: bool = False,
) -> dict[str, Any]:
    """Return what was measured, and every reason why this guest cannot be moved as planned."""
    refusals: list[str] = []
    notes: list[str] = []
    versions = {guest.side.machine: _version(guest) for guest in (source, target)}
    data: dict[str, Any] = {
        "versions": versions,
        "running_backups": {guest.side.machine: preflight.running_backups(guest) for guest in (source, target)},
    }
    if not source_view.exists:
        there = f": {source_view.elsewhere} has the number" if source_view.elsewhere else ""
        refusals.append(f"there is no guest {source.side.vmid} at {source.side.machine}{there}")
        return {**data, "refusals": refusals, "notes": notes, "summary": notes}
    config = source.config()
    kind = source_view.kind
    data["guest"] = {
        "name": config.get("name", config.get("hostname", "")),
        "kind": kind.noun,
        "vmid": source.side.vmid,
        "running": source_view.running,
        "onboot": source_view.onboot,
        "disks": [vars(disk).copy() for disk in source_view.disks],
        "nets": dict(source_view.nets),
        "agent": agent_enabled(config),
    }
    refusals += _movable(source, source_view, config)
    refusals += containers.way_refused(source_view, way)
    found, said = containers.questions(source, target, source_view, runs_inside)
    refusals += found
    notes += said
    refusals += storages.disks(source, source_view, way)
    for guest, seen in ((source, source_view), (target, target_view)):
        if guest is source or seen.guard.status != guard.UNKNOWN:
            refusals += preflight.left_behind(seen, guest.side.vmid, way)
            refusals += preflight.snapshots(guest, seen)
            refusals += preflight.connects(seen, guest.side.vmid, way)
            notes += protection.notes(seen)
    data["agent_answers"] = kind.agent and source_view.running and not source.agent_answers()
    if source_view.running and agent_enabled(config) and not data["agent_answers"]:
        notes.append("the guest agent does not answer: backups are not file-system consistent, shutdown is by ACPI")
    refusals += [words for guest in (source, target) if (words := unasked(guest, config))]
    if kind.agent and not agent_enabled(config):
        notes.append("the guest agent is not enabled: a proof boot cannot be seen to succeed")
    for machine, names in data["running_backups"].items():
        if names:
            notes.append(f"a backup job is running at {machine}: Proxmox runs one at a time")
    size = sum(disk.size for disk in source_view.disks)
    refusals += placement.impossible(source, target, source_view) if way != decisions.REMOTE else []
    refusals += _room(target, target_view, config, source_view, data, way)
    refusals += storages.rounded(target, source_view, way, data)
    used = sum(disk.used or disk.size for disk in source_view.disks)
    # A return restores there.
    back = placement.placed(source.side, placement.needed(target, source_view)).values()
    for storage in sorted({source.side.storage, *back}):
        refusals += storages.room(source, way, storage, kind.content, 0, data)
    refusals += _archives(source, way, _archive_room(source, way, size, used, target_view.exists), data)
    refusals += storages.kept(source, source_view, data)
    refusals += preflight.retention(source, way) + containers.excluded(source)
    privileged = kind.file_systems and str(config.get("unprivileged", "0")) != "1"
    for guest in (source, target):
        major = int(versions[guest.side.machine].partition(".")[0] or 8)
        bridges = preflight.plugged(guest, refusals, config)
        refusals += preflight.privileges(guest, major, way, bridges, runs_inside, kind, privileged)
        found, said = preflight.backups(guest)
        refusals += found
        notes += said
    for guest in (source, target):
        refusals += [line for line in preflight.lent(guest, source_view, way) if line not in refusals]
    refusals += preflight.interfaces(source, target, source_view)
    refusals += preflight.managed(source, source_view) + preflight.pending(source)
    refusals += preflight.managed(target, target_view) if target_view.exists else []
    refusals += preflight.clashes(target, config)
    refusals += preflight.room(target, config)
    found, said = processors.questions(source, target, config)
    refusals += found
    notes += said
    notes += preflight.notes(source, target, config)
    if way in (decisions.ARCHIVE, decisions.WARM):
        notes += storages.spread(source, target, source_view)
    on_devices = sum(disk.size for disk in source_view.disks if not disk_kinds.lies_in_file(disk.path))
    known, assumed = forecast.measured(size, used, measured or {}, on_devices, own_layout=kind.file_systems)
    expected = forecast.forecast(known)
    recommended = forecast.recommend(
        expected, stateless and not kind.refused(decisions.WARM), storages.in_blocks(source_view)
    )
    data["forecast"] = {
        "disk_bytes": size,
        "read_bytes_in_window": 0 if way == decisions.WARM else 2 * size,
        "kept_aside_bytes_at_most": size,
        "ways": expected,
        "assumed": assumed,
        "chosen": way,
        "recommended": recommended,
    }
    if data["kept_aside"]["by"] == "archive":
        spent = data["forecast"]["return_seconds_for_fence"] = forecast.fence_archive(size)
        notes.append(
            f"a return first archives the disks at {source.side.machine} as they were at their fence, once, within its "
            f"own outage: {spent:g} s more (assumed)"
        )
    notes += storages.full(target, target_view, way, known.changed, data)
    if way == decisions.WARM:
        anew = data["forecast"]["refresh"] = forecast.refresh(known)
        notes.append(
            f"warm: to bring its copy up to date takes {anew['seconds']:g} s and {anew['bytes'] / 1e6:.1f} MB over the "
            f"link, before the window ({'measured' if known.refreshed is not None else 'assumed'})"
        )
        notes.append(
            "warm: what the guest has written on its own disks since its copy was made is dropped: "
            + ", ".join(f"{disk.name} ({disk.volid})" for disk in source_view.disks)
        )
    refusals += _too_long(expected, way, recommended, window, measured or {})
    if recommended != way:
        notes.append(
            f"{recommended} would cost the window {expected[recommended]['seconds']:g} s, "
            f"{way} {expected[way]['seconds']:g} s"
        )
    data["summary"] = _summary(expected, way, recommended, notes)
    return {**data, "refusals": list(dict.fromkeys(refusals)), "notes": notes}


def _too_long(
    expected: Mapping[str, Mapping[str, float]],
    way: str,
    recommended: str,
    window: float,
    measured: Mapping[str, Any],
) -> list[str]:
    """Refuse a way that does not fit the window; and Proxmox's own migration by a speed that nobody has measured."""
    if not window:
        return []
    refusals = []
    if way == decisions.REMOTE and not measured.get("rate"):
        refusals.append("remote_migrate sends whole disks in the window, and the link's speed is not measured")
    if expected[way]["seconds"] > window:
        refusals.append(
            f"{way} would take {expected[way]['seconds']:g} s of the window, {window:g} s are allowed for this guest; "
            f"{recommended} would take {expected[recommended]['seconds']:g} s"
        )
    return refusals


def _summary(expected: Mapping[str, Mapping[str, float]], way: str, recommended: str, notes: list[str]) -> list[str]:
    """Return the forecast and the notes as lines for a person."""
    lines = []
    for name, cost in expected.items():
        marks = [word for word, is_so in (("chosen", name == way), ("recommended", name == recommended)) if is_so]
        lines.append(
            f"{name}: {cost['seconds']:g} s of the window, {cost['bytes'] / 1e6:.1f} MB over the link"
            + (f" ({', '.join(marks)})" if marks else "")
        )
    return lines + notes


def _version(guest: Guest) -> str:
    return str(guest.api.get("version").get("version", "unknown"))


def _movable(guest: Guest, view: View, config: Mapping[str, Any]) -> list[str]:
    refusals: list[str] = []
    where = f"the guest {guest.side.vmid} at {guest.side.machine}"
    if str(config.get("template", "0")) == "1":
        refusals.append(f"{where} is a template")
    if not guest_config.drives(config):
        refusals.append(f"{where} has no disks")
    tied = guest_config.passthrough(config)
    refusals += [f"{where}: {name} ({config[name]}) ties it to its node" for name in tied]
    refusals += [f"{where}: {line}" for line in (*view.unread, *config_keys.refused(config, view.kind))]
    others = guest_config.foreign_guard(config.get("description"), guest.component)
    if others:
        refusals.append(f"{where} is marked as belonging to {', '.join(others)}")
    if view.lock:
        refusals.append(f"{where} is locked ({view.lock})")
    return refusals


def _room(
    guest: Guest, view: View, config: Mapping[str, Any], source_view: View, data: dict[str, Any], way: str
) -> list[str]:
    refusals: list[str] = []
    size = sum(disk.size for disk in source_view.disks)
    where = guest.side.machine
    taken = view.exists and view.guard.status == guard.UNKNOWN
    if taken:
        refusals.append(f"the number {guest.side.vmid} is taken at {where} by a guest that is not this component's")
    if view.elsewhere:
        refusals.append(f"the number {guest.side.vmid} is taken in the cluster of {where}: {view.elsewhere} has it")
    rows = preflight.ask(guest, refusals, f"nodes/{guest.side.node}/network", type="any_bridge")
    bridges = {str(row.get("iface")) for row in rows or []}
    wanted = {guest.side.bridge_for(card, net) for card, net in guest_config.nets(config).items()}
    if rows is not None:
        refusals += [f"there is no bridge {name} at {where}" for name in sorted(wanted - bridges)]
    needs: dict[str, int] = {}
    backup = guest.side.backup_storage or guest.side.storage
    if way == decisions.WARM:
        needs[backup] = _plain_archives(size, view.exists)
    elif not view.exists:
        needs[backup] = size
    places = {guest.side.storage: 0, **placement.needed(guest, source_view)}
    if not view.exists:
        for storage, wanted_there in places.items():
            needs[storage] = needs.get(storage, 0) + wanted_there
    volumes = source_view.kind.content
    for storage, content in (*((storage, volumes) for storage in places), (backup, "backup")):
        refusals += storages.room(guest, way, storage, content, needs.get(storage, 0), data)
    return list(dict.fromkeys(refusals))


def _archives(guest: Guest, way: str, used: int, data: dict[str, Any]) -> list[str]:
    """The storage that takes the archives at the side we come from: there, and with room for one more."""
    if way == decisions.REMOTE:
        return []
    return storages.room(guest, way, guest.side.backup_storage or guest.side.storage, "backup", used, data)


def _archive_room(guest: Guest, way: str, size: int, used: int, copied: bool) -> int:
    """What archives need at the side we come from; `copied` says that the passive guest is there already."""
    if way != decisions.WARM:
        # One is made before the passive guest is, and in the window where that is the way.
        return used if way == decisions.ARCHIVE or not copied else 0
    # In the place of those that the next backup removes.
    try:
        there = sum(int(row.get("size", 0)) for row in prepare.archives(guest, plain=True))
    except ApiRefused:
        # Named with the storage itself.
        there = 0
    return max(0, _plain_archives(size, copied) - there)


def _plain_archives(size: int, copied: bool) -> int:
    """What a warm guest needs at each side: not compressed, and each is the basis of the next, which needs room too."""
    return forecast.plain_archive(size) * (1 if copied else 2)
