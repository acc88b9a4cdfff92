"""Endpoints of containers: list, configuration, creation by restore, power, interfaces, destroy."""

from __future__ import annotations

import re
from typing import Any

from .containers import cards
from .errors import Failure
from .guest_config import Config
from .guest_store import check_lock
from .node import SHUTDOWN_SECONDS
from .params import FLAG, TEXT, VMID, WHOLE, Param, named
from .restore import new_mac
from .routes import Request, route
from .tasks import Task

LXC = "/nodes/{node}/lxc"
ONE = LXC + "/{vmid}"
VMS = "/vms/{vmid}"
ANY_CONFIG = "|".join(f"VM.Config.{part}" for part in ("Disk", "CPU", "Memory", "Network", "Options"))
# The settings of a container that this stand-in carries; every other one is refused like an unknown one.
CONTAINER: dict[str, Param] = {
    "arch": TEXT, "cores": Param("integer", minimum=1), "description": TEXT, "features": TEXT, "hostname": TEXT,
    "memory": WHOLE, "mp[n]": TEXT, "nameserver": TEXT, "net[n]": TEXT, "onboot": FLAG, "ostype": TEXT,
    "protection": FLAG, "rootfs": TEXT, "searchdomain": TEXT, "startup": TEXT, "swap": WHOLE, "tags": TEXT,
    "timezone": TEXT, "tty": WHOLE, "unprivileged": FLAG,
}  # fmt: skip
CREATE = {
    **CONTAINER, "vmid": VMID, "ostemplate": Param(required=True), "restore": FLAG, "storage": TEXT, "force": FLAG,
    "start": FLAG, "unique": FLAG, "pool": TEXT,
}  # fmt: skip
UPDATE = {**CONTAINER, "delete": TEXT, "digest": TEXT, "revert": TEXT}
PRIVILEGES = (
    ("net", "VM.Config.Network"), ("nameserver", "VM.Config.Network"), ("searchdomain", "VM.Config.Network"),
    ("hostname", "VM.Config.Network"), ("memory", "VM.Config.Memory"), ("swap", "VM.Config.Memory"),
    ("cores", "VM.Config.CPU"), ("rootfs", "VM.Config.Disk"), ("mp", "VM.Config.Disk"), ("", "VM.Config.Options"),
)  # fmt: skip
NUMBERS = re.compile(r"cores|memory|swap|onboot|protection|unprivileged|tty")


def settings(values: dict[str, Any]) -> Config:
    """The container's own settings among the parameters, as configuration text."""
    return {key: _with_mac(key, str(value)) for key, value in values.items() if named(CONTAINER, key)}


def _with_mac(key: str, value: str) -> str:
    return f"{value},hwaddr={new_mac()}" if key.startswith("net") and "hwaddr=" not in value else value


def need_for(request: Request, vmid: int, keys: list[str]) -> None:
    for key in keys:
        request.caller.need(f"/vms/{vmid}", next(name for prefix, name in PRIVILEGES if key.startswith(prefix)))


@route("GET", LXC)
def containers(request: Request) -> Any:
    node = request.node
    return [
        node.container_status(vmid)
        for vmid in node.container_store.vmids()
        if request.caller.may(f"/vms/{vmid}", "VM.Audit")
    ]


@route("GET", ONE + "/config", (VMS, "VM.Audit"), {"current": FLAG, "snapshot": TEXT})
def config(request: Request) -> Any:
    values = request.node.container_store.load(request.vmid)
    return {key: int(value) if NUMBERS.fullmatch(key) else value for key, value in values.items()}


@route("GET", ONE + "/pending", (VMS, "VM.Audit"))
def pending(request: Request) -> Any:
    return [
        {"key": key, "value": value} for key, value in sorted(request.node.container_store.load(request.vmid).items())
    ]


@route("GET", ONE + "/snapshot", (VMS, "VM.Audit"))
def snapshots(request: Request) -> Any:
    digest = request.node.container_store.load(request.vmid)["digest"]
    return [{"name": "current", "description": "You are here!", "digest": digest}]


@route("GET", ONE + "/status/current", (VMS, "VM.Audit"))
def current(request: Request) -> Any:
    return {**request.node.container_status(request.vmid), "ha": {"managed": 0}}


@route("GET", ONE + "/interfaces", (VMS, "VM.Audit"))
def interfaces(request: Request) -> Any:
    request.node.container_store.load(request.vmid)
    return request.node.containers.interfaces(request.vmid)


