"""Both sides of a guest as they are now, and what follows for sync and switch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Union

from ..errors import BasculeError
from ..guard import state as guard
from ..guard.state import GuardState
from . import config as guest_config
from . import disk_kinds, kinds, lost
from .errors import ApiRefused, NodeUnreachable, ProxmoxError
from .guest import Guest


@dataclass(frozen=True)
class Disk:
    """A disk with its place on the node."""

    name: str
    volid: str
    path: str
    format: str
    size: int
    used: int = 0
    # So many bytes are compared with the other side's.
    length: int = 0
    # Its files are compared and not its blocks: a restore has made a file system of its own.
    files: bool = False
    # Where a container mounts it, and where it mounts its other volumes.
    at: str = ""
    mounts: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """One side as its node states it now."""

    machine: str
    exists: bool
    guard: GuardState
    vmid: int = 0
    kind: kinds.Kind = kinds.QEMU
    running: bool = False
    lock: str = ""
    onboot: bool = False
    links_up: bool = False
    agent: bool = False
    nets: Mapping[str, str] = field(default_factory=dict)
    disks: tuple[Disk, ...] = ()
    ha_managed: bool = False
    # Disks that could not be looked at, each with the reason; only the audit goes on without them.
    unread: tuple[str, ...] = ()
    # What has the number in the cluster where the guest is not at its node.
    elsewhere: str = ""
    # Of the config as it was read: what has changed since is another one.
    digest: str = ""
    # All of it, for what is compared; it is not handed to playbooks.
    config: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, for a playbook."""
        return {
            "machine": self.machine,
            "exists": self.exists,
            "kind": self.kind.name,
            "tool": self.kind.tool,
            "guard": self.guard.to_dict(),
            "running": self.running,
            "lock": self.lock,
            "onboot": self.onboot,
            "protected": guest_config.keeps_protection(self.config),
            "links_up": self.links_up,
            "nets": dict(self.nets),
            "home": guest_config.home(self.config),
            "disks": [vars(disk).copy() for disk in self.disks],
            "ha_managed": self.ha_managed,
            "elsewhere": self.elsewhere,
            "digest": self.digest,
        }


def look(guest: Guest, all_disks: bool = True) -> View:
    """Read one side. Without `all_disks` one that the node does not show is named (`unread`), and ends nothing."""
    config = guest.config_if_any()
    state = guest.guard(config)
    if config is None:
        return View(guest.side.machine, False, state, guest.side.vmid, elsewhere=guest.elsewhere())
    current = guest.current()
    disks, unread = [], []
    places = {drive.name: guest_config.mounted_at(drive) for drive in guest_config.drives(config)}
    for drive in guest_config.drives(config):
        if not all_disks and not drive.storage:
            # A device of the node itself: the audit names it with the others.
            continue
        try:
            volume = guest.volume(drive)
        except ApiRefused as error:
            if all_disks:
                raise
            unread.append(f"disk {drive.name} ({drive.volid}) is not shown: {error.status} {error.reason}")
            continue
        disks.append(
            Disk(
                name=drive.name,
                volid=drive.volid,
                path=str(volume.get("path", "")),
                format=str(volume.get("format", drive.format)),
                size=int(volume.get("size", 0)),
                used=int(volume.get("used", 0)),
                at=places[drive.name],
                mounts=tuple(place for name, place in sorted(places.items()) if place and name != drive.name),
            )
        )
    status = current.get("status")
    if status not in ("running", "stopped"):
        raise ProxmoxError(
            expected=f"the guest at {guest.side.machine} to be running or stopped",
            found=repr(status),
            state="unknown",
            next_command=f"look at the guest at {guest.side.machine}",
        )
    return View(
        machine=guest.side.machine,
        exists=True,
        guard=state,
        vmid=guest.side.vmid,
        kind=guest.kind,
        running=status == "running",
        lock=str(config.get("lock", "")),
        onboot=str(config.get("onboot", "0")) == "1",
        links_up=guest_config.links_up(config),
        agent=agent_enabled(config),
        nets=guest_config.nets(config),
        disks=tuple(disks),
        unread=tuple(unread),
        digest=str(config.get("digest", "")),
        ha_managed=str((current.get("ha") or {}).get("managed", 0)) == "1",
        config=config,
    )


def agent_enabled(config: Mapping[str, Any]) -> bool:
    """Say whether the guest has its agent enabled (`1`, `enabled=1,…`)."""
    parts = guest_config.options(str(config.get("agent", "0")))
    return parts.get("enabled", parts.get("", "0")) == "1"


