"""Backups that Proxmox runs by a schedule: which would stand in the way of a move, and switching them off and on.

A node runs one vzdump at a time, so every job of the node stands in the way, whichever guest it is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional

from .errors import ApiRefused, NodeUnreachable
from .guest import Guest

Result = dict[str, Any]


def jobs_of(guest: Guest) -> Result:
    """Return the jobs that run at this node, those of them that are enabled, and why they cannot be seen."""
    try:
        rows = guest.api.get("cluster/backup") or []
    except ApiRefused as error:
        return {"jobs": [], "enabled": [], "unseen": f"{error.status} {error.reason}"}
    ours = [row for row in rows if not row.get("node") or row["node"] == guest.side.node]
    enabled = [str(row["id"]) for row in ours if str(row.get("enabled", 1)) == "1"]
    return {"jobs": sorted(str(row["id"]) for row in ours), "enabled": sorted(enabled), "unseen": ""}


def set_enabled(guest: Guest, wanted: Iterable[str], enabled: bool, check: bool = False) -> Result:
    """Switch jobs on or off; one that is gone is left alone, one that stands as wanted is not touched."""
    wanted = list(wanted)
    if not wanted:
        return {"changed": False, "jobs": []}
    found = jobs_of(guest)
    due = [name for name in wanted if name in found["jobs"] and (name in found["enabled"]) is not enabled]
    for name in due:
        if not check:
            guest.api.put(f"cluster/backup/{name}", enabled=enabled)
            guest.report(f"backup job {name} switched {'on again' if enabled else 'off for the window'}")
    return {"changed": bool(due), "jobs": due}


def scheduled(found: Result) -> list[str]:
    """Return the machines of `of_nodes` at which there are any."""
    return [machine for machine, node in found["nodes"].items() if node["jobs"]]


def of_nodes(machine: Optional[str], *sides: Guest) -> Result:
    """Return the jobs of each side's node, by machine; of one machine alone where it is named."""
    return {
        "changed": False,
        "nodes": {side.side.machine: jobs_of(side) for side in sides if machine in (None, side.side.machine)},
    }


def after_thaw(machine: Optional[str], left: Guest, entered: Guest) -> Result:
    """Return at which machines backups run by a schedule (`scheduled`), and where nobody could be asked (`unasked`).

    The guest serves at `entered` by now, which needs no other node: one of `left` that is silent holds up nobody. Where
    a machine is named, its node alone is asked.
    """
    nodes: dict[str, Any] = {}
    unasked: list[str] = []
    try:
        nodes = of_nodes(machine, left)["nodes"]
        unasked = [] if nodes else [left.side.machine]
    except NodeUnreachable as error:
        entered.report(f"the scheduled backups of {left.side.machine} stay as they are: {error.brief()}")
        unasked = [left.side.machine]
    return {"scheduled": scheduled({"nodes": {**nodes, **of_nodes(machine, entered)["nodes"]}}), "unasked": unasked}
