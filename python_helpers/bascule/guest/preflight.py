"""Ask both nodes, before anything starts, whether a move can end well; every finding is named, none hides another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..guard import state as guard
from . import backup_jobs, decisions, kinds
from . import config as guest_config
from .errors import ApiRefused
from .guest import Guest
from .observed import View

_GUEST = ("VM.Audit", "VM.PowerMgmt", "VM.Backup", "VM.Allocate")
_STORAGE = ("Datastore.AllocateSpace", "Datastore.Audit")
# What lets the token ask the guest's agent was renamed in Proxmox VE 9; any one of them is enough.
_AGENT = {8: ("VM.Monitor",), 9: ("VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted")}
_EXECUTE = {8: ("VM.Monitor",), 9: ("VM.GuestAgent.Unrestricted",)}


def ask(guest: Guest, findings: list[str], path: str, /, **values: Any) -> Any:
    """Read something; a refusal becomes a finding, and the other questions are asked all the same."""
    try:
        return guest.api.get(path, **values)
    except ApiRefused as error:
        findings.append(f"{guest.side.machine}: GET {path}: {error.status} {error.reason}")
        return None


def needed(
    guest: Guest,
    version: int,
    way: str,
    bridges: Iterable[str],
    runs_inside: bool = False,
    kind: kinds.Kind = kinds.QEMU,
    privileged: bool = False,
) -> dict[str, list[tuple[str, ...]]]:
    """Return the privileges a token needs at this side, by path; of the ones in one tuple any is enough.

    `runs_inside` says that the proof boot runs a command inside the guest, `privileged` that it is a container whose
    root is that of its node: Proxmox restores none for a token without Sys.Modify on / (PVE::API2::LXC, create_vm).
    """
    on_guest: list[tuple[str, ...]] = [(name,) for name in _GUEST]
    on_guest += [(f"VM.Config.{name}",) for name in kind.settings]
    if kind.agent:
        on_guest.append((_EXECUTE if runs_inside else _AGENT)[9 if version >= 9 else 8])
    if way == decisions.REMOTE:
        on_guest.append(("VM.Migrate",))
    result: dict[str, list[tuple[str, ...]]] = {f"/vms/{guest.side.vmid}": on_guest}
    for storage in {
        guest.side.storage,
        guest.side.backup_storage or guest.side.storage,
        *guest.side.storages.values(),
    }:
        result[f"/storage/{storage}"] = [(name,) for name in _STORAGE]
    result[f"/nodes/{guest.side.node}"] = [("Sys.Audit",)]
    for bridge in sorted(set(bridges)):
        result[f"/sdn/zones/localnetwork/{bridge}"] = [("SDN.Use",)]
    if way == decisions.REMOTE:
        # Proxmox itself reads the other cluster's status, after the guest was shut down.
        result["/"] = [("Sys.Incoming",), ("Sys.Audit",)]
    if privileged:
        result["/"] = [*result.get("/", []), ("Sys.Modify",)]
    return result


def privileges(
    guest: Guest,
    version: int,
    way: str,
    bridges: Iterable[str],
    runs_inside: bool = False,
    kind: kinds.Kind = kinds.QEMU,
    privileged: bool = False,
) -> list[str]:
    """Name every privilege the token lacks at this side."""
    findings: list[str] = []
    for path, wanted in needed(guest, version, way, bridges, runs_inside, kind, privileged).items():
        granted = ask(guest, findings, "access/permissions", path=path)
        if granted is None:
            continue
        has = set(granted.get(path, {}))
        findings += [
            f"{guest.side.machine}: the token lacks {' or '.join(names)} on {path}"
            for names in wanted
            if not has & set(names)
        ]
        if path == f"/vms/{guest.side.vmid}":
            findings += _gone_with_the_guest(guest, [names for names in wanted if has & set(names)])
    return findings


def _gone_with_the_guest(guest: Guest, wanted: Iterable[tuple[str, ...]]) -> list[str]:
    """Name what the token has on the guest and not above it: Proxmox deletes that whenever the guest is removed."""
    findings: list[str] = []
    granted = ask(guest, findings, "access/permissions", path="/vms")
    if granted is None:
        return findings
    stays = {name for name, propagates in granted.get("/vms", {}).items() if str(propagates) == "1"}
    gone = [" or ".join(names) for names in wanted if not stays & set(names)]
    if gone:
        findings.append(
            f"{guest.side.machine}: the token has {', '.join(gone)} by an entry for /vms/{guest.side.vmid} or by its "
            "pool, and Proxmox deletes both with the guest: grant it on /vms, with propagation"
        )
    return findings


def plugged(guest: Guest, findings: list[str], config: Mapping[str, Any]) -> set[str]:
    """Return the bridges of this node that the guest is, or will be, plugged into; those of SDN have other paths."""
    rows = ask(guest, findings, f"nodes/{guest.side.node}/network", type="any_local_bridge") or []
    local = {str(row.get("iface")) for row in rows}
    return {guest.side.bridge_for(card, net) for card, net in guest_config.nets(config).items()} & local


def clashes(guest: Guest, source: Mapping[str, Any]) -> list[str]:
    """Name guests at the side we move to that have a hardware address or an IP address of the one that comes."""
    findings: list[str] = []
    macs = {guest_config.mac_of(net).upper() for net in guest_config.nets(source).values()}
    own = {**source, **guest.side.overrides}
    for card, net in guest_config.nets(source).items():
        own[card] = guest_config.with_addresses(net, guest.side.addresses_of(card))
    addresses = {address for name, value in own.items() for address in _addresses(name, value)}
    rows = [
        (int(row["vmid"]), kind)
        for kind in kinds.ALL
        for row in ask(guest, findings, f"nodes/{guest.side.node}/{kind.name}") or []
    ]
    for vmid, kind in sorted(rows, key=lambda found: found[0]):
        if vmid == guest.side.vmid:
            continue
        config = ask(guest, findings, f"nodes/{guest.side.node}/{kind.name}/{vmid}/config")
        if config is None:
            continue
        label = config.get("name", config.get("hostname", ""))
        name = f"the {kind.noun} {vmid} '{label}' at {guest.side.machine}"
        for net in guest_config.nets(config).values():
            if guest_config.mac_of(net).upper() in macs:
                findings.append(f"{name} has the hardware address {guest_config.mac_of(net)}")
        for key, value in sorted(config.items()):
            findings += [f"{name} has the address {taken}" for taken in sorted(addresses & _addresses(key, value))]
    return findings


def _addresses(key: str, value: Any) -> set[str]:
    """Return the addresses that a line of a config gives its guest: `ipconfigN`, or a container's `netN`."""
    if key.startswith("ipconfig"):
        return guest_config.ips(str(value))
    if not guest_config.is_net(key):
        return set()
    found = guest_config.options(str(value))
    given = {name: found.get(name, "") for name in ("ip", "ip6")}
    return guest_config.ips(",".join(f"{n}={text}" for n, text in given.items() if text != "manual"))


