"""On which storages a copy's disks come to lie, and whether Proxmox can put them so.

A migration takes a map from storage to storage. A restore (`POST /nodes/{node}/qemu` with `archive`) knows one
`storage` for all disks or, without it, puts each onto the storage of the name that the archive has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Optional

from . import config as guest_config
from . import kinds
from .errors import ProxmoxError
from .guest import Config, Guest, Side
from .observed import View


def placed(side: Side, names: Iterable[str]) -> dict[str, str]:
    """Return where disks from each of these storages of the other side come to lie at this one."""
    return {name: side.storage_for(name) for name in sorted(set(names))}


def storage_of_restore(side: Side, config: Config, kind: kinds.Kind = kinds.QEMU) -> Optional[str]:
    """Return the `storage` of a restore of the guest with this config; None puts each disk where its name says."""
    wanted = placed(side, guest_config.storages(config))
    if words := _impossible(side, wanted, kind):
        raise ProxmoxError(
            expected=f"storages of {side.machine} onto which a restore can put the guest's disks",
            found=words,
            state="nothing was restored",
            next_command="correct storages of that side in proxmox_guest_sides, then run the same command again",
        )
    there = set(wanted.values()) or {side.storage}
    return there.pop() if len(there) == 1 else None


def _impossible(side: Side, wanted: Mapping[str, str], kind: kinds.Kind) -> str:
    """Return why no restore can put disks so; empty when one can."""
    by_name = kind.keeps_storages and all(name == there for name, there in wanted.items())
    if len(set(wanted.values())) <= 1 or by_name:
        return ""
    told = ", ".join(f"'{name}' to '{there}'" for name, there in wanted.items())
    if not kind.keeps_storages:
        return f"storages for {side.machine}: {told}; a restore puts all volumes of a {kind.noun} onto one: name one"
    return (
        f"storages for {side.machine}: {told}; a restore puts all disks onto one storage, or each onto the one of the "
        "name it had: name one storage, or the same names, or move the guest by remote_migrate"
    )


def impossible(source: Guest, target: Guest, view: View) -> list[str]:
    """Name disks of the guest that no restore could put where they are to lie, there or after a return."""
    there = placed(target.side, guest_config.storages(view.config))
    back = placed(source.side, there.values())
    both = ((target.side, there), (source.side, back))
    return [words for side, wanted in both if (words := _impossible(side, wanted, view.kind))]


def needed(target: Guest, view: View) -> dict[str, int]:
    """Return the bytes that the guest's disks take on each storage of the side that is entered."""
    needs = dict.fromkeys(placed(target.side, guest_config.storages(view.config)).values(), 0)
    for disk in view.disks:
        storage = target.side.storage_for(disk.volid.partition(":")[0])
        needs[storage] = needs.get(storage, 0) + disk.size
    return needs
