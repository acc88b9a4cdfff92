"""Endpoints of the cluster and of access: version, resources, permissions, HA, backup jobs."""

from __future__ import annotations

import json
from typing import Any

from .errors import Failure, bad_parameters
from .guest_store import write_durably
from .params import FLAG, TEXT, Param
from .routes import Request, route
from .volumes import CONTENT, STORAGE, check_storage


@route("GET", "/version")
def version(request: Request) -> Any:
    return request.node.about()


@route("GET", "/cluster/resources", spec={"type": Param(enum=("vm", "storage", "node", "sdn"))})
def resources(request: Request) -> Any:
    node, kind = request.node, request.values.get("type")
    found: list[dict[str, Any]] = []
    if kind in (None, "vm"):
        for vmid in node.store.vmids():
            if request.caller.may(f"/vms/{vmid}", "VM.Audit"):
                status = node.status(vmid)
                status["maxcpu"] = status.pop("cpus")
                status.pop("pid", None)
                found.append({"template": 0, **status, "id": f"qemu/{vmid}", "type": "qemu", "node": node.name})
        for vmid in node.container_store.vmids():
            if request.caller.may(f"/vms/{vmid}", "VM.Audit"):
                status = node.container_status(vmid)
                status["maxcpu"] = status.pop("cpus")
                status.pop("pid", None)
                found.append({"template": 0, **status, "id": f"lxc/{vmid}", "type": "lxc", "node": node.name})
    if kind in (None, "storage"):
        usage = node.volumes.usage()
        found.append({
            "id": f"storage/{node.name}/{STORAGE}", "type": "storage", "node": node.name, "storage": STORAGE,
            "plugintype": "dir", "status": "available", "shared": 0, "disk": usage["used"], "maxdisk": usage["total"],
            "content": node.storage_status()["content"],
        })  # fmt: skip
    if kind in (None, "node"):
        found.append(node.resource())
    return found


@route("GET", "/cluster/status", ("/", "Sys.Audit"))
def cluster_status(request: Request) -> Any:
    node = request.node.name
    return [{"type": "node", "id": f"node/{node}", "name": node, "online": 1, "local": 1, "nodeid": 0, "level": ""}]


@route("GET", "/cluster/nextid", spec={"vmid": Param("integer", minimum=100, maximum=999999999)})
def next_id(request: Request) -> Any:
    taken = {*request.node.store.vmids(), *request.node.container_store.vmids()}
    wanted = request.values.get("vmid")
    if wanted is None:
        return str(next(number for number in range(100, 1000000) if number not in taken))
    if wanted in taken:
        raise bad_parameters({"vmid": f"VM {wanted} already exists"})
    return str(wanted)


@route("GET", "/cluster/ha/resources", ("/", "Sys.Audit"), {"type": Param(enum=("ct", "vm"))})
def ha_resources(request: Request) -> Any:
    return []


@route("GET", "/cluster/backup", ("/", "Sys.Audit"))
def backup_jobs(request: Request) -> Any:
    return list(_jobs(request).values())


@route("PUT", "/cluster/backup/{id}", ("/", "Sys.Modify"), {"enabled": FLAG, "comment": TEXT})
def change_backup_job(request: Request) -> Any:
    jobs, name = _jobs(request), request.path["id"]
    if name not in jobs:
        raise Failure(f"No such job '{name}'")
    jobs[name] |= request.values
    write_durably(request.node.paths.jobs, json.dumps(jobs))


def _jobs(request: Request) -> dict[str, dict[str, Any]]:
    """Scheduled backups as a test has written them down; this node never runs one by itself."""
    path = request.node.paths.jobs
    return dict(json.loads(path.read_text())) if path.exists() else {}


@route("GET", "/cluster/replication")
def replication_jobs(request: Request) -> Any:
    return []


@route("POST", "/access/ticket", spec={
    "username": Param(required=True), "password": Param(required=True), "realm": TEXT, "new-format": FLAG,
})  # fmt: skip
def ticket(request: Request) -> Any:
    name, realm = request.values["username"], request.values.get("realm")
    return request.node.access.login(f"{name}@{realm}" if realm else name, request.values["password"])


@route("GET", "/access/permissions", spec={"path": TEXT, "userid": TEXT})
def permissions(request: Request) -> Any:
    shown = request.caller.shown()
    path = request.values.get("path")
    if path is None:
        return shown
    names = {name for group in shown.values() for name in group}
    return {path: {name: 1 for name in sorted(names) if request.caller.may(path, name)}}


@route("GET", "/storage", spec={"type": TEXT})
def storages(request: Request) -> Any:
    return [{"storage": STORAGE, "type": "dir", "path": "/var/lib/vz", "content": CONTENT}]


@route("GET", "/storage/{storage}", ("/storage/{storage}", "Datastore.Allocate"))
def storage(request: Request) -> Any:
    check_storage(request.path["storage"])
    return {"storage": STORAGE, "type": "dir", "path": "/var/lib/vz", "content": CONTENT}


@route("GET", "/nodes")
def nodes(request: Request) -> Any:
    return [request.node.resource()]


@route("GET", "/nodes/{node}/status", ("/nodes/{node}", "Sys.Audit"))
def node_status(request: Request) -> Any:
    return request.node.summary()


# Some of the models and machine types of QEMU 9.2 and Proxmox VE 8.4.
MODELS = ("kvm64", "qemu64", "x86-64-v2", "x86-64-v2-AES", "x86-64-v3", "x86-64-v4", "host", "max", "EPYC", "Haswell")
MACHINES = ("6.2", "7.2", "8.1", "9.0", "9.2")


@route("GET", "/nodes/{node}/capabilities/qemu/cpu")
def models(request: Request) -> Any:
    return [{"name": name, "custom": 0, "vendor": "default"} for name in MODELS]


@route("GET", "/nodes/{node}/capabilities/qemu/machines")
def machines(request: Request) -> Any:
    return [
        {"id": f"pc-{kind}-{version}", "type": kind, "version": version}
        for version in MACHINES
        for kind in ("i440fx", "q35")
    ]


@route("GET", "/nodes/{node}/version")
def node_version(request: Request) -> Any:
    return request.node.about()
