"""A container moves forward and back by archive and by changed blocks; its kind is found out, its config carried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.guard import state as guard
from bascule.guard.state import Epoch, GuardState, Receipt
from bascule.guest import (
    decisions,
    kinds,
    leftovers,
    observed,
    prepare,
    recover,
    remote,
    serving,
    transitions,
)
from bascule.guest.errors import ProxmoxError, TaskFailed

from . import fake_containers, fake_node

E1, E2 = Epoch(1, "aaaa"), Epoch(2, "bbbb")
FILES = {"disk:rootfs": "files-sha256:1111", "disk:mp0": "files-sha256:2222"}
NOW = "2026-12-02T06:00:00Z"


def _connected(*nodes: Any) -> list[str]:
    return [n.node for n in nodes if 100 in n.running and "link_down=1" not in n.guests[100]["net0"]]


def _switch(source: Any, target: Any, epoch: Epoch) -> None:
    transitions.close_begin(source, epoch, force=False)
    receipt = transitions.close_finish(source, epoch, FILES, NOW)["receipt"]
    transitions.open_side(
        target, epoch, Receipt.from_dict(receipt), transitions.reached(FILES, FILES, False), onboot=True, leads=False
    )


def _carry(source: Any, target: Any) -> None:
    """What sync does by archive, of the guest that was shut down."""
    here, there = fake_containers.of(source), fake_containers.of(target)
    archive = prepare.back_up(source, mark="stamp")["archive"]
    there.archives += [dict(row) for row in here.archives if row not in there.archives]
    prepare.restore(target, source, archive["volid"], began=True, replace=True)


# ---- what it is


def test_the_node_says_what_a_number_is(containers: Any, fake: Any) -> None:
    _, there, source, target = containers
    assert (source.kind, source.path) == (kinds.LXC, "nodes/pve-mtp/lxc/100")
    assert target.config_if_any() is None
    left, entered = observed.look_at_both(source, target)
    assert (left.kind, left.to_dict()["tool"], entered.exists) == (kinds.LXC, "pct", False)
    # What comes there is of the same kind.
    assert target.path == "nodes/pve-tls/lxc/100"
    assert there.written() == []
    assert fake.pair(lambda *given: None)[2].kind is kinds.QEMU


def test_a_virtual_machine_in_the_number_of_the_copy_is_somebody_elses(containers: Any) -> None:
    _here, there, source, target = containers
    prepare.adopt(source)
    archive = prepare.back_up(source)["archive"]
    there.guests[100] = {"name": "mail", "memory": "128", "scsi0": "local:100/vm-100-disk-0.raw,size=8G"}
    found = fake_containers.audited(containers)["refusals"]
    assert [line for line in found if "the guest 'mail' at the node pve-tls has it" in line] == found != []
    with pytest.raises(ProxmoxError, match="the guest 'mail' at the node pve-tls has it"):
        prepare.restore(target, source, archive["volid"], began=True)
    left, entered = observed.look_at_both(source, target)
    with pytest.raises(ProxmoxError, match="the guest 'mail' at the node pve-tls has it"):
        decisions.may_prepare(left, entered)
    assert there.guests[100]["name"] == "mail"
    assert there.written() == []


def test_a_container_in_the_number_of_a_virtual_machine_is_somebody_elses(nodes: Any) -> None:
    _here, there, source, target = nodes
    prepare.adopt(source)
    there.guests[100] = dict(fake_containers.CONFIG)
    there.containers.add(100)
    left, entered = observed.look_at_both(source, target)
    assert (left.kind, entered.exists) == (kinds.QEMU, False)
    with pytest.raises(ProxmoxError, match="the container 'courses' at the node pve-tls has it"):
        decisions.may_prepare(left, entered)


def test_a_foreign_container_is_neither_unlocked_nor_removed_nor_taken_over(prepared: Any) -> None:
    """Also not where this component began to copy a virtual machine to that number, and was cut off."""
    here, there, source, target = prepared
    endpoint = remote.Endpoint("192.0.2.8", 8006, "bascule@pve!move=secret", "AA:BB")
    kept = target.guard(target.config()).to_dict()
    transitions.freeze(source, force=False)
    there.guests[100] = {**fake_containers.CONFIG, "lock": "create"}
    there.containers.add(100)
    assert leftovers.locked_by_restore(fake_node.guest(there, "pve-tls"), True, source)["lock"] == ""
    found = recover.left_locked(source, fake_node.guest(there, "pve-tls"), "pve-tls", "", began=True)
    assert found["unlock"] == []
    assert remote.left_behind(source, fake_node.guest(there, "pve-tls"), began=True)["broken"] is False
    for broken in (False, True):
        assert remote.put_aside(fake_node.guest(there, "pve-tls"), True, broken)["reason"] == "the number is free"
    del there.guests[100]["lock"]
    here.peer = there
    here.task_results["qmigrate"] = ("VM 100 already exists", ["TASK ERROR: VM 100 already exists"])
    with pytest.raises(TaskFailed, match="already exists"):
        remote.migrate(source, fake_node.guest(there, "pve-tls"), endpoint, kept)
    assert there.guests[100] == fake_containers.CONFIG


# ---- forward and back


def test_prepare_makes_a_closed_container_with_its_config_to_the_letter(copied: Any) -> None:
    here, there, _source, target = copied
    was, made = here.guests[100], there.guests[100]
    assert made["net0"] == was["net0"] + ",link_down=1"
    assert made["onboot"] == 0
    assert target.guard(target.config()).status == guard.CLOSED
    same = set(was) - {"net0", "onboot", "description"}
    assert {key: made[key] for key in same} == {key: was[key] for key in same}
    assert set(made) == {*was, "protection"}
    assert made["description"].startswith("The courses' web application.\nAsk Nadia.\nbascule: {")
    assert here.archives[0]["volid"].startswith("local:backup/vzdump-lxc-100-")
    assert here.archives[0]["volid"].endswith(".tar.zst")


def test_a_restore_says_what_a_container_is_restored_from(containers: Any) -> None:
    here, there, source, target = containers
    prepare.adopt(source)
    archive = prepare.back_up(source)["archive"]
    there.archives = [dict(row) for row in here.archives]
    prepare.restore(target, source, archive["volid"], began=True)
    (made,) = [values for method, path, values in there.written() if path == "nodes/pve-tls/lxc"]
    assert (made["ostemplate"], made["restore"], made["storage"]) == (archive["volid"], 1, "local")
    assert not {"archive", "unprivileged", "features", "rootfs"} & set(made)
    (backup,) = [values for _, path, values in here.written() if path.endswith("vzdump")]
    # What lies below /tmp of the container is part of it.
    assert backup["stdexcludes"] == 0


@pytest.mark.parametrize("way", [decisions.ARCHIVE, decisions.DELTA])
def test_forward_and_back(copied: Any, way: str) -> None:
    here, there, source, target = copied
    by_files = way == decisions.ARCHIVE

    def sync(left: Any, entered: Any) -> str:
        todo = decisions.sync_todo(*observed.look_at_both(left, entered, by_files=by_files), way)
        if way == decisions.ARCHIVE:
            _carry(left, entered)
        else:
            transitions.keep_fence(entered)
            transitions.must_take_blocks(entered)
        return str(todo.action)

    assert transitions.freeze(source, force=False)["changed"] is True
    assert here.guests[100]["onboot"] == 0
    assert _connected(here, there) == []
    assert transitions.freeze(source, force=False)["changed"] is False
    assert sync(source, target) == way
    _switch(source, target, E1)
    assert _connected(here, there) == ["pve-tls"]
    assert here.guests[100]["net0"].endswith(",link_down=1")
    assert there.guests[100]["onboot"] == 1
    there.guests[100]["swap"] = "256"
    assert transitions.freeze(target, force=False)["changed"] is True
    assert sync(target, source) == way
    _switch(target, source, E2)
    assert _connected(here, there) == ["pve-mtp"]
    assert here.guests[100]["net0"] == fake_containers.CONFIG["net0"]
    assert here.guests[100]["hostname"] == "courses"
    assert here.guests[100]["swap"] == ("256" if way == decisions.ARCHIVE else "512")
    assert here.guests[100]["description"].startswith("The courses' web application.\nAsk Nadia.\n")
    assert 100 in here.containers


def test_blocks_travel_only_where_there_are_some(copied: Any) -> None:
    _here, there, source, target = copied
    transitions.freeze(source, force=False)
    todo = decisions.sync_todo(*observed.look_at_both(source, target), decisions.DELTA)
    assert [pair[0] for pair in todo.pairs] == [
        "/var/lib/vz/images/100/vm-100-disk-1.raw",
        "/var/lib/vz/images/100/vm-100-disk-0.raw",
    ]
    there.storages["local-zfs"] = "zfspool"
    there.guests[100]["rootfs"] = "local-zfs:subvol-100-disk-0,size=1G"
    with pytest.raises(ProxmoxError, match=r"rootfs \(local-zfs:subvol-100-disk-0, subvol\) at pve-tls.*archive"):
        decisions.sync_todo(*observed.look_at_both(source, target), decisions.DELTA)


def test_volumes_are_compared_by_files_where_a_restore_has_made_them(copied: Any) -> None:
    _here, there, source, target = copied
    blocks = [d.files for side in observed.look_at_both(source, target) for d in side.disks]
    assert set(blocks) == {False}
    left, entered = observed.look_at_both(source, target, by_files=True)
    assert {d.name: (d.files, d.at, d.mounts) for d in left.disks} == {
        "rootfs": (True, "/", ("/srv/data",)),
        "mp0": (True, "/srv/data", ("/",)),
    }
    assert [d.files for d in entered.disks] == [True, True]
    # A directory has no blocks, whatever the way is.
    there.storages["local-zfs"] = "zfspool"
    there.guests[100]["rootfs"] = "local-zfs:subvol-100-disk-0,size=1G"
    found = {d.name: d.files for d in observed.look_at_both(source, target)[1].disks}
    assert found == {"rootfs": True, "mp0": False}


def test_a_virtual_machine_is_never_compared_by_files(prepared: Any) -> None:
    *_, source, target = prepared
    for side in observed.look_at_both(source, target, by_files=True):
        assert [(d.files, d.at) for d in side.disks] == [(False, "")]


# ---- the opening rule


def test_a_closed_copy_does_not_start_with_its_node_nor_connected(copied: Any) -> None:
    _here, there, _source, target = copied
    with pytest.raises(GuardRefused, match="a side with a live permit"):
        transitions.thaw(target, onboot=True)
    assert there.guests[100]["onboot"] == 0
    assert 100 not in there.running
    assert there.written() == []


def test_a_side_with_other_files_is_not_opened(copied: Any) -> None:
    here, there, source, target = copied
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, E1, FILES, NOW)["receipt"])
    found = {**FILES, "disk:mp0": "files-sha256:9999"}
    with pytest.raises(GuardRefused, match="disk:mp0 is files-sha256:9999, not files-sha256:2222"):
        transitions.open_side(target, E1, receipt, transitions.reached(FILES, found, False), onboot=True, leads=False)
    assert _connected(here, there) == []


def test_what_is_inside_a_container_disproves_that_it_is_stopped(copied: Any) -> None:
    here, _, source, _ = copied
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    here.fail_next.append(("GET", "interfaces", (200, "OK", [{"name": "lo"}], None)))
    with pytest.raises(ProxmoxError, match="interfaces exist inside the container"):
        transitions.close_finish(source, E1, FILES, NOW)
    here.fail_next.append(("GET", "interfaces", (500, "got timeout", None, None)))
    here.fail_next += [("GET", "interfaces", (500, "unexpected", None, None))] * 9
    with pytest.raises(ProxmoxError, match=r"no proof that the guest is stopped|got timeout"):
        transitions.close_finish(source, E1, FILES, NOW)
    here.fail_next.clear()
    assert source.guard(source.config()).status == guard.CLOSING
    assert transitions.close_finish(source, E1, FILES, NOW)["reason"] == "receipt given"


def test_a_container_that_does_not_shut_down_is_not_forced(copied: Any) -> None:
    here, _, source, _ = copied
    here.task_results["vzshutdown"] = ("command 'lxc-stop' failed: exit code 1", ["TASK ERROR: exit code 1"])
    with pytest.raises(ProxmoxError, match="set proxmox_guest_force_stop: true"):
        transitions.freeze(source, force=False)
    assert 100 in here.running


def test_a_proof_boot_shows_that_it_starts_with_its_interfaces(copied: Any) -> None:
    here, there, _, target = copied
    assert transitions.proof_boot(target)["boots"] is True
    assert 100 not in there.running
    there.without_network.add(100)
    found = transitions.proof_boot(target)
    assert (found["boots"], 100 in there.running) == (False, False)
    assert "the container has no interface eth0 yet" in found["reason"]
    there.without_network.clear()
    assert "inside which no API runs a command" in transitions.proof_boot(target, command=["true"])["reason"]
    assert _connected(here, there) == ["pve-mtp"]


def test_a_container_that_is_open_is_asked_for_its_interfaces_and_not_for_an_agent(copied: Any) -> None:
    here, _there, source, _target = copied
    assert transitions.proof_boot(source)["boots"] is True
    here.without_network.add(100)
    assert "no interface" in transitions.proof_boot(source)["reason"]


def test_nobody_but_its_application_can_be_asked_whether_it_serves(copied: Any) -> None:
    _here, _there, source, target = copied
    assert serving.unaskable(source, target, source.config()) == []
    target.side = replace(target.side, health_url="")
    (why,) = serving.unaskable(source, target, source.config())
    assert why.startswith("nobody could be asked at pve-tls whether the guest serves: declare health_url")
    assert "a container has no agent" in why


# ---- what a run that was cut short leaves


def test_a_restore_that_fails_takes_the_container_away_and_the_next_one_makes_it_anew(copied: Any) -> None:
    here, there, source, target = copied
    transitions.freeze(source, force=False)
    closed = target.guard(target.config()).to_dict()
    archive = prepare.back_up(source, mark="stamp")["archive"]
    there.archives = [dict(row) for row in here.archives]
    there.task_results["vzrestore"] = ("unable to restore CT 100 - tar: No space left on device", ["TASK ERROR: tar"])
    with pytest.raises(ProxmoxError, match="No space left"):
        prepare.restore(target, source, archive["volid"], began=True, replace=True)
    assert 100 not in there.guests
    # The source serves: its return needs nothing of the side that has lost its copy.
    found = recover.take_back(target, source, True, closed)
    assert found["changed"] is False
    assert 100 not in there.guests
    assert transitions.thaw(source, onboot=True)["changed"] is True
    assert _connected(here, there) == ["pve-mtp"]
    transitions.freeze(source, force=False)
    prepare.restore(target, source, archive["volid"], began=True, replace=True, kept=closed)
    assert target.guard(target.config()) == GuardState.from_dict(closed)


def test_no_empty_container_takes_the_place_of_one_that_may_have_served(copied: Any) -> None:
    _here, there, source, target = copied
    transitions.freeze(source, force=False)
    _switch(source, target, E1)
    transitions.freeze(target, force=False)
    transitions.close_begin(target, E2, force=False)
    transitions.close_finish(target, E2, FILES, NOW)
    kept = source.guard(source.config()).to_dict()
    fake_containers.of(source)._forget(100)
    fake_containers.of(source).requests.clear()
    with pytest.raises(GuardRefused, match="held"):
        recover.take_back(source, target, True, kept)
    assert fake_containers.of(source).written() == []
    assert 100 in there.guests


def test_the_lock_of_a_restore_is_taken_away_by_the_program_of_its_kind(copied: Any) -> None:
    _here, there, source, target = copied
    there.guests[100] = {"lock": "create", "arch": "amd64"}
    assert leftovers.locked_by_restore(target, True, source) == {"changed": False, "lock": "create", "tool": "pct"}
    found = recover.left_locked(source, target, "pve-tls", "", True)
    assert (found["unlock"], found["tools"]) == (["pve-tls"], {"pve-tls": "pct"})


def test_protection_is_lifted_and_given_back(copied: Any) -> None:
    here, there, source, target = copied
    there.guests[100]["protection"] = 1
    transitions.freeze(source, force=False)
    _carry(source, target)
    assert there.guests[100]["protection"] == 1
    assert any(path == "nodes/pve-tls/lxc" for _, path, _ in there.written())
    assert here.guests[100].get("protection") is None


def test_snapshots_and_locks_name_the_right_program(copied: Any) -> None:
    _here, there, source, target = copied
    there.snapshots[100] = ["before"]
    transitions.freeze(source, force=False)
    assert "'pct delsnapshot 100 NAME'" in _message(lambda: _carry(source, target))
    there.snapshots.clear()
    there.guests[100]["lock"] = "backup"
    assert "'pct unlock 100'" in _message(lambda: target.wait_unlocked())


def _message(act: Callable[[], Any]) -> str:
    try:
        act()
    except ProxmoxError as error:
        return error.message()
    return ""


def test_retire_removes_a_container_by_its_own_path(copied: Any) -> None:
    here, there, source, target = copied
    transitions.freeze(source, force=False)
    _switch(source, target, E1)
    assert prepare.retire(source, target.guard(target.config()))["changed"] is True
    assert 100 not in here.guests
    assert 100 in there.running
    assert ("DELETE", "nodes/pve-mtp/lxc/100") in [(method, path) for method, path, _ in here.written()]


def test_what_its_volumes_held_at_their_fence_is_kept_by_an_archive_of_all_of_them(copied: Any) -> None:
    here, there, source, target = copied
    here.storages["local-zfs"] = "zfspool"
    here.guests[100]["rootfs"] = "local-zfs:subvol-100-disk-0,size=1G"
    here.guests[100]["mp0"] = "local-zfs:subvol-100-disk-1,mp=/srv/data,backup=1,size=2G"
    transitions.freeze(source, force=False)
    _switch(source, target, E1)
    transitions.freeze(target, force=False)
    before = len(here.archives)
    prepare.keep_fence(source)
    kept = here.archives[before:]
    assert [row["notes"].split()[:3] for row in kept] == [["bascule", "courses_guest", f"fence-{E1}"]]
    here.archives = here.archives[:before]
    here.lost = {"mp0"}
    with pytest.raises(ProxmoxError, match="without mp0"):
        prepare.keep_fence(source)
    assert there.containers == {100}
