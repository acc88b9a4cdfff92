"""Endpoints of storages, volumes and the network of the node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from .errors import Failure
from .params import FLAG, TEXT, Param
from .routes import Request, route
from .tasks import Task
from .volumes import ARCHIVE, STORAGE, THIN

STORAGES = "/nodes/{node}/storage"
ONE = STORAGES + "/{storage}"
CONTENT_PATH = ONE + "/content"
AUDIT = ("/storage/{storage}", "Datastore.Audit|Datastore.AllocateSpace")


@route("GET", STORAGES, spec={"content": TEXT, "enabled": FLAG, "format": FLAG, "storage": TEXT, "target": TEXT})
def storages(request: Request) -> Any:
    wanted = set(filter(None, request.values.get("content", "").split(",")))
    names = [STORAGE, *([THIN] if request.node.paths.devices.is_dir() else [])]
    found = [
        request.node.storage_status(name)
        for name in names
        if request.values.get("storage", name) == name and request.caller.may(f"/storage/{name}", "Datastore.Audit")
    ]
    return [shown for shown in found if not wanted or wanted & set(shown["content"].split(","))]


@route("GET", ONE + "/status", AUDIT)
def status(request: Request) -> Any:
    request.node.volumes.check(request.path["storage"])
    shown = request.node.storage_status(request.path["storage"])
    return {key: value for key, value in shown.items() if key not in ("storage", "used_fraction")}


@route("GET", CONTENT_PATH, AUDIT, {"content": TEXT, "vmid": Param("integer", minimum=100)})
def content(request: Request) -> Any:
    storage, values = request.path["storage"], request.values
    request.node.volumes.check(storage)
    return request.node.volumes.listed(values.get("content"), values.get("vmid"), storage)


def _volume(request: Request) -> str:
    storage, name = request.path["storage"], request.path["volume"]
    request.node.volumes.check(storage)
    return name if ":" in name else f"{storage}:{name}"


@route("GET", CONTENT_PATH + "/{volume}", AUDIT)
def volume(request: Request) -> Any:
    volid = _volume(request)
    path = request.node.volumes.path(volid)
    if not path.exists():
        raise Failure(f"volume '{volid}' does not exist")
    shown = request.node.volumes.describe(path)
    used = 0 if request.path["storage"] == THIN else path.stat().st_blocks * 512
    return {"path": str(path), "size": shown["size"], "used": used, "format": shown["format"]} | (
        {"notes": shown["notes"]} if "notes" in shown else {}
    )


@route("DELETE", CONTENT_PATH + "/{volume}", spec={"delay": Param("integer", minimum=1, maximum=30)})
def delete(request: Request) -> Any:
    node, volid, caller = request.node, _volume(request), request.caller
    path = node.volumes.path(volid)
    storage, archive = f"/storage/{STORAGE}", ARCHIVE.match(path.name)
    backup = (
        archive and caller.may(f"/vms/{archive[1]}", "VM.Backup") and caller.may(storage, "Datastore.AllocateSpace")
    )
    if not backup:
        caller.need(storage, "Datastore.Allocate")
    owner = path.parent.name if path.parent != node.paths.dump else ""

    def work(task: Task) -> None:
        if path.with_name(path.name + ".protected").exists():
            raise Failure(f"cannot remove protected archive '{path}'")
        node.volumes.remove(volid)

    return node.tasks.start("imgdel", f"{owner}@{STORAGE}", request.caller.name, work)


@route("POST", ONE + "/upload", ("/storage/{storage}", "Datastore.AllocateTemplate"), {
    "content": Param(required=True, enum=("iso", "vztmpl", "import")), "filename": Param(required=True),
})  # fmt: skip
def upload(request: Request) -> Any:
    """Archives cannot come this way: their kind of content is not among those it takes."""
    raise Failure("this stand-in takes no uploads")


@route("GET", "/nodes/{node}/network", spec={"type": TEXT})
def network(request: Request) -> Any:
    kind = request.values.get("type")
    shown = []
    for interface in sorted(Path("/sys/class/net").iterdir()):
        entry = _interface(interface)
        bridge = entry["type"] == "bridge"
        if kind is None or kind == entry["type"] or (bridge and kind in ("any_bridge", "any_local_bridge")):
            shown.append(entry)
    return [entry for entry in shown if entry["iface"] != "lo" and not entry["iface"].startswith("tap")]


def _interface(path: Path) -> dict[str, Any]:
    bridge = (path / "bridge").exists()
    entry: dict[str, Any] = {
        "iface": path.name, "type": "bridge" if bridge else "eth", "active": 1, "autostart": 1, "exists": 1,
        "method": "manual", "method6": "manual", "families": ["inet"], "priority": 3,
    }  # fmt: skip
    if bridge:
        ports = sorted(port.name for port in (path / "brif").iterdir() if not port.name.startswith("tap"))
        entry |= {"bridge_ports": " ".join(ports), "bridge_stp": "off", "bridge_fd": "0"}
    done = subprocess.run(
        ["ip", "-j", "-4", "addr", "show", "dev", path.name], capture_output=True, text=True, check=True
    )
    addresses = [info for link in json.loads(done.stdout or "[]") for info in link.get("addr_info", [])]
    if addresses:
        first = addresses[0]
        entry |= {
            "method": "static", "address": first["local"], "netmask": str(first["prefixlen"]),
            "cidr": f"{first['local']}/{first['prefixlen']}",
        }  # fmt: skip
    return entry