def unasked(guest: Guest, config: Mapping[str, Any]) -> str:
    """Say that there is no way to ask whether the guest serves at its side; nothing where there is one."""
    if guest.side.health_url or agent_enabled(config):
        return ""
    agent = "its agent is not enabled" if guest.kind.agent else "a container has no agent"
    return (
        f"nobody could be asked whether the guest serves at {guest.side.machine}: {agent}, and there is no health_url "
        "for that side in proxmox_guest_sides"
    )


def look_at_both(source: Guest, target: Guest, all_disks: bool = True, by_files: bool = False) -> tuple[View, View]:
    """Read both sides at the same time; `by_files` says that files of a container are compared, and not blocks."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        first, second = pool.submit(look, source, all_disks), pool.submit(look, target, all_disks)
        left, entered = first.result(), second.result()
    if left.exists and entered.exists and left.kind != entered.kind:
        # The number at one of them is somebody else's: that of the side whose guest is not this component's.
        known = (left.guard.status != guard.UNKNOWN, entered.guard.status != guard.UNKNOWN)
        if known == (False, True):
            source.like(entered.kind)
            left = look(source, all_disks)
        else:
            target.like(left.kind)
            entered = look(target, all_disks)
    elif left.exists and not entered.exists:
        target.like(left.kind)
    elif entered.exists and not left.exists:
        source.like(entered.kind)
    return with_lengths(_compared(left, by_files), _compared(entered, by_files))


def _compared(view: View, by_files: bool) -> View:
    """Return the view with how each of its volumes is compared; a directory has no blocks."""
    return replace(
        view,
        disks=tuple(
            replace(disk, files=bool(disk.at) and (by_files or disk_kinds.is_subvolume(disk.format)))
            for disk in view.disks
        ),
    )


def with_lengths(source: View, target: View) -> tuple[View, View]:
    """Return both with the length up to which each disk is compared: a storage may have rounded a volume up."""
    sizes: dict[str, list[int]] = {}
    for disk in (*source.disks, *target.disks):
        sizes.setdefault(disk.name, []).append(disk.size)
    efi = efi_seen(source, target)
    lengths = {
        name: disk_kinds.compared_length(*found, seen=efi if name == "efidisk0" else 0) for name, found in sizes.items()
    }
    first, second = (
        replace(side, disks=tuple(replace(disk, length=lengths[disk.name]) for disk in side.disks))
        for side in (source, target)
    )
    return first, second


def efi_seen(source: View, target: View) -> int:
    """Return how many bytes of its EFI disk the guest sees; where the two say otherwise more is compared, not less."""
    return max(guest_config.efi_seen(side.config) for side in (source, target))


def guards(
    *guests: Guest, noted: Optional[GuardState] = None
) -> tuple[dict[str, GuardState], dict[str, str], list[str]]:
    """Read the guard of every side at the same time; return them by machine, why the others could not be read, and the
    machines whose guard is gone.

    `noted` is a guard that was written down when a copy of ours began: a closed one in the note has not opened since.
    """
    missing: list[str] = []

    def one(guest: Guest) -> Union[GuardState, BasculeError]:
        try:
            return guest.guard(guest.config_if_any())
        except BasculeError as error:
            return error

    def gone(guest: Guest, other: Guest) -> Union[GuardState, BasculeError]:
        try:
            lost.must_be_known(guest, other)
        except BasculeError as error:
            return error
        return GuardState(component=guest.component, side=guest.side.machine)

    with ThreadPoolExecutor(max_workers=len(guests)) as pool:
        answers = dict(zip([guest.side.machine for guest in guests], pool.map(one, guests)))
    # A side of which nothing can be told, while the other one was taken over, was not read.
    for guest, other in itertools.permutations(guests, 2):
        own, its = answers[guest.side.machine], answers[other.side.machine]
        if isinstance(own, GuardState) and isinstance(its, GuardState):
            found = lost.of(own, its)
            if found is not None and found[0] is own:
                missing.append(guest.side.machine)
                proved = noted is not None and noted.side == own.side and noted.status == guard.CLOSED
                answers[guest.side.machine] = lost.after(noted, its) if noted and proved else gone(guest, other)
    read = {machine: answer for machine, answer in answers.items() if isinstance(answer, GuardState)}
    # Of a node that does not answer there is nothing more to say; of a guard that is gone, how it comes back.
    unread = {
        machine: answer.brief() if isinstance(answer, NodeUnreachable) else answer.message()
        for machine, answer in answers.items()
        if isinstance(answer, BasculeError)
    }
    return read, unread, missing


def leading(source: View, target: View) -> Optional[str]:
    """Return the machine that holds the latest data."""
    return guard.leader(source.guard, target.guard)
