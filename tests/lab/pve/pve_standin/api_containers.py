"""Endpoints of containers, of which this node has none: whoever asks what a number is, asks for both kinds."""

from __future__ import annotations

from typing import Any

from .errors import Failure
from .routes import Request, route

LXC = "/nodes/{node}/lxc"


@route("GET", LXC)
def containers(request: Request) -> Any:
    return []


@route("GET", LXC + "/{vmid}/config", ("/vms/{vmid}", "VM.Audit"))
def config(request: Request) -> Any:
    raise Failure(f"Configuration file 'nodes/{request.node.name}/lxc/{request.vmid}.conf' does not exist")
