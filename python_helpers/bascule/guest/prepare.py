"""Make the passive guest: back up here, restore there, cut from the network and closed from its first moment."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Optional

from ..errors import GuardRefused
from ..guard import state as guard
from ..guard.state import GuardState
from . import config as guest_config
from . import disk_kinds, drift, leftovers, lost, networks, placement, protection
from .errors import ApiRefused, ProxmoxError, TaskFailed
from .guest import Config, Guest
from .observed import View, efi_seen, leading, look, look_at_both

Result = dict[str, Any]
# What the description of a guest says from when changed blocks may overwrite what it held at its fence.
BLOCKS = "changed blocks"
_CREATED = re.compile(r"creating vzdump archive '([^']+)'")


def adopt(guest: Guest, check: bool = False) -> Result:
    """Take over the guest that serves today."""
    config = guest.config()
    others = guest_config.foreign_guard(config.get("description"), guest.component)
    if others:
        raise ProxmoxError(
            expected=f"the guest {guest.side.vmid} at {guest.side.machine} to belong to {guest.component} alone",
            found=f"it is marked as {', '.join(others)}",
            state="nothing was changed",
            next_command="let one component only name this guest",
        )
    state = guest.guard(config)
    if state.status != guard.UNKNOWN:
        return {"changed": False, "guard": state.to_dict()}
    adopted = guard.adopt_open(state)
    if check:
        return {"changed": True, "guard": adopted.to_dict()}

    def decide(fresh: Config) -> Mapping[str, Any]:
        found = guest.guard(fresh)
        wanted = guard.adopt_open(found) if found.status == guard.UNKNOWN else found
        return {"description": guest_config.with_guard(fresh.get("description"), wanted)}

    changed = guest.change(decide)
    return {"changed": changed, "guard": guest.guard(guest.config()).to_dict()}


def note(guest: Guest, mark: str = "") -> str:
    """Return the note by which this component's archives are found again; a mark names the state archived."""
    return " ".join(word for word in ("bascule", guest.component, mark) if word)


def archives(guest: Guest, mark: str = "", plain: bool = False) -> list[Mapping[str, Any]]:
    """Return the finished archives this component made of its guest (the note is added when one is finished).

    `plain` asks for those that are not compressed, and only for those.
    """
    storage = guest.side.backup_storage or guest.side.storage
    rows = guest.api.get(f"nodes/{guest.side.node}/storage/{storage}/content", content="backup", vmid=guest.side.vmid)
    wanted = note(guest, mark).split()
    return [
        row
        for row in rows or []
        if str(row.get("notes", "")).split("\n")[0].split()[: len(wanted)] == wanted
        and str(row["volid"]).endswith((".vma", ".tar")) == plain
    ]


def find_archive(guest: Guest, mark: str = "", plain: bool = False) -> Optional[Mapping[str, Any]]:
    """Return the newest of them that was made of the guest as it is now: with the same disks and settings."""
    word = drift.fingerprint(guest.config())
    ours = [row for row in archives(guest, mark, plain) if word in str(row.get("notes", "")).split("\n")[0].split()]
    return max(ours, key=lambda row: int(row.get("ctime", 0))) if ours else None


def active_task(guest: Guest, kind: str) -> Optional[str]:
    """Return a running task of this kind for this guest: one that an earlier, interrupted run began."""
    rows = guest.api.get(f"nodes/{guest.side.node}/tasks", source="active", vmid=guest.side.vmid, typefilter=kind)
    running = [str(row["upid"]) for row in rows or [] if row.get("type") == kind and not row.get("endtime")]
    return running[0] if running else None


