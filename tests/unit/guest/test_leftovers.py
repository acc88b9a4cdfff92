"""What a dead job leaves behind is removed where it is this component's own, and nowhere else."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bascule.guest import leftovers, prepare
from bascule.guest.errors import ProxmoxError, TaskFailed


@pytest.mark.parametrize(
    ("config", "began", "lock"),
    [
        (None, True, ""),
        ({"memory": "128", "lock": "create"}, True, "create"),
        ({"memory": "128", "lock": "create"}, False, ""),
        ({"memory": "128"}, True, ""),
        ({"memory": "128", "lock": "backup"}, True, ""),
    ],
)
def test_only_a_lock_of_our_own_restore_is_named(nodes: Any, config: Any, began: bool, lock: str) -> None:
    _, there, source, target = nodes
    if config:
        there.guests[100] = config
    found = leftovers.locked_by_restore(target, began, source)
    assert found == {"changed": False, "lock": lock, "tool": "qm" if lock else ""}
    assert there.written() == []


def test_a_guest_with_a_guard_is_nobodys_leftover(prepared: Any) -> None:
    _, there, source, target = prepared
    there.guests[100]["lock"] = "create"
    assert leftovers.locked_by_restore(target, began=True, source=source)["lock"] == ""


def test_a_lock_that_a_task_holds_is_not_taken(nodes: Any) -> None:
    _, there, source, target = nodes
    there.guests[100] = {"memory": "128", "lock": "create"}
    there.active.append({"type": "qmigrate", "upid": "UPID:x", "user": "root@pam"})
    assert leftovers.locked_by_restore(target, began=True, source=source)["lock"] == ""


def test_a_restore_that_runs_is_followed_first(nodes: Any, fake: Any) -> None:
    _, there, source, target = nodes
    there.guests[100] = {"memory": "128", "lock": "create"}
    upid = there.task("qmrestore", 100)[2]
    there.tasks[upid] = ("interrupted by signal", ["TASK ERROR: interrupted by signal"])
    there.active.append({"type": "qmrestore", "upid": upid, "user": "bascule@pve!move"})
    assert leftovers.locked_by_restore(target, began=True, source=source)["lock"] == "", "its task is still listed"
    there.active.clear()
    assert leftovers.locked_by_restore(target, began=True, source=source)["lock"] == "create"


def test_what_a_failed_backup_left_is_removed_and_nothing_else(nodes: Any) -> None:
    here, _, source, _ = nodes
    names = [f"vzdump-qemu-100-2026_11_20-08_46_{second:02d}.vma.zst" for second in (1, 2)]
    here.archives += [{"volid": f"local:backup/{name}", "vmid": 100, "ctime": 1, "content": "backup"} for name in names]
    log = [f"INFO: creating vzdump archive '/var/lib/vz/dump/{names[1]}'", "TASK ERROR: job errors"]
    here.task_results["vzdump"] = ("job errors", log)
    with pytest.raises(TaskFailed, match="job errors"):
        prepare.back_up(source, since=math.inf)
    deleted = [path for method, path, _ in here.written() if method == "DELETE"]
    assert deleted == [f"nodes/pve-mtp/storage/local/content/local:backup/{names[1]}"]
    assert [archive["volid"] for archive in here.archives] == [f"local:backup/{names[0]}"]


def test_a_backup_that_failed_before_it_began_leaves_nothing_to_remove(nodes: Any) -> None:
    here, _, source, _ = nodes
    here.task_results["vzdump"] = ("VM is locked (backup)", ["TASK ERROR: VM is locked (backup)"])
    with pytest.raises(TaskFailed):
        prepare.back_up(source, since=math.inf)
    assert [request[0] for request in here.written()] == ["POST"]


@pytest.mark.parametrize(
    ("holder", "words"),
    [
        ([], "no task can be seen that holds it: .*'qm unlock 100' there"),
        ([{"type": "vzdump", "user": "root@pam", "upid": "UPID:x"}], r"found: locked: backup \(vzdump by root@pam\)"),
    ],
)
def test_a_lock_that_stays_names_its_holder_or_says_that_there_is_none(nodes: Any, holder: Any, words: str) -> None:
    here, _, source, _ = nodes
    here.guests[100]["lock"] = "backup"
    here.active += holder
    with pytest.raises(ProxmoxError, match=words):
        source.wait_unlocked()
    assert here.written() == []
