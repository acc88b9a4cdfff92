"""The stand-in against Proxmox's official schemas, where they are at hand; they are no part of this project.

Beside this file every request and every answer of every test here goes through the schema of 8.4 (see `conftest.node`).
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from pve.pve_standin import params, server
from pve.pve_standin.access import Caller, defaults
from pve.pve_standin.errors import ApiError
from pve.pve_standin.node import VERSIONS, Node
from pve.pve_standin.params import Param
from pve.pve_standin.paths import Paths
from pve.pve_standin.routes import ROUTES, Route, answer

from .parts import SCHEMAS, TOKEN, Ask, add_guest

assert server.ENDPOINTS

by_version = pytest.mark.parametrize("version", sorted(VERSIONS))
by_route = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.endpoint)


@functools.cache
def official(version: str) -> dict[str, Any]:
    path = SCHEMAS / f"api-{version}.json"
    if not path.is_file():
        pytest.skip(f"Proxmox's schema is not at hand ({path}): set BASCULE_PVE_SCHEMAS")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


@by_version
@by_route
def test_every_endpoint_takes_what_proxmox_takes(route: Route, version: str) -> None:
    endpoint = official(version).get(route.endpoint)
    assert endpoint, "Proxmox has no such endpoint"
    rules = endpoint["parameters"].get("properties", {})
    for name, ours in route.takes(version).items():
        theirs = rules.get(name)
        assert theirs, f"{name}: Proxmox knows no such parameter"
        problem = differs(ours, theirs)
        assert not problem, f"{name}: {problem}"
    for name, theirs in rules.items():
        if not theirs.get("optional") and f"{{{name}}}" not in route.path:
            ours = route.spec.get(name, Param())
            assert ours.required or name == "command", f"{name}: required by Proxmox"


def differs(ours: Param, theirs: dict[str, Any]) -> str:
    kind = theirs.get("type", "string")
    if ours.kind != kind and not (kind == "array" and ours.kind == "string"):
        return f"is of type {kind}"
    if ours.enum and set(ours.enum) - set(theirs.get("enum", ours.enum)):
        return f"one of {theirs['enum']}"
    if theirs.get("enum") and not ours.enum and not ours.options and ours is not params.TEXT:
        return f"one of {theirs['enum']}"
    for limit in ("minimum", "maximum"):
        bound = getattr(ours, limit)
        if limit in theirs and bound is not None and bound != int(theirs[limit]) and (limit, bound) != ("minimum", 0):
            return f"has a {limit} of {theirs[limit]}"
    form = theirs.get("format")
    if ours.options and isinstance(form, dict):
        unknown = ours.options - {name for name, rule in form.items() if isinstance(rule, dict)}
        if unknown:
            return f"Proxmox knows no options {sorted(unknown)}"
    return ""


# Their schema tells these in words; the stand-in checks them in its own code.
IN_WORDS = {
    "POST /nodes/{node}/qemu": "VM.Allocate",
    "POST /nodes/{node}/qemu/{vmid}/mtunnel": "Sys.Incoming",
    "POST /nodes/{node}/vzdump": "VM.Backup",
    "DELETE /nodes/{node}/storage/{storage}/content/{volume}": "Datastore.Allocate",
    "GET /nodes/{node}/storage/{storage}/content/{volume}": "",
}


@by_version
@by_route
def test_every_endpoint_needs_the_privilege_that_proxmox_needs(route: Route, version: str) -> None:
    theirs = official(version)[route.endpoint].get("permissions", {})
    ours = route.needed(version)
    if route.endpoint in IN_WORDS:
        assert IN_WORDS[route.endpoint] in theirs.get("description", "")
        return
    check = theirs.get("check")
    if check is None:
        assert ours is None, f"Proxmox asks for nothing here: {theirs}"
        return
    kind, path, privileges, *rest = check
    assert (kind, rest in ([], ["any", 1])) == ("perm", True)
    assert ours is not None
    assert (ours[0], set(ours[1].split("|"))) == (path, set(privileges))


GETS = [
    "/version", "/cluster/resources", "/cluster/status", "/cluster/nextid", "/cluster/ha/resources", "/cluster/backup",
    "/cluster/replication", "/nodes", "/nodes/pve1/status", "/nodes/pve1/version", "/nodes/pve1/storage",
    "/nodes/pve1/capabilities/qemu/cpu", "/nodes/pve1/capabilities/qemu/machines",
    "/nodes/pve1/storage/local/status", "/nodes/pve1/storage/local/content", "/nodes/pve1/network",
    "/nodes/pve1/vzdump/defaults", "/nodes/pve1/storage/local/content/local:100/vm-100-disk-0.raw", "/nodes/pve1/qemu",
    "/nodes/pve1/lxc", "/nodes/pve1/qemu/100/config", "/nodes/pve1/qemu/100/pending", "/nodes/pve1/qemu/100/snapshot",
    "/nodes/pve1/qemu/100/status/current", "/nodes/pve1/tasks", "/access/permissions", "/storage", "/storage/local",
]  # fmt: skip


@pytest.mark.parametrize("path", GETS)
def test_every_answer_has_the_official_shape(path: str, ask: Ask, node: Node, guest: int) -> None:
    official("8.4")
    assert node.schema is not None
    node.tasks.wait(ask("POST", "/nodes/pve1/qemu/100/status/stop"))
    ask("GET", path)


def test_every_endpoint_that_only_reads_is_asked() -> None:
    """All but those that need a running guest, an archive (test_thin) or a container, and a task's own."""
    asked = {path.replace("pve1", "{node}").replace("/100/", "/{vmid}/") for path in GETS}
    asked = {path.replace("/local/", "/{storage}/").replace("/storage/local", "/storage/{storage}") for path in asked}
    asked = {path.replace("local:100/vm-100-disk-0.raw", "{volume}") for path in asked}
    others = {route.path for route in ROUTES if route.method == "GET"} - asked
    elsewhere = ("/agent/", "/tasks/{upid}/", "/vzdump/extractconfig", "/lxc/{vmid}/")
    assert {path for path in others if not any(part in path for part in elsewhere)} == set()


