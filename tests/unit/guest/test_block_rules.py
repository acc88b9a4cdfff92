"""Disks of which no changed blocks are carried: refused by name before the window, and before a byte is copied."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guard.state import Epoch
from bascule.guest import audit, decisions, disk_kinds, observed, prepare, ready
from bascule.guest.chunks import CHUNK
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
        pytest.raises(BasculeError, match=r"vm-100-disk-0\.qcow2 of the format that its name tells; found: raw"),
        disk_target.opened({**disk, "size": 512}),
    ):
        pass
    _switch(source, target, Epoch(1, "aaaa"))
    (found,) = ready.stops(target, source, decisions.ARCHIVE)
    assert "the guest 100 at pve-tls: disk scsi0 is fast:vm-100-disk-0.qcow2, and its storage states raw" in found


def test_which_volumes_are_named_as_another_image() -> None:
    named = [
        ("fast:vm-100-disk-0.qcow2", "raw"), ("local:100/vm-100-disk-0.vmdk", "raw"),
        ("local:100/vm-100-disk-0.qcow2", "qcow2"), ("local:100/vm-100-disk-0.raw", "raw"),
        ("fast:vm-100-disk-0", "raw"),
    ]  # fmt: skip
    assert [disk_kinds.is_another_image(*one) for one in named] == [True, True, False, False, False]


def test_an_efi_disk_that_is_too_small_for_what_the_guest_sees_is_refused(prepared: Any) -> None:
    *nodes, source, target = prepared
    for node in nodes:
        node.guests[100] |= {"bios": "ovmf", "efidisk0": "local:100/vm-100-disk-1.raw,efitype=4m,size=4M"}
    nodes[0].contents["local:100/vm-100-disk-1.raw"] = {"size": 4 << 20}
    source.shut_down(force=False)
    for size, fits in ((540672, True), (131072, False)):
        nodes[1].contents["local:100/vm-100-disk-1.raw"] = {"size": size}
        views = observed.look_at_both(source, target)
        for exact in (False, True):
            assert bool(prepare.disks_differ(*views, exact=exact)) is not fits
        if fits:
            assert decisions.sync_todo(*views).action == "blocks"
        else:
            with pytest.raises(ProxmoxError, match="the disk efidisk0 at pve-tls as large"):
                decisions.sync_todo(*views)
    assert disk_kinds.is_large_enough("efidisk0", 528 << 10, 528 << 10, 0)
    assert not disk_kinds.is_large_enough("efidisk0", 528 << 10, 128 << 10, 0), "nobody knows what the guest sees"


@pytest.mark.parametrize("side", [0, 1])
def test_a_disk_of_another_guest_is_not_taken_for_ones_own(prepared: Any, side: int) -> None:
    *nodes, source, target = prepared
    nodes[side].guests[100]["scsi0"] = "local:200/vm-200-disk-0.raw,size=1G"
    said = f"the guest 100 at {('pve-mtp', 'pve-tls')[side]}: disk scsi0 is local:200/vm-200-disk-0.raw, a volume of"
    found = ready.ready(source, target, *observed.look_at_both(source, target), decisions.DELTA)["refusals"]
    assert [line for line in found if line.startswith(said)]
    if not side:
        assert [line for line in _audit(prepared, decisions.DELTA) if line.startswith(said)]
    source.shut_down(force=False)
    with pytest.raises(ProxmoxError, match=r"found: scsi0 .local:200/vm-200-disk-0.raw. of the guest 100 at"):
        decisions.sync_todo(*observed.look_at_both(source, target))


@pytest.mark.parametrize(("volid", "owner"), [
    ("a:vm-100-disk-0", 100), ("a:100/vm-100-disk-0.raw", 100), ("a:100/anything.raw", 100), ("a:base-100-disk-0", 100),
    ("a:base-9000-disk-0/vm-100-disk-0", 100), ("a:9000/base-9000-disk-0.qcow2/100/vm-100-disk-0.qcow2", 100),
    ("a:vm-100-disk-0.qcow2", 100), ("a:vm-1001-disk-0", 1001), ("a:1001/vm-100-disk-0.raw", 1001), ("a:disk", 0),
    ("/dev/sdb", 0),
])  # fmt: skip
def test_whose_volume_it_is(volid: str, owner: int) -> None:
    assert disk_kinds.is_owned(volid, 100) == (owner == 100)
    assert disk_kinds.is_owned(volid, owner or 9000) == bool(owner)


def test_of_a_copy_that_was_rounded_up_it_is_said_to_what_its_disk_can_grow(prepared: Any) -> None:
    *nodes, source, target = prepared
    larger = (1 << 30) + (4 << 20)
    for side, words in ((1, f"resize it at pve-mtp to {larger} bytes"), (0, "remove the guest 100 at pve-tls")):
        nodes[side].contents["local:100/vm-100-disk-0.raw"] = {"size": larger}
        found = ready.ready(source, target, *observed.look_at_both(source, target), decisions.DELTA)["refusals"]
        assert [words in line for line in found if line.startswith("disk scsi0 ")] == [True]
        nodes[side].contents.clear()


@pytest.mark.parametrize("kind", ["dir", "nfs", "cifs", "btrfs"])
def test_a_file_is_made_of_whole_kilobytes(kind: str) -> None:
    assert disk_kinds.rounded_up((1 << 30) + 512, kind) == (1 << 30) + 1024
    assert disk_kinds.rounded_up(1 << 30, kind) == 1 << 30


def test_the_audit_says_what_a_return_spends_to_keep_the_fence(nodes: Any) -> None:
    *_, source, target = nodes
    views = observed.look_at_both(source, target)
    found = audit.audit(source, target, *views)
    assert "return_seconds_for_fence" not in found["forecast"]
    nodes[0].storages = {"fast": "lvmthin"}
    nodes[0].guests[100]["scsi0"] = "fast:vm-100-disk-0,size=300G"
    found = audit.audit(source, target, *observed.look_at_both(source, target))
    assert found["forecast"]["return_seconds_for_fence"] == 2048
    assert [line for line in found["summary"] if "within its own outage: 2048 s more" in line]


def test_a_storage_without_room_for_what_changed_last_is_noted(prepared: Any) -> None:
    *nodes, source, target = prepared
    nodes[1].storage = {"avail": 999}
    views = observed.look_at_both(source, target)
    for changed, noted in ((1000, True), (999, False), (None, False)):
        found = audit.audit(source, target, *views, measured={"changed": changed})["notes"]
        said = "storage 'local' at pve-tls has 999 bytes free; changed blocks took 1000 last time"
        assert bool([line for line in found if line.startswith(said)]) is noted


@pytest.mark.parametrize(("block", "fits"), [(511, False), (512, True), (CHUNK, True), (CHUNK + 1, False)])
def test_blocks_of_a_size_that_no_node_takes_are_named_before_the_window(prepared: Any, block: int, fits: bool) -> None:
    *_, source, target = prepared
    views = observed.look_at_both(source, target)
    for way in (decisions.DELTA, decisions.ARCHIVE):
        found = ready.ready(source, target, *views, way, block)["refusals"]
        said = [line for line in found if line.startswith(f"proxmox_guest_transfer_block_size is {block};")]
        assert bool(said) is (way == decisions.DELTA and not fits)
