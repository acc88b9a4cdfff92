"""Migration to another cluster, offline: the endpoint that begins it, and both ends of the way between the nodes.

Proxmox carries disks through a websocket tunnel. Here the source posts them in pieces to `/standin/tunnel` of the
target, with the ticket that its `mtunnel` has given; what is said and left behind is Proxmox's.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import secrets
import ssl
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any

from . import guest_config
from .errors import Failure
from .guest_store import check_lock
from .node import Node
from .params import FLAG, TEXT, Param
from .restore import PLACEHOLDER
from .routes import Request, route
from .tasks import Task

PIECE = 1 << 20
TUNNEL = "/standin/tunnel"
QEMU = "/nodes/{node}/qemu/{vmid}"
# What the target's tunnels expect: ticket -> number of the guest.
_open: dict[str, int] = {}


@dataclass
class Remote:
    """The other cluster, by the endpoint that the caller gave."""

    host: str
    port: int
    token: str
    fingerprint: str

    @classmethod
    def parse(cls, text: str) -> Remote:
        parts = guest_config.parse_options(text, "host")
        return cls(parts["host"], int(parts.get("port", "8006")), parts["apitoken"], parts.get("fingerprint", ""))

    def connect(self) -> http.client.HTTPSConnection:
        """A connection whose certificate has the given fingerprint, whoever has signed it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=30, context=context)
        try:
            connection.connect()
        except OSError as error:
            raise Failure(f"500 Can't connect to {self.host}:{self.port} ({error})") from error
        certificate = connection.sock.getpeercert(binary_form=True) or b""
        found = ":".join(f"{byte:02X}" for byte in hashlib.sha256(certificate).digest())
        if self.fingerprint.upper() != found:
            connection.close()
            raise Failure(f"500 Can't connect to {self.host}:{self.port} (fingerprint '{found}' not verified, abort!)")
        return connection

    def ask(self, connection: http.client.HTTPSConnection, method: str, path: str, **values: Any) -> Any:
        body = urllib.parse.urlencode(values) if values else None
        headers = {"Authorization": self.token, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, f"/api2/json{path}", body, headers)
        reply = connection.getresponse()
        data = reply.read()
        if reply.status >= 400:
            raise Failure(f"{reply.status} {reply.reason}")
        return json.loads(data)["data"]


def pairs(text: str) -> dict[str, str]:
    """`a:b,c:d`; a single name maps everything to it."""
    return {left: right or left for left, _, right in (part.partition(":") for part in text.split(","))}


@route("POST", QEMU + "/remote_migrate", ("/vms/{vmid}", "VM.Migrate"), {
    "target-endpoint": Param(required=True), "target-vmid": Param("integer", minimum=100, maximum=999999999),
    "target-storage": Param(required=True), "target-bridge": Param(required=True), "online": FLAG, "delete": FLAG,
    "bwlimit": Param("integer", minimum=0),
})  # fmt: skip
def remote_migrate(request: Request) -> Any:
    node, vmid, values = request.node, request.vmid, request.values
    check_lock(node.store.load(vmid))
    if node.qemu.pid(vmid) is not None:
        raise Failure("can't migrate running VM without --online")
    remote = Remote.parse(values["target-endpoint"])
    remote.connect().close()
    target = values.get("target-vmid", vmid)
    return node.tasks.start(
        "qmigrate", str(vmid), request.caller.name,
        lambda task: _migrate(task, node, vmid, remote, target, pairs(values["target-storage"]),
                              pairs(values["target-bridge"])),
    )  # fmt: skip