def managed(guest: Guest, view: View) -> list[str]:
    """Name what else starts, moves or copies this guest: Proxmox HA and replication jobs."""
    findings: list[str] = []
    where = f"the guest {guest.side.vmid} at {guest.side.machine}"
    if view.ha_managed:
        findings.append(f"{where} is managed by Proxmox HA: take it out, or HA may start it behind the guard's back")
    rows = ask(guest, findings, "cluster/replication") or []
    findings += [
        f"{where} is replicated by the job {row.get('id')}: remove it, it holds the disks of the guest"
        for row in rows
        if int(row.get("guest", 0)) == guest.side.vmid
    ]
    return findings


def pending(guest: Guest) -> list[str]:
    """Name changes of the guest that wait for its next start: they do not travel."""
    findings: list[str] = []
    where = f"the guest {guest.side.vmid} at {guest.side.machine}"
    rows = ask(guest, findings, f"{guest.path}/pending") or []
    waiting = sorted(str(row.get("key")) for row in rows if "pending" in row or row.get("delete"))
    if waiting:
        findings.append(f"{where} has changes that wait for its next start ({', '.join(waiting)}): they do not travel")
    return findings


def backups(guest: Guest) -> tuple[list[str], list[str]]:
    """Name scheduled backups that stand in the way (findings, notes): they are switched off for the window."""
    found = backup_jobs.jobs_of(guest)
    where = guest.side.machine
    if found["unseen"]:
        return [], [f"{where}: scheduled backups cannot be seen ({found['unseen']}): look that none runs in the window"]
    if not found["enabled"]:
        return [], []
    findings: list[str] = []
    granted = (ask(guest, findings, "access/permissions", path="/") or {}).get("/", {})
    names = ", ".join(found["enabled"])
    if "Sys.Modify" not in granted:
        findings.append(f"{where}: the token lacks Sys.Modify on / to switch off scheduled backups ({names})")
    return findings, [f"{where}: scheduled backups are switched off for the window: {names}"]


def left_behind(view: View, vmid: int, way: str) -> list[str]:
    """Name the disks of a guest that would not travel, or go with it when it is removed."""
    where = f"the guest {vmid} at {view.machine}"
    findings = [
        f"{where} has a detached disk {name} ({volid}): attach it, or remove it or give it to another guest"
        for name, volid in guest_config.detached(view.config).items()
    ]
    if way != decisions.REMOTE:
        findings += [
            f"{where}: disk {name} is in no archive ({why})"
            for name, why in sorted(guest_config.left_out(view.config).items())
        ]
    return findings


