"""Read and write the parts of a guest's config that a move touches; everything else is left as it is."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..errors import GuardRefused
from ..guard.state import GuardState
from . import disk_kinds
from .errors import ProxmoxError

# Of a virtual machine, and of a container.
_DRIVE = re.compile(r"^(?:ide|sata|scsi|virtio)\d+$|^(?:efidisk0|tpmstate0)$|^(?:rootfs|mp\d+)$")
_MOUNT = re.compile(r"^mp\d+$")
_UNUSED = re.compile(r"^unused\d+$")
_NET = re.compile(r"^net\d+$")
_ADDRESS = re.compile(r"^(?:ipconfig\d+|nameserver|searchdomain)$")
_MAC = re.compile(r"^[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}$")
_GUARD = "bascule: "
_BOOTED = "bascule-booted: "
_LIFTED = "bascule-protection: lifted while this guest is replaced"
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)([KMGT]?)$")
_PASSTHROUGH = re.compile(r"^(?:hostpci|usb|virtiofs|parallel|dev)\d+$")
# What an interface of a container has of its own network, beside bridge and VLAN.
ADDRESSES = ("ip", "gw", "ip6", "gw6")
_SERIAL = re.compile(r"^serial\d+$")
# PVE::QemuServer::Drive, drive_is_cloudinit: the name of the volume tells, never that of its storage.
_CLOUDINIT = re.compile(r"[:/](?:vm-\d+-)?cloudinit(?:\.(?:raw|qcow2?|qed|vmdk|cloop))?$")


@dataclass(frozen=True)
class Drive:
    """A disk of a guest."""

    name: str
    volid: str
    storage: str
    volume: str
    # In bytes, by the config; 0 when it does not tell.
    size: int
    options: Mapping[str, str]

    @property
    def format(self) -> str:
        """Return the format its volume name tells: raw, qcow2, vmdk; a name without an ending is a raw device."""
        if "format" in self.options:
            return self.options["format"]
        name = self.volume.rpartition("/")[2]
        return name.rpartition(".")[2] if "." in name else "raw"


def size_of(text: str) -> int:
    """Return a size as a config tells it, in bytes: 4096M and 4G are the same (PVE::JSONSchema, parse_size)."""
    found = _SIZE.match(text or "0")
    if not found:
        raise ProxmoxError(expected="the size of a disk, such as 32G", found=text)
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2] or " "))


def options(text: str) -> dict[str, str]:
    """Split `a=b,c=d`; a first word without `=` is kept under the empty name."""
    result: dict[str, str] = {}
    for part in str(text).split(","):
        name, equals, value = part.partition("=")
        result[name if equals else ""] = value if equals else part
    return result


def is_cloudinit(volid: str) -> bool:
    """Say whether a volume is a cloud-init drive, which the node makes anew at each start."""
    return bool(_CLOUDINIT.search(volid))


def drives(config: Mapping[str, Any]) -> list[Drive]:
    """Return the guest's disks that carry data: no CD drives, no cloud-init drive (the node makes it at each start)."""
    found = []
    for name in sorted(config):
        if not _DRIVE.match(name):
            continue
        parts = options(str(config[name]))
        volid = parts.get("file", parts.get("volume", parts.get("", "")))
        if parts.get("media") == "cdrom" or is_cloudinit(volid) or volid in ("", "none"):
            continue
        storage, colon, volume = volid.partition(":")
        if not colon:
            storage, volume = "", volid
        found.append(Drive(name, volid, storage, volume, size_of(parts.get("size", "")), parts))
    return found


def storages(config: Mapping[str, Any]) -> list[str]:
    """Return the storages that a copy of the guest needs: those of its disks and of its cloud-init drive."""
    found = {drive.storage for drive in drives(config)}
    for name in config:
        volid = options(str(config[name])).get("", "") if _DRIVE.match(name) else ""
        found |= {volid.partition(":")[0]} if is_cloudinit(volid) else set()
    return sorted(found - {""})


