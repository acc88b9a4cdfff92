"""A protected guest is named before a move, and refused before Proxmox refuses in the middle of one."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.guard.state import Epoch, Receipt
from bascule.guest import audit, decisions, observed, prepare, remote, transitions
from bascule.guest.errors import ProxmoxError

WORDS = r"without protection: it is to be replaced or removed.*qm set 100 --protection 0' at "


@pytest.mark.parametrize("way", decisions.WAYS)
@pytest.mark.parametrize("side", [0, 1])
def test_the_audit_names_it_at_either_side(prepared: Any, way: str, side: int) -> None:
    *nodes, source, target = prepared
    nodes[side].guests[100]["protection"] = 1
    said = f"the guest 100 at {('pve-mtp', 'pve-tls')[side]} is protected (protection: 1)"
    found = audit.audit(source, target, *observed.look_at_both(source, target), way, stateless=True)
    assert [said in line for line in found["refusals"]] == ([] if way == decisions.DELTA else [True])
    assert [line for line in found["notes"] if said in line and "before decommission" in line] == (
        [f"{said}: take that away before decommission, which removes it"] if way == decisions.DELTA else []
    )


def test_nothing_is_restored_over_it(prepared: Any) -> None:
    here, there, source, target = prepared
    there.guests[100]["protection"] = 1
    before = dict(there.guests[100])
    with pytest.raises(ProxmoxError, match=f"{WORDS}pve-tls"):
        prepare.restore(target, source, here.archives[0]["volid"], began=True, replace=True)
    assert there.guests[100] == before
    assert there.written() == []
    del there.guests[100]["protection"]
    assert prepare.restore(target, source, here.archives[0]["volid"], began=True, replace=True)["changed"]


def test_it_is_not_put_aside(prepared: Any) -> None:
    _, there, _, target = prepared
    there.guests[100]["protection"] = 1
    with pytest.raises(ProxmoxError, match=f"{WORDS}pve-tls"):
        remote.put_aside(target, began=True)
    assert there.written() == []


def test_it_is_not_retired_and_no_last_archive_is_made_of_it(prepared: Any) -> None:
    here, _, source, target = prepared
    transitions.freeze(source, force=False)
    epoch, disks = Epoch(1, "aaaa"), {"disk:scsi0": "tree-sha256:1111"}
    transitions.close_begin(source, epoch, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, epoch, disks, "2026-11-20T09:00:00Z")["receipt"])
    transitions.open_side(target, epoch, receipt, True, onboot=True, leads=False)
    here.guests[100]["protection"] = 1
    before = here.written()
    with pytest.raises(ProxmoxError, match=f"{WORDS}pve-mtp"):
        prepare.retire(source, target.guard(target.config()))
    assert here.written() == before
