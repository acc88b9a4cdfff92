"""What a fake node does with containers: as in `PVE::API2::LXC` and `PVE::VZDump::LXC`, without a container."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Optional

from bascule.guard.state import Epoch, Receipt
from bascule.guest import audit, decisions, observed, transitions
from bascule.guest import config as guest_config
from bascule.guest.guest import Guest

Answer = tuple[int, str, Any, Optional[Mapping[str, str]]]
CONFIG = {
    "hostname": "courses",
    "arch": "amd64",
    "ostype": "debian",
    "cores": 1,
    "memory": "256",
    "swap": "512",
    "unprivileged": 1,
    "features": "nesting=1",
    "tags": "courses;web",
    "onboot": 1,
    "nameserver": "192.0.2.53",
    "net0": "name=eth0,bridge=vmbr0,gw=198.51.100.1,hwaddr=BC:24:11:03:07:C1,ip=198.51.100.10/24,type=veth",
    "rootfs": "local:100/vm-100-disk-0.raw,size=1G",
    "mp0": "local:100/vm-100-disk-1.raw,mp=/srv/data,backup=1,size=2G",
    "description": "The courses' web application.\nAsk Nadia.\n",
}
# What a restore takes from its parameters and not into the config.
_ORDERS = ("ostemplate", "restore", "storage")


class Containers:
    """The part of a fake node that has containers; what it shares with virtual machines is the node's."""

    node: str
    guests: dict[int, dict[str, Any]]
    running: set[int]
    archives: list[dict[str, Any]]
    storages: dict[str, str]
    task_results: dict[str, tuple[str, list[str]]]
    task: Callable[..., Answer]
    _data: Callable[[Any], Answer]
    _qemu: Callable[..., Answer]
    _start: Callable[[int], None]
    _forget: Callable[[int], None]
    _stored: Callable[[str, Any], Any]

    def __init__(self) -> None:
        # Those of the guests that are containers.
        self.containers: set[int] = set()
        # Whose interfaces do not come up.
        self.without_network: set[int] = set()
        # What /etc/vzdump.conf leaves out of every archive of a container.
        self.excluded: list[str] = []

    def kind(self, vmid: int) -> str:
        """Return what a guest is, as its part of the API's paths."""
        return "lxc" if vmid in self.containers else "qemu"

    def label(self, vmid: int) -> Any:
        """Return the name of a guest."""
        return self.guests[vmid].get("hostname" if vmid in self.containers else "name")

    def _container(self, method: str, vmid: int, rest: list[str], values: dict[str, Any]) -> Answer:
        """What differs of a container: it has interfaces and no agent, and its tasks have other names."""
        what, config = "/".join(rest[1:]), self.guests[vmid]
        if what == "interfaces":
            return self._data(self._interfaces(vmid))
        if what == "status/start":
            return self.task("vzstart", vmid, lambda: self._start(vmid))
        if what in ("status/shutdown", "status/stop"):
            if vmid not in self.running:
                return 500, f"CT {vmid} not running", None, None
            return self.task("vzshutdown" if "down" in what else "vzstop", vmid, lambda: self.running.discard(vmid))
        if method == "DELETE" and str(config.get("protection", 0)) == "1":
            return 500, f"can't remove CT {vmid} - protection mode enabled", None, None
        if method == "DELETE":
            return self.task("vzdestroy", vmid, lambda: self._forget(vmid))
        if what in ("config", "pending", "snapshot", "status/current"):
            return self._qemu(method, vmid, rest, values)
        return 501, f"Method '{method} /nodes/{self.node}/lxc/{vmid}/{what}' not implemented", None, None

    def _interfaces(self, vmid: int) -> Any:
        """Return what `ip` shows inside; null of a container that does not run."""
        if vmid not in self.running:
            return None
        cards = [] if vmid in self.without_network else list(guest_config.nets(self.guests[vmid]).values())
        names = ["lo", *(guest_config.options(net).get("name", "") for net in cards)]
        return [{"name": name, "hwaddr": "00:00:00:00:00:00"} for name in names]

    def _restore_container(self, values: dict[str, Any]) -> Answer:
        vmid = int(values.pop("vmid"))
        force = values.pop("force", 0)
        # A refusal of these comes at once and not in the task.
        if vmid in self.guests and not (force and values.get("restore") and vmid in self.containers):
            return 500, f"unable to create CT {vmid} - VM {vmid} already exists on node '{self.node}'", None, None
        if str(self.guests.get(vmid, {}).get("protection", 0)) == "1":
            return 500, f"unable to restore CT {vmid} - protection mode enabled", None, None
        archive = next(a for a in self.archives if a["volid"] == values["ostemplate"])
        made_of = archive["_config"]
        given = {k: self._stored(k, v) for k, v in values.items() if k not in _ORDERS}
        # A token that is not root's gets no raw lines of LXC.
        kept = {k: v for k, v in made_of.items() if k not in ("lxc", "lock", "template") and not k.startswith("unused")}
        volumes = self._volumes_of(vmid, str(values.get("storage", "local")), made_of)

        def act() -> None:
            bare = {k: v for k, v in kept.items() if k != "rootfs" and not k.startswith("mp")}
            self.guests[vmid] = {**bare, **volumes, **given}
            self.containers.add(vmid)

        if "vzrestore" in self.task_results:
            # What fails while it restores takes the container's config away, also one that was there before.
            self.guests.pop(vmid, None)
            self.containers.discard(vmid)
        return self.task("vzrestore", vmid, act, ("extracting archive", "merging backed-up and given configuration.."))

    def _volumes_of(self, vmid: int, storage: str, config: Mapping[str, Any]) -> dict[str, str]:
        """The volumes of an archive, all on the one storage: directories where that has them, else raw."""
        kind, made = self.storages.get(storage, "dir"), {}
        for number, drive in enumerate(sorted(guest_config.drives(config), key=lambda drive: drive.name != "rootfs")):
            subvolume = kind in ("zfspool", "btrfs")
            name = f"{'subvol' if subvolume else 'vm'}-{vmid}-disk-{number}"
            volid = f"{storage}:{vmid}/{name}.raw" if kind == "dir" else f"{storage}:{name}"
            others = [f"{k}={v}" for k, v in drive.options.items() if k not in ("", "volume", "size")]
            made[drive.name] = ",".join([volid, *others, f"size={drive.options['size']}"])
        return made


