"""A node that answers over TLS, for tests of Bascule's own client."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from pve.pve_standin.node import Node

from bascule.guest import tasks
from bascule.guest.api import Api
from bascule.guest.io import proxmox_api

from .parts import TOKEN, need_zstd

NODE = "nodes/pve1"
FEW = "bascule@pve!few"
USER = "nadia@pve"
GOOD = "secret"


@dataclass
class World:
    """A node that answers over TLS, and ways to ask it."""

    node: Node
    port: int
    directory: Path

    def transport(self, token: str = TOKEN, secret: str = GOOD, pin: str | None = None) -> Any:
        ca = str(self.directory / "ca.crt") if pin is None else ""
        return proxmox_api.connect("127.0.0.1", self.port, token, secret, ca, 10, pin or "")

    def api(self, token: str = TOKEN, secret: str = GOOD, pin: str | None = None) -> Api:
        return Api(self.transport(token, secret, pin), "pve1", sleep=lambda seconds: None, attempts=2)

    @property
    def fingerprint(self) -> str:
        certificate = x509.load_pem_x509_certificate((self.directory / "hosts/pve1.crt").read_bytes())
        digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
        return ":".join(digest[place : place + 2] for place in range(0, 64, 2))

    def raw(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str, str | None, Any]:
        """What the client would never send."""
        context = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=120, context=context)
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request(method, f"/api2/json/{path}", body, given)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply.status, reply.reason, reply.getheader("Content-Type"), json.loads(content) if content else None


Ask = Callable[[World], Any]


def path(text: str) -> str:
    return f"{NODE}/{text}"


def locked(world: World, vmid: int) -> Api:
    world.node.store.change(vmid, lock="backup")
    return world.api()


def without_way(world: World) -> Api:
    world.node.faults.order({"fault": "api_down", "status": 595, "count": 2})
    return world.api()


def archive(world: World) -> str:
    """Make one, and return its name."""
    need_zstd()
    api = world.api()
    tasks.wait(api, api.post(path("vzdump"), vmid=100, storage="local", compress="zstd"), 60)
    (found,) = api.get(path("storage/local/content"), content="backup")
    return str(found["volid"])


def held(world: World, ask: Callable[[Api], Any]) -> Any:
    """Ask while somebody holds the lock file of guest 200."""
    with (world.node.paths.locks / "lock-200.conf").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return ask(world.api())