def _migrate(
    task: Task, node: Node, vmid: int, remote: Remote, target: int, storages: dict[str, str], bridges: dict[str, str]
) -> None:
    began = time.time()

    def say(text: str) -> None:
        task.log(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

    connection = remote.connect()
    try:
        with node.store.locked(vmid, task.log):
            check_lock(node.store.load(vmid))
            node.store.change(vmid, lock="migrate")
        peer = next(row["name"] for row in remote.ask(connection, "GET", "/cluster/status") if row.get("local"))
        opened = remote.ask(
            connection, "POST", f"/nodes/{peer}/qemu/{target}/mtunnel",
            storages=",".join(sorted(set(storages.values()))), bridges=",".join(sorted(set(bridges.values()))),
        )  # fmt: skip
        say(f"remote: started tunnel worker '{opened['upid']}'")
        say("local WS tunnel version: 2")
        say("remote WS tunnel version: 2")
        say("minimum required WS tunnel version: 2")
        task.log("websocket tunnel started")
        say(f"starting migration of VM {vmid} to node '{peer}' ({remote.host})")
        config = node.store.load(vmid)
        disks = guest_config.disks(config)
        for drive in guest_config.drives(config).values():
            if drive.get("media") == "cdrom" and ":iso/" in drive["file"]:
                raise Failure(f"can't migrate '{drive['file']}' - local cdrom image")
        for drive in disks.values():
            say(f"found local disk '{drive['file']}' (attached)")
        say("copying local disk images")
        for key, drive in disks.items():
            _send(task, node, connection, opened["ticket"], key, drive["file"])
        _finish(connection, opened["ticket"], config, bridges)
        for key in guest_config.nets(config):
            card = guest_config.parse_net(config[key])
            say(f"mapped: {key} from {card['bridge']} to {bridges.get(card['bridge'], card['bridge'])}")
        spent = int(time.time() - began)
        say(f"migration finished successfully (duration 00:{spent // 60:02d}:{spent % 60:02d})")
    except BaseException as error:
        node.store.change(vmid, lock=None)
        say(f"ERROR: migration aborted (duration 00:00:{int(time.time() - began) % 60:02d}): {error}")
        raise Failure("migration aborted") from error
    finally:
        connection.close()


def _post(connection: http.client.HTTPSConnection, query: dict[str, Any], body: bytes) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    connection.request("POST", f"{TUNNEL}?{urllib.parse.urlencode(query)}", body, headers)
    reply = connection.getresponse()
    answer = reply.read()
    if reply.status != 200:
        raise Failure(f"error - tunnel command failed: {answer.decode(errors='replace').strip() or reply.reason}")


def _send(task: Task, node: Node, connection: http.client.HTTPSConnection, ticket: str, key: str, volid: str) -> None:
    path = node.volumes.path(volid)
    size, empty = path.stat().st_size, bytes(PIECE)
    began = time.monotonic()
    _post(connection, {"ticket": ticket, "disk": key, "size": size}, b"")
    with path.open("rb") as disk:
        for offset in range(0, size, PIECE):
            task.check()
            piece = disk.read(PIECE)
            if piece != empty[: len(piece)]:
                _post(connection, {"ticket": ticket, "disk": key, "offset": offset}, piece)
    seconds = max(time.monotonic() - began, 0.001)
    task.log(
        f"{size} bytes ({size / 1e6:.1f} MB, {size >> 20} MiB) copied, {seconds:.4f} s, {size / seconds / 1e6:.1f} MB/s"
    )


def _finish(connection: http.client.HTTPSConnection, ticket: str, config: Any, bridges: dict[str, str]) -> None:
    moved = {key: value for key, value in config.items() if key not in ("lock", "digest")}
    for key in guest_config.nets(config):
        card = guest_config.parse_net(config[key])
        card["bridge"] = bridges.get(card["bridge"], card["bridge"])
        moved[key] = guest_config.render_net(card)
    _post(connection, {"ticket": ticket, "finish": 1}, json.dumps(moved).encode())


@route("POST", QEMU + "/mtunnel", ("/vms/{vmid}", "VM.Allocate"), {"storages": TEXT, "bridges": TEXT})
def tunnel(request: Request) -> Any:
    """The target's end: the number is taken, locked, until the migration has finished."""
    node, vmid = request.node, int(request.path["vmid"])
    request.caller.need("/", "Sys.Incoming")
    with node.store.locked(vmid):
        if node.store.exists(vmid):
            raise Failure(f"VM {vmid} already exists on node '{node.name}'")
        for storage in filter(None, request.values.get("storages", "").split(",")):
            if storage != "local":
                raise Failure(f"storage '{storage}' does not exist")
        node.store.save(vmid, {**PLACEHOLDER, "lock": "create"})
    ticket = secrets.token_hex(16)
    _open[ticket] = vmid
    upid = node.tasks.start("qmtunnel", str(vmid), request.caller.name, lambda task: task.log("tunnel opened"))
    return {"upid": upid, "ticket": ticket, "socket": f"/run/qemu-server/{vmid}.mtunnel"}


def receive(node: Node, query: dict[str, str], body: bytes) -> None:
    """One piece of a migration that comes in."""
    vmid = _open.get(query.get("ticket", ""))
    if vmid is None:
        raise Failure("invalid ticket")
    if "finish" in query:
        config = {str(key): str(value) for key, value in json.loads(body).items()}
        made = node.store.load(vmid)
        for key, drive in guest_config.drives(config).items():
            if key in made:
                drive["file"] = guest_config.parse_options(made[key], "file")["file"]
                config[key] = guest_config.render_options(drive, "file")
            elif "cloudinit" in drive["file"]:
                drive["file"] = node.volumes.cloudinit(vmid)
                config[key] = guest_config.render_options(drive, "file")
        node.store.save(vmid, config)
        del _open[query["ticket"]]
        return
    key = query["disk"]
    if "size" in query:
        volid = node.volumes.allocate(vmid, int(query["size"]))
        node.store.change(vmid, **{key: f"{volid},size={guest_config.format_size(int(query['size']))}"})
        return
    path = node.volumes.path(guest_config.parse_options(node.store.load(vmid)[key], "file")["file"])
    with path.open("r+b") as disk:
        disk.seek(int(query["offset"]))
        disk.write(body)
