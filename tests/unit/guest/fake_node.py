"""A Proxmox node in memory, small: answers, statuses and texts are those recorded from the real API.

Every request is checked against the official schema when it is there (see `schema.py`).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Optional

from bascule.guest import config as guest_config
from bascule.guest.api import Api, NoAnswer
from bascule.guest.guest import Guest, Limits, Side

from .fake_containers import Containers
from .fake_shutdowns import Shutdowns

Answer = tuple[int, str, Any, Optional[Mapping[str, str]]]
OK = "OK"
CONFIGS = ("Options", "Network", "Cloudinit", "Disk", "CDROM", "CPU", "Memory", "HWType")
PRIVILEGES = (
    "VM.Audit", "VM.PowerMgmt", "VM.Backup", "VM.Allocate", "VM.Monitor", "VM.Migrate", "Datastore.AllocateSpace",
    "Datastore.Audit", "Sys.Audit", "Sys.Incoming", "SDN.Use", *(f"VM.Config.{name}" for name in CONFIGS),
)  # fmt: skip


class FakeNode(Shutdowns, Containers):
    """One node with guests, storages and tasks."""

    def __init__(self, node: str, check: Callable[[str, str, Mapping[str, Any]], None] = lambda *given: None) -> None:
        super().__init__()
        self.node = node
        self.check = check
        self.guests: dict[int, dict[str, Any]] = {}
        self.running: set[int] = set()
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.tasks: dict[str, tuple[str, list[str]]] = {}
        self.archives: list[dict[str, Any]] = []
        self.contents: dict[str, dict[str, Any]] = {}
        # Volumes that no guest names.
        self.stray: list[str] = []
        # The token may not see the storage.
        self.hidden = False
        # What the storage says that differs.
        self.storage: dict[str, Any] = {}
        # Further storages: name → type.
        self.storages: dict[str, str] = {}
        # Sizes of volumes that a restore has made.
        self.volumes: dict[str, int] = {}
        # How many backups of a guest the storage keeps; none is all of them.
        self.keeps: Optional[int] = None
        self.fail_next: list[tuple[str, str, Answer | Exception]] = []
        self.before_put: list[Callable[[], None]] = []
        self.task_results: dict[str, tuple[str, list[str]]] = {}
        self.agent_silent = False
        # Somebody else answers at the guest's address.
        self.impostor = False
        # What each question after a command that was run inside says.
        self.executed: list[dict[str, Any]] = []
        self.peer: Optional[FakeNode] = None
        self.privileges = set(PRIVILEGES)
        self.withdrawn: set[str] = set()
        # Privileges that are granted on the guest itself and nowhere above it: Proxmox deletes them with it.
        self.on_guest: set[str] = set()
        self.in_ha: set[int] = set()
        # Disks that an archive should have and has not.
        self.lost: set[str] = set()
        # Snapshots of a guest that its config does not name.
        self.snapshots: dict[int, list[str]] = {}
        self.replication: list[dict[str, Any]] = []
        # Containers, and guests at other nodes of the cluster.
        self.elsewhere: list[dict[str, Any]] = []
        self.pending: list[dict[str, Any]] = []
        # What the node says of its processors, and what its QEMU has.
        self.cpuinfo: dict[str, Any] = {}
        self.capabilities: dict[str, list[dict[str, Any]]] = {
            "cpu": [{"name": name, "custom": 0} for name in ("kvm64", "x86-64-v2-AES", "x86-64-v3")],
            "machines": [{"id": f"pc-{kind}-9.0", "type": kind, "version": "9.0"} for kind in ("i440fx", "q35")],
        }
        # The pool that all guests are in.
        self.pool = ""
        # Interfaces as a running guest has them that only takes others at its next start.
        self.applied: dict[str, Any] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.active: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)

    # ---- what tests look at

    def written(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return the requests that were not reads (a ping of the agent is one, though it is a POST)."""
        return [r for r in self.requests if r[0] != "GET" and not r[1].endswith("agent/ping")]

    # ---- the transport

    def __call__(self, method: str, path: str, values: Mapping[str, Any]) -> Answer:
        self.requests.append((method, path, dict(values)))
        self.check(method, path, values)
        for number, (wanted, part, answer) in enumerate(self.fail_next):
            if wanted == method and part in path:
                del self.fail_next[number]
                if isinstance(answer, Exception):
                    if isinstance(answer, NoAnswer):
                        self._answer(method, path, dict(values))
                    raise answer
                return answer
        return self._answer(method, path, dict(values))

    def _answer(self, method: str, path: str, values: dict[str, Any]) -> Answer:
        words = path.split("/")
        if path == "version":
            return self._data({"version": "8.4.21", "release": "8.4", "repoid": "deadbeef"})
        if path == "access/permissions":
            gone = self.withdrawn | (self.on_guest if values["path"] == "/vms" else set())
            return self._data({values["path"]: dict.fromkeys(self.privileges - gone, 1)})
        if path == "cluster/resources":
            row = {"node": self.node}
            row |= {"pool": self.pool} if self.pool else {}
            here = [
                {**row, "type": self.kind(n), "id": f"{self.kind(n)}/{n}", "vmid": n, "name": self.label(n)}
                for n in self.guests
            ]
            return self._data(here + self.elsewhere)
        if path == "cluster/replication":
            return self._data(self.replication)
        if path == "cluster/backup" or path.startswith("cluster/backup/"):
            return self._jobs(method, words[2:], values)
        if words[:2] != ["nodes", self.node]:
            return 595, "No route to host", None, None
        rest = words[2:]
        if rest[0] in ("qemu", "lxc"):
            return self._guest(rest[0], method, rest[1:], values)
        if rest[0] == "storage" and method == "DELETE":
            volid = "/".join(rest[3:])
            kept = [archive for archive in self.archives if archive["volid"] != volid]
            return self.task("imgdel", f"@{rest[1]}", lambda: setattr(self, "archives", kept))
        if rest[0] == "storage":
            return self._storage(rest[1], rest[2:], values)
        if rest[0] == "tasks":
            return self._tasks(rest[1:], values)
        if rest == ["vzdump", "defaults"]:
            keep = "keep-all=1" if self.keeps is None else f"keep-last={self.keeps}"
            excluded = {"exclude-path": self.excluded} if self.excluded else {}
            return self._data({"storage": values["storage"], "prune-backups": keep, **excluded})
        if rest == ["vzdump", "extractconfig"]:
            made_of = next(a["_config"] for a in self.archives if a["volid"] == values["volume"])
            if "rootfs" in made_of:
                has_not = self.lost
                return self._data("".join(f"{k}: {v}\n" for k, v in sorted(made_of.items()) if k not in has_not))
            has = [
                d for d in guest_config.drives(made_of) if d.name not in {*guest_config.left_out(made_of), *self.lost}
            ]
            return self._data("".join(f"#qmdump#map:{d.name}:drive-{d.name}:{d.storage}:raw:\n" for d in has))
        if rest[0] == "vzdump":
            return self._vzdump(values)
        if rest == ["status"]:
            return self._data({"memory": {"free": 8 << 30}, "cpuinfo": {"model": "emulated", **self.cpuinfo}})
        if rest[:2] == ["capabilities", "qemu"]:
            return self._data(self.capabilities[rest[2]])
        if rest[0] == "network":
            return self._data([{"iface": "vmbr0", "type": "bridge"}])
        return 501, f"Method '{method} /{path}' not implemented", None, None

    def _data(self, data: Any) -> Answer:
        return 200, OK, data, None

    def task(self, kind: str, vmid: Any, act: Callable[[], None] = lambda: None, log: tuple[str, ...] = ()) -> Answer:
        """Run a task at once; its result can be ordered beforehand."""
        number = next(self._numbers)
        upid = f"UPID:{self.node}:{number:08X}:000283EE:6B0008D3:{kind}:{vmid}:bascule@pve!move:"
        if kind in self.task_results:
            self.tasks[upid] = self.task_results.pop(kind)
        else:
            act()
            self.tasks[upid] = (OK, [*log, "TASK OK"])
        return self._data(upid)

    # ---- guests

    def digest(self, vmid: int) -> str:
        """Return the config's digest."""
        return hashlib.sha1(repr(sorted(self.guests[vmid].items())).encode(), usedforsecurity=False).hexdigest()

    def _guest(self, kind: str, method: str, rest: list[str], values: dict[str, Any]) -> Answer:
        if not rest and method == "POST":
            return self._restore_container(values) if kind == "lxc" else self._restore(values)
        if not rest:
            return self._data([{"vmid": n, "name": self.label(n)} for n in self.guests if self.kind(n) == kind])
        vmid = int(rest[0])
        if "VM.Audit" in self.withdrawn:
            return 403, f"Permission check failed (/vms/{vmid}, VM.Audit)", None, None
        if vmid not in self.guests or self.kind(vmid) != kind:
            folder = "lxc" if kind == "lxc" else "qemu-server"
            return 500, f"Configuration file 'nodes/{self.node}/{folder}/{vmid}.conf' does not exist", None, None
        return self._container(method, vmid, rest, values) if kind == "lxc" else self._qemu(method, vmid, rest, values)

    def _qemu(self, method: str, vmid: int, rest: list[str], values: dict[str, Any]) -> Answer:
        config, what = self.guests[vmid], "/".join(rest[1:])
        if what == "config" and method == "GET":
            now = self.applied if vmid in self.running and str(values.get("current", 0)) == "1" else {}
            return self._data({**config, **now, "digest": self.digest(vmid)})
        if what == "config" and method == "PUT":
            return self._put(vmid, values)
        if what == "pending":
            return self._data(self.pending)
        if what == "snapshot":
            names = [*self.snapshots.get(vmid, []), *([config["parent"]] if "parent" in config else [])]
            return self._data([*({"name": n} for n in names), {"name": "current", "description": "You are here!"}])
        if what == "status/current":
            status = "running" if vmid in self.running else "stopped"
            lock = {"lock": config["lock"]} if "lock" in config else {}
            return self._data(
                {
                    "status": status,
                    "qmpstatus": status,
                    "vmid": vmid,
                    "ha": {"managed": int(vmid in self.in_ha)},
                    **lock,
                }
            )
        if what == "agent/ping":
            return self._ping(vmid)
        if what == "agent/exec":
            assert isinstance(values["command"], list)
            return self._ping(vmid) if self.agent_silent else self._data({"pid": 41 + len(self.executed)})
        if what == "agent/exec-status":
            return self._data(self.executed.pop(0) if self.executed else {"exited": 0})
        if what == "status/start":
            if self.shutting:
                return self.locked(vmid)
            return self.task("qmstart", vmid, lambda: self._start(vmid))
        if what == "remote_migrate":
            return self._remote_migrate(vmid, values)
        if what == "status/shutdown" and self.shutdown_takes:
            return self._begin_shutdown(vmid)
        if what in ("status/shutdown", "status/stop"):
            return self.task("qmshutdown" if "down" in what else "qmstop", vmid, lambda: self.running.discard(vmid))
        if method == "DELETE" and str(config.get("protection", 0)) == "1":
            return 500, f"can't remove VM {vmid} - protection mode enabled", None, None
        if method == "DELETE":
            return self.task("qmdestroy", vmid, lambda: self._forget(vmid))
        return 501, f"Method '{method} /{what}' not implemented", None, None

    def _remote_migrate(self, vmid: int, values: dict[str, Any]) -> Answer:
        if "fingerprint=AA:BB" not in values["target-endpoint"]:
            return 500, "500 Can't connect to pve-tls:8006 (fingerprint 'CC' not verified, abort!)", None, None
        assert self.peer is not None
        peer, target = self.peer, values["target-vmid"]

        def act() -> None:
            source, _, bridge = values["target-bridge"].partition(":")
            moved = {k: str(v).replace(f"bridge={source}", f"bridge={bridge}") for k, v in self.guests[vmid].items()}
            peer.guests[target] = moved
            self.guests[vmid]["lock"] = "migrate"

        return self.task("qmigrate", vmid, act, ("1073741824 bytes (1.1 GB, 1.0 GiB) copied, 40 s, 26.8 MB/s",))

    def _start(self, vmid: int) -> None:
        if vmid not in self.running:
            self.applied = {}
        self.running.add(vmid)

    def _forget(self, vmid: int) -> None:
        del self.guests[vmid]
        self.containers.discard(vmid)
        self.withdrawn |= self.on_guest

    def _ping(self, vmid: int) -> Answer:
        if vmid not in self.running:
            return 500, f"VM {vmid} is not running", None, None
        if self.agent_silent:
            return 500, "QEMU guest agent is not running", None, None
        return self._data({"result": {}})

    def _put(self, vmid: int, values: dict[str, Any]) -> Answer:
        if self.before_put:
            self.before_put.pop(0)()
        digest = values.pop("digest", None)
        if digest is not None and digest != self.digest(vmid):
            return 500, "detected modified configuration - file changed by other user? Try again.", None, None
        if "lock" in self.guests[vmid]:
            return 500, f"VM is locked ({self.guests[vmid]['lock']})", None, None
        if vmid in self.running and "network" not in self.guests[vmid].get("hotplug", "network"):
            self.applied = {k: self.guests[vmid][k] for k in values if k.startswith("net")} | self.applied
        self.guests[vmid].update({name: self._stored(name, value) for name, value in values.items()})
        return self._data(None)

    def _stored(self, name: str, value: Any) -> Any:
        return f"{value}\n" if name == "description" else value

    def _restore(self, values: dict[str, Any]) -> Answer:
        vmid = int(values.pop("vmid"))
        prefix = f"unable to restore VM {vmid} -"
        if vmid in self.guests and not values.pop("force", 0):
            return 500, f"{prefix} VM {vmid} already exists on node '{self.node}'", None, None
        if "archive" not in values:
            made = {k: self._stored(k, v) for k, v in values.items()}
            return self.task("qmcreate", vmid, lambda: self.guests.update({vmid: made}))
        if str(self.guests.get(vmid, {}).get("protection", 0)) == "1":
            self.task_results["qmrestore"] = (f"{prefix} - protection mode enabled", [])
        archive = next(a for a in self.archives if a["volid"] == values["archive"])
        overrides = {k: self._stored(k, v) for k, v in values.items() if k not in ("archive", "storage")}

        def act() -> None:
            kept = {k: v for k, v in archive["_config"].items() if ",backup=0" not in str(v)}
            self.guests[vmid] = {**kept, **self._made(vmid, str(values.get("storage", "")), kept), **overrides}

        return self.task("qmrestore", vmid, act, ("progress 100% (read 1073741824 bytes, duration 2 sec)",))

    # ---- storage and tasks

    def _jobs(self, method: str, rest: list[str], values: dict[str, Any]) -> Answer:
        if not rest:
            return self._data([dict(job) for job in self.jobs.values()])
        self.jobs[rest[0]].update(values)
        return self._data(None)

    def _storage(self, name: str, rest: list[str], values: dict[str, Any]) -> Answer:
        if name in self.storages:
            return self._further_storage(name, rest)
        if name != "local":
            return 500, f"storage '{name}' does not exist", None, None
        if self.hidden:
            return 403, f"Permission check failed (/storage/{name}, Datastore.Audit)", None, None
        if rest == ["status"]:
            return self._data(
                {"type": "dir", "content": "images,rootdir,backup,iso", "avail": 50 << 30, "active": 1, "enabled": 1}
                | self.storage
            )
        if rest == ["content"] and values.get("content") == "images":
            return self._data([{"volid": volid, "vmid": values["vmid"], "content": "images"} for volid in self.stray])
        if rest == ["content"]:
            return self._data([{k: v for k, v in a.items() if not k.startswith("_")} for a in self.archives])
        volid = "/".join(rest[1:])
        if volid.startswith(("local:iso/", "local:snippets/")) and volid not in self.contents:
            return 500, f"volume '{volid}' does not exist", None, None
        kind = "dump" if ":backup/" in volid else "images"
        path = f"/var/lib/vz/{kind}/{volid.partition(':')[2].removeprefix('backup/')}"
        told = [
            drive.size
            for config in self.guests.values()
            for drive in guest_config.drives(config)
            if drive.volid == volid
        ]
        return self._data(
            {"path": path, "format": "raw", "size": (told or [1 << 30])[0] or 1 << 30, "used": 1 << 20}
            | self.contents.get(volid, {})
        )

    def _further_storage(self, name: str, rest: list[str]) -> Answer:
        kind = self.storages[name]
        if rest == ["status"]:
            content = "images,backup" if kind in ("dir", "btrfs") else "backup" if kind == "pbs" else "images,rootdir"
            content = content if kind == "pbs" else f"{content},rootdir"
            return self._data({"type": kind, "content": content, "avail": 90 << 30, "active": 1, "enabled": 1})
        if rest == ["content"]:
            return self._data([])
        volid = "/".join(rest[1:])
        told = [
            drive.size
            for config in self.guests.values()
            for drive in guest_config.drives(config)
            if drive.volid == volid
        ]
        size = self.volumes.get(volid) or (told or [0])[0] or 1 << 30
        volume = volid.partition(":")[2]
        is_folder = volume.startswith("subvol-")
        # As PVE::Storage states them: what LVM and Ceph use is not told.
        path, used = {
            "lvm": (f"/dev/vg0/{volume}", 0),
            "lvmthin": (f"/dev/pve/{volume}", 0),
            "zfspool": (f"{'/rpool/data' if is_folder else '/dev/zvol/rpool/data'}/{volume}", 1 << 20),
            "rbd": (f"rbd:{name}/{volume}:conf=/etc/pve/ceph.conf:id=admin", 0),
            "btrfs": (f"/mnt/{name}/images/{volume.removesuffix('.raw')}/disk.raw", 1 << 20),
        }.get(kind, (f"/mnt/{name}/images/{volume}", 1 << 20))
        image = "subvol" if is_folder else "raw" if "." not in volume else volume.rpartition(".")[2]
        return self._data({"path": path, "format": image, "size": size, "used": used} | self.contents.get(volid, {}))

    def _made(self, vmid: int, storage: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """The drives of an archive on the storage that a restore names, with sizes as it rounds them up."""
        made = {}
        named = storage
        for number, drive in enumerate(guest_config.drives(config)):
            # Without one, each where its name in the archive says.
            storage = named or drive.storage
            if storage == "local":
                continue
            kind = self.storages.get(storage, "dir")
            grain = {"lvm": 4 << 20, "lvmthin": 4 << 20, "zfspool": 1 << 20, "rbd": 1 << 20}.get(kind, 1)
            # The archive has of an EFI disk what QEMU maps.
            size = guest_config.efi_seen(config) if drive.name == "efidisk0" else drive.size
            size = -(-size // grain) * grain
            name = f"vm-{vmid}-disk-{number}"
            volid = f"{storage}:{vmid}/{name}.raw" if grain == 1 else f"{storage}:{name}"
            self.volumes[volid] = size
            others = [f"{k}={v}" for k, v in drive.options.items() if k not in ("", "file", "size", "format")]
            made[drive.name] = ",".join([volid, *others, f"size={size >> 10}K"])
        return made

    def _tasks(self, rest: list[str], values: dict[str, Any]) -> Answer:
        if not rest:
            kind = values.get("typefilter")
            return self._data([row for row in self.active if kind in (None, row["type"])])
        upid = rest[0]
        if upid not in self.tasks:
            return 400, "Parameter verification failed.", None, {"upid": "no such task"}
        if rest[1] == "status" and self._shuts(upid):
            return self._data({"upid": upid, "status": "running", "node": self.node})
        exitstatus, lines = self.tasks[upid]
        if rest[1] == "status":
            return self._data({"upid": upid, "status": "stopped", "exitstatus": exitstatus, "node": self.node})
        start = int(values.get("start", 0))
        return self._data(
            [{"n": n, "t": t} for n, t in enumerate(lines, 1)][start : start + int(values.get("limit", 50))]
        )

    def _vzdump(self, values: dict[str, Any]) -> Answer:
        vmid = int(values["vmid"])
        ending = ("tar" if vmid in self.containers else "vma") + ("" if values.get("compress") == "0" else ".zst")
        name = f"vzdump-{self.kind(vmid)}-{vmid}-2026_11_20-08_46_{next(self._numbers):02d}.{ending}"
        notes = str(values.get("notes-template", "")).replace("{{guestname}}", str(self.label(vmid)))
        protected = {"protected": 1} if str(values.get("protected", 0)) == "1" else {}
        removes = str(values.get("remove", 1)) == "1"
        counted = [row for row in self.archives if row["vmid"] == vmid and "protected" not in row]
        if self.keeps is not None and not removes and not protected and len(counted) >= self.keeps:
            self.task_results["vzdump"] = ("job errors", [
                f"ERROR: Backup of VM {vmid} failed - There is a max backup limit of {self.keeps} enforced by the "
                "target storage or the vzdump parameters. Either increase the limit or delete old backups.",
                "TASK ERROR: job errors",
            ])  # fmt: skip

        def act() -> None:
            if self.keeps is not None and removes:
                for old in counted[: max(0, len(counted) + 1 - self.keeps)]:
                    self.archives.remove(old)
            self.archives.append(
                {
                    "volid": f"local:backup/{name}",
                    "vmid": vmid,
                    "ctime": 1795164361 + len(self.archives),
                    "size": 41982215,
                    "format": ending,
                    "content": "backup",
                    "notes": notes,
                    "_config": dict(self.guests[vmid]),
                    **protected,
                }
            )

        return self.task("vzdump", vmid, act, (f"INFO: creating vzdump archive '/var/lib/vz/dump/{name}'",))


CONFIG = {
    "name": "courses",
    "agent": "1",
    "memory": "256",
    "onboot": 1,
    "boot": "order=scsi0;net0",
    "net0": "virtio=BC:24:11:03:07:C1,bridge=vmbr0",
    "scsi0": "local:100/vm-100-disk-0.raw,size=1G",
    "ide2": "local:100/vm-100-cloudinit.qcow2,media=cdrom",
    "description": "The courses' web application.\nAsk Nadia.\n",
}


def guest(node: FakeNode, machine: str, **limits: float) -> Guest:
    """Return the guest 100 at a node, with a clock that runs as fast as it is asked to sleep."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return Guest(
        Api(node, machine, sleep=sleep),
        Side(machine=machine, node=node.node, vmid=100, storage="local", health_url=f"http://{machine}/healthz"),
        "courses_guest",
        Limits(**{"shutdown": 5, "agent": 5, "health": 5, "lock": 5, **limits}),
        probe=lambda url: "" if 100 in node.running or node.impostor else f"{url}: no route to host",
        sleep=sleep,
        clock=lambda: now[0],
    )


def pair(check: Callable[[str, str, Mapping[str, Any]], None]) -> tuple[FakeNode, FakeNode, Guest, Guest]:
    """Return two nodes, the first with a running guest 100."""
    here, there = FakeNode("pve-mtp", check), FakeNode("pve-tls", check)
    here.guests[100] = dict(CONFIG)
    here.running.add(100)
    return here, there, guest(here, "pve-mtp"), guest(there, "pve-tls")
