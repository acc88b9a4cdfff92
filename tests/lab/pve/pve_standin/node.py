"""The node: everything a request or a task works with, under one roof."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

from . import guest_config, guest_store
from .access import Access
from .container_archive import ContainerArchive
from .containers import Containers
from .errors import Failure
from .faults import Faults, Order
from .guest_store import GuestStore
from .paths import Paths
from .qemu import Qemu, has_agent
from .restore import Restore
from .schema import Schema
from .tasks import Task, Tasks
from .volumes import CONTENT, STORAGE, THIN, THIN_CONTENT, Volumes
from .vzdump import Vzdump

# The versions that can be played, and what each calls itself.
VERSIONS = {"8.4": "8.4.21", "9.1": "9.1.3"}
SHUTDOWN_SECONDS = 60


class Node:
    def __init__(self, name: str, paths: Paths, version: str = "8.4", schemas: Path | None = None) -> None:
        paths.make()
        self.name = name
        self.version = version
        self.schema = Schema.load(schemas, version)
        self.paths = paths
        self.faults = Faults()
        self.access = Access(paths, version)
        self.store = GuestStore(paths, name)
        self.qemu = Qemu(paths, silent=lambda vmid: self.faults.take("agent_silent", vmid) is not None)
        self.volumes = Volumes(paths)
        self.tasks = Tasks(paths.tasks, name, self.faults)
        self.container_store = GuestStore(paths, name, "CT")
        self.containers = Containers(paths)
        self.container_archive = ContainerArchive(
            paths, self.container_store, self.volumes, self.containers, self.faults
        )
        self.vzdump = Vzdump(
            paths, name, self.store, self.qemu, self.faults, self.container_store, self.containers,
            self.container_archive,
        )  # fmt: skip
        self.restore = Restore(self.store, self.volumes, self.qemu, self.faults)

    def about(self) -> dict[str, str]:
        """What `GET /version` answers."""
        return {"version": VERSIONS[self.version], "release": self.version, "repoid": "standin"}

    def start(self, task: Task, vmid: int, skiplock: bool = False) -> None:
        with self.store.locked(vmid, task.log):
            config = self.store.load(vmid)
            if not skiplock:
                guest_store.check_lock(config)
            if self.qemu.pid(vmid) is not None:
                raise Failure(f"VM {vmid} already running")
            diskless = self.faults.take("guest_does_not_boot", vmid) is not None
            self.qemu.start(vmid, config, paused=False, say=task.log, diskless=diskless)

    def hold(self, order: Order) -> str:
        """Lock a guest as somebody else's job would, by a task that can be seen; returns the task."""
        vmid, seconds = order.vmid or 0, float(str(order.options.get("seconds", 5)))
        lock = str(order.options.get("lock", "backup"))
        held = threading.Event()

        def work(task: Task) -> None:
            with contextlib.ExitStack() as stack:
                stack.callback(held.set)
                if order.options.get("file"):
                    stack.enter_context(self.store.locked(vmid, task.log))
                else:
                    with self.store.locked(vmid, task.log):
                        self.store.change(vmid, lock=lock)
                    stack.callback(lambda: self._unlock(vmid))
                held.set()
                task.stopped.wait(seconds)
                task.check()

        upid = self.tasks.start("vzdump" if lock == "backup" else "qmigrate", str(vmid), "root@pam", work)
        held.wait(15)
        return upid

    def _unlock(self, vmid: int) -> None:
        with self.store.locked(vmid):
            self.store.change(vmid, lock=None)

    def stop(self, task: Task, vmid: int, skiplock: bool = False) -> None:
        with self.store.locked(vmid, task.log):
            config = self.store.load(vmid)
            if not skiplock:
                guest_store.check_lock(config)
            self.qemu.kill(vmid)

    def shutdown(self, task: Task, vmid: int, seconds: int, force: bool, skiplock: bool = False) -> None:
        with self.store.locked(vmid, task.log):
            config = self.store.load(vmid)
            if not skiplock:
                guest_store.check_lock(config)
            if self.qemu.pid(vmid) is None:
                return
            try:
                # A shutdown that is ordered to fail is one that the guest never hears of: it does not go down later.
                task.check()
                self.qemu.shutdown(vmid, config, seconds, task.check)
            except Failure:
                if not force:
                    raise
                task.log("VM quit/powerdown failed - terminating now with SIGTERM")
                self.qemu.kill(vmid)

    def start_container(self, task: Task, vmid: int) -> None:
        with self.container_store.locked(vmid, task.log):
            config = self.container_store.load(vmid)
            guest_store.check_lock(config, "CT")
            if self.containers.pid(vmid) is not None:
                raise Failure(f"CT {vmid} already running")
            self.containers.start(vmid, config, task.log)

    def stop_container(self, task: Task, vmid: int, seconds: int, force: bool) -> None:
        """Shut a container down; without a moment for that, end it."""
        with self.container_store.locked(vmid, task.log):
            guest_store.check_lock(self.container_store.load(vmid), "CT")
            try:
                task.check()
                if seconds:
                    self.containers.shutdown(vmid, seconds, task.check)
            except Failure:
                if not force:
                    raise
            if force:
                self.containers.kill(vmid)

    def container_status(self, vmid: int) -> dict[str, Any]:
        """What lists and `status/current` share of a container."""
        config = self.container_store.load(vmid)
        running = self.containers.pid(vmid) is not None
        root = guest_config.parse_options(config.get("rootfs", ""), "volume")
        return {
            "vmid": vmid, "name": config.get("hostname", f"CT{vmid}"), "type": "lxc",
            "status": "running" if running else "stopped", "cpus": int(config.get("cores", "1")),
            "maxmem": int(config.get("memory", "512")) << 20, "maxswap": int(config.get("swap", "512")) << 20,
            "maxdisk": guest_config.parse_size(root.get("size", "0")), "disk": 0, "mem": 0, "swap": 0, "cpu": 0,
            "uptime": self.containers.uptime(vmid), "netin": 0, "netout": 0, "diskread": 0, "diskwrite": 0,
            **({"pid": self.containers.pid(vmid)} if running else {}),
            **{key: config[key] for key in ("lock", "tags") if key in config},
        }  # fmt: skip

    def destroy(self, task: Task, vmid: int, skiplock: bool, unreferenced: bool = False) -> None:
        with self.store.locked(vmid, task.log):
            config = self.store.load(vmid)
            if not skiplock:
                guest_store.check_lock(config)
            if self.qemu.pid(vmid) is not None:
                raise Failure(f"VM {vmid} is running - destroy failed")
            self.volumes.remove_of(vmid, config, unreferenced)
            self.store.delete(vmid)
            self.access.forget(vmid)

    def status(self, vmid: int) -> dict[str, Any]:
        """What lists and `status/current` share."""
        config = self.store.load(vmid)
        running = self.qemu.pid(vmid) is not None
        memory = int(guest_config.parse_options(config.get("memory", "512"), "current")["current"]) << 20
        shown: dict[str, Any] = {
            "vmid": vmid,
            "name": config.get("name", f"VM{vmid}"),
            "status": "running" if running else "stopped",
            "cpus": int(config.get("sockets", "1")) * int(config.get("cores", "1")),
            "maxmem": memory, "mem": min(self.qemu.resident(vmid), memory) if running else 0,
            "maxdisk": self._boot_disk(config), "disk": 0, "cpu": 0, "uptime": self.qemu.uptime(vmid),
            "netin": 0, "netout": 0, "diskread": 0, "diskwrite": 0,
        }  # fmt: skip
        if running:
            shown["pid"] = self.qemu.pid(vmid)
        for key in ("lock", "tags"):
            if key in config:
                shown[key] = config[key]
        if config.get("template") == "1":
            shown["template"] = 1
        return shown

    def current(self, vmid: int) -> dict[str, Any]:
        shown = self.status(vmid)
        shown["ha"] = {"managed": 0}
        if has_agent(self.store.load(vmid)):
            shown["agent"] = 1
        shown["qmpstatus"] = "stopped"
        if shown["status"] == "running":
            try:
                shown["qmpstatus"] = self.qemu.monitor(vmid, "query-status")["status"]
                version = self.qemu.monitor(vmid, "query-version")["qemu"]
                shown["running-qemu"] = "{major}.{minor}.{micro}".format(**version)
            except Failure:
                # It ended between the two looks: say what is true now.
                return self.current(vmid) if self.qemu.pid(vmid) is None else {**shown, "qmpstatus": "unknown"}
            shown["running-machine"] = "pc"
            shown["proxmox-support"] = {
                "backup-fleecing": True, "backup-max-workers": True, "pbs-dirty-bitmap": True,
            }  # fmt: skip
        return shown

    @staticmethod
    def _boot_disk(config: guest_config.Config) -> int:
        for drive in guest_config.disks(config).values():
            if "size" in drive:
                return guest_config.parse_size(drive["size"])
        return 0

    def summary(self) -> dict[str, Any]:
        """The node's own load and sizes."""
        memory = {
            name: int(rest.split()[0]) << 10
            for name, _, rest in (line.partition(":") for line in Path("/proc/meminfo").read_text().splitlines())
        }
        usage = self.volumes.usage()
        total, free = memory["MemTotal"], memory["MemAvailable"]
        return {
            "uptime": int(time.clock_gettime(time.CLOCK_BOOTTIME)),
            "cpu": 0, "wait": 0, "idle": 0, "ksm": {"shared": 0},
            "loadavg": Path("/proc/loadavg").read_text().split()[:3],
            "memory": {"total": total, "used": total - free, "free": free},
            "swap": {"total": memory["SwapTotal"], "used": 0, "free": memory["SwapFree"]},
            "rootfs": {**usage, "free": usage["avail"]},
            "cpuinfo": {
                "cpus": os.cpu_count() or 1, "cores": os.cpu_count() or 1, "sockets": 1, "model": "emulated",
                "mhz": "0", "hvm": "0", "flags": "", "user_hz": 100,
            },
            "kversion": " ".join(os.uname()[i] for i in (0, 2, 3)),
            "current-kernel": {
                "sysname": os.uname().sysname, "release": os.uname().release, "version": os.uname().version,
                "machine": os.uname().machine,
            },
            "boot-info": {"mode": "legacy-bios"},
            "pveversion": f"pve-manager/{VERSIONS[self.version]}/standin",
        }  # fmt: skip

    def resource(self) -> dict[str, Any]:
        summary = self.summary()
        return {
            "node": self.name, "id": f"node/{self.name}", "type": "node", "status": "online", "level": "",
            "cpu": 0, "maxcpu": summary["cpuinfo"]["cpus"], "mem": summary["memory"]["used"],
            "maxmem": summary["memory"]["total"], "disk": summary["rootfs"]["used"],
            "maxdisk": summary["rootfs"]["total"], "uptime": summary["uptime"],
        }  # fmt: skip

    def storage_status(self, storage: str = STORAGE) -> dict[str, Any]:
        usage = self.volumes.usage()
        thin = storage == THIN
        return {
            "storage": storage, "type": "lvmthin" if thin else "dir", "active": 1, "enabled": 1, "shared": 0,
            "content": THIN_CONTENT if thin else CONTENT, **usage,
            "used_fraction": usage["used"] / usage["total"] if usage["total"] else 0,
        }  # fmt: skip
