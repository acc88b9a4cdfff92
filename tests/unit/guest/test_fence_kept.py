"""What the disks of a side held at its fence is kept before anything writes to them, and nothing else as that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from bascule.errors import GuardRefused
from bascule.guard.state import Epoch, Receipt
from bascule.guest import decisions, observed, prepare, ready, recover, transitions
from bascule.guest.errors import ProxmoxError

from .schema import ROOT

DISKS = {"disk:scsi0": "tree-sha256:1111"}


@pytest.fixture
def returned(nodes: Any) -> Any:
    """A guest on block devices, moved forward and back: the other side stands at its fence."""
    here, there, source, target = nodes
    for node in (here, there):
        node.storages = {"fast": "lvmthin"}
    here.guests[100]["scsi0"] = "fast:vm-100-disk-0,size=1G"
    for side in (source, target):
        side.side = replace(side.side, storage="fast", backup_storage="local")
    prepare.adopt(source)
    _carry(source, target, nodes, "state1")
    _switch(source, target, Epoch(1, "aaaa"))
    transitions.freeze(target, force=False)
    _carry(target, source, nodes, "state2", replace=True)
    _switch(target, source, Epoch(2, "bbbb"))
    here.requests.clear()
    there.requests.clear()
    return nodes


def _carry(source: Any, target: Any, nodes: Any, stamp: str, **given: Any) -> None:
    archive = prepare.back_up(source, mark=stamp)["archive"]
    everywhere = {row["volid"]: row for node in nodes[:2] for row in node.archives}
    for node in nodes[:2]:
        node.archives = [dict(row) for row in everywhere.values()]
    prepare.restore(target, source, archive["volid"], began=True, **given)


def _switch(source: Any, target: Any, epoch: Epoch) -> None:
    transitions.freeze(source, force=False)
    transitions.close_begin(source, epoch, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, epoch, DISKS, "2026-11-20T09:00:00Z")["receipt"])
    transitions.open_side(target, epoch, receipt, True, onboot=True, leads=False)


def _fences(node: Any, epoch: str = "2.bbbb") -> list[dict[str, Any]]:
    return [row for row in node.archives if f" fence-{epoch} " in row["notes"]]


def test_it_is_kept_once_before_changed_blocks_are_written(returned: Any) -> None:
    _, there, _, target = returned
    at_fence = dict(there.guests[100])
    there.running.add(100)
    assert transitions.keep_fence(target, check=True)["changed"] is True
    assert _fences(there) == []
    there.running.discard(100)
    told = transitions.keep_fence(target, check=True)
    assert (told["changed"], told["reason"]) == (
        True,
        "its disks as they were at the fence would be kept by an archive",
    )
    assert there.written() == []
    there.running.add(100)
    assert transitions.keep_fence(target)["changed"] is True
    assert 100 not in there.running, "what a proof boot has left is stopped first"
    assert [row["_config"] for row in _fences(there)] == [at_fence]
    assert transitions.keep_fence(target)["changed"] is False
    assert len(_fences(there)) == 1
    assert transitions.keep_fence(target, check=True)["changed"] is False


def test_of_disks_that_changed_blocks_have_overwritten_no_second_one_is_made(returned: Any) -> None:
    """Nobody could tell it from the one that was made at the fence."""
    _, there, source, target = returned
    transitions.keep_fence(target)
    assert "bascule-booted: changed blocks" in there.guests[100]["description"]
    assert target.guard(target.config()).status == "closed"
    there.archives = [row for row in there.archives if row not in _fences(there)]
    transitions.freeze(source, force=False)
    for again in (transitions.keep_fence, transitions.proof_boot, transitions.boot_apart):
        with pytest.raises(ProxmoxError, match=r"no archive 'bascule courses_guest fence-2\.bbbb', and changed blocks"):
            again(target)
    assert _fences(there) == []
    assert 100 not in there.running


def test_that_it_is_gone_is_told_while_the_guest_serves(returned: Any) -> None:
    _, there, source, target = returned
    transitions.keep_fence(target)
    for gone in (False, True):
        there.archives = [row for row in there.archives if not gone or row not in _fences(there)]
        for found in (
            ready.ready(source, target, *observed.look_at_both(source, target), decisions.DELTA)["refusals"],
            ready.stops(source, target, decisions.DELTA),
        ):
            assert bool([line for line in found if "changed blocks have overwritten" in line]) is gone


def test_a_mark_of_a_boot_is_kept(returned: Any) -> None:
    """Nor is an archive missed that was never made, as the disks were written to before."""
    _, there, _, target = returned
    transitions.proof_boot(target)
    there.archives = [row for row in there.archives if row not in _fences(there)]
    assert transitions.keep_fence(target)["changed"] is False
    assert "bascule-booted: proof boot has begun" in there.guests[100]["description"]
    assert transitions.keep_fence(target)["changed"] is False


@pytest.mark.parametrize(
    "given", [{"lock": "backup"}, {"running": True}, {"link": True}, {"guard": True}, {"gone": True}]
)
def test_right_before_it_is_written_the_guest_is_asked_again(returned: Any, given: dict[str, Any]) -> None:
    _, there, source, target = returned
    assert transitions.must_take_blocks(target)["changed"] is False
    config = there.guests[100]
    if "lock" in given:
        config["lock"] = "backup"
    if "running" in given:
        there.running.add(100)
    if "link" in given:
        config["net0"] = config["net0"].replace(",link_down=1", "")
    if "guard" in given:
        transitions.close_begin(source, Epoch(3, "cccc"), force=False)
        receipt = Receipt.from_dict(
            transitions.close_finish(source, Epoch(3, "cccc"), DISKS, "2026-11-20T09:00:00Z")["receipt"]
        )
        transitions.open_side(target, Epoch(3, "cccc"), receipt, True, onboot=True, leads=False)
    if "gone" in given:
        del there.guests[100]
    with pytest.raises(GuardRefused, match="right before its disks are written"):
        transitions.must_take_blocks(target)
    assert transitions.must_take_blocks(target, check=True)["changed"] is False


def test_the_role_keeps_it_before_it_lends_and_writes() -> None:
    def done(name: str) -> list[str]:
        tasks = yaml.safe_load((ROOT / f"roles/proxmox_guest/tasks/{name}.yml").read_text())
        return [
            task.get("ansible.builtin.import_tasks")
            or task.get("bascule_guest", task.get("bascule_guest_link", {})).get("operation")
            or next(key for key in task if key.startswith("bascule_guest"))
            for task in tasks
        ]

    assert done("sync_blocks") == ["keep_fence", "bascule_guest_link", "sync_delta.yml"]
    carried = done("sync_delta")
    assert carried.index("keep_aside.yml") < carried.index("used.yml") < carried.index("bascule_guest_pull")
    assert carried[carried.index("bascule_guest_pull") - 1] == "may_write"


@pytest.mark.parametrize("stays", [False, True])
def test_a_proof_boot_keeps_it_first_and_once(returned: Any, stays: bool) -> None:
    _, there, _, target = returned
    at_fence = dict(there.guests[100])
    assert transitions.proof_boot(target, stays=stays)["boots"] is True
    did = [path for method, path, _ in there.written() if method == "POST"]
    assert did.index("nodes/pve-tls/vzdump") < did.index("nodes/pve-tls/qemu/100/status/start")
    assert [row["_config"] for row in _fences(there)] == [at_fence]
    assert transitions.proof_boot(target, stays=stays)["boots"] is True
    assert len(_fences(there)) == 1


def test_what_cannot_be_kept_is_not_booted(returned: Any) -> None:
    _, there, _, target = returned
    there.task_results["vzdump"] = ("job errors", ["ERROR: No space left on device", "TASK ERROR: job errors"])
    with pytest.raises(ProxmoxError, match="job errors"):
        transitions.proof_boot(target)
    assert 100 not in there.running
    assert not [path for _, path, _ in there.written() if path.endswith("status/start")]


def test_the_proof_boot_keeps_the_files_of_disks_too() -> None:
    """By the node itself, before the console is recorded and the guest is booted."""
    tasks = yaml.safe_load((ROOT / "roles/proxmox_guest/tasks/check_boot.yml").read_text())
    done = [
        task.get("ansible.builtin.include_tasks") or task.get("bascule_guest", {}).get("operation") for task in tasks
    ]
    assert done.index("keep_aside.yml") < done.index("used.yml") < done.index("proof_boot")


def test_an_archive_without_all_disks_keeps_nothing_and_nothing_is_written_over(returned: Any) -> None:
    here, there, source, target = returned
    transitions.freeze(source, force=False)
    archive = prepare.back_up(source, mark="state3")["archive"]
    there.archives = [*there.archives, *here.archives]
    before = dict(there.guests[100])
    there.lost.add("scsi0")
    with pytest.raises(ProxmoxError, match="bytes, without scsi0"):
        prepare.restore(target, source, archive["volid"], began=True, replace=True)
    with pytest.raises(ProxmoxError, match="bytes, without scsi0"):
        prepare.restore(target, source, archive["volid"], began=True, replace=True)
    there.archives = [row for row in there.archives if row not in _fences(there)]
    there.lost.clear()
    there.fail_next.append(("GET", "vzdump/extractconfig", (500, "vma: unable to open archive", None, None)))
    with pytest.raises(ProxmoxError, match="vma: unable to open archive"):
        prepare.restore(target, source, archive["volid"], began=True, replace=True)
    assert there.guests[100] == before
    assert not [path for method, path, _ in there.written() if (method, path) == ("POST", "nodes/pve-tls/qemu")]


@pytest.mark.parametrize("cut_short", [False, True])
def test_what_a_copy_has_left_is_not_kept_as_the_fence(returned: Any, cut_short: bool) -> None:
    """The fence was in files, which were kept beside themselves; what was restored since lies on block devices."""
    _, there, source, target = returned
    noted = target.guard(target.config()).to_dict()
    transitions.freeze(source, force=False)
    there.guests[100]["scsi0"] = "local:100/vm-100-disk-0.raw,size=1G"
    _carry(source, target, returned, "state3", replace=True)
    assert _fences(there) == []
    if cut_short:
        there.guests[100] = {"scsi0": there.guests[100]["scsi0"], "memory": "512"}
        recover.take_back(target, source, True, noted)
    assert target.guard(target.config()).receipt is not None
    assert (prepare.keep_fence(target) or {})["changed"] is False
    assert _fences(there) == []
    _switch(source, target, Epoch(3, "cccc"))
    _switch(target, source, Epoch(4, "dddd"))
    assert (prepare.keep_fence(target) or {})["changed"] is True, "it has been open since, and stands at a new fence"


def test_room_for_it_is_asked_before_the_window_with_that_for_the_archive_that_comes(returned: Any) -> None:
    _, there, source, target = returned
    (disk,) = observed.look(source).disks
    needed = disk.used or disk.size
    there.storage = {"avail": 2 * needed - 1}

    def refused(way: str) -> list[str]:
        found = ready.ready(source, target, *observed.look_at_both(source, target), way)["refusals"]
        return [line for line in found if "bytes free" in line]

    assert refused(decisions.ARCHIVE) == [
        f"storage 'local' at pve-tls has {2 * needed - 1} bytes free; the archives of the window may need {2 * needed}"
    ]
    assert refused(decisions.WARM) == []
    there.storage = {"avail": needed - 1}
    assert refused(decisions.WARM), "the copy is booted, and its fence is kept before"
    there.storage = {"avail": needed}
    prepare.keep_fence(target)
    assert refused(decisions.ARCHIVE) == []
