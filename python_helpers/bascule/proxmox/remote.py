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
from .errors import ApiRefused, ProxmoxError, TaskFailed
from .guest import Config, Guest
from .prepare import active_task, passive_nets, prove_passive

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


def put_aside(guest: Guest, began: bool, broken: bool = False, check: bool = False) -> Result:
    """Free the number at the side we move to: its disks were kept aside, its guard written down on the node.

    `broken` says that a migration of ours left its number locked, and that the lock was taken away since.
    """
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
    if not check:
        guest.report(f"removing the passive guest {guest.side.vmid}: its disks are kept aside")
        # A migration that broke leaves volumes that no config names.
        unnamed = True if state.status == guard.UNKNOWN else None
        guest.run_task(guest.api.delete(guest.path, purge=1, destroy_unreferenced_disks=unnamed))
    return {"changed": True, "reason": "removed; its disks are kept aside"}


def _complete(config: Config) -> bool:
    return "lock" not in config and bool(guest_config.drives(config))


def migrate(
    source: Guest, target: Guest, endpoint: Endpoint, kept: Optional[dict[str, Any]], check: bool = False
) -> Result:
    """Let the source's cluster send the stopped guest, and take over what arrived; an earlier run may have sent it."""
    config = source.config()
    state = source.guard(config)
    if source.running() or state.status != guard.OPEN or not state.frozen:
        raise ProxmoxError(
            expected=f"the guest at {source.side.machine} shut down and frozen before it is sent",
            found=f"{state.describe()}, {'running' if source.running() else 'stopped'}",
            state="nothing was sent",
            next_command="ansible-playbook playbooks/status.yml",
        )
    if check:
        return {"changed": True}
    arrived, rate = target.config_if_any(), 0
    if arrived is None:
        source.wait_unlocked()
        source.report(f"remote_migrate to {target.side.machine}")
        try:
            upid = source.api.post(f"{source.path}/remote_migrate", **_parameters(source, config, target, endpoint))
        except ApiRefused as error:
            raise ProxmoxError(
                expected=f"the cluster of {source.side.machine} to reach the one of {target.side.machine}",
                found=f"{error.status} {error.reason}",
                state="nothing was sent",
                next_command="check api_host and certificate of that side, then run the same command again",
            ) from error
        outcome = source.run_task(upid)
        rate = speed(outcome.log)
    _take_over(target, config, kept)
    return {"changed": True, "rate": rate}


def speed(log: Sequence[str]) -> int:
    """Return the bytes per second that the log tells of the disks it copied; 0 when it tells none."""
    found = [match for line in log for match in _COPIED.finditer(line)]
    seconds = sum(float(match["seconds"]) for match in found)
    return int(sum(int(match["bytes"]) for match in found) / seconds) if seconds else 0


def _parameters(source: Guest, config: Config, target: Guest, endpoint: Endpoint) -> dict[str, Any]:
    storages = sorted({drive.storage for drive in guest_config.drives(config)})
    bridges = sorted({guest_config.bridge_of(net) for net in guest_config.nets(config).values()})
    return {
        "target-vmid": target.side.vmid,
        "target-endpoint": endpoint.text(),
        "target-storage": ",".join(f"{name}:{target.side.storage}" for name in storages),
        "target-bridge": ",".join(f"{name}:{target.side.bridge or name}" for name in bridges),
        "online": False,
        "delete": False,
    }


def _take_over(target: Guest, source: Config, kept: Optional[dict[str, Any]]) -> None:
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
            state = guard.adopt_closed(state) if known.status == guard.UNKNOWN else known
        return {
            "description": guest_config.with_guard(source.get("description"), state),
            "onboot": 0,
            **passive_nets(target, source),
            **dict(target.side.overrides),
        }

    target.change(decide)
    prove_passive(target, source)
