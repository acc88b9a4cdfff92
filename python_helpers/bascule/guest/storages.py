"""Which storages and formats of disks each way can serve, and whether a storage has room; asked by the audit.

Types of storages: PVE::Storage::Plugin, as the API names them in a storage's status.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional

from . import config as guest_config
from . import decisions, disk_kinds, preflight
from .errors import ApiRefused
from .guest import Guest
from .observed import Disk, View

FOLDERS = ("dir", "nfs", "cifs")
# vzdump reads and a restore writes disks on each of these, and their node can read them where they lie.
IMAGES = (*FOLDERS, "btrfs", "lvm", "lvmthin", "zfspool", "rbd")
# An archive travels as a file, from folder to folder.
ARCHIVES = (*FOLDERS, "btrfs", "cephfs")
FORMATS: Mapping[str, tuple[str, ...]] = {
    decisions.ARCHIVE: ("raw", "qcow2", "vmdk", disk_kinds.SUBVOLUME),
    decisions.WARM: ("raw", "qcow2", "vmdk"),
    decisions.DELTA: disk_kinds.CARRIED,
    decisions.REMOTE: ("raw",),
}


def unserved(way: str, kind: str, content: str = "images", container: bool = False) -> str:
    """Return why a storage of this type cannot take disks, or archives, of a guest moved so; empty when it can."""
    if content == "backup":
        if kind in ARCHIVES:
            return ""
        return f"of type {kind}, and archives travel as files: name one of {', '.join(ARCHIVES)} in backup_storage"
    if kind not in IMAGES:
        return f"of type {kind}; handled are {', '.join(IMAGES)}"
    if container and way == decisions.DELTA and kind in disk_kinds.OF_SUBVOLUMES:
        return f"of type {kind}, on which a container's volumes are directories without blocks: use way archive"
    if way == decisions.REMOTE and kind not in FOLDERS:
        return f"of type {kind}; {way} handles {', '.join(FOLDERS)} only: use way archive"
    return ""


def unreadable(way: str, disk: Disk) -> str:
    """Return why a disk of this format cannot be moved so; empty when it can."""
    if disk_kinds.is_another_image(disk.volid, disk.format):
        return f"{disk.volid}, and its storage states {disk.format}: nobody knows how to read it; move it to a folder"
    handled, all_formats = FORMATS[way], FORMATS[decisions.ARCHIVE]
    if disk.format not in all_formats:
        return f"{disk.format}; handled are {', '.join(all_formats)}"
    if disk.format not in handled:
        return f"{disk.format}; {way} handles {', '.join(handled)} only: use way archive"
    return ""


def disks(guest: Guest, view: View, way: str) -> list[str]:
    """Name the disks of a guest that this way cannot move, by format and storage."""
    where = f"the guest {view.vmid} at {view.machine}"
    tied = guest_config.passthrough(view.config)
    findings = [f"{where}: disk {d.name} is {words}" for d in view.disks if (words := unreadable(way, d))]
    findings += [
        f"{where}: disk {d.name} is {d.volid}, a volume of another guest by its name"
        for d in view.disks
        if d.name not in tied and not disk_kinds.is_owned(d.volid, view.vmid)
    ]
    if "efidisk0" in view.config and not guest_config.efi_seen(view.config):
        findings.append(f"{where}: nobody knows how much the guest sees of efidisk0 ({view.config['efidisk0']})")
    for drive in guest_config.drives(view.config):
        if drive.name in tied:
            continue
        status = preflight.ask(guest, findings, f"nodes/{guest.side.node}/storage/{drive.storage}/status")
        words = "" if status is None else unserved(way, str(status.get("type", "?")), container=guest.kind.file_systems)
        if words:
            findings.append(f"{where}: disk {drive.name} is on '{drive.storage}' {words}")
    return findings


def in_blocks(view: View) -> bool:
    """Say whether changed blocks could be carried of all disks."""
    return not any(unreadable(decisions.DELTA, disk) for disk in view.disks)


def rounded(target: Guest, view: View, way: str, data: Mapping[str, Any]) -> list[str]:
    """Name disks that a copy would round up: changed blocks could not come back into the smaller volume.

    `data` has the types of the storages that `room` has asked. What a volume group with other extents does is found
    when the copy is there.
    """
    findings = []
    for disk in view.disks if way == decisions.DELTA else ():
        storage = target.side.storage_for(disk.volid.partition(":")[0])
        kind = str(data.get("storages", {}).get(f"{target.side.machine}:{storage}", {}).get("type", ""))
        size = disk_kinds.rounded_up(disk.size, kind)
        if disk.name != "efidisk0" and size != disk.size:
            findings.append(
                f"the guest {view.vmid} at {view.machine}: disk {disk.name} has {disk.size} bytes, and '{storage}' at "
                f"{target.side.machine} (of type {kind}) would make {size} of them, which a return by {way} could not "
                "bring back: resize the disk to that, or use way archive"
            )
    return findings


def room(guest: Guest, way: str, storage: str, content: str, needed: int, data: dict[str, Any]) -> list[str]:
    """Say why a storage cannot take this content, or not so many bytes of it."""
    where = guest.side.machine
    try:
        status = guest.api.get(f"nodes/{guest.side.node}/storage/{storage}/status")
    except ApiRefused as error:
        return [f"storage '{storage}' at {where}: {error.status} {error.reason}"]
    free = int(status.get("avail", 0))
    data.setdefault("storages", {})[f"{where}:{storage}"] = {
        "type": status.get("type"),
        "available": free,
        "needed": needed,
    }
    refusals = []
    if words := unserved(way, str(status.get("type")), content, container=guest.kind.file_systems):
        refusals.append(f"storage '{storage}' at {where} is {words}")
    elif content not in str(status.get("content", "")).split(","):
        advice = ": name one that does in backup_storage" if content == "backup" else ""
        refusals.append(f"storage '{storage}' at {where} does not take {content}{advice}")
    if str(status.get("active", 0)) != "1":
        refusals.append(f"storage '{storage}' at {where} is not active")
    elif free < needed:
        refusals.append(f"storage '{storage}' at {where} has {free} bytes free; {needed} may be needed")
    return refusals


def kept(guest: Guest, view: View, data: dict[str, Any]) -> list[str]:
    """Name a storage without room for what a return keeps, before its first write, of the disks at the fence.

    A file is copied beside itself; where a copy would not outlive its disk, an archive of all disks is made.
    """
    size = sum(disk.size for disk in view.disks)
    by_copy = all(disk_kinds.is_kept_as_copy(disk.volid, disk.path) for disk in view.disks)
    needs: dict[str, int] = {}
    for disk in view.disks:
        storage = disk.volid.partition(":")[0] if by_copy else guest.side.backup_storage or guest.side.storage
        needs[storage] = needs.get(storage, 0) + disk.size
    refusals: list[str] = []
    for storage, needed in needs.items():
        status = preflight.ask(guest, refusals, f"nodes/{guest.side.node}/storage/{storage}/status")
        if status is None:
            continue
        free = int(status.get("avail", 0))
        data.setdefault("storages", {}).setdefault(
            f"{guest.side.machine}:{storage}", {"type": status.get("type"), "available": free, "needed": needed}
        )
        if free < needed:
            refusals.append(
                f"storage '{storage}' at {guest.side.machine} has {free} bytes free; a return keeps {needed} bytes "
                "aside before its first write"
            )
    data["kept_aside"] = {"by": "copy" if by_copy else "archive", "bytes_at_most": size}
    return refusals


def full(target: Guest, view: View, way: str, changed: Optional[int], data: Mapping[str, Any]) -> list[str]:
    """Note storages of a copy with less room than changed blocks took last: a thin one grows by what is written.

    `changed` is in bytes, as they came over the link; `data` has the storages that `room` has asked.
    """
    found = []
    for name in sorted({disk.volid.partition(":")[0] for disk in view.disks} if way == decisions.DELTA else ()):
        free = int(data.get("storages", {}).get(f"{target.side.machine}:{name}", {}).get("available", changed or 0))
        if free < (changed or 0):
            found.append(
                f"storage '{name}' at {target.side.machine} has {free} bytes free; changed blocks took {changed} last "
                "time, and a thin volume or a sparse file needs room for them"
            )
    return found


def spread(source: Guest, target: Guest, view: View) -> list[str]:
    """Note disks that come to lie on another storage after a return: a restore puts them where it is declared."""
    here = {disk.volid.partition(":")[0] for disk in view.disks}
    back = {name: source.side.storage_for(target.side.storage_for(name)) for name in here}
    if all(name == after for name, after in back.items()):
        return []
    return [
        f"the disks of the guest {view.vmid} lie on {', '.join(names(here))} at {view.machine}; they all come to lie "
        f"on {', '.join(names(target.side.storage_for(name) for name in here))} at {target.side.machine}, and after a "
        f"return on {', '.join(names(back.values()))} at {source.side.machine}"
    ]


def names(found: Iterable[str]) -> list[str]:
    """Return each name once, quoted."""
    return [f"'{name}'" for name in sorted(set(found))]
