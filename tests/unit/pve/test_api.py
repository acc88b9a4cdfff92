"""What the API answers, above all when it refuses: Proxmox's statuses and texts."""

from __future__ import annotations

import fcntl
import functools
import http.client
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from proxmoxer import ProxmoxAPI, ResourceException
from pve.pve_standin import guest_store, server
from pve.pve_standin.access import Caller
from pve.pve_standin.errors import ApiError
from pve.pve_standin.node import Node
from pve.pve_standin.routes import answer

from .parts import TOKEN, Ask, add_guest

Finished = Callable[[str], tuple[str, list[str]]]
GUEST = "/nodes/pve1/qemu/100"


def refusal(call: Callable[[], Any]) -> tuple[int, str, dict[str, str] | None]:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value.status, caught.value.reason, caught.value.errors


def test_configuration(ask: Ask, guest: int) -> None:
    config = ask("GET", f"{GUEST}/config")
    assert (config["memory"], config["agent"], config["onboot"]) == ("256", "1", 1)
    note = 'bascule: {"epoch": 3}'
    ask("PUT", f"{GUEST}/config", onboot="0", description=note, digest=config["digest"])
    after = ask("GET", f"{GUEST}/config")
    assert (after["onboot"], after["description"]) == (0, note)
    assert after["digest"] != config["digest"]
    stale = refusal(lambda: ask("PUT", f"{GUEST}/config", onboot="1", digest=config["digest"]))
    assert stale == (500, "detected modified configuration - file changed by other user? Try again.", None)
    assert ask("GET", f"{GUEST}/config") == after
    ask("PUT", f"{GUEST}/config", delete="description,onboot")
    assert not {"description", "onboot"} & set(ask("GET", f"{GUEST}/config"))


def test_a_card_without_a_mac_gets_one(ask: Ask, guest: int) -> None:
    ask("PUT", f"{GUEST}/config", net0="virtio,bridge=vmbr0,link_down=1")
    card = ask("GET", f"{GUEST}/config")["net0"]
    assert re.fullmatch(r"virtio=BC:24:11(:[0-9A-F]{2}){3},bridge=vmbr0,link_down=1", card)


def test_immediate_refusals(ask: Ask, guest: int) -> None:
    missing = "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist"
    assert refusal(lambda: ask("GET", "/nodes/pve1/qemu/999/config")) == (500, missing, None)
    assert refusal(lambda: ask("GET", "/nodes/pve1/storage/nope/content"))[1] == "storage 'nope' does not exist"
    assert refusal(lambda: ask("GET", "/nodes/pve1/foo"))[:2] == (501, "Method 'GET /nodes/pve1/foo' not implemented")
    assert refusal(lambda: ask("POST", "/version"))[:2] == (501, "Method 'POST /version' not implemented")
    assert refusal(lambda: ask("POST", f"{GUEST}/agent/ping"))[1] == "VM 100 is not running"
    assert refusal(lambda: ask("GET", "/nodes/other/qemu"))[0] == 500
    assert refusal(lambda: ask("POST", "/nodes/pve1/qemu", vmid="99"))[2] == {
        "vmid": "invalid format - value does not look like a valid VM ID\n"
    }
    assert refusal(lambda: ask("POST", "/nodes/pve1/qemu"))[2] == {"vmid": "property is missing and it is not optional"}
    assert refusal(lambda: ask("POST", f"{GUEST}/status/start", skiplock="1"))[2] == {
        "skiplock": "Only root may use this option."
    }


