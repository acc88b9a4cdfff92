"""Both sides of a guest as they are now, and what follows for sync and switch."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Optional

from ..errors import GuardRefused
from ..guard import state as guard
from ..guard.state import GuardState
from . import config as guest_config
from .errors import ProxmoxError
from .guest import Guest


@dataclass(frozen=True)
class Disk:
    """A disk with its place on the node."""

    name: str
    volid: str
    path: str
    format: str
    size: int


@dataclass(frozen=True)
class View:
    """One side as its node states it now."""

    machine: str
    exists: bool
    guard: GuardState
    running: bool = False
    lock: str = ""
    onboot: bool = False
    links_up: bool = False
    agent: bool = False
    nets: Mapping[str, str] = field(default_factory=dict)
    disks: tuple[Disk, ...] = ()
    ha_managed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, for a playbook."""
        return {
            "machine": self.machine,
            "exists": self.exists,
            "guard": self.guard.to_dict(),
            "running": self.running,
            "lock": self.lock,
            "onboot": self.onboot,
            "links_up": self.links_up,
            "nets": dict(self.nets),
            "disks": [vars(disk).copy() for disk in self.disks],
            "ha_managed": self.ha_managed,
        }


@dataclass(frozen=True)
class Todo:
    """What a verb has to do, and why."""

    action: str
    reason: str
    digests: bool = False
    pairs: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        pairs = [{"source": here, "target": there} for here, there in self.pairs]
        return {"action": self.action, "reason": self.reason, "digests": self.digests, "pairs": pairs}


def look(guest: Guest) -> View:
    """Read one side."""
    config = guest.config_if_any()
    state = guest.guard(config)
    if config is None:
        return View(guest.side.machine, False, state)
    current = guest.current()
    disks = []
    for drive in guest_config.drives(config):
        volume = guest.volume(drive)
        disks.append(
            Disk(
                name=drive.name,
                volid=drive.volid,
                path=str(volume.get("path", "")),
                format=str(volume.get("format", drive.format)),
                size=int(volume.get("size", 0)),
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
        running=status == "running",
        lock=str(config.get("lock", "")),
        onboot=str(config.get("onboot", "0")) == "1",
        links_up=guest_config.links_up(config),
        agent=agent_enabled(config),
        nets=guest_config.nets(config),
        disks=tuple(disks),
        ha_managed=str((current.get("ha") or {}).get("managed", 0)) == "1",
    )


def agent_enabled(config: Mapping[str, Any]) -> bool:
    """Say whether the guest has its agent enabled (`1`, `enabled=1,…`)."""
    parts = guest_config.options(str(config.get("agent", "0")))
    return parts.get("enabled", parts.get("", "0")) == "1"


def look_at_both(source: Guest, target: Guest) -> tuple[View, View]:
    """Read both sides at the same time."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        first, second = pool.submit(look, source), pool.submit(look, target)
        return first.result(), second.result()


def leading(source: View, target: View) -> Optional[str]:
    """Return the machine that holds the latest data."""
    return guard.leader(source.guard, target.guard)


def sync_todo(source: View, target: View) -> Todo:
    """Decide whether changed blocks have to travel from `source` to `target` now.

    Nothing is ever written into the disk of a side that is, or may be, open.
    """
    if source.guard.status == guard.UNKNOWN and target.guard.status == guard.UNKNOWN:
        return Todo("none", "prepare has not run")
    if leading(source, target) == target.machine:
        return Todo("none", f"{target.machine} holds the latest data")
    if target.guard.status == guard.UNKNOWN:
        return Todo("none", f"there is no guest of this component at {target.machine} yet: prepare makes it")
    if target.guard.status != guard.CLOSED:
        raise GuardRefused(
            expected=f"a closed side at {target.machine}, into whose disks changed blocks may be written",
            found=target.guard.describe(),
            state="nothing was copied",
            next_command="ansible-playbook playbooks/status.yml",
        )
    if target.links_up:
        raise GuardRefused(
            expected=f"the passive guest at {target.machine} cut from its network",
            found="its link is up although the guard says closed: somebody changed the config by hand",
            state="nothing was copied",
            next_command=f"set link_down=1 on its interfaces at {target.machine} after looking at the guest",
        )
    if source.running:
        return Todo("none", f"guest runs at {source.machine}: its disk is copied when it has been shut down")
    matched = {disk.name: disk for disk in target.disks}
    for disk in source.disks:
        other = matched.pop(disk.name, None)
        if other is None or other.size != disk.size or other.format != disk.format:
            raise ProxmoxError(
                expected=f"the disk {disk.name} at {target.machine} like the one at {source.machine} "
                f"({disk.format}, {disk.size} bytes)",
                found="no such disk" if other is None else f"{other.format}, {other.size} bytes",
                state="nothing was copied",
                next_command=f"remove the guest at {target.machine} and run playbooks/20_prepare.yml again",
            )
    if matched:
        raise ProxmoxError(
            expected=f"the disks of {source.machine} only",
            found=f"{', '.join(sorted(matched))} at {target.machine}, which {source.machine} does not have",
            state="nothing was copied",
            next_command=f"look at the guest at {target.machine}",
        )
    there = {disk.name: disk.path for disk in target.disks}
    return Todo(
        "delta",
        f"{source.machine} holds the latest data and is stopped",
        pairs=tuple((disk.path, there[disk.name]) for disk in source.disks),
    )


def switch_todo(source: View, target: View) -> Todo:
    """Decide what a switch from `source` to `target` has to do."""
    if source.guard.status == guard.UNKNOWN and target.guard.status == guard.UNKNOWN:
        return Todo("none", "prepare has not run: nothing was ever taken over")
    if target.guard.status == guard.OPEN:
        if source.guard.status in (guard.CLOSED, guard.UNKNOWN):
            return Todo("none", f"{target.machine} holds the permit and {source.machine} is closed")
        return Todo("close", f"{target.machine} holds the permit; {source.machine} is to be closed for good")
    for side in (source, target):
        # Asked before anything is closed: a switch that cannot end is not begun.
        if side.guard.status == guard.UNKNOWN or not side.exists:
            raise GuardRefused(
                expected=f"a guest at {side.machine} that prepare has taken over",
                found="no guest" if not side.exists else "a guest without a guard",
                state="nothing was closed and nothing was opened",
                next_command="ansible-playbook playbooks/20_prepare.yml",
            )
        if side.ha_managed:
            raise GuardRefused(
                expected=f"a guest at {side.machine} that nothing else starts",
                found="it is managed by Proxmox HA",
                state="nothing was closed and nothing was opened",
                next_command=f"take the guest out of HA at {side.machine}",
            )
    if leading(source, target) == target.machine:
        return Todo("switch", f"{target.machine} holds the latest data already")
    return Todo("switch", f"{source.machine} holds the latest data", digests=True)
