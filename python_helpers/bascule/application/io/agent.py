"""The host agent's part of a deployment: an order in JSON on standard input, its answer in JSON on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ...errors import BasculeError
from .gate import Gate, is_state
from .host import Host


def work() -> str:
    """Do what the order says; an error of ours is an answer as well, with its fields."""
    try:
        return json.dumps({"done": done(json.load(sys.stdin))})
    except BasculeError as error:
        return json.dumps({"error": error.fields()})


def done(order: Mapping[str, Any]) -> Any:
    """Do one order and return what came of it."""
    what = str(order["do"])
    if what in ("servers", "put", "see"):
        gate = Gate(str(order["socket"]), str(order["backend"]))
        if what == "servers":
            return {name: one.to_dict() for name, one in gate.look().items()}
        if what == "see":
            return gate.see(order["names"], is_state(str(order["state"])))
        return gate.put(order["names"], is_state(str(order["state"])), float(order["seconds"]))
    host = Host(str(order["folder"]), str(order["unit"]))
    if what == "look":
        return asdict(host.look())
    if what == "take":
        return host.take(order["note"], str(order["over"]))
    if what == "give":
        return host.give(str(order["token"]))
    return {"stage": host.stage, "activate": host.activate, "serves": host.serves, "settle": host.settle}[what](order)
