"""Disks that changed blocks are not carried of: refused by name before the window, and again before a byte is copied."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guard.state import Epoch
from bascule.guest import audit, decisions, disk_kinds, observed, ready
from bascule.guest.errors import ProxmoxError
from bascule.guest.io import disk_target

from .test_storages import _switch


def _audit(nodes: Any, way: str) -> list[str]:
    *_, source, target = nodes
    views = observed.look_at_both(source, target, all_disks=False)
    return list(audit.audit(source, target, *views, way, stateless=way == decisions.WARM)["refusals"])


def _on_lvm(node: Any, volid: str = "fast:vm-100-disk-0.qcow2") -> None:
    """Keep the guest's disk as Proxmox VE 9 does on LVM with snapshots; the storage states raw of it."""
    node.storages = {"fast": "lvm"}
    node.guests[100]["scsi0"] = f"{volid},size=1G"
    node.contents[volid] = {"format": "raw"}


@pytest.mark.parametrize("way", [decisions.DELTA, decisions.ARCHIVE, decisions.WARM])
def test_an_image_on_lvm_of_which_the_storage_states_raw_is_refused(prepared: Any, way: str) -> None:
    *nodes, source, target = prepared
    said = "disk scsi0 is fast:vm-100-disk-0.qcow2, and its storage states raw"
    _on_lvm(nodes[0])
    assert [line for line in _audit(prepared, way) if said in line]
    _on_lvm(nodes[1])
    found = ready.ready(source, target, *observed.look_at_both(source, target), way)["refusals"]
    assert len([line for line in found if said in line]) == 2


def test_nothing_is_carried_into_it_and_no_return_begins(prepared: Any, tmp_path: Any) -> None:
    *nodes, source, target = prepared
    _on_lvm(nodes[1])
    source.shut_down(force=False)
    with pytest.raises(ProxmoxError, match=r"scsi0 .fast:vm-100-disk-0.qcow2, raw. at pve-tls"):
        decisions.sync_todo(*observed.look_at_both(source, target))
    path = tmp_path / "disk"
    path.write_bytes(b"QFI\xfb" + bytes(508))
    disk = {"name": "scsi0", "path": str(path), "format": "raw", "volid": "fast:vm-100-disk-0.qcow2", "length": 512}
    with (
        pytest.raises(BasculeError, match="vm-100-disk-0.qcow2 of the format that its name tells; found: raw"),
        disk_target.opened({**disk, "size": 512}),
    ):
        pass
    _switch(source, target, Epoch(1, "aaaa"))
    (found,) = ready.stops(target, source, decisions.ARCHIVE)
    assert "the guest 100 at pve-tls: disk scsi0 is fast:vm-100-disk-0.qcow2, and its storage states raw" in found


def test_which_volumes_are_named_as_another_image() -> None:
    named = [
        ("fast:vm-100-disk-0.qcow2", "raw"), ("local:100/vm-100-disk-0.vmdk", "raw"),
        ("local:100/vm-100-disk-0.qcow2", "qcow2"), ("local:100/vm-100-disk-0.raw", "raw"), ("fast:vm-100-disk-0", "raw"),
    ]  # fmt: skip
    assert [disk_kinds.is_another_image(*one) for one in named] == [True, True, False, False, False]