def back_up(
    guest: Guest, since: float = 0, mark: str = "", check: bool = False, plain: bool = False, protected: bool = False
) -> Result:
    """Make an archive of the guest, or find the one that exists (of this very state, when there is a mark).

    One that is older than `since` does not count. A `plain` archive is not compressed, so that what has not changed
    looks the same in the next one; such archives are large, so those that do not count make room first. Proxmox removes
    none of the guest's other backups for it, and never removes a `protected` one by itself.
    """
    _must_be_archivable(guest)
    running = active_task(guest, "vzdump")
    if running:
        guest.report("a backup is running already: following it")
        guest.run_task(running)
    found = find_archive(guest, mark, plain)
    if found is not None and int(found.get("ctime", 0)) < since:
        found = None
    if found is None and check:
        return {"changed": True, "archive": None}
    changed = found is None
    if found is None:
        guest.wait_unlocked()
        # With a mark it is the last state of a guest that was shut down: it must not be started behind our back.
        mode = "stop" if mark else "snapshot"
        for row in archives(guest, mark, plain) if plain else ():
            leftovers.drop_archive(guest, str(row["volid"]))
        compress = "0" if plain else "zstd"
        guest.report(f"vzdump ({mode}, {'not compressed' if plain else compress})")
        upid = guest.api.post(
            f"nodes/{guest.side.node}/vzdump",
            vmid=str(guest.side.vmid),
            storage=guest.side.backup_storage or guest.side.storage,
            mode=mode,
            compress=compress,
            remove=False,
            protected=True if protected else None,
            **dict(guest.kind.whole),
            notes_template=f"{note(guest, mark)} {drift.fingerprint(guest.config())} {{{{guestname}}}}",
        )
        try:
            outcome = guest.run_task(upid)
        except TaskFailed as error:
            leftovers.drop_archives(guest, error)
            raise
        found = find_archive(guest, mark, plain)
        names = [match[1] for line in outcome.log for match in [_CREATED.search(line)] if match]
        if found is None or not names or not names[-1].endswith(str(found["volid"]).rpartition("/")[2]):
            raise ProxmoxError(
                expected=f"the archive {names[-1] if names else 'named in the task log'} listed on the storage",
                found=str(found["volid"]) if found else "no archive with this component's note",
                state=f"the backup task {outcome.upid} ended well",
                next_command="look at the storage, then run the same command again",
            )
    facts = archive_facts(guest, str(found["volid"]), int(found.get("size", 0)))
    return {"changed": changed, "archive": {**facts, "ctime": int(found.get("ctime", 0))}}


def keeps_by_archive(guest: Guest, view: View) -> bool:
    """Say whether an archive has still to be made of what this side's disks hold since its fence."""
    state = view.guard
    if state.opened is None or state.receipt is None or guest_config.is_marked(view.config.get("description")):
        return False
    by_copy = all(disk_kinds.is_kept_as_copy(disk.volid, disk.path) for disk in view.disks)
    return not by_copy and not archives(guest, f"fence-{state.receipt.epoch}")


def fence_lost(guest: Guest, config: Config) -> str:
    """Say that changed blocks were written over the disks of a fence and that its archive is gone; else nothing."""
    state = guest.guard(config)
    if state.receipt is None or not guest_config.is_marked(config.get("description"), BLOCKS):
        return ""
    mark = f"fence-{state.receipt.epoch}"
    gone = not archives(guest, mark)
    return f"no archive '{note(guest, mark)}', and changed blocks have overwritten those disks" if gone else ""


def keep_fence(guest: Guest) -> Optional[Result]:
    """Keep what the disks of a side that was open hold since its fence, before they are written or removed.

    Files are copied beside themselves by their node before. Where such a copy would not outlive its disk (a block
    device, Ceph, btrfs) an archive of the guest is made, once per receipt: no retention removes it, nor does Bascule.
    """
    config = guest.config_if_any()
    state = guest.guard(config)
    if config is None or state.opened is None or state.receipt is None:
        return None
    if all(disk_kinds.is_kept_as_copy(disk.volid, disk.path) for disk in look(guest).disks):
        return None
    mark = f"fence-{state.receipt.epoch}"
    there = archives(guest, mark)
    if found := fence_lost(guest, config):
        raise ProxmoxError(
            expected=f"an archive of what the disks of the guest {guest.side.vmid} held at their fence",
            found=found,
            state="nothing more was written to its disks",
            next_command=f"bring that archive back; or give it up: remove that guest at {guest.side.machine} by hand, "
            "then ansible-playbook playbooks/20_prepare.yml",
        )
    if guest_config.is_marked(config.get("description")):
        # What a copy that was cut short has left is not what was there at the fence.
        guest.report("its disks were written to since its fence: what was kept of it before is all there is")
        return {"changed": False, "archive": None}
    if there:
        # The first is the one.
        first = min(there, key=lambda row: int(row.get("ctime", 0)))
        _must_be_whole(guest, config, {"volid": str(first["volid"]), "size": int(first.get("size", 0))})
        return {"changed": False, "archive": None}
    guest.report("its disks as they were at the fence are kept by an archive")
    kept = back_up(guest, mark=mark, protected=True)
    _must_be_whole(guest, config, kept["archive"])
    return kept