def snapshots(guest: Guest, view: View) -> list[str]:
    """Name the snapshots of a guest: no copy brings them along, and they go with disks that are written over."""
    try:
        found = guest.snapshots() if view.exists else []
    except ApiRefused as error:
        return [f"{guest.side.machine}: its snapshots are not shown: {error.status} {error.reason}"]
    where = f"the guest {guest.side.vmid} at {guest.side.machine}"
    told = "they do not travel, and go where its disks are written over: remove them"
    return [f"{where} has snapshots ({', '.join(found)}): {told}"] if found else []


def lent(node: Guest, view: View, way: str) -> list[str]:
    """Name what the guest of `view` needs and the node at which it is to start has not: Proxmox would not start it."""
    where = f"the guest {view.vmid} at {view.machine}"
    findings = []
    for name, volid in guest_config.lent(view.config).items():
        storage, colon, _ = volid.partition(":")
        if not colon:
            findings.append(f"{where}: {name} is the node's own drive: take it out")
        elif way == decisions.REMOTE and ":iso/" in volid:
            findings.append(f"{where}: {name} is {volid}, and Proxmox migrates no guest with one: take it out")
        else:
            try:
                node.api.get(f"nodes/{node.side.node}/storage/{storage}/content/{volid}")
            except ApiRefused as error:
                findings.append(
                    f"{where}: {name} is {volid}, which {node.side.machine} has not ({error.status} {error.reason}): "
                    "put it there under the same name, or take it out of the guest"
                )
    return findings


def interfaces(source: Guest, target: Guest, view: View) -> list[str]:
    """Name interfaces that would not be tomorrow, or after a return, what they are today."""
    config = view.config
    findings: list[str] = []
    where = f"the guest {source.side.vmid} at {source.side.machine}"
    nets = guest_config.nets(config)
    passive = view.guard.status in (guard.CLOSING, guard.CLOSED)
    if not passive and not guest_config.links_up(config):
        findings.append(f"{where} has no interface that is connected")
    findings += _cards(source, target, nets)
    for name, of in (("bridge", guest_config.bridge_of), ("tag", guest_config.tag_of)):
        for guest in (source, target):
            others = {key: net for key, net in nets.items() if name not in guest.side.cards.get(key, {})}
            found = {of(net) for net in others.values()}
            shown = ", ".join(f"{key} {of(net) or 'none'}" for key, net in others.items())
            wanted = getattr(guest.side, name)
            if wanted in (None, "") and not (name == "tag" and wanted == ""):
                continue
            if len(found) > 1:
                findings.append(
                    f"{name} {wanted or 'none'} for {guest.side.machine} would join networks that are apart: {where} "
                    f"has {shown}"
                )
            elif guest is source and found and found != {wanted}:
                findings.append(
                    f"{name} {wanted or 'none'} is declared for {source.side.machine}, and {where} has {shown}: a "
                    "return would not bring it back to where it is"
                )
    declared = set(target.side.overrides)
    if any(name.startswith("ipconfig") for name in declared):
        findings += [
            f"{name} ({config[name]}) of {where} is not declared for {target.side.machine}, where others are: declare "
            "it for both sides, even if it is to stay as it is"
            for name in sorted(config)
            if name.startswith("ipconfig") and name not in declared
        ]
    missing = sorted(set(target.side.overrides) - set(source.side.overrides) - set(config))
    findings += [
        f"{name} is declared for {target.side.machine} alone, and {where} has none: a return would keep that of "
        f"{target.side.machine}"
        for name in missing
    ]
    return findings


def _cards(source: Guest, target: Guest, nets: Mapping[str, str]) -> list[str]:
    """Name what is declared for single interfaces and does not fit the guest."""
    findings = []
    where = f"the guest {source.side.vmid} at {source.side.machine}"
    for guest in (source, target):
        for card, own in sorted(guest.side.cards.items()):
            if card not in nets:
                findings.append(f"{card} is declared for {guest.side.machine}, and {where} has no such interface")
                continue
            # An address is an interface's own in a container only.
            found = guest_config.options(nets[card])
            has = {option: found.get(option, "") for option in ("bridge", "tag", *guest_config.ADDRESSES)}
            findings += [
                f"{option} {value or 'none'} is declared for {card} at {source.side.machine}, and {where} has "
                f"{has[option] or 'none'}: a return would not bring it back to where it is"
                for option, value in sorted(own.items())
                if guest is source and value != has[option]
            ]
    return findings


def connects(view: View, vmid: int, way: str) -> list[str]:
    """Name a guest that is moved warm and could not be connected while it runs."""
    if way != decisions.WARM or guest_config.plugs_network(view.config):
        return []
    return [
        f"the guest {vmid} at {view.machine} has hotplug without 'network': its running copy could not be connected; "
        "add it, or choose another way than warm"
    ]


