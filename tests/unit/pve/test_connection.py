"""Bascule's client and its connection: certificates, tickets, versions, nodes that hang up, locks, leftovers."""

from __future__ import annotations

import fcntl
import functools
from pathlib import Path
from typing import Any

import pytest
from bascule_lab import credentials
from pve.pve_standin import __main__ as daemon
from pve.pve_standin import access, guest_store

from bascule.guard import state as guard
from bascule.guard.state import GuardState
from bascule.guest import config as guest_config
from bascule.guest import errors as kinds
from bascule.guest import leftovers, prepare, tasks
from bascule.guest.errors import ProxmoxError, TaskFailed
from bascule.guest.guest import Guest, Side
from bascule.guest.io import proxmox_api

from .over_tls import USER, World, archive, path
from .parts import need_zstd


@pytest.fixture(autouse=True)
def _short_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_store, "LOCK_SECONDS", 0.2)


def test_a_pinned_certificate(world: World) -> None:
    assert world.api(pin=world.fingerprint).version() in ("8.4.21", "9.1.3")
    other = world.fingerprint.replace(world.fingerprint[0], "0" if world.fingerprint[0] != "0" else "1", 1)
    with pytest.raises(ProxmoxError, match=rf"a certificate of 127\.0\.0\.1 with the fingerprint {other}.*nothing was"):
        world.api(pin=other).version()
    with pytest.raises(ProxmoxError, match="SHA-256 fingerprint of a certificate"):
        world.api(pin="AA:BB")


def test_an_unknown_authority_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "other/hosts").mkdir(parents=True)
    credentials.make_authority(tmp_path / "other")
    with pytest.raises(ProxmoxError, match="a signature by the given CA; found: SSLError"):
        World(world.node, world.port, tmp_path / "other").api().version()