def _must_be_whole(guest: Guest, config: Config, archive: Mapping[str, Any]) -> None:
    """Have the node read the archive, before anything is written where it was made of.

    It reads the archive's head, which tells of every disk in it; the backup's own task tells of the rest.
    """
    path = f"nodes/{guest.side.node}/vzdump/extractconfig"
    wanted = {drive.name for drive in guest_config.drives(config)}
    try:
        missing = wanted - guest_config.archived(str(guest.api.get(path, volume=archive["volid"])))
        found = f"{archive['size']} bytes" + (f", without {', '.join(sorted(missing))}" if missing else "")
    except ApiRefused as error:
        missing, found = wanted, f"{error.status} {error.reason}"
    if missing or not archive["size"]:
        raise ProxmoxError(
            expected=f"the archive {archive['volid']} whole, with {', '.join(sorted(wanted))} as at the fence",
            found=found,
            state="nothing was written to the disks it was made of",
            next_command=f"look at the storage, remove that archive (it is protected) at {guest.side.machine}, then "
            "run the same command again",
        )


def described(description: Optional[str], state: GuardState) -> str:
    """Return the description of a guest that holds a copy: its disks are not those of the fence this side stands at."""
    text = guest_config.with_guard(description, state)
    return guest_config.with_mark(text, "a copy was restored") if state.opened and state.receipt else text


def _must_be_archivable(guest: Guest) -> None:
    """Refuse a guest of which an archive would not have all disks, before it is made and carried over."""
    left_out = guest_config.left_out(guest.config())
    if left_out:
        raise ProxmoxError(
            expected=f"every disk of the guest {guest.side.vmid} at {guest.side.machine} in its archive",
            found="no archive has " + ", ".join(f"{name} ({why})" for name, why in sorted(left_out.items())),
            state="nothing was archived",
            next_command=f"set backup=1 on it (Hardware, Hard Disk, Backup) at {guest.side.machine}, or take the "
            "disk out of the guest (an EFI disk is used with bios: ovmf only), then run the same command again",
        )


def archive_facts(guest: Guest, volid: str, size: int) -> Result:
    """Return an archive's name, path on the node and size."""
    storage = volid.partition(":")[0]
    data = guest.api.get(f"nodes/{guest.side.node}/storage/{storage}/content/{volid}")
    return {"volid": volid, "name": volid.rpartition("/")[2], "path": str(data["path"]), "size": size}


def must_be_listed(guest: Guest, volid: str) -> None:
    """Refuse an archive the node does not find on its storage: it would have been carried into another folder."""
    try:
        archive_facts(guest, volid, 0)
    except ApiRefused as error:
        raise ProxmoxError(
            expected=f"{guest.side.machine} to find the archive {volid} on its storage",
            found=f"{error.status} {error.reason}",
            state="the archive was carried over; nothing was restored",
            next_command=f"look where that storage keeps backups, and set dump_directory for {guest.side.machine} in "
            "proxmox_guest_sides",
        ) from error