def test_an_answer_that_proxmox_would_not_give_does_not_leave(
    ask: Ask, node: Node, guest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    official("8.4")
    monkeypatch.setattr(node, "about", lambda: {"version": 8})
    with pytest.raises(AssertionError, match=r"would not answer GET /version like this: data.release is missing"):
        ask("GET", "/version")


CONFIG = "/nodes/pve1/qemu/100/config"
WRONG: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("PUT", CONFIG, {"onboot": "true"}, "onboot", "type check ('boolean') failed - got 'true'"),
    ("PUT", CONFIG, {"onboot": "banana"}, "onboot", "type check ('boolean') failed - got 'banana'"),
    ("PUT", CONFIG, {"cores": "two"}, "cores", "type check ('integer') failed - got 'two'"),
    ("PUT", CONFIG, {"cores": "0"}, "cores", "value must have a minimum value of 1"),
    (
        "PUT", CONFIG, {"nosuch": "1"}, "nosuch",
        "property is not defined in schema and the schema does not allow additional properties",
    ),
    (
        "PUT", CONFIG, {"net0": "virtio,bridge=vmbr0,speed=9"}, "net0",
        "invalid format - format error\nnet0.speed: property is not defined in schema and the schema does not allow "
        "additional properties\n",
    ),
    ("PUT", CONFIG, {"scsihw": "x"}, "scsihw", "value 'x' does not have a value in the enumeration '{0}'"),
    ("POST", "/nodes/pve1/qemu", {"vmid": "99"}, "vmid", "invalid format - value does not look like a valid VM ID\n"),
    ("POST", "/nodes/pve1/qemu", {}, "vmid", "property is missing and it is not optional"),
    (
        "POST", "/nodes/pve1/storage/local/upload", {"content": "backup", "filename": "vzdump-qemu-100.vma"}, "content",
        "value 'backup' does not have a value in the enumeration 'iso, vztmpl, import'",
    ),
    (
        "POST", "/nodes/pve1/vzdump", {"vmid": "100", "mode": "fast"}, "mode",
        "value 'fast' does not have a value in the enumeration 'snapshot, suspend, stop'",
    ),
    ("GET", "/nodes/pve1/tasks", {"limit": "-1"}, "limit", "value must have a minimum value of 0"),
]  # fmt: skip
ENUMERATIONS = {"scsihw": ", ".join(params.GUEST["scsihw"].enum)}


@by_version
@pytest.mark.parametrize("with_schema", [True, False])
@pytest.mark.parametrize(("method", "path", "values", "name", "text"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_refused_is_refused_alike_with_and_without_the_schema(
    method: str, path: str, values: dict[str, Any], name: str, text: str, with_schema: bool, version: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    if with_schema:
        official(version)
    node = Node("pve1", Paths(tmp_path), version, SCHEMAS if with_schema else None)
    add_guest(node, 100)
    with pytest.raises(ApiError) as caught:
        answer(node, Caller(TOKEN, {"/": defaults(version)}), method, path, values)
    wanted = text.replace("{0}", ENUMERATIONS.get(name, ""))
    assert (caught.value.status, caught.value.reason) == (400, "Parameter verification failed.")
    assert caught.value.errors == {name: wanted}


@pytest.mark.parametrize("with_schema", [True, False])
def test_what_differs_between_the_versions(with_schema: bool, tmp_path: Path) -> None:
    def refused(version: str, privileges: frozenset[str], path: str, **values: str) -> ApiError | None:
        try:
            answer(nodes[version], Caller(TOKEN, {"/": privileges}), "POST", path, values)
        except ApiError as error:
            return error
        return None

    nodes = {}
    for version in VERSIONS:
        if with_schema:
            official(version)
        nodes[version] = Node("pve1", Paths(tmp_path / version), version, SCHEMAS if with_schema else None)
        add_guest(nodes[version], 100)
        assert nodes[version].about()["release"] == version
    backup = {"vmid": "999", "notification-policy": "never"}
    assert refused("8.4", defaults("8.4"), "/nodes/pve1/vzdump", **backup) is None
    nine = refused("9.1", defaults("9.1"), "/nodes/pve1/vzdump", **backup)
    assert nine is not None
    assert list(nine.errors or {}) == ["notification-policy"]
    ping, monitor = "/nodes/pve1/qemu/100/agent/ping", frozenset({"VM.Monitor"})
    assert str(refused("8.4", monitor, ping)) == "VM 100 is not running"
    named = "Permission check failed (/vms/100, VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted)"
    assert str(refused("9.1", monitor, ping)) == named
