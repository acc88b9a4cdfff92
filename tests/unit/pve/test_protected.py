"""A protected passive guest is replaced over the wire: what Proxmox refuses, and both sides' protection afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pve.pve_standin.access import PRIVILEGES

from bascule.guard import state as guard
from bascule.guard.state import GuardState
from bascule.guest import config as guest_config
from bascule.guest import prepare, protection, remote, tasks
from bascule.guest.api import Api
from bascule.guest.errors import NotPermitted, ProxmoxError, TaskFailed
from bascule.guest.guest import Guest, Limits, Side

from .over_tls import FEW, World, path
from .parts import need_zstd


def _guest(api: Api, machine: str, vmid: int) -> Guest:
    side = Side(machine=machine, node="pve1", vmid=vmid, storage="local")
    return Guest(api, side, "courses_guest", Limits(lock=1), sleep=lambda seconds: None)


@pytest.fixture
def sides(world: World) -> tuple[Guest, Guest, str]:
    """A protected guest that serves, its passive copy, and the archive that was made of it."""
    need_zstd()
    api = world.api()
    serving = guard.adopt_open(GuardState("courses_guest", "pve0"))
    world.node.store.change(100, description=guest_config.with_guard("", serving), protection="1")
    tasks.wait(api, api.post(path("vzdump"), vmid="100", storage="local", compress="zstd"), 60)
    (row,) = api.get(path("storage/local/content"), content="backup")
    source, target = _guest(api, "pve0", 100), _guest(api, "pve1", 300)
    prepare.restore(target, source, row["volid"], began=True)
    return source, target, str(row["volid"])


def _is(world: World, vmid: int) -> tuple[str, bool]:
    config = world.node.store.load(vmid)
    return config.get("protection", "0"), guest_config.is_lifted(config)


def test_a_copy_has_none_and_what_replaces_a_protected_one_is_protected(world: World, sides: Any) -> None:
    source, target, volid = sides
    assert (_is(world, 100), _is(world, 300)) == (("1", False), ("0", False))
    world.api().put(path("qemu/300/config"), protection=True)
    with pytest.raises(TaskFailed, match="protection mode enabled"):
        target.run_task(world.api().post(path("qemu"), vmid=300, archive=volid, force=True))
    assert prepare.restore(target, source, volid, began=True, replace=True)["changed"]
    assert (_is(world, 100), _is(world, 300)) == (("1", False), ("1", False))
    assert remote.put_aside(target, began=True)["changed"]
    assert not world.node.store.exists(300)
    assert _is(world, 100) == ("1", False)


def test_after_a_kill_it_is_given_back(world: World, sides: Any) -> None:
    _source, target, _volid = sides
    world.api().put(path("qemu/300/config"), protection=True)
    before = target.config()["description"]
    assert protection.lift(target)
    assert _is(world, 300) == ("0", True)
    assert protection.give_back(target)
    assert _is(world, 300) == ("1", False)
    assert target.config()["description"].rstrip("\n") == before.rstrip("\n")


def test_a_restore_of_a_broken_archive_gives_it_back(world: World, sides: Any) -> None:
    source, target, volid = sides
    world.api().put(path("qemu/300/config"), protection=True)
    world.node.volumes.path(volid).write_bytes(b"no archive")
    with pytest.raises(TaskFailed):
        prepare.restore(target, source, volid, began=True, replace=True)
    assert _is(world, 300) == ("1", False)


def test_a_token_that_may_not_change_it_lifts_nothing(world: World, sides: Any) -> None:
    source, _target, volid = sides
    world.api().put(path("qemu/300/config"), protection=True)
    few = sorted({*PRIVILEGES} - {"VM.Config.Options"})
    world.node.paths.privileges.write_text(json.dumps({FEW: {"/": few}}))
    target = _guest(world.api(FEW), "pve1", 300)
    with pytest.raises(NotPermitted, match=r"VM\.Config\.Options"):
        prepare.restore(target, source, volid, began=True, replace=True)
    assert _is(world, 300) == ("1", False)
    with pytest.raises(NotPermitted, match=r"VM\.Config\.Options"):
        remote.put_aside(target, began=True)
    assert _is(world, 300) == ("1", False)


def test_somebody_elses_lock_is_not_passed(world: World, sides: Any) -> None:
    source, target, volid = sides
    world.node.store.change(300, protection="1", lock="backup")
    with pytest.raises(ProxmoxError, match="without a lock"):
        prepare.restore(target, source, volid, began=True, replace=True)
    assert _is(world, 300) == ("1", False)
    assert world.node.store.load(300)["lock"] == "backup"
