"""What the disks of a side held at its fence is kept before anything writes to them, and nothing else as that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from bascule.guard.state import Epoch, Receipt
from bascule.guest import prepare, transitions
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
