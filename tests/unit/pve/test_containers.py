"""Containers of the stand-in that do not run: what it says of them, and a client that asks for both kinds."""

from __future__ import annotations

from typing import Any

import pytest
from pve.pve_standin.access import PRIVILEGES, Caller
from pve.pve_standin.errors import ApiError
from pve.pve_standin.node import Node
from pve.pve_standin.routes import answer

from bascule.guest import errors, kinds
from bascule.guest.api import Api
from bascule.guest.guest import Guest, Side

from .parts import TOKEN, Ask


def test_there_is_none(ask: Ask) -> None:
    assert ask("GET", "/nodes/pve1/lxc") == []
    with pytest.raises(ApiError) as caught:
        ask("GET", "/nodes/pve1/lxc/100/config")
    assert (caught.value.status, caught.value.reason) == (
        500,
        "Configuration file 'nodes/pve1/lxc/100.conf' does not exist",
    )


def test_a_client_finds_out_what_a_number_is(node: Node, guest: int) -> None:
    caller = Caller(TOKEN, {"/": frozenset(PRIVILEGES)})

    def transport(method: str, path: str, values: Any) -> Any:
        try:
            return 200, "OK", answer(node, caller, method, f"/{path}", dict(values)), None
        except ApiError as error:
            return error.status, error.reason, None, None

    def at(vmid: int) -> Guest:
        return Guest(Api(transport, "pve1"), Side("pve1", "pve1", vmid, "local"), "courses_guest")

    assert at(guest).kind is kinds.QEMU
    assert at(guest).config()["name"] == "vm1"
    assert at(999).config_if_any() is None
    with pytest.raises(errors.NoSuchGuest):
        at(999).config()


CONFIG = """arch: amd64
cores: 2
description: Ask Nadia.
hostname: box
memory: 64
mp0: local:200/vm-200-disk-1.raw,mp=/srv/data,backup=1,size=8M
net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:0A:00:A0,ip=192.0.2.7/24,type=veth
onboot: 1
rootfs: local:200/vm-200-disk-0.raw,size=16M
swap: 0
unprivileged: 1
"""
BOX = "/nodes/pve1/lxc/200"


@pytest.fixture
def box(node: Node) -> int:
    """A stopped container 200 with two volumes that hold nothing."""
    (node.paths.container_configs / "200.conf").write_text(CONFIG)
    folder = node.paths.images / "200"
    folder.mkdir()
    for number in range(2):
        (folder / f"vm-200-disk-{number}.raw").write_bytes(b"\0" * 4096)
    return 200


def test_a_container_is_described(ask: Ask, box: int) -> None:
    """Every answer is held against the schema of Proxmox, where that is at hand."""
    (row,) = ask("GET", "/nodes/pve1/lxc")
    assert (row["vmid"], row["name"], row["status"], row["maxdisk"]) == (box, "box", "stopped", 16 << 20)
    config = ask("GET", f"{BOX}/config")
    assert (config["memory"], config["onboot"], config["unprivileged"], config["swap"]) == (64, 1, 1, 0)
    assert ask("GET", f"{BOX}/status/current")["ha"] == {"managed": 0}
    assert ask("GET", f"{BOX}/interfaces") is None
    assert [row["name"] for row in ask("GET", f"{BOX}/snapshot")] == ["current"]
    assert {row["key"] for row in ask("GET", f"{BOX}/pending")} > {"rootfs", "mp0"}
    (resource,) = ask("GET", "/cluster/resources", type="vm")
    assert (resource["id"], resource["type"]) == ("lxc/200", "lxc")
    assert str(ask("GET", "/cluster/nextid")) == "100"
    volumes = ask("GET", "/nodes/pve1/storage/local/content", content="rootdir", vmid=200)
    assert [row["volid"] for row in volumes] == [f"local:200/vm-200-disk-{number}.raw" for number in range(2)]
    assert ask("GET", "/nodes/pve1/storage/local/content", content="images", vmid=200) == []


def test_a_config_changes_for_whoever_has_seen_it(ask: Ask, box: int) -> None:
    digest = ask("GET", f"{BOX}/config")["digest"]
    ask("PUT", f"{BOX}/config", onboot=0, digest=digest)
    assert ask("GET", f"{BOX}/config")["onboot"] == 0
    with pytest.raises(ApiError, match="detected modified configuration"):
        ask("PUT", f"{BOX}/config", onboot=1, digest=digest)
    ask("PUT", f"{BOX}/config", net1="name=eth1,bridge=vmbr0")
    assert "hwaddr=BC:24:11:" in ask("GET", f"{BOX}/config")["net1"]
    ask("PUT", f"{BOX}/config", delete="net1")
    assert "net1" not in ask("GET", f"{BOX}/config")


@pytest.mark.parametrize(
    ("method", "path", "given", "words"),
    [
        ("POST", f"{BOX}/status/shutdown", {}, "CT 200 not running"),
        ("POST", f"{BOX}/status/stop", {}, "CT 200 not running"),
        ("POST", "/nodes/pve1/lxc/201/status/start", {}, "nodes/pve1/lxc/201.conf' does not exist"),
        ("POST", "/nodes/pve1/lxc", {"vmid": 201, "ostemplate": "local:backup/x", "restore": 1}, "does not exist"),
        ("POST", "/nodes/pve1/lxc", {"vmid": 201, "ostemplate": "local:vztmpl/x.tar.zst"}, "no templates"),
    ],
)
def test_what_cannot_be_is_refused(ask: Ask, box: int, method: str, path: str, given: Any, words: str) -> None:
    with pytest.raises(ApiError, match=words):
        ask(method, path, **given)


def test_a_number_is_taken_once_and_protection_holds(ask: Ask, node: Node, box: int) -> None:
    archive = node.paths.dump / "vzdump-lxc-200-2026_12_02-06_00_00.tar.zst"
    archive.write_bytes(b"no archive")
    (row,) = ask("GET", "/nodes/pve1/storage/local/content", content="backup")
    assert (row["subtype"], row["format"], row["vmid"]) == ("lxc", "tar.zst", 200)
    again = {"vmid": 200, "ostemplate": row["volid"], "restore": 1}
    with pytest.raises(ApiError, match="unable to create CT 200 - VM 200 already exists"):
        ask("POST", "/nodes/pve1/lxc", **again)
    ask("PUT", f"{BOX}/config", protection=1)
    for method, path, given in (("DELETE", BOX, {}), ("POST", "/nodes/pve1/lxc", {**again, "force": 1})):
        with pytest.raises(ApiError, match="protection mode enabled"):
            ask(method, path, **given)
    ask("PUT", f"{BOX}/config", protection=0)
    # What is no archive takes the container with it, as with Proxmox.
    upid = ask("POST", "/nodes/pve1/lxc", **{**again, "force": 1})
    assert "could not extract the configuration" in node.tasks.wait(upid)
    assert not node.container_store.exists(200)


def test_a_container_goes_with_its_volumes(ask: Ask, node: Node, box: int) -> None:
    assert node.tasks.wait(ask("DELETE", BOX)) == "OK"
    assert not node.container_store.exists(box)
    assert not (node.paths.images / "200").exists()