def detached(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the disks that were detached: no archive has them, and they go when the guest is removed."""
    return {name: str(config[name]).partition(",")[0] for name in sorted(config) if _UNUSED.match(name)}


def protected(config: Mapping[str, Any]) -> bool:
    """Say whether Proxmox refuses to remove the guest, or to restore over it."""
    return str(config.get("protection", "0")) == "1"


def is_lifted(config: Mapping[str, Any]) -> bool:
    """Say whether Bascule has lifted the guest's protection and not given it back yet."""
    return _LIFTED in (config.get("description") or "").splitlines()


def keeps_protection(config: Mapping[str, Any]) -> bool:
    """Say whether the guest is protected, or was before Bascule lifted that."""
    return protected(config) or is_lifted(config)


def efi_seen(config: Mapping[str, Any]) -> int:
    """Return how many bytes of its EFI disk the guest sees; 0 when nobody knows, or there is none."""
    if "efidisk0" not in config:
        return 0
    return disk_kinds.efi_bytes(options(str(config["efidisk0"])).get("efitype", ""), str(config.get("arch", "")))


def left_out(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the disks that no archive of the guest has, and why.

    PVE::QemuConfig, get_backup_volumes; PVE::LXC::Config, mountpoint_backup_enabled: a mount point has to ask for it.
    """
    found = {drive.name: "backup=0" for drive in drives(config) if drive.options.get("backup", "1") == "0"}
    mounts = [drive.name for drive in drives(config) if _MOUNT.match(drive.name)]
    found |= {name: "no backup=1" for name in mounts if options(str(config[name])).get("backup") != "1"}
    if "efidisk0" in config and config.get("bios") != "ovmf":
        found["efidisk0"] = "an EFI disk, and the guest has no bios: ovmf"
    return found


def lent(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what the guest needs at its node and no copy brings along: images in drives, scripts, snippets."""
    found: dict[str, str] = {}
    for name in sorted(config):
        parts = options(str(config[name]))
        volid = parts.get("file", parts.get("", ""))
        if _DRIVE.match(name) and parts.get("media") == "cdrom" and not is_cloudinit(volid) and volid != "none":
            found[name] = volid
        elif name == "hookscript":
            found[name] = str(config[name])
        elif name == "cicustom":
            found |= {f"cicustom {part}": volume for part, volume in parts.items()}
    return found


def mounted_at(drive: Drive) -> str:
    """Return where a container mounts this volume; empty for a disk of a virtual machine."""
    return "/" if drive.name == "rootfs" else drive.options.get("mp", "") if _MOUNT.match(drive.name) else ""


def nets(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the guest's network interfaces as they stand in the config."""
    return {name: str(config[name]) for name in sorted(config) if _NET.match(name)}


def plugs_network(config: Mapping[str, Any]) -> bool:
    """Say whether a change of an interface holds at once while the guest runs, not only from its next start on."""
    wanted = str(config.get("hotplug", "1"))
    return wanted == "1" or "network" in wanted.split(",")


def passthrough(config: Mapping[str, Any]) -> list[str]:
    """Return the devices that tie the guest to one node; a USB port of its screen (spice) is none."""
    tied = [
        name
        for name in sorted(config)
        if (_PASSTHROUGH.match(name) and "spice" not in options(str(config[name])).values())
        or (_SERIAL.match(name) and str(config[name]).startswith("/dev/"))
    ]
    return tied + [drive.name for drive in drives(config) if not drive.storage]


def bridge_of(net: str) -> str:
    """Return the bridge an interface is plugged into."""
    return options(net).get("bridge", "")


def tag_of(net: str) -> str:
    """Return the VLAN an interface is in; empty when it is in none."""
    return options(net).get("tag", "")


def home(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what is a guest's own at its side: networks, addresses, protection; what replaces it has it again."""
    found = {name: str(config[name]) for name in sorted(config) if _NET.match(name) or _ADDRESS.match(name)}
    return {**found, **({"protection": "1"} if keeps_protection(config) else {})}


def is_net(name: str) -> bool:
    """Say whether a setting is a network interface."""
    return bool(_NET.match(name))


def is_address(name: str) -> bool:
    """Say whether a setting tells the guest an address or its resolver: such a one may be declared for each side."""
    return bool(_ADDRESS.match(name))


def ips(text: str) -> set[str]:
    """Return the addresses an ipconfigN gives, in one spelling; what the network gives by itself is none."""
    found = options(text)
    texts = [str(found.get(name, "")).partition("/")[0] for name in ("ip", "ip6")]
    try:
        return {str(ipaddress.ip_address(text)) for text in texts if text not in ("", "dhcp", "auto")}
    except ValueError as error:
        raise ProxmoxError(expected="addresses such as ip=198.51.100.10/24,ip6=fd00::10/64", found=str(text)) from error


def cut(captured: Mapping[str, Any]) -> list[str]:
    """Return the interfaces that somebody had cut when the serving guest was captured: they stay cut."""
    found: Mapping[str, str] = (captured.get("nets") or {}).get(captured.get("active") or "") or {}
    return [name for name in sorted(found) if not link_is_up(found[name])]


def mac_of(net: str) -> str:
    """Return the interface's hardware address."""
    for name, value in options(net).items():
        if _MAC.match(value) and name != "bridge":
            return value
    raise ProxmoxError(expected="a network interface with its address (virtio=BC:24:…)", found=net)


def with_link(net: str, up: bool, bridge: Optional[str] = None, tag: Optional[str] = None) -> str:
    """Return the interface with its link up or down (and, where given, another bridge and VLAN), address kept."""
    parts = [part for part in net.split(",") if part and not part.startswith("link_down=")]
    if bridge:
        parts = [f"bridge={bridge}" if part.startswith("bridge=") else part for part in parts]
    if tag is not None:
        parts = [part for part in parts if not part.startswith("tag=")]
        if tag:
            parts.append(f"tag={tag}")
    if not up:
        parts.append("link_down=1")
    return ",".join(parts)


def with_addresses(net: str, wanted: Mapping[str, str]) -> str:
    """Return a container's interface with these addresses and gateways (`ADDRESSES`); an empty one goes."""
    parts = {part.partition("=")[0]: part for part in net.split(",")}
    parts |= {name: f"{name}={wanted[name]}" for name in ADDRESSES if wanted.get(name)}
    return ",".join(part for name, part in parts.items() if wanted.get(name, part))


def link_is_up(net: str) -> bool:
    """Say whether the interface is connected."""
    return options(net).get("link_down", "0") != "1"


def links_up(config: Mapping[str, Any]) -> bool:
    """Say whether any interface is connected."""
    return any(link_is_up(net) for net in nets(config).values())


def guard_of(description: Optional[str], component: str, side: str) -> GuardState:
    """Return the guard state kept in a guest's description; unknown when there is none for this component and side.

    A restored guest brings the description of the side it was backed up at: a state that names another side is not
    this side's.
    """
    states = []
    for line in (description or "").splitlines():
        if not line.startswith(_GUARD):
            continue
        try:
            data = json.loads(line[len(_GUARD) :])
        except ValueError as error:
            raise GuardRefused(
                expected=f"a readable guard line in the description of the guest at {side}",
                found=line[:200],
                state="unknown: the guard line was changed by hand",
                next_command="put the guard line right by hand, or ask; Bascule never guesses a state",
            ) from error
        state = GuardState.from_dict(data)
        if state.component == component and state.side == side:
            states.append(state)
    if len(states) > 1:
        raise GuardRefused(
            expected=f"one guard line for {component} at {side}", found=f"{len(states)}", state="unknown"
        )
    return states[0] if states else GuardState(component=component, side=side)


def foreign_guard(description: Optional[str], component: str) -> list[str]:
    """Return the components other than this one that have marked the guest as theirs."""
    others = []
    for line in (description or "").splitlines():
        if line.startswith(_GUARD):
            try:
                name = str(json.loads(line[len(_GUARD) :]).get("component", "?"))
            except (ValueError, AttributeError):
                name = "?"
            if name != component:
                others.append(name)
    return others


def guards_in(description: Optional[str]) -> list[GuardState]:
    """Return every guard that can be read in a description, whichever component and side it is of."""
    found = []
    for line in (description or "").splitlines():
        if line.startswith(_GUARD):
            try:
                found.append(GuardState.from_dict(json.loads(line[len(_GUARD) :])))
            except (ValueError, AttributeError, GuardRefused):
                continue
    return found


def guard_line(state: GuardState) -> str:
    """Return the line of a description that holds this guard state."""
    return _GUARD + json.dumps(state.to_dict(), sort_keys=True, separators=(",", ":"))


def with_mark(description: Optional[str], mark: str) -> str:
    """Return the description with the mark of what has written to the disks; the next guard takes it away.

    It changes the digest of the config, so that an opening sees that the disks are not those that were compared.
    """
    lines = [line for line in (description or "").splitlines() if not line.startswith(_BOOTED)]
    return "\n".join([*lines, _BOOTED + mark])


def is_marked(description: Optional[str], mark: str = "") -> bool:
    """Say whether the disks were written to since this side's guard was set: by a boot, or a copy; or by `mark`."""
    return any(line.startswith(_BOOTED + mark) for line in (description or "").splitlines())


def with_lifted(description: Optional[str]) -> str:
    """Return the description with the line that says that the guest's protection was lifted and is to be given back."""
    return "\n".join([*without_lifted(description).splitlines(), _LIFTED])


def without_lifted(description: Optional[str]) -> str:
    """Return the description without that line."""
    return "\n".join(line for line in (description or "").splitlines() if line != _LIFTED)


def archived(text: str) -> set[str]:
    """Return the disks an archive has, by the config in it.

    `#qmdump#map:` (PVE::VZDump::QemuServer) names those of a virtual machine; of a container the config itself tells
    (`etc/vzdump/pct.conf`, PVE::VZDump::LXC).
    """
    lines = [line.partition(":") for line in text.splitlines()]
    volumes = {name: value.strip() for name, _, value in lines if name == "rootfs" or _MOUNT.match(name)}
    mapped = [line.split(":") for line in text.splitlines() if line.startswith("#qmdump#map:")]
    return {words[1] for words in mapped} | (set(volumes) - set(left_out(volumes)))


def with_guard(description: Optional[str], state: Optional[GuardState]) -> str:
    """Return the description with this guard state; every other line is kept as it was."""
    lines = [line for line in (description or "").splitlines() if not line.startswith((_GUARD, _BOOTED))]
    if state is not None:
        lines.append(guard_line(state))
    return "\n".join(lines)


def same(found: Any, wanted: Any) -> bool:
    """Compare a config value with a wanted one as Proxmox would: booleans are 0 and 1, texts may end in a newline."""
    if isinstance(wanted, bool):
        wanted = int(wanted)
    if found is None:
        return wanted in (0, "", "0")
    return str(found).rstrip("\n") == str(wanted).rstrip("\n")
