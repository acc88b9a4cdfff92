"""The stand-in against Proxmox's official schema, where it is at hand; it is not part of this project."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from pve.pve_standin import params, server
from pve.pve_standin.node import Node
from pve.pve_standin.params import Param
from pve.pve_standin.routes import ROUTES, Route

from .conftest import SCHEMAS, Ask

assert server.ENDPOINTS


@pytest.fixture(scope="module")
def official() -> dict[str, Any]:
    path = SCHEMAS / "api-8.4.json"
    if not path.is_file():
        pytest.skip(f"Proxmox's schema is not at hand ({path}): set BASCULE_PVE_SCHEMAS")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def path_of(route: Route) -> str:
    return re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", route.pattern.pattern)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {path_of(route)}")
def test_every_endpoint_takes_what_proxmox_takes(route: Route, official: dict[str, Any]) -> None:
    endpoint = official.get(f"{route.method} {path_of(route)}")
    assert endpoint, "Proxmox has no such endpoint"
    rules = endpoint["parameters"].get("properties", {})
    for name, ours in route.spec.items():
        theirs = rules.get(name)
        assert theirs, f"{name}: Proxmox knows no such parameter"
        problem = differs(ours, theirs)
        assert not problem, f"{name}: {problem}"
    for name, theirs in rules.items():
        if not theirs.get("optional") and f"{{{name}}}" not in path_of(route):
            assert name in route.spec or name == "upid", f"{name}: required by Proxmox"


def differs(ours: Param, theirs: dict[str, Any]) -> str:
    kind = theirs.get("type", "string")
    if ours.kind != kind and not (kind == "array" and ours.kind == "string"):
        return f"is of type {kind}"
    if ours.enum and set(ours.enum) - set(theirs.get("enum", ours.enum)):
        return f"one of {theirs['enum']}"
    if theirs.get("enum") and not ours.enum and not ours.options and ours.kind == "string":
        return "" if ours is params.TEXT else f"one of {theirs['enum']}"
    form = theirs.get("format")
    if ours.options and isinstance(form, dict):
        aliases = {name for name, rule in form.items() if isinstance(rule, dict)}
        unknown = ours.options - aliases
        if unknown:
            return f"Proxmox knows no options {sorted(unknown)}"
    return ""


GETS = [
    "/version", "/cluster/resources", "/cluster/status", "/cluster/ha/resources", "/cluster/backup", "/nodes",
    "/nodes/pve1/status", "/nodes/pve1/storage", "/nodes/pve1/storage/local/status",
    "/nodes/pve1/storage/local/content", "/nodes/pve1/qemu", "/nodes/pve1/qemu/100/config",
    "/nodes/pve1/qemu/100/pending", "/nodes/pve1/qemu/100/snapshot", "/nodes/pve1/qemu/100/status/current",
    "/nodes/pve1/tasks", "/access/permissions",
]  # fmt: skip


@pytest.mark.parametrize("path", GETS)
def test_every_answer_has_the_official_shape(
    path: str, official: dict[str, Any], ask: Ask, node: Node, guest: int
) -> None:
    node.tasks.wait(ask("POST", "/nodes/pve1/qemu/100/status/stop"))
    template = path.replace("pve1", "{node}").replace("/100/", "/{vmid}/").replace("/local/", "/{storage}/")
    problems = shape_problems(ask("GET", path), official[f"GET {template}"]["returns"], "data")
    assert problems == []


KINDS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int),
    "number": lambda value: isinstance(value, (int, float)),
    "boolean": lambda value: value in (0, 1),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def shape_problems(value: Any, rule: dict[str, Any], where: str) -> list[str]:
    """Types, enumerations and required properties; Proxmox's own answers often carry more than their schema names."""
    kind = rule.get("type")
    if kind and not KINDS[kind](value):
        return [f"{where}: {value!r} is no {kind}"]
    found = []
    if "enum" in rule and value not in rule["enum"]:
        found.append(f"{where}: {value!r} is none of {rule['enum']}")
    if kind == "array":
        for index, item in enumerate(value):
            found += shape_problems(item, rule.get("items", {}), f"{where}[{index}]")
    if kind == "object":
        for name, inner in rule.get("properties", {}).items():
            if name in value:
                found += shape_problems(value[name], inner, f"{where}.{name}")
            elif not inner.get("optional") and not name.endswith("[n]"):
                found.append(f"{where}.{name} is missing")
    return found
