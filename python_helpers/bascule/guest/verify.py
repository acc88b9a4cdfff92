"""What a verification proves about a guest: its disks at the last switch, and that one side alone serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..guard import state as guard
from .decisions import MOVED, STATELESS, UNOPENED, WARM
from .observed import View


def compare(
    source: View, target: View, switched: Mapping[str, Any], now: Mapping[str, str], way: str = ""
) -> dict[str, Any]:
    """Compare three readings of each disk: the closed side's receipt, what the opened side had reached, and the closed
    disk as it is now (`now` is empty where a proof boot or a delta has used the passive disk since).

    The copy of a guest that moves warm may run at the side that is not open, as long as it is cut from its network.
    """
    details: list[str] = []
    opened = [side for side in (source, target) if side.guard.status == guard.OPEN]
    running = [side.machine for side in (source, target) if side.running]
    if len(opened) != 1:
        details.append(f"{len(opened)} sides are open: {source.guard.describe()}; {target.guard.describe()}")
    waiting = [
        side.machine
        for side in (source, target)
        if way == WARM and side.running and not side.links_up and side.guard.status == guard.CLOSED
    ]
    if len(opened) == 1 and [machine for machine in running if machine not in waiting] != [opened[0].machine]:
        details.append(f"the guest runs at {', '.join(running) or 'no side'}; {opened[0].machine} holds the permit")
    if [side.machine for side in (source, target) if side.running and side.links_up and side not in opened]:
        details.append("a guest whose side is not open runs connected to its network")
    passive = target if opened == [source] else source
    receipt = passive.guard.receipt
    result: dict[str, Any] = {
        "active_side": opened[0].machine if len(opened) == 1 else "",
        "running": running,
        "disks_compared": 0,
        "disks_different": 0,
        "disks_stateless": 0,
        "disks_unmoved": 0,
        "details": details,
        "not_compared": {},
    }
    if receipt is None or not receipt.position:
        return result
    if STATELESS in receipt.position:
        # Not called equal either: what the guest wrote on its own disks was dropped, as its plan declares.
        result["disks_stateless"] = len(passive.disks)
        result["not_compared"] = {
            disk.name: "declared stateless: what was written there was dropped" for disk in passive.disks
        }
        return result
    carried = {name: digest for name, digest in receipt.position.items() if name not in (UNOPENED, MOVED)}
    if UNOPENED in receipt.position and not carried:
        # The active side has its own latest data: none of it came from there.
        result["disks_unmoved"] = len(passive.disks)
        result["not_compared"] = {
            disk.name: "nothing was moved: this side was not opened since the other one closed"
            for disk in passive.disks
        }
        return result
    noted = switched.get("receipt") or {}
    if str(noted.get("epoch", "")) != str(receipt.epoch):
        details.append(f"the digests of the switch under epoch {receipt.epoch} were not kept at the active side")
        result["disks_different"] = len(carried)
        return result
    reached = switched.get("reached") or {}
    for name, digest in sorted(carried.items()):
        result["disks_compared"] += 1
        readings = {"the receipt": noted.get("position", {}).get(name), "the opened side": reached.get(name)}
        if now and _kind(now.get(name, digest)) != _kind(digest):
            result["not_compared"][f"{name} at {passive.machine} now"] = (
                f"it is read as {_kind(now[name])} now, and was as {_kind(digest)} at the switch"
            )
        elif now:
            readings[f"{passive.machine} now"] = now.get(name)
        else:
            result["not_compared"][f"{name} at {passive.machine} now"] = "it was used since: by a proof boot or a delta"
        wrong = [f"{where}: {found}" for where, found in readings.items() if found != digest]
        if wrong:
            result["disks_different"] += 1
            details.append(f"{name} is {digest} in the guard of {passive.machine}; {'; '.join(wrong)}")
    # What only one of the three has is no less than a difference.
    unnamed = [
        f"{name} of the opened side is not in the receipt of {passive.machine}"
        for name in sorted(reached)
        if name not in carried
    ]
    more = [disk.name for disk in passive.disks if f"disk:{disk.name}" not in carried]
    if MOVED in receipt.position and not now:
        # A copy that came after the disks of that switch, and that nothing was opened from.
        result["not_compared"] |= dict.fromkeys(more, f"no disk of the switch under {receipt.position[MOVED]}")
    else:
        unnamed += [f"{name} of {passive.machine} is not in its receipt: nobody has compared it" for name in more]
    result["disks_different"] += len(unnamed)
    details += unnamed
    return result


def _kind(digest: str) -> str:
    """Return what a digest is of: blocks or files, which say nothing of one another."""
    return digest.partition(":")[0]
