"""Faults that a test orders: each happens as often as ordered, in Proxmox's words, and leaves what Proxmox leaves."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pve.pve_standin import qmp, server
from pve.pve_standin.errors import ApiError, Failure
from pve.pve_standin.faults import KINDS, Faults
from pve.pve_standin.node import Node
from pve.pve_standin.qemu import command_line

from .parts import TOKEN, Ask, need_zstd

Finished = Callable[[str], tuple[str, list[str]]]
ROOT = "PVEAPIToken=root@pam!lab=root-secret"
GUEST = "/nodes/pve1/qemu/100"


def back_up(ask: Ask, finished: Finished) -> tuple[str, list[str]]:
    return finished(ask("POST", "/nodes/pve1/vzdump", vmid="100", storage="local", compress="zstd"))


def archives(ask: Ask) -> list[str]:
    return [found["volid"] for found in ask("GET", "/nodes/pve1/storage/local/content", content="backup")]


def test_a_full_storage_at_a_backup(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    need_zstd()
    node.faults.order({"fault": "storage_full", "at": "vzdump"})
    status, log = back_up(ask, finished)
    assert status == "job errors"
    assert any("zstd: error 70 : Write error : cannot write block : No space left on device" in line for line in log)
    assert archives(ask) == []
    assert [path.suffix for path in node.paths.dump.iterdir()] == [".log"]
    assert "lock" not in ask("GET", f"{GUEST}/config")
    assert back_up(ask, finished)[0] == "OK", "once was ordered"


def test_a_full_storage_at_a_restore(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    need_zstd()
    back_up(ask, finished)
    node.faults.order({"fault": "storage_full", "at": "restore"})
    assert back_up(ask, finished)[0] == "OK", "at a restore was ordered"
    status, log = finished(ask("POST", "/nodes/pve1/qemu", vmid="200", archive=archives(ask)[0], storage="local"))
    assert "No space left on device" in "".join(log)
    assert "exit code 133" in status
    assert ask("GET", "/nodes/pve1/qemu/200/config")["memory"] == "128"


@pytest.mark.parametrize(
    ("text", "status"),
    [("got signal 9", "job errors"), ("unexpected status", "unexpected status"), ("WARNINGS: 2", "WARNINGS: 2")],
)
def test_a_task_that_fails_midway(ask: Ask, node: Node, guest: int, finished: Finished, text: str, status: str) -> None:
    need_zstd()
    node.faults.order({"fault": "task_fails", "type": "vzdump", "text": text})
    ended, log = back_up(ask, finished)
    assert ended == status
    assert len(archives(ask)) == int(text.startswith("WARNINGS"))
    if text == "got signal 9":
        assert "ERROR: Backup of VM 100 failed - got signal 9" in log
    assert back_up(ask, finished)[0] == "OK"


def test_a_task_that_fails_when_its_work_is_done(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    node.faults.order({"fault": "task_fails", "type": "qmstop", "vmid": 100, "text": "no such luck"})
    assert finished(ask("POST", f"{GUEST}/status/shutdown"))[0] == "OK", "another type of task"
    assert finished(ask("POST", f"{GUEST}/status/stop")) == ("no such luck", ["TASK ERROR: no such luck"])


def test_a_backup_that_fails_when_it_is_finished(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    need_zstd()
    node.faults.order({"fault": "task_fails", "type": "vzdump", "text": "job errors", "at": "end"})
    status, log = back_up(ask, finished)
    assert (status, log[-1]) == ("job errors", "TASK ERROR: job errors")
    assert len(archives(ask)) == 1, "what the job has finished stays"


def test_a_lock_that_somebody_holds(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    order = node.faults.order({"fault": "lock_held", "vmid": 100, "seconds": 30})
    upid = node.hold(order)
    (seen,) = ask("GET", "/nodes/pve1/tasks", source="active", vmid="100")
    assert (seen["upid"], seen["type"], seen["user"]) == (upid, "vzdump", "root@pam")
    with pytest.raises(ApiError, match=r"^VM is locked \(backup\)$"):
        ask("PUT", f"{GUEST}/config", onboot="0")
    ask("DELETE", f"/nodes/pve1/tasks/{upid}")
    assert finished(upid)[0] == "interrupted by signal"
    assert "lock" not in ask("GET", f"{GUEST}/config")


def test_a_silent_agent(node: Node, guest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "agent", lambda *given: {})
    node.faults.order({"fault": "agent_silent", "vmid": 100, "count": 2})
    config = node.store.load(100)
    assert [node.qemu.agent_answers(vmid, config) for vmid in (200, 100, 100, 100)] == [True, False, False, True]


def test_a_guest_that_does_not_boot_has_nothing_to_boot_from(node: Node, guest: int) -> None:
    config = node.store.load(100)
    whole, without = (" ".join(command_line(node.paths, 100, config, diskless)) for diskless in (False, True))
    assert "node-name=drive-scsi0" in whole
    assert "node-name=drive-scsi0" in without, "a backup still finds the disk"
    assert "drive=drive-scsi0" in whole
    assert "drive=drive-scsi0" not in without


def test_a_guest_does_not_start_without_the_image_in_its_drive(node: Node, guest: int) -> None:
    config = {**node.store.load(100), "ide0": "local:iso/debian.iso,media=cdrom"}
    with pytest.raises(Failure, match=r"^volume 'local:iso/debian\.iso' does not exist$"):
        command_line(node.paths, 100, config, False)
    image = node.paths.volume("local:iso/debian.iso")
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(b"")
    assert str(image) in " ".join(command_line(node.paths, 100, config, False))


@pytest.fixture
def port(node: Node) -> Iterator[int]:
    """The node behind plain HTTP on a port of its own."""
    node.paths.root_token.write_text("root@pam!lab root-secret\n")
    running = server.make(node, ("127.0.0.1", 0), None, None)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running.server_port
    running.shutdown()
    thread.join()
    running.server_close()


def wire(port: int, method: str, path: str, token: str = ROOT, order: dict[str, Any] | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": token, "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(order) if order else None, headers)
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, json.loads(body) if body else None


def test_orders_over_the_wire(port: int, node: Node, guest: int) -> None:
    assert wire(port, "POST", "/standin/faults", f"PVEAPIToken={TOKEN}=secret", {"fault": "slow"})[0] == 403
    assert node.faults.due() == []
    status, refused = wire(port, "POST", "/standin/faults", order={"fault": "fire"})
    assert (status, refused["message"]) == (400, f"unknown fault 'fire': one of {', '.join(KINDS)}\n")
    assert wire(port, "POST", "/standin/faults", order={"fault": "slow", "minutes": 3})[0] == 400
    status, due = wire(port, "POST", "/standin/faults", order={"fault": "api_down", "status": 595, "count": 2})
    assert (status, due) == (200, {"data": [{"fault": "api_down", "count": 2, "status": 595}]})
    assert [wire(port, "GET", "/api2/json/version") for _ in range(2)] == [(595, None)] * 2
    assert wire(port, "GET", "/api2/json/version")[0] == 200
    wire(port, "POST", "/standin/faults", order={"fault": "api_down", "count": None})
    with pytest.raises(http.client.RemoteDisconnected):
        wire(port, "GET", "/api2/json/version")
    wire(port, "DELETE", "/standin/faults")
    assert wire(port, "GET", "/api2/json/version")[0] == 200


def test_a_client_may_ask_again_at_once(port: int) -> None:
    """It is told that its connection ends, and takes another one."""
    wire(port, "POST", "/standin/faults", order={"fault": "api_down", "status": 595, "count": 1})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    found = []
    for _ in range(2):
        connection.request("GET", "/api2/json/version", headers={"Authorization": ROOT})
        reply = connection.getresponse()
        reply.read()
        found.append(reply.status)
        time.sleep(0.1)
    connection.close()
    assert found == [595, 200]


def test_a_request_that_is_refused_as_ordered(port: int, ask: Ask, node: Node, guest: int) -> None:
    config = f"/api2/json{GUEST}/config"
    order = {"fault": "refused", "method": "PUT", "path": "/config", "status": 400, "text": "Wrong.", "count": 2}
    wire(port, "POST", "/standin/faults", order={**order, "errors": {"onboot": "no"}})
    before = ask("GET", f"{GUEST}/config")
    assert wire(port, "GET", config)[0] == 200, "another method"
    refused = (400, {"data": None, "message": "Wrong.\n", "errors": {"onboot": "no"}})
    assert [wire(port, "PUT", config, order={"onboot": "0"}) for _ in range(2)] == [refused] * 2
    assert ask("GET", f"{GUEST}/config") == before
    wire(port, "POST", "/standin/faults", order={**order, "status": 401, "empty": True, "count": 1})
    assert wire(port, "PUT", config, order={"onboot": "0"}) == (401, None)
    assert wire(port, "PUT", config, order={"onboot": "0"})[0] == 200
    assert ask("GET", f"{GUEST}/config")["onboot"] == 0


def test_a_lock_ordered_over_the_wire(port: int, ask: Ask, guest: int) -> None:
    order = {"fault": "lock_held", "vmid": 100, "lock": "migrate", "seconds": 20}
    status, answer = wire(port, "POST", "/standin/faults", order=order)
    assert status == 200
    assert ":qmigrate:100:root@pam:" in answer["data"]["upid"]
    assert ask("GET", f"{GUEST}/config")["lock"] == "migrate"
    ask("DELETE", f"/nodes/pve1/tasks/{answer['data']['upid']}")


def test_a_slow_answer(port: int) -> None:
    wire(port, "POST", "/standin/faults", order={"fault": "slow", "path": "version", "seconds": 0.3})
    took = []
    for path in ("/api2/json/nodes", "/api2/json/version", "/api2/json/version"):
        begun = time.monotonic()
        wire(port, "GET", path)
        took.append(time.monotonic() - begun)
    assert took[1] == max(took)


def test_a_node_that_is_down_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    faults = Faults()
    faults.order({"fault": "api_down", "seconds": 5})
    assert [faults.take("api_down") is None for _ in range(3)] == [False] * 3
    moment[0] = 105.5
    assert faults.take("api_down") is None
    assert faults.due() == []


def test_a_restore_that_nobody_ends(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    need_zstd()
    back_up(ask, finished)
    node.faults.order({"fault": "task_fails", "type": "qmrestore", "text": "unexpected status"})
    upid = ask("POST", "/nodes/pve1/qemu", vmid="200", archive=archives(ask)[0], storage="local")
    assert finished(upid)[0] == "unexpected status"
    assert ask("GET", "/nodes/pve1/qemu/200/config")["lock"] == "create"
    disks = node.paths.images / "200"
    assert [path.name for path in disks.iterdir()] == ["vm-200-disk-0.raw"]
    node.store.change(200, lock=None)
    assert finished(ask("DELETE", "/nodes/pve1/qemu/200", purge="1", **{"destroy-unreferenced-disks": "1"}))[0] == "OK"
    assert not disks.exists()


def test_a_volume_that_no_configuration_names_stays_unless_it_is_asked_for(
    ask: Ask, node: Node, guest: int, finished: Finished
) -> None:
    stray = node.paths.images / "100/vm-100-disk-7.raw"
    stray.write_bytes(b"x")
    finished(ask("POST", f"{GUEST}/status/stop"))
    assert finished(ask("DELETE", GUEST))[0] == "OK"
    assert [path.name for path in stray.parent.iterdir()] == [stray.name]