def retention(guest: Guest, way: str, in_window: bool = False) -> list[str]:
    """Name a storage that keeps so few backups of a guest that no archive of ours fits beside them.

    Ours are made without removing others; Proxmox then refuses one more than the storage's retention keeps. By archive
    there is one before the window and one more in it.
    """
    if way == decisions.REMOTE:
        return []
    findings: list[str] = []
    storage = guest.side.backup_storage or guest.side.storage
    defaults = ask(guest, findings, f"nodes/{guest.side.node}/vzdump/defaults", storage=storage) or {}
    kept = guest_config.options(str(defaults.get("prune-backups") or "keep-all=1"))
    if kept.get("keep-all") == "1":
        return findings
    limit = sum(int(number) for number in kept.values())
    content = f"nodes/{guest.side.node}/storage/{storage}/content"
    rows = ask(guest, findings, content, content="backup", vmid=guest.side.vmid) or []
    there = sum(str(row.get("protected", "0")) != "1" for row in rows)
    ours = 2 if way == decisions.ARCHIVE and not in_window else 1
    if there + ours > limit:
        findings.append(
            f"storage '{storage}' at {guest.side.machine} keeps {limit} backups of a guest and has {there} of "
            f"{guest.side.vmid}; {ours} more are needed, and none is removed for them: name another backup_storage, or "
            "put this one's retention into the backup jobs"
        )
    return findings


def running_backups(guest: Guest) -> list[str]:
    """Return the backups that run at this node now, whichever guest they are for: it runs one at a time."""
    rows = guest.api.get(f"nodes/{guest.side.node}/tasks", source="active", typefilter="vzdump") or []
    return [str(row.get("upid")) for row in rows if row.get("type") == "vzdump" and not row.get("endtime")]


def busy(guest: Guest, view: View) -> list[str]:
    """Name what works at this node now and would stop a move: a backup of any guest, whatever has locked this one."""
    findings = [f"a backup runs at {view.machine} ({upid}): wait until it has ended" for upid in running_backups(guest)]
    if view.lock and view.guard.status != guard.UNKNOWN:
        findings.append(f"the guest {guest.side.vmid} at {view.machine} is locked: {guest.lock_holder(view.lock)}")
    return findings


def room(guest: Guest, config: Mapping[str, Any]) -> list[str]:
    """Name what of the node itself does not fit: memory for the guest; networks with VLANs its bridges do not carry."""
    findings: list[str] = []
    status = ask(guest, findings, f"nodes/{guest.side.node}/status")
    if status is not None:
        memory = int(guest_config.options(str(config.get("memory", "512"))).get("", "512")) << 20
        free = int((status.get("memory") or {}).get("free", 0))
        if free < memory:
            findings.append(f"{guest.side.machine} has {free} bytes of memory free; the guest needs {memory}")
    return findings


def notes(source: Guest, target: Guest, config: Mapping[str, Any]) -> list[str]:
    """Return what does not forbid a move but should be known."""
    result = []
    for row in ask(source, [], "cluster/resources", type="vm") or []:
        if str(row.get("vmid", "")) == str(source.side.vmid) and row.get("pool"):
            result.append(
                f"the guest is in the pool {row['pool']}: its copy at {target.side.machine} is in none until somebody "
                "puts it into one, and Proxmox takes a guest that it removes out of its pool"
            )
    if config.get("hookscript"):
        result.append(
            f"the guest has a hook script ({config['hookscript']}): Proxmox runs it at each start and stop, and when a "
            "stopped guest is archived; so it runs at the side that is closed too, by a proof boot and by what keeps "
            "its disks, and has to be harmless there"
        )
    cpu = guest_config.options(str(config.get("cpu", ""))).get("", "") or str(config.get("cpu", ""))
    if cpu.partition(",")[0] in ("host", "max"):
        models = []
        for guest in (source, target):
            status = ask(guest, [], f"nodes/{guest.side.node}/status") or {}
            models.append(str((status.get("cpuinfo") or {}).get("model", "unknown")))
        if models[0] != models[1]:
            result.append(f"CPU type {cpu}: the guest sees '{models[1]}' instead of '{models[0]}' after the move")
    for name, net in guest_config.nets(config).items():
        declared = target.side.declared("tag", name)
        tag = guest_config.tag_of(net) if declared is None else declared
        if tag:
            result.append(
                f"{name} is in VLAN {tag} at {target.side.machine}: its switch has to carry it, which no API tells"
            )
        if guest_config.options(net).get("firewall") == "1":
            result.append(
                f"{name} has firewall=1: compare the guest's rules at {target.side.machine} before the window, with "
                "the groups, aliases and IP sets of its datacenter, which do not travel"
            )
    return result
