"""What becomes of each line of a guest's config when it moves: carried, mapped, asked for, or refused by name.

The keys are those of `GET /nodes/{node}/qemu/{vmid}/config`, and of `lxc` (Proxmox VE 8.4 and 9.1). One that stands
here nowhere is refused: nobody has looked at what it means to move it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import kinds

# It comes through a backup and its restore, and through a migration, as it is.
CARRIED = "carried"
# It is set for each side: while a guest is passive, or as the inventory declares.
MAPPED = "mapped"
# Its value decides, or what the other node has: a question of the audit of its own refuses by name.
ASKED = "asked"
REFUSED = "refused"


@dataclass(frozen=True)
class Fate:
    """What becomes of a line, and why."""

    verdict: str
    why: str = ""


_SNAPSHOT = Fate(REFUSED, "it belongs to a snapshot or a saved state, which does not travel: remove that")
_MEMORY = Fate(REFUSED, "encrypted memory depends on the processor of its node: nobody can tell that it would start")
# The first pattern that fits counts.
TABLE: tuple[tuple[str, Fate], ...] = (
    (r"(?:ide|sata|scsi|virtio)\d+|efidisk0|tpmstate0", Fate(ASKED, "disks by storage, format and backup=0; images")),
    (r"net\d+", Fate(MAPPED, "bridge and VLAN by side and card; link down while passive; what was cut stays cut")),
    (r"ipconfig\d+|nameserver|searchdomain", Fate(MAPPED, "as declared for the side, else as it was there")),
    (r"description", Fate(MAPPED, "the guard's line is the side's own")),
    (r"onboot", Fate(MAPPED, "off while passive, then as captured")),
    (r"unused\d+", Fate(ASKED, "a detached disk is in no archive")),
    (r"hostpci\d+|usb\d+|serial\d+|parallel\d+|virtiofs\d+", Fate(ASKED, "devices of the node")),
    (r"hookscript|cicustom", Fate(ASKED, "the other node has to have the file")),
    (r"protection", Fate(MAPPED, "the side's own; one that opens has that of the guest that served as well")),
    (r"template|lock|hotplug|agent|memory", Fate(ASKED, "by way and side")),
    (r"args", Fate(REFUSED, "arguments for kvm are for root alone to set, and may name what only this node has")),
    (r"ivshmem", Fate(REFUSED, "memory that is shared with processes of its node ties it there")),
    (r"amd-sev|intel-tdx", _MEMORY),
    (r"parent|snaptime|vmstate|running(?:machine|cpu|-nets-host-mtu)", _SNAPSHOT),
    (r"affinity|cores|cpu|machine|numa\d+|sockets", Fate(ASKED, "processors and machine types of the other node")),
    (r"vmgenid|meta|digest", Fate(CARRIED, "made anew by Proxmox where the config is made anew")),
    (r"acpi|allow-ksm|arch|audio0|autostart|balloon|bios|boot|bootdisk|cpulimit|cpuunits",
     Fate(CARRIED)),
    (r"cipassword|citype|ciupgrade|ciuser|sshkeys", Fate(CARRIED)),
    (r"freeze|hugepages|keephugepages|keyboard|kvm|localtime|migrate_downtime|migrate_speed", Fate(CARRIED)),
    (r"name|numa|ostype|reboot|rng0|scsihw|shares|smbios1|smp|spice_enhancements", Fate(CARRIED)),
    (r"startdate|startup|tablet|tags|tdf|vcpus|vga|vmstatestorage|watchdog", Fate(CARRIED)),
)  # fmt: skip
_RAW = Fate(REFUSED, "lines for LXC itself, such as maps of ids, are for root alone to set: a restore leaves them out")
_OF_9 = Fate(REFUSED, "only Proxmox VE 9.1 knows it, and an older node drops it without a word")
CONTAINERS: tuple[tuple[str, Fate], ...] = (
    (r"rootfs|mp\d+", Fate(ASKED, "volumes by storage, format and backup=1; binds and devices of the node")),
    (r"net\d+", Fate(MAPPED, "bridge, VLAN and addresses by side and card; link down while passive")),
    (r"nameserver|searchdomain", Fate(MAPPED, "as declared for the side, else as it was there")),
    (r"description", Fate(MAPPED, "the guard's line is the side's own")),
    (r"onboot", Fate(MAPPED, "off while passive, then as captured")),
    (r"unused\d+", Fate(ASKED, "a detached volume is in no archive")),
    (r"dev\d+", Fate(ASKED, "devices of the node")),
    (r"hookscript", Fate(ASKED, "the other node has to have the file")),
    (r"protection", Fate(MAPPED, "the side's own; one that opens has that of the guest that served as well")),
    (r"template|lock|memory|unprivileged|cores", Fate(ASKED, "by way and side, and by what the token may do")),
    (r"lxc", _RAW),
    (r"env|entrypoint", _OF_9),
    (r"parent|snaptime|snapstate", _SNAPSHOT),
    (r"digest", Fate(CARRIED, "made anew by Proxmox")),
    (r"arch|cmode|console|cpulimit|cpuunits|debug|features", Fate(CARRIED)),
    (r"hostname|ostype|startup|swap|tags|timezone|tty", Fate(CARRIED)),
)
_COMPILED = {
    kind: tuple((re.compile(pattern), fate) for pattern, fate in table)
    for kind, table in ((kinds.QEMU, TABLE), (kinds.LXC, CONTAINERS))
}
UNKNOWN = Fate(REFUSED, "Bascule does not know this setting, nor what a move would make of it")


def fate(key: str, kind: kinds.Kind = kinds.QEMU) -> Fate:
    """Return what becomes of the line with this key in the config of such a guest."""
    return next((found for pattern, found in _COMPILED[kind] if pattern.fullmatch(key)), UNKNOWN)


def refused(config: Mapping[str, Any], kind: kinds.Kind = kinds.QEMU) -> list[str]:
    """Name every line with which no guest is moved, and why; values are not told, as some are secrets."""
    found = ((key, fate(key, kind)) for key in sorted(config))
    return [f"{key}: {known.why}" for key, known in found if known.verdict == REFUSED]
