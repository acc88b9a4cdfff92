"""Disks that no archive has: named by the audit, and never removed with a guest."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.guard.state import Epoch, Receipt
from bascule.guest import audit, decisions, observed, prepare, remote, transitions
from bascule.guest.errors import ProxmoxError

DETACHED = {"unused0": "local:100/vm-100-disk-7.raw"}


def _switched(source: Any, target: Any) -> None:
    transitions.freeze(source, force=False)
    epoch, disks = Epoch(1, "aaaa"), {"disk:scsi0": "tree-sha256:1111"}
    transitions.close_begin(source, epoch, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, epoch, disks, "2026-11-20T09:00:00Z")["receipt"])
    transitions.open_side(target, epoch, receipt, True, onboot=True, leads=False)


@pytest.mark.parametrize("side", [0, 1])
def test_the_audit_names_a_detached_disk_of_either_side(prepared: Any, side: int) -> None:
    *nodes, source, target = prepared
    nodes[side].guests[100] |= DETACHED
    found = audit.audit(source, target, *observed.look_at_both(source, target), decisions.REMOTE)["refusals"]
    machine = ("pve-mtp", "pve-tls")[side]
    assert found == [
        f"the guest 100 at {machine} has a detached disk unused0 (local:100/vm-100-disk-7.raw): attach it, or remove "
        "it or give it to another guest"
    ]


@pytest.mark.parametrize(
    ("way", "refused"), [(decisions.DELTA, True), (decisions.ARCHIVE, True), (decisions.REMOTE, False)]
)
def test_the_audit_names_a_disk_that_archives_leave_out(nodes: Any, way: str, refused: bool) -> None:
    here, _, source, target = nodes
    here.guests[100]["scsi0"] += ",backup=0"
    found = audit.audit(source, target, *observed.look_at_both(source, target), way)["refusals"]
    assert found == (["the guest 100 at pve-mtp: disk scsi0 is in no archive (backup=0)"] if refused else [])


def test_a_guest_with_a_detached_disk_is_not_put_aside(prepared: Any) -> None:
    _, there, _, target = prepared
    there.guests[100] |= DETACHED
    with pytest.raises(ProxmoxError, match=r"unused0 \(local:100/vm-100-disk-7.raw\).*nothing was removed"):
        remote.put_aside(target, began=True)
    assert there.written() == []


def test_a_guest_with_a_detached_disk_is_not_retired(prepared: Any) -> None:
    here, _, source, target = prepared
    _switched(source, target)
    here.guests[100] |= DETACHED
    before = here.written()
    with pytest.raises(ProxmoxError, match="no detached disks at the guest 100 at pve-mtp before it is removed"):
        prepare.retire(source, target.guard(target.config()))
    assert here.written() == before


def test_what_no_config_names_is_told_and_stays(nodes: Any) -> None:
    here, there, source, target = nodes
    prepare.adopt(source)
    archive = prepare.back_up(source)["archive"]
    there.archives = [dict(row) for row in here.archives]
    there.guests[100] = {"memory": "128"}
    there.stray = ["local:100/vm-100-disk-3.raw"]
    said: list[str] = []
    target._report = said.append
    prepare.restore(target, source, archive["volid"], began=True)
    (removed,) = [values for method, _, values in there.written() if method == "DELETE"]
    assert removed == {}, "with purge it would go out of the backup jobs too"
    assert [line for line in said if "no guest names local:100/vm-100-disk-3.raw" in line and "they stay" in line]