def test_a_locked_guest(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    node.store.change(100, lock="backup")
    assert refusal(lambda: ask("PUT", f"{GUEST}/config", onboot="1")) == (500, "VM is locked (backup)", None)
    assert ask("GET", f"{GUEST}/status/current")["lock"] == "backup"
    assert finished(ask("POST", f"{GUEST}/status/start"))[0] == "VM is locked (backup)"
    assert finished(ask("DELETE", GUEST))[0] == "VM is locked (backup)"
    assert node.store.exists(100)


def test_a_held_lock_file(
    ask: Ask, node: Node, guest: int, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_store, "LOCK_SECONDS", 0.2)
    said = "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"
    with (node.paths.locks / "lock-100.conf").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert refusal(lambda: ask("PUT", f"{GUEST}/config", onboot="1"))[:2] == (500, said)
        ended = finished(ask("POST", f"{GUEST}/status/start"))
    assert ended == (said, ["trying to acquire lock...", f"TASK ERROR: {said}"])


def test_missing_guests_fail_in_their_tasks(ask: Ask, finished: Finished) -> None:
    status, _ = finished(ask("POST", "/nodes/pve1/qemu/999/status/start"))
    assert status == "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist"


def test_stopping_what_is_stopped_is_fine(ask: Ask, guest: int, finished: Finished) -> None:
    for verb in ("stop", "shutdown"):
        assert finished(ask("POST", f"{GUEST}/status/{verb}")) == ("OK", ["TASK OK"])
    assert finished(ask("POST", f"{GUEST}/status/resume"))[0] == "VM 100 not running"


def test_destroy(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    add_guest(node, 200)
    assert finished(ask("DELETE", "/nodes/pve1/qemu/200", purge="1"))[0] == "OK"
    assert [entry["vmid"] for entry in ask("GET", "/nodes/pve1/qemu")] == [100]
    assert not (node.paths.images / "200").exists()
    assert (node.paths.images / "100/vm-100-disk-0.raw").exists()


def test_rights_on_a_guest_go_with_it(node: Node, guest: int) -> None:
    add_guest(node, 101)
    few = {"/": ["Sys.Audit"], "/vms/100": ["VM.Audit", "VM.Allocate"], "/vms/101": ["VM.Audit"]}
    node.paths.privileges.write_text(json.dumps({TOKEN: few}))

    def asked(method: str, path: str) -> Any:
        return answer(node, node.access.caller(f"PVEAPIToken={TOKEN}=secret"), method, path, {})

    assert node.tasks.wait(asked("DELETE", GUEST)) == "OK"
    add_guest(node, 100)
    assert refusal(lambda: asked("GET", f"{GUEST}/config"))[:2] == (
        403, "Permission check failed (/vms/100, VM.Audit)",
    )  # fmt: skip
    assert asked("GET", "/nodes/pve1/qemu/101/config")["memory"]


def test_create_with_new_drives(ask: Ask, node: Node, finished: Finished) -> None:
    upid = ask(
        "POST", "/nodes/pve1/qemu", vmid="300", name="new", scsi0="local:0.25", ide2="local:cloudinit", net0="virtio"
    )
    assert finished(upid)[0] == "OK"
    config = ask("GET", "/nodes/pve1/qemu/300/config")
    assert config["scsi0"] == "local:300/vm-300-disk-0.raw,size=256M"
    assert config["ide2"] == "local:300/vm-300-cloudinit.raw,media=cdrom"
    assert "lock" not in config
    assert (node.paths.images / "300/vm-300-disk-0.raw").stat().st_size == 256 << 20
    again = refusal(lambda: ask("POST", "/nodes/pve1/qemu", vmid="300"))
    assert again == (500, "unable to create VM 300 - VM 300 already exists on node 'pve1'", None)


def test_privileges(node: Node, guest: int) -> None:
    allowed = frozenset({"VM.Audit", "VM.Backup", "VM.Config.CDROM"})
    few = Caller(TOKEN, {"/": frozenset({"VM.Audit"}), "/vms/100": allowed})
    cases: list[tuple[str, str, dict[str, Any], str]] = [
        ("POST", f"{GUEST}/status/start", {}, "(/vms/100, VM.PowerMgmt)"),
        ("PUT", f"{GUEST}/config", {"onboot": "1"}, "(/vms/100, VM.Config.Options)"),
        ("PUT", f"{GUEST}/config", {"net0": "virtio"}, "(/vms/100, VM.Config.Network)"),
        (
            "POST", "/nodes/pve1/vzdump", {"vmid": "100", "storage": "local"},
            "(/storage/local, Datastore.AllocateSpace)",
        ),
        ("POST", "/nodes/pve1/qemu", {"vmid": "300"}, "(/vms/300, VM.Allocate)"),
    ]  # fmt: skip
    for method, path, values, named in cases:
        refused = refusal(functools.partial(answer, node, few, method, path, values))
        assert refused == (403, f"Permission check failed {named}", None)
    assert answer(node, few, "GET", f"{GUEST}/config", {})["name"] == "vm1"
    assert answer(node, few, "GET", "/access/permissions", {})["/vms/100"] == dict.fromkeys(sorted(allowed), 1)


@pytest.fixture
def port(node: Node) -> Iterator[int]:
    """The node behind plain HTTP on a port of its own."""
    running = server.make(node, ("127.0.0.1", 0), None, None)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running.server_port
    running.shutdown()
    thread.join()
    running.server_close()


def wire(
    port: int, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, str, str | None, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(
        method, f"/api2/json{path}", body, {key.replace("_", "-"): text for key, text in headers.items()}
    )
    reply = connection.getresponse()
    found = (reply.status, reply.reason, reply.getheader("Content-Type"), reply.read())
    connection.close()
    return found


GOOD = f"PVEAPIToken={TOKEN}=secret"
JSON = "application/json;charset=UTF-8"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "No ticket"),
        (f"PVEAPIToken={TOKEN}=wrong", "Authentication failed!"),
        ("PVEAPIToken=other@pve!x=secret", "Authentication failed!"),
        ("PVEAPIToken=nonsense", "Authentication failed!"),
    ],
)
def test_unknown_callers_get_an_empty_401(port: int, header: str | None, reason: str) -> None:
    headers = {"Authorization": header} if header else {}
    assert wire(port, "GET", "/version", **headers) == (401, reason, None, b"")