def restore(
    guest: Guest,
    origin: Guest,
    archive: str,
    began: bool,
    check: bool = False,
    replace: bool = False,
    kept: Optional[Mapping[str, Any]] = None,
    home: Optional[Mapping[str, str]] = None,
) -> Result:
    """Restore the archive of the guest at `origin` as this side's guest, in the one call: link down, not started with
    the node, guard closed.

    `began` says that an earlier run of this component started to restore into this number while it was free, or was its
    own passive guest; only then is what Proxmox leaves behind after a failed restore (a bare number, or `lock: create`)
    removed. `replace` restores over the passive guest of this component; `kept` is the guard it had before that began,
    for what is left of a restore that failed does not carry it any more; so is `home`, what ties it to its network.
    """
    source = origin.config()
    # What else has the number is somebody else's.
    guest.like(origin.kind)
    running = active_task(guest, guest.kind.restore)
    if running:
        guest.report("a restore is running already: following it")
        guest.run_task(running)
    config = guest.config_if_any()
    state = guest.guard(config)
    if config is None and (holder := guest.elsewhere()):
        raise ProxmoxError(
            expected=f"the number {guest.side.vmid} free in the cluster of {guest.side.machine}",
            found=f"{holder} has it",
            state="nothing was restored",
            next_command="if that is this component's guest, set node in proxmox_guest_sides to where it is; else "
            "choose another vmid for this side",
        )
    leftover = config is not None and state.status == guard.UNKNOWN
    known = GuardState.from_dict(kept) if kept else state
    if state.status == guard.UNKNOWN:
        known = _may_stand_there(guest, source, known)
    if state.status != guard.UNKNOWN and config is not None:
        if not replace:
            return {"changed": False, "guard": state.to_dict(), "cleaned": False}
        _must_be_replaceable(guest, config, state)
        leftovers.must_have_no_snapshots(guest)
    if leftover and config is not None:
        _must_be_leftover(guest, config, began)
        if not check:
            guest.report(f"removing what a failed restore left behind ({guest.side.vmid})")
            leftovers.remove_guest(guest)
    if state.status == guard.UNKNOWN:
        state = guard.adopt_closed(state) if known.status == guard.UNKNOWN else known
    if check:
        return {"changed": True, "guard": state.to_dict(), "cleaned": leftover}
    must_be_listed(guest, archive)
    storage = placement.storage_of_restore(guest.side, source, guest.kind)
    keep_fence(guest)
    guest.report(f"restore from {archive}")
    over = config is not None and not leftover
    if config is not None and over and guest_config.nets(config):
        home = guest_config.home(config)
    with protection.lifted(guest):
        guest.run_task(
            guest.api.post(
                guest.place,
                vmid=guest.side.vmid,
                **guest.kind.restored_from(archive),
                storage=storage,
                force=True if over else None,
                onboot=0,
                description=described(source.get("description"), state),
                **protection.of(home),
                **networks.passive_nets(guest, source, home),
                **networks.addresses(guest, home),
            )
        )
    prove_passive(guest, origin)
    return {"changed": True, "guard": guest.guard(guest.config()).to_dict(), "cleaned": leftover}


def _must_be_replaceable(guest: Guest, config: Config, state: GuardState) -> None:
    running = guest.running()
    if state.status == guard.CLOSED and not running and not guest_config.links_up(config):
        return
    raise ProxmoxError(
        expected=f"the passive guest at {guest.side.machine} closed, stopped and cut from its network",
        found=f"{state.describe()}, {'running' if running else 'stopped'}, "
        f"link {'up' if guest_config.links_up(config) else 'down'}",
        state="nothing was restored",
        next_command="ansible-playbook playbooks/status.yml",
    )


def _must_be_leftover(guest: Guest, config: Config, began: bool) -> None:
    bare = not guest_config.drives(config) or config.get("lock") == "create"
    if began and bare:
        return
    name = config.get("name", config.get("hostname", "without a name"))
    raise ProxmoxError(
        expected=f"the number {guest.side.vmid} free at {guest.side.machine}, or a guest of {guest.component}",
        found=f"the {guest.kind.noun} '{name}' has it"
        + (", without a guard line" if began else ", and this component never began to restore there"),
        state="nothing was changed",
        next_command="look at that guest: if it is this component's, put its guard line back into its Notes (the "
        "copies of the journal have it) or, where it is stopped and only a copy, remove it; else choose another vmid "
        "for this side in proxmox_guest_sides",
    )


def _may_stand_there(guest: Guest, source: Config, known: GuardState) -> GuardState:
    """Refuse to put a copy where a guard is gone, unless nothing can have been written there since; return that guard.

    Nothing can while the other side holds its permit, nor since our own restore began over a closed guest: its guard
    stands in the note, which every opening clears.
    """
    states = guest_config.guards_in(source.get("description"))
    others = [s for s in states if s.component == guest.component and s.side != guest.side.machine]
    if any(other.status == guard.OPEN for other in others):
        return known
    if known.status == guard.CLOSED and len(others) == 1:
        return lost.after(known, others[0])
    raise GuardRefused(
        expected=f"the guest that is copied to {guest.side.machine} to hold its permit, as no guard stands there",
        found="; ".join(other.describe() for other in others) or "it has no guard of this component",
        state=f"held: nothing was restored; {guest.side.machine} may hold what was written since, which a copy of an "
        "older guest would replace",
        next_command="ansible-playbook playbooks/status.yml",
    )


