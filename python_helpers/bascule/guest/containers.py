"""What only a container has, and what cannot be done with one; asked by the audit and before the window."""

from __future__ import annotations

from . import config as guest_config
from . import kinds, preflight
from .guest import Guest
from .observed import View


def way_refused(view: View, way: str) -> list[str]:
    """Name a way by which this kind of guest is not moved."""
    why = view.kind.refused(way)
    where = f"the guest {view.vmid} at {view.machine} is a {view.kind.noun}"
    return [f"{where}, which is not moved by {way}: {why}; use way archive or delta"] if why else []


def questions(source: Guest, target: Guest, view: View, runs_inside: bool) -> tuple[list[str], list[str]]:
    """Name what only a container has and no copy would bring along, or nobody could do with one (findings, notes)."""
    where = f"the guest {view.vmid} at {view.machine}"
    if view.kind is not kinds.LXC:
        cards = sorted(
            {card for guest in (source, target) for card in guest.side.cards if guest.side.addresses_of(card)}
        )
        return [
            f"addresses are declared in nets for {card}, and {where} is no container: declare ipconfigN beside nets"
            for card in cards
        ], []
    findings = [
        f"{where}: {drive.name} has no size in the config, and a restore makes no volume without"
        for drive in guest_config.drives(view.config)
        if drive.storage and "size" not in drive.options
    ]
    if runs_inside:
        findings.append(
            f"{where} is a container, inside which no API runs a command: take proxmox_guest_proof_command away"
        )
    declared = sorted({*source.side.overrides, *target.side.overrides})
    findings += [
        f"{name} is declared, and {where} is a container, whose addresses stand in netN: declare them in nets"
        for name in declared
        if name.startswith("ipconfig")
    ]
    notes = [
        f"{where} is a container: a proof boot shows that it starts with its interfaces, not that it serves",
        "vzdump takes a snapshot of the storage where that can; where it cannot (raw files in folders, thick LVM), "
        "Proxmox copies the running container first and freezes it while it copies what has changed since: prepare "
        "then disturbs it for that time",
    ]
    return findings, notes


def excluded(guest: Guest) -> list[str]:
    """Name paths that the node leaves out of each archive of a container (`exclude-path` of /etc/vzdump.conf)."""
    if guest.kind is not kinds.LXC:
        return []
    findings: list[str] = []
    storage = guest.side.backup_storage or guest.side.storage
    defaults = preflight.ask(guest, findings, f"nodes/{guest.side.node}/vzdump/defaults", storage=storage) or {}
    paths = defaults.get("exclude-path") or []
    told = ", ".join(paths) if isinstance(paths, list) else str(paths)
    if told:
        findings.append(
            f"{guest.side.machine} leaves {told} out of every archive (exclude-path in /etc/vzdump.conf): what lies "
            "there would not travel; take that line away"
        )
    return findings