def test_bodies_on_the_wire(port: int, guest: int) -> None:
    path = f"{GUEST}/config"
    form = {"Authorization": GOOD, "Content_Type": "application/x-www-form-urlencoded"}
    status, reason, kind, body = wire(port, "PUT", path, "onboot=true", **form)
    assert (status, reason, kind) == (400, "Parameter verification failed.", JSON)
    assert json.loads(body) == {
        "data": None,
        "message": "Parameter verification failed.\n",
        "errors": {"onboot": "type check ('boolean') failed - got 'true'"},
    }
    as_json = {"Authorization": GOOD, "Content_Type": "application/json"}
    assert wire(port, "PUT", path, '{"onboot": true}', **as_json)[0] == 200
    null = wire(port, "PUT", path, '{"onboot": null}', **as_json)
    assert null[:2] == (500, "unable to parse value of 'onboot' - got undefined value")
    assert wire(port, "GET", "/version", **form)[2:] == (
        JSON, b'{"data":{"version":"8.4.21","release":"8.4","repoid":"standin"}}',
    )  # fmt: skip


def test_proxmoxer_talks_to_it(port: int, guest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # TLS has its own place in the test that starts a whole node; here the client's requests are what matters.
    monkeypatch.setattr(
        "proxmoxer.backends.https.Backend.get_base_url", lambda self: f"http://127.0.0.1:{port}/api2/json"
    )
    api = ProxmoxAPI("127.0.0.1", port=port, user="bascule@pve", token_name="move", token_value="secret")
    assert api.version.get()["release"] == "8.4"
    assert api.nodes("pve1").qemu(100).config.get()["name"] == "vm1"
    with pytest.raises(ResourceException, match="storage 'nope' does not exist"):
        api.nodes("pve1").storage("nope").content.get()
    upid = api.nodes("pve1").qemu(100).status.stop.post()
    assert api.nodes("pve1").tasks(upid).status.get()["type"] == "qmstop"