def prove_passive(guest: Guest, source: Guest) -> None:
    """Read the restored guest again: closed, cut off, stopped, with the disks and addresses of the source."""
    left, entered = look_at_both(source, guest)
    wrong = ["its guard is not closed"] if entered.guard.status != guard.CLOSED else []
    if entered.running:
        wrong.append("it runs")
    _refuse_copy(left, entered, wrong + unlike(left, entered))


def must_be_copy(source: Guest, target: Guest, left: View, entered: View) -> None:
    """Refuse a passive guest that is none, whatever an earlier run has said of it: it is proved again each time.

    A guest without disks, which a copy that was cut short leaves, is none either. By Proxmox's own migration there is
    none before the window.
    """
    if entered.guard.status == guard.CLOSED and leading(left, entered) == source.side.machine:
        _refuse_copy(left, entered, unlike(left, entered))


def unlike(left: View, entered: View) -> list[str]:
    """Name what makes a passive guest another one than the guest that serves, or lets it loose. Disks by volumes."""
    wrong = loose(entered)
    wrong += [f"disk {line}" for line in disks_differ(left, entered)]
    if [guest_config.mac_of(net) for net in left.nets.values()] != [
        guest_config.mac_of(net) for net in entered.nets.values()
    ]:
        wrong.append("its hardware addresses differ")
    return wrong


def loose(entered: View) -> list[str]:
    """Say what lets a passive guest loose: somebody has changed it by hand."""
    found = {"its link is up": entered.links_up, "it starts with its node": entered.onboot}
    return [words for words, is_so in found.items() if is_so]


def disks_differ(left: View, entered: View, exact: bool = False) -> list[str]:
    """Say which disks differ, by their volumes: what a config tells of a size may be another unit, or old.

    Unless it has to be `exact`, a copy may be larger by what its storage has rounded up.
    """
    here, there = ({disk.name: disk.size for disk in side.disks} for side in (left, entered))
    seen = efi_seen(left, entered)
    fits = [name for name in here if name in there and disk_kinds.is_large_enough(name, here[name], there[name], seen)]
    if exact:
        # Of this one the guest sees less than any volume has.
        fits = [name for name in fits if name == "efidisk0"]
    here, there = ({name: size for name, size in side.items() if name not in fits} for side in (here, there))
    told = [{name: f"{size} bytes" for name, size in side.items()} for side in (here, there)]
    return drift.differences(told[0], told[1], left.machine, entered.machine)


def _refuse_copy(left: View, entered: View, wrong: list[str]) -> None:
    if not wrong:
        return
    vmid = entered.vmid
    raise ProxmoxError(
        expected=f"the passive guest at {entered.machine} closed, cut from the network, with the disks of the one at "
        f"{left.machine}",
        found="; ".join(wrong),
        state="it was restored, but not as asked for, or was changed since; the guest that serves was not touched",
        next_command=f"mend what is named, or remove the guest {vmid} at {entered.machine} "
        f"('{entered.kind.tool} destroy {vmid}' at {entered.machine}) and run ansible-playbook "
        "playbooks/20_prepare.yml again",
    )


def retire(guest: Guest, other: GuardState, check: bool = False) -> Result:
    """Remove the old, closed guest after a last archive of it; the other side must be open."""
    config = guest.config_if_any()
    if config is None:
        return {"changed": False, "reason": f"there is no guest at {guest.side.machine} any more"}
    state = guest.guard(config)
    if state.status != guard.CLOSED or other.status != guard.OPEN or guest.running():
        raise ProxmoxError(
            expected=f"the guest at {guest.side.machine} closed and stopped, and the one at {other.side} open",
            found=f"{state.describe()}; {other.describe()}",
            state="nothing was removed",
            next_command="ansible-playbook playbooks/status.yml",
        )
    leftovers.must_be_removable(guest, config)
    protection.must_be_gone(guest, config)
    if check:
        return {"changed": True, "reason": "would be archived and removed"}
    archive = back_up(guest, since=math.inf, protected=True)["archive"]
    for row in archives(guest, plain=True):
        leftovers.drop_archive(guest, str(row["volid"]))
    guest.run_task(guest.api.delete(guest.path))
    if guest.config_if_any() is not None:
        raise ProxmoxError(
            expected=f"no guest {guest.side.vmid} at {guest.side.machine}", found="it is still there", state="removing"
        )
    return {"changed": True, "reason": "archived and removed", "archive": archive}