def test_a_ticket_is_renewed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By age before it runs out, and when it is refused: a run may pause for longer than a ticket lives."""
    api = world.api(USER, "password")
    logins: list[str] = []
    log_in = world.node.access.login

    def counted(name: str, password: str) -> dict[str, Any]:
        logins.append(name)
        return log_in(name, password)

    monkeypatch.setattr(world.node.access, "login", counted)
    api.put(path("qemu/100/config"), onboot=False)
    api.put(path("qemu/100/config"), onboot=True)
    assert logins == [USER]
    monkeypatch.setattr(access, "TICKET_SECONDS", -1)
    with pytest.raises(kinds.NotAuthenticated, match="401 Authentication failed!"):
        api.get("version")
    assert len(logins) == 2, "once again, not endlessly"
    monkeypatch.setattr(access, "TICKET_SECONDS", 7200)
    assert api.get("version")["release"] == world.node.version
    monkeypatch.setattr(proxmox_api, "_RENEW_SECONDS", 0)
    api.put(path("qemu/100/config"), onboot=False)
    assert len(logins) > 3
    assert world.node.store.load(100)["onboot"] == "0"


def test_what_a_version_does_not_take_never_reaches_it(world: World) -> None:
    ask = functools.partial(world.api().post, path("vzdump"), vmid=999, storage="local", notification_policy="never")
    if world.node.version == "9.1":
        with pytest.raises(kinds.BadRequest, match="nothing was sent"):
            ask()
        assert world.node.tasks.listed("all") == []
    else:
        assert tasks.parse_upid(ask()).kind == "vzdump"


def test_a_node_that_hangs_up_is_no_answer(world: World) -> None:
    world.node.faults.order({"fault": "api_down", "count": 1})
    with pytest.raises(kinds.NodeUnreachable, match=r"unknown: the request may have been carried out"):
        world.api().put(path("qemu/100/config"), onboot=False)
    world.node.faults.order({"fault": "api_down", "count": 1})
    assert world.api().get("version")["release"] == world.node.version, "reading is repeated"


def test_an_empty_success_is_no_success(world: World) -> None:
    world.node.faults.order({"fault": "api_down", "status": 200, "count": 1})
    with pytest.raises(kinds.NodeUnreachable, match="an answer that is no JSON"):
        world.api().post(path("qemu/100/status/stop"))


def test_a_second_backup_and_a_stopped_one(world: World) -> None:
    """From the recordings beside `errors.txt`: one backup at a time, and a task that is told to stop."""
    with world.node.paths.vzdump_lock.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        upid = world.api().post(path("vzdump"), vmid=200, storage="local", lockwait=0)
        with pytest.raises(TaskFailed) as caught:
            tasks.wait(world.api(), upid, 60)
        assert caught.value.found == "unexpected status: can't acquire lock '/var/run/vzdump.lock' (wait = 0)"
        waiting = world.api().post(path("vzdump"), vmid=200, storage="local")
        world.api().delete(path(f"tasks/{waiting}"))
        with pytest.raises(TaskFailed) as caught:
            tasks.wait(world.api(), waiting, 60)
    assert caught.value.exitstatus == "interrupted by signal"


def test_a_full_storage_and_warnings(world: World) -> None:
    need_zstd()
    words = "zstd: error 70 : Write error : cannot write block : No space left on device"
    world.node.faults.order({"fault": "storage_full", "at": "vzdump"})
    upid = world.api().post(path("vzdump"), vmid=100, storage="local", compress="zstd")
    with pytest.raises(TaskFailed) as caught:
        tasks.wait(world.api(), upid, 60)
    assert caught.value.exitstatus == "job errors"
    assert words in caught.value.words
    assert world.api().get(path("storage/local/content"), content="backup") == []
    world.node.faults.order({"fault": "task_fails", "type": "vzdump", "text": "WARNINGS: 1"})
    upid = world.api().post(path("vzdump"), vmid=100, storage="local", compress="zstd")
    assert tasks.wait(world.api(), upid, 60).warnings == 1
    assert len(world.api().get(path("storage/local/content"), content="backup")) == 1


def test_who_holds_a_lock_is_named(world: World) -> None:
    upid = world.node.hold(world.node.faults.order({"fault": "lock_held", "vmid": 100, "seconds": 30}))
    assert tasks.holders(world.api(), "pve1", 100) == ["vzdump by root@pam"]
    world.node.tasks.stop(upid)
    world.node.tasks.wait(upid)
    assert tasks.holders(world.api(), "pve1", 100) == []


def test_what_a_killed_restore_left_is_freed_and_removed(world: World) -> None:
    """A node that dies during a restore leaves a bare, locked number, which no API call can take away."""
    volid = archive(world)
    api = world.api()
    side = Side(machine="pve1", node="pve1", vmid=300, storage="local")
    target = Guest(api, side, "courses_guest", sleep=lambda seconds: None)
    serving = guard.adopt_open(GuardState("courses_guest", "pve0"))
    world.node.store.change(100, description=guest_config.with_guard("", serving))
    source = Guest(api, Side(machine="pve0", node="pve1", vmid=100, storage="local"), "courses_guest")
    world.node.store.save(300, {"memory": "128", "lock": "create"})
    with pytest.raises(TaskFailed, match=r"VM is locked \(create\)"):
        prepare.restore(target, source, volid, began=True)
    assert leftovers.locked_by_restore(target, began=False, source=source)["lock"] == "", "somebody else's"
    assert leftovers.locked_by_restore(target, began=True, source=source)["lock"] == "create"
    assert daemon.main(["qm", "unlock", "300", "--root", str(world.node.paths.root), "--node", "pve1"]) == 0
    assert leftovers.locked_by_restore(target, began=True, source=source)["lock"] == ""
    done = prepare.restore(target, source, volid, began=True)
    assert (done["changed"], done["cleaned"], done["guard"]["status"]) == (True, True, "closed")
    config = api.get(path("qemu/300/config"))
    assert (config["onboot"], "link_down=1" in config["net0"], "lock" in config) == (0, True, False)
