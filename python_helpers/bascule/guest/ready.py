"""Ask, while the guest still serves, what would stop its move in the window or be lost in it. Changes nothing."""

from __future__ import annotations

from typing import Any

from ..guard import state as guard
from . import config_keys, decisions, drift, preflight, prepare, storages
from .guest import Guest
from .observed import View, leading


def ready(source: Guest, target: Guest, left: View, entered: View, way: str) -> dict[str, Any]:
    """Return every reason why the window could not end well, and what differs in the copy.

    There is nothing to ask when the side that is entered holds the latest data; nor of a guest that does not serve any
    more: the window has begun, and what an interrupted run has left there is put right by the verbs that come next.
    """
    result: dict[str, Any] = {"changed": False, "asked": False, "refusals": [], "differences": []}
    serves = left.guard.status in (guard.UNKNOWN, guard.OPEN) and not left.guard.frozen
    if not left.exists or not serves or leading(left, entered) == entered.machine:
        return result
    sides = [(source, left)] + ([(target, entered)] if entered.guard.status != guard.UNKNOWN else [])
    refusals = preflight.busy(source, left) + preflight.busy(target, entered)
    if way == decisions.ARCHIVE:
        refusals += preflight.retention(source, way, in_window=True)
    # A copy starts with what its own config names; an archive and a migration of the window bring that of the guest.
    brought = way in (decisions.ARCHIVE, decisions.REMOTE)
    for node, starts in ((source, left), *([(target, left)] if brought else sides[1:])):
        refusals += [line for line in preflight.lent(node, starts, way) if line not in refusals]
    refusals += [f"the guest {left.vmid} at {left.machine}: {line}" for line in config_keys.refused(left.config)]
    for guest, seen in sides:
        refusals += storages.disks(guest, seen, way)
        refusals += preflight.left_behind(seen, guest.side.vmid, way)
        refusals += preflight.connects(seen, guest.side.vmid, way)
        refusals += preflight.protection(seen, guest.side.vmid, way)[0]
    differs: list[str] = []
    if way in (decisions.DELTA, decisions.WARM) and entered.guard.status == guard.CLOSED:
        mapped = {*source.side.overrides, *target.side.overrides}
        names = (left.machine, entered.machine)
        disks = prepare.disks_differ(left, entered, exact=way == decisions.DELTA)
        refusals += [f"the passive guest {entered.vmid} at {entered.machine}: {w}" for w in prepare.loose(entered)]
        refusals += [
            f"disk {line}: remove the guest {target.side.vmid} at {entered.machine} ('qm destroy {target.side.vmid}' "
            "there), then ansible-playbook playbooks/20_prepare.yml makes it anew"
            for line in disks
        ]
        differs = drift.differences(drift.settings(left.config, mapped), drift.settings(entered.config, mapped), *names)
    return {**result, "asked": True, "refusals": refusals, "differences": differs}
