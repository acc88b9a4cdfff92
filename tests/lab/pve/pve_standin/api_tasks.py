"""Endpoints of tasks, and of vzdump, which is one."""

from __future__ import annotations

from typing import Any

from .errors import Failure, bad_parameters
from .params import FLAG, TEXT, Param
from .restore import config_in
from .routes import Request, WithTotal, route
from .tasks import Upid
from .volumes import check_storage
from .vzdump import Job

TASKS = "/nodes/{node}/tasks"
WHOLE = Param("integer", minimum=0)
VZDUMP = {
    "vmid": TEXT, "all": FLAG, "mode": Param(enum=("snapshot", "suspend", "stop")),
    "compress": Param(enum=("0", "1", "gzip", "lzo", "zstd")), "storage": TEXT, "lockwait": WHOLE,
    "notes-template": TEXT, "remove": FLAG, "protected": FLAG, "quiet": FLAG, "stopwait": WHOLE, "zstd": WHOLE,
    "bwlimit": WHOLE, "ionice": Param("integer", minimum=0, maximum=8), "mailnotification": TEXT, "mailto": TEXT,
    "notification-mode": TEXT, "exclude": TEXT, "stdexcludes": FLAG,
    "notification-target": Param(only_8=True),
    "notification-policy": Param(enum=("always", "failure", "never"), only_8=True),
}  # fmt: skip


@route("GET", TASKS, spec={
    "errors": FLAG, "limit": WHOLE, "since": WHOLE, "source": Param(enum=("archive", "active", "all")),
    "start": WHOLE, "statusfilter": TEXT, "typefilter": TEXT, "until": WHOLE, "userfilter": TEXT,
    "vmid": Param("integer", minimum=100),
})  # fmt: skip
def tasks(request: Request) -> Any:
    values = request.values
    found = [
        entry
        for entry in request.node.tasks.listed(values.get("source", "archive"))
        if values.get("typefilter", entry["type"]) == entry["type"]
        and values.get("vmid", entry["id"]) in (entry["id"], int(entry["id"]) if entry["id"].isdigit() else None)
        and values.get("since", 0) <= entry["starttime"] <= values.get("until", entry["starttime"])
        and (not values.get("errors") or entry.get("status") not in ("OK", "RUNNING"))
    ]
    start = values.get("start", 0)
    return WithTotal(found[start : start + values.get("limit", 50)], len(found))


def need_for_task(request: Request, privilege: str) -> None:
    """One's own tasks need nothing."""
    owner = Upid.parse(request.path["upid"]).user
    if owner not in (request.caller.name, request.caller.name.partition("!")[0]):
        request.caller.need(f"/nodes/{request.node.name}", privilege)


@route("GET", TASKS + "/{upid}/status")
def status(request: Request) -> Any:
    need_for_task(request, "Sys.Audit")
    return request.node.tasks.status(request.path["upid"])


@route("GET", TASKS + "/{upid}/log", spec={"start": WHOLE, "limit": WHOLE, "download": FLAG})
def log(request: Request) -> Any:
    need_for_task(request, "Sys.Audit")
    lines, total = request.node.tasks.log(
        request.path["upid"], request.values.get("start", 0), request.values.get("limit", 50)
    )
    return WithTotal(lines, total)


@route("DELETE", TASKS + "/{upid}")
def stop(request: Request) -> Any:
    need_for_task(request, "Sys.Modify")
    request.node.tasks.stop(request.path["upid"])


@route("GET", "/nodes/{node}/vzdump/defaults", spec={"storage": TEXT})
def vzdump_defaults(request: Request) -> Any:
    storage = request.values.get("storage", "local")
    request.caller.need(f"/storage/{storage}", "Datastore.Audit|Datastore.AllocateSpace")
    check_storage(storage)
    keeps = request.node.volumes.keeps()
    return {"storage": storage, "prune-backups": "keep-all=1" if keeps is None else f"keep-last={keeps}"}


@route("GET", "/nodes/{node}/vzdump/extractconfig", spec={"volume": Param(required=True)})
def extractconfig(request: Request) -> Any:
    volid = request.values["volume"]
    request.caller.need(f"/storage/{volid.partition(':')[0]}", "Datastore.Audit|Datastore.AllocateSpace")
    path = request.node.volumes.path(volid)
    if not path.exists():
        raise Failure(f"volume '{volid}' does not exist")
    return request.node.container_archive.config_in(path) if ".tar" in path.name else config_in(path)


@route("POST", "/nodes/{node}/vzdump", spec=VZDUMP)
def vzdump(request: Request) -> Any:
    node, values = request.node, request.values
    if values.get("all"):
        excluded = values.get("exclude", "").replace(",", " ").split()
        known = sorted({*node.store.vmids(), *node.container_store.vmids()})
        vmids = [vmid for vmid in known if str(vmid) not in excluded]
    else:
        words = values.get("vmid", "").replace(",", " ").split()
        if not words:
            raise bad_parameters({"vmid": "property is missing and it is not optional"})
        if not all(word.isdigit() and int(word) >= 100 for word in words):
            raise bad_parameters({"vmid": "invalid format - value does not look like a valid VM ID"})
        vmids = [int(word) for word in words]
    storage = values.get("storage", "local")
    for vmid in vmids:
        request.caller.need(f"/vms/{vmid}", "VM.Backup")
    request.caller.need(f"/storage/{storage}", "Datastore.AllocateSpace")
    compress = values.get("compress", "0")
    if compress not in ("0", "gzip", "zstd"):
        raise bad_parameters({"compress": "this stand-in has no lzo"})
    job = Job(
        tuple(vmids), values.get("mode", "snapshot"), compress, storage, values.get("lockwait", 180),
        values.get("notes-template"), values.get("stopwait", 10), bool(values.get("remove", 1)),
        bool(values.get("protected", 0)),
        {"node": node.name, **{key: value for key, value in values.items() if key != "vmid"}},
    )  # fmt: skip
    ident = str(vmids[0]) if len(vmids) == 1 else ""
    return node.tasks.start("vzdump", ident, request.caller.name, lambda task: node.vzdump.run(task, job))
