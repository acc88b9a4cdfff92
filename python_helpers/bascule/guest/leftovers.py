"""What Proxmox leaves behind when a job dies: found, and removed only where this component's own job left it."""

from __future__ import annotations

from typing import Any

from ..guard import state as guard
from . import config as guest_config
from . import kinds, tasks
from .errors import ApiRefused, ProxmoxError, TaskFailed
from .guest import Config, Guest


def locked_by_restore(guest: Guest, began: bool, source: Guest) -> dict[str, Any]:
    """Return the lock that an interrupted restore of this component left on its number.

    `began` says that this component began to restore there. A restore that still runs is followed to its end first:
    its lock is nobody's to take. So is that of a guest of another kind than `source`: it is none of ours.
    """
    nothing = {"changed": False, "lock": "", "tool": ""}
    guest.like(source.kind)
    rows = guest.api.get(f"nodes/{guest.side.node}/tasks", source="active", vmid=guest.side.vmid) or []
    for row in rows:
        if row.get("type") in kinds.RESTORES:
            guest.report("a restore is running already: following it")
            try:
                guest.run_task(row["upid"])
            except TaskFailed as error:
                guest.report(f"that restore has failed: {error.found}")
    config = guest.config_if_any()
    if config is None or not began or guest.guard(config).status != guard.UNKNOWN:
        return nothing
    lock = str(config.get("lock", ""))
    if lock != "create" or tasks.holders(guest.api, guest.side.node, guest.side.vmid):
        return nothing
    return {"changed": False, "lock": lock, "tool": guest.kind.tool}


def remove_guest(guest: Guest) -> None:
    """Remove the guest with the disks its config names; name the volumes of its number that stay, whosever they are."""
    guest.run_task(guest.api.delete(guest.path))
    left: list[str] = []
    for storage in sorted({guest.side.storage, *guest.side.storages.values()}):
        content = f"nodes/{guest.side.node}/storage/{storage}/content"
        rows = guest.api.get(content, content=guest.kind.content, vmid=guest.side.vmid) or []
        left += sorted(str(row["volid"]) for row in rows)
    if left:
        guest.report(
            f"no guest names {', '.join(left)}, and nobody knows whose they are: they stay "
            f"(when nobody needs them: 'pvesm free VOLUME' at {guest.side.machine})"
        )


def must_have_no_snapshots(guest: Guest) -> None:
    """Refuse to write over, or to remove, a guest with snapshots: no copy has them, and they would go with it."""
    if found := guest.snapshots():
        raise ProxmoxError(
            expected=f"no snapshots of the guest {guest.side.vmid} at {guest.side.machine}, whose disks are to be "
            "written over or removed",
            found=", ".join(found),
            state="nothing was changed there",
            next_command="when nobody needs them, remove them "
            f"('{guest.kind.tool} delsnapshot {guest.side.vmid} NAME' at {guest.side.machine}); else keep what they "
            "hold elsewhere first; then run the same command again",
        )


def must_be_removable(guest: Guest, config: Config) -> None:
    """Refuse to remove a guest that has snapshots or detached disks: those would go with it."""
    must_have_no_snapshots(guest)
    found = guest_config.detached(config)
    if found:
        names = ", ".join(f"{name} ({volid})" for name, volid in found.items())
        raise ProxmoxError(
            expected=f"no detached disks at the guest {guest.side.vmid} at {guest.side.machine} before it is removed",
            found=names,
            state="nothing was removed",
            next_command="attach them to another guest or remove them by hand, then run the same command again",
        )


def drop_archive(guest: Guest, volid: str) -> None:
    """Remove one archive from its storage."""
    storage = volid.partition(":")[0]
    upid = guest.api.delete(f"nodes/{guest.side.node}/storage/{storage}/content/{volid}")
    if upid:
        guest.run_task(upid)


def drop_archives(guest: Guest, failed: TaskFailed) -> list[str]:
    """Remove what a failed backup of ours has put on the storage: what its own log says it began, nothing else."""
    storage = guest.side.backup_storage or guest.side.storage
    wanted = set(tasks.created_archives(failed.log))
    content = f"nodes/{guest.side.node}/storage/{storage}/content"
    removed = []
    try:
        rows = guest.api.get(content, content="backup", vmid=guest.side.vmid) or [] if wanted else []
        for row in rows:
            volid = str(row["volid"])
            if volid.rpartition("/")[2] in wanted:
                guest.report(f"removing what the failed backup left: {volid}")
                drop_archive(guest, volid)
                removed.append(volid)
    except (ApiRefused, TaskFailed) as error:
        # The backup's own failure is what matters; what stays on the storage is told.
        guest.report(f"could not remove what the failed backup left ({', '.join(sorted(wanted))}): {error.found}")
    return removed
