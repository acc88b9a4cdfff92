"""Proxmox's own migration to another cluster, offline: what it is told, and what it leaves behind put right.

The guest is shut down and frozen before. What arrives is a stopped guest with the source's config: it becomes this
component's passive guest (guard closed, link down, this side's network) in one change. Proxmox leaves `lock: migrate`
at the source after a success, and no token may take a lock away: root on the node does, when this says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ..guard import state as guard
from ..guard.state import GuardState
from . import config as guest_config
from . import kinds, leftovers, lost, placement, protection
from .errors import ApiRefused, ProxmoxError, TaskFailed
from .guest import Config, Guest
from .networks import addresses, passive_nets
from .prepare import active_task, keep_fence, prove_passive

Result = dict[str, Any]
# The last figure of a copy; the ones before it on the same line are its progress.
_COPIED = re.compile(r"(?P<bytes>\d+) bytes \([^)]*\) copied, (?P<seconds>[\d.]+) s, [\d.]+ [kMG]?B/s$")


@dataclass(frozen=True)
class Endpoint:
    """How the source's cluster reaches the target's. The token never stands in a message."""

    host: str
    port: int
    token: str
    fingerprint: str

    def text(self) -> str:
        """Return it as Proxmox takes it."""
        return f"host={self.host},port={self.port},apitoken=PVEAPIToken={self.token},fingerprint={self.fingerprint}"


def left_behind(source: Guest, target: Guest, began: bool) -> Result:
    """Follow a migration that still runs to its end, and say whether one of ours has left its number locked."""
    # Only virtual machines are sent: a container that has the number is somebody else's.
    target.like(kinds.QEMU)
    running = active_task(source, "qmigrate")
    if running:
        source.report("a migration is running already: following it")
        try:
            source.run_task(running)
        except TaskFailed as error:
            source.report(f"that migration has failed: {error.found}")
    config = target.config_if_any()
    locked = config is not None and config.get("lock") == "create"
    return {"changed": False, "broken": began and locked and target.guard(config).status == guard.UNKNOWN}


def put_aside(
    guest: Guest, began: bool, broken: bool = False, check: bool = False, source: Optional[Guest] = None
) -> Result:
    """Free the number at the side we move to: its disks were kept aside, its guard written down on the node.

    `broken` says that a migration of ours left its number locked, and that the lock was taken away since. Nothing is
    removed as long as the guest that is to be sent, `source`, is locked.
    """
    guest.like(kinds.QEMU)
    config = guest.config_if_any()
    if config is None:
        return {"changed": False, "reason": "the number is free"}
    state = guest.guard(config)
    running = guest.running()
    if state.status == guard.UNKNOWN and began and not broken and not running and _complete(config):
        return {"changed": False, "reason": "what an earlier run has sent has arrived, and is to be taken over"}
    ours = state.status == guard.CLOSED or (
        state.status == guard.UNKNOWN and began and (broken or not _complete(config))
    )
    if not ours or running or (guest_config.links_up(config) and state.status == guard.CLOSED):
        raise ProxmoxError(
            expected=f"the number {guest.side.vmid} free at {guest.side.machine}, or this component's passive guest",
            found=f"the guest '{config.get('name', 'without a name')}', {state.describe()}, "
            f"{'running' if running else 'stopped'}",
            state="nothing was removed",
            next_command="ansible-playbook playbooks/status.yml",
        )
    leftovers.must_be_removable(guest, config)
    if source is not None:
        source.wait_unlocked()
    if not check:
        keep_fence(guest)
        guest.report(f"removing the passive guest {guest.side.vmid}: its disks are kept aside")
        with protection.lifted(guest):
            leftovers.remove_guest(guest)
    return {"changed": True, "reason": "removed; its disks are kept aside"}


def _complete(config: Config) -> bool:
    return "lock" not in config and bool(guest_config.drives(config))


def may_be_sent(source: Guest, target: Guest, kept: Optional[dict[str, Any]]) -> Config:
    """Refuse to send what serves, or what does not hold the latest data; asked before anything is put aside.

    A side that is being closed, or is closed, may be sent again as long as the other one has not opened since.
    """
    for guest in (source, target):
        guest.like(kinds.QEMU)
    config = source.config()
    state, other = source.guard(config), target.guard(target.config_if_any())
    if other.status == guard.UNKNOWN and kept:
        other = GuardState.from_dict(kept)
    frozen = state.status == guard.OPEN and state.frozen
    closed = state.status in (guard.CLOSING, guard.CLOSED) and guard.leader(state, other) == state.side
    running = source.running()
    if running or not (frozen or closed):
        raise ProxmoxError(
            expected=f"the guest at {source.side.machine} shut down and frozen before it is sent, with the latest data",
            found=f"{state.describe()}, {'running' if running else 'stopped'}; {other.describe()}",
            state="nothing was sent, nothing was put aside",
            next_command="ansible-playbook playbooks/status.yml",
        )
    return config


def migrate(
    source: Guest,
    target: Guest,
    endpoint: Endpoint,
    kept: Optional[dict[str, Any]],
    check: bool = False,
    home: Optional[dict[str, str]] = None,
) -> Result:
    """Let the source's cluster send the stopped guest, and take over what arrived; an earlier run may have sent it.

    `kept` and `home` are the guard, and what was its own at this side, of the guest that had the number before.
    """
    config = may_be_sent(source, target, kept)
    if check:
        return {"changed": True}
    arrived, rate = target.config_if_any(), 0
    if arrived is None:
        source.wait_unlocked()
        source.report(f"remote_migrate to {target.side.machine}")
        try:
            upid = source.api.post(f"{source.path}/remote_migrate", **_parameters(config, target, endpoint, home))
        except ApiRefused as error:
            raise ProxmoxError(
                expected=f"the cluster of {source.side.machine} to reach the one of {target.side.machine}",
                found=f"{error.status} {error.reason}",
                state="nothing was sent",
                next_command="check api_host and certificate of that side, then run the same command again",
            ) from error
        outcome = source.run_task(upid)
        rate = speed(outcome.log)
    _take_over(target, config, kept, source.guard(config), home)
    prove_passive(target, source)
    return {"changed": True, "rate": rate}


def speed(log: Sequence[str]) -> int:
    """Return the bytes per second that the log tells of the disks it copied; 0 when it tells none."""
    found = [match for line in log for match in _COPIED.finditer(line)]
    seconds = sum(float(match["seconds"]) for match in found)
    return int(sum(int(match["bytes"]) for match in found) / seconds) if seconds else 0


def _parameters(config: Config, target: Guest, endpoint: Endpoint, home: Optional[dict[str, str]]) -> dict[str, Any]:
    there_on = placement.placed(target.side, guest_config.storages(config))
    there = passive_nets(target, config, home)
    bridges = {
        guest_config.bridge_of(n): guest_config.bridge_of(there[k]) for k, n in guest_config.nets(config).items()
    }
    return {
        "target-vmid": target.side.vmid,
        "target-endpoint": endpoint.text(),
        "target-storage": ",".join(f"{name}:{storage}" for name, storage in there_on.items()),
        "target-bridge": ",".join(f"{name}:{bridges[name]}" for name in sorted(bridges)),
        "online": False,
        "delete": False,
    }


def _take_over(
    target: Guest,
    source: Config,
    kept: Optional[dict[str, Any]],
    other: GuardState,
    home: Optional[dict[str, str]],
) -> None:
    def decide(config: Config) -> dict[str, Any]:
        if config.get("lock"):
            raise ProxmoxError(
                expected=f"a complete guest at {target.side.machine}",
                found=f"it is locked ({config['lock']}): the migration did not end",
                state="the source keeps its permit",
                next_command="run the same command again: it begins the migration anew",
            )
        state = target.guard(config)
        if state.status == guard.UNKNOWN:
            known = GuardState.from_dict(kept) if kept else state
            state = lost.after(guard.adopt_closed(state) if known.status == guard.UNKNOWN else known, other)
        return {
            "description": guest_config.with_guard(source.get("description"), state),
            "onboot": 0,
            **protection.of(home),
            **passive_nets(target, source, home),
            **addresses(target, home),
        }

    target.change(decide)