@route("PUT", ONE + "/config", (VMS, ANY_CONFIG), UPDATE)
def change(request: Request) -> Any:
    node, vmid, values = request.node, request.vmid, request.values
    removed = [key for key in values.get("delete", "").replace(",", " ").split() if key]
    wanted = settings(values)
    need_for(request, vmid, [*wanted, *removed])
    if not wanted and not removed:
        raise Failure("no options specified")
    with node.container_store.locked(vmid):
        before = node.container_store.load(vmid)
        if values.get("digest", before["digest"]) != before["digest"]:
            raise Failure("detected modified configuration - file changed by other user? Try again.")
        check_lock(before, "CT")
        after = {key: value for key, value in before.items() if key not in removed} | wanted
        if node.containers.pid(vmid) is not None:
            for key, card in cards(after).items():
                if before.get(key) != after[key]:
                    node.containers.connect(vmid, key, card)
        node.container_store.save(vmid, after)


@route("POST", LXC, spec=CREATE)
def create(request: Request) -> Any:
    """A container out of an archive; this stand-in has no templates."""
    node, values, vmid = request.node, request.values, request.values["vmid"]
    storage, archive = values.get("storage", "local"), values["ostemplate"]
    request.caller.need(f"/vms/{vmid}", "VM.Allocate")
    request.caller.need(f"/storage/{storage}", "Datastore.AllocateSpace")
    node.volumes.check(storage)
    if not values.get("restore"):
        raise Failure("this stand-in has no templates: a container is made by the restore of an archive")
    path = node.volumes.path(archive)
    if not path.exists():
        raise Failure(f"volume '{archive}' does not exist")
    with node.container_store.locked(vmid):
        if node.store.exists(vmid) or (node.container_store.exists(vmid) and not values.get("force")):
            raise Failure(f"unable to create CT {vmid} - VM {vmid} already exists on node '{node.name}'")
        if node.container_store.exists(vmid):
            before = node.container_store.load(vmid)
            if before.get("protection") == "1":
                raise Failure(f"unable to restore CT {vmid} - protection mode enabled")
            check_lock(before, "CT")
            if node.containers.pid(vmid) is not None:
                raise Failure(f"unable to restore CT {vmid} - container is running")
            node.container_store.change(vmid, lock="create")
        else:
            node.container_store.save(vmid, {"lock": "create"})

    def work(task: Task) -> None:
        node.container_archive.restore(task, vmid, path, settings(values), storage)
        if values.get("start"):
            node.start_container(task, vmid)

    return node.tasks.start("vzrestore", str(vmid), request.caller.name, work)


@route("DELETE", ONE, (VMS, "VM.Allocate"), {"force": FLAG, "purge": FLAG, "destroy-unreferenced-disks": FLAG})
def destroy(request: Request) -> Any:
    node, vmid = request.node, request.vmid
    if node.container_store.load(vmid).get("protection") == "1":
        raise Failure(f"can't remove CT {vmid} - protection mode enabled")
    if node.containers.pid(vmid) is not None:
        raise Failure(f"unable to destroy CT {vmid} - container is running")

    def work(task: Task) -> None:
        node.container_archive.destroy(task, vmid)
        node.access.forget(vmid)

    return node.tasks.start("vzdestroy", str(vmid), request.caller.name, work)


@route("POST", ONE + "/status/start", (VMS, "VM.PowerMgmt"), {"debug": FLAG})
def start(request: Request) -> Any:
    node, vmid = request.node, request.vmid
    node.container_store.load(vmid)
    if node.containers.pid(vmid) is not None:
        raise Failure(f"CT {vmid} already running")
    return node.tasks.start("vzstart", str(vmid), request.caller.name, lambda task: node.start_container(task, vmid))


@route("POST", ONE + "/status/stop", (VMS, "VM.PowerMgmt"), {"overrule-shutdown": FLAG})
def stop(request: Request) -> Any:
    node, vmid = _running(request)
    return node.tasks.start(
        "vzstop", str(vmid), request.caller.name, lambda task: node.stop_container(task, vmid, 0, force=True)
    )


@route("POST", ONE + "/status/shutdown", (VMS, "VM.PowerMgmt"), {"timeout": WHOLE, "forceStop": FLAG})
def shutdown(request: Request) -> Any:
    node, vmid = _running(request)
    seconds, force = request.values.get("timeout", SHUTDOWN_SECONDS), bool(request.values.get("forceStop"))
    return node.tasks.start(
        "vzshutdown", str(vmid), request.caller.name, lambda task: node.stop_container(task, vmid, seconds, force)
    )


def _running(request: Request) -> Any:
    request.node.container_store.load(request.vmid)
    if request.node.containers.pid(request.vmid) is None:
        raise Failure(f"CT {request.vmid} not running")
    return request.node, request.vmid
