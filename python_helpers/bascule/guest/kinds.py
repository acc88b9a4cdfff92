"""The two kinds of guests of Proxmox, virtual machine and container, and all in which their APIs differ for a move.

Sources: PVE::API2::Qemu and PVE::API2::LXC (paths, parameters, names of tasks), PVE::VZDump (names of archives), and
the schemas of Proxmox VE 8.4 and 9.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One kind of guests."""

    # Its part of the API's paths, its type in `cluster/resources`, and its part of an archive's name.
    name: str
    noun: str
    # The program on a node; only that takes a lock away.
    tool: str
    # Types of tasks.
    start: str
    shutdown: str
    restore: str
    # What a storage has to take for its volumes.
    content: str
    # The parameters of a creation that make it the restore of an archive: what names that, and what else is said.
    archive: str
    restoring: tuple[tuple[str, Any], ...]
    # What a backup of it has to be told, so that everything is in it: by default a container's lacks what is in /tmp.
    whole: tuple[tuple[str, Any], ...]
    # Whether something inside can be asked through the API, and run commands.
    agent: bool
    # Whether its volumes are file systems that a restore makes anew, and may be directories.
    file_systems: bool
    # Whether an empty guest can be made, that only holds a guard.
    can_be_empty: bool
    # Whether a restore can put each volume onto the storage of the name that the archive has.
    keeps_storages: bool
    # `VM.Config.` and these: what a token needs to change it.
    settings: tuple[str, ...]
    # The ways by which it is not moved, each with the reason.
    refused_ways: tuple[tuple[str, str], ...] = ()

    def restored_from(self, archive: str) -> dict[str, Any]:
        """Return the parameters that make a creation the restore of an archive."""
        return {self.archive: archive, **dict(self.restoring)}

    def refused(self, way: str) -> str:
        """Return why it is not moved by this way; empty when it is."""
        return dict(self.refused_ways).get(way, "")


_BOTH = ("Options", "Network", "Disk", "CPU", "Memory")
QEMU = Kind(
    name="qemu",
    noun="guest",
    tool="qm",
    start="qmstart",
    shutdown="qmshutdown",
    restore="qmrestore",
    content="images",
    archive="archive",
    restoring=(),
    whole=(),
    agent=True,
    file_systems=False,
    can_be_empty=True,
    keeps_storages=True,
    settings=(*_BOTH, "Cloudinit", "CDROM", "HWType"),
)
LXC = Kind(
    name="lxc",
    noun="container",
    tool="pct",
    start="vzstart",
    shutdown="vzshutdown",
    restore="vzrestore",
    content="rootdir",
    archive="ostemplate",
    restoring=(("restore", True),),
    whole=(("stdexcludes", False),),
    agent=False,
    file_systems=True,
    can_be_empty=False,
    keeps_storages=False,
    settings=_BOTH,
    refused_ways=(
        ("warm", "its running copy has no agent, so that nobody could ask it before it is connected"),
        ("remote_migrate", "what Proxmox's own migration to another cluster leaves of a container was never looked at"),
    ),
)
ALL = (QEMU, LXC)
RESTORES = tuple(kind.restore for kind in ALL)