def moved(nodes: Any) -> Any:
    """Return two nodes whose guest 100 is a container."""
    here, there, source, target = nodes
    here.guests[100] = dict(CONFIG)
    here.containers.add(100)
    for side in (source, target):
        side.side = replace(side.side, health_url=f"http://{side.side.machine}/healthz")
    return here, there, source, target


def of(guest: Guest) -> Any:
    """Return the fake node behind a guest."""
    return guest.api._transport


def audited(nodes: Any, way: str = decisions.ARCHIVE, **given: Any) -> dict[str, Any]:
    """Return what an audit says of both nodes."""
    *_, source, target = nodes
    views = observed.look_at_both(source, target, all_disks=False)
    found: dict[str, Any] = audit.audit(source, target, *views, way, **given)
    return found


def switch(source: Any, target: Any) -> None:
    """Close the one side and open the other, under the first epoch."""
    epoch = Epoch(1, "aaaa")
    files = {"disk:rootfs": "files-sha256:1111", "disk:mp0": "files-sha256:2222"}
    transitions.close_begin(source, epoch, force=False)
    receipt = transitions.close_finish(source, epoch, files, "2026-12-02T06:00:00Z")["receipt"]
    reached = transitions.reached(files, files, False)
    transitions.open_side(target, epoch, Receipt.from_dict(receipt), reached, onboot=True, leads=False)
