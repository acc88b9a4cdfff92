"""Guests on the storages that Proxmox has: accepted by archive, moved and brought back, refused by name elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.guard.state import Epoch, Receipt
from bascule.guest import audit, decisions, disk_kinds, forecast, observed, prepare, ready, remote, transitions
from bascule.guest.errors import ProxmoxError

KINDS = ("lvm", "lvmthin", "zfspool", "rbd", "btrfs")
DISKS = {"disk:scsi0": "tree-sha256:1111"}


def _on(nodes: Any, kind: str, there: str = "", **config: str) -> None:
    """Put the guest's disk on a storage of this type, and the target's disks on one of that (or the same) type."""
    here, other, source, target = nodes
    here.storages, other.storages = {"fast": kind}, {"fast": there or kind}
    volume = "100/vm-100-disk-0.raw" if kind in ("btrfs", "dir", "nfs") else "vm-100-disk-0"
    here.guests[100] |= {"scsi0": f"fast:{volume},size=1G", **config}
    for guest in (source, target):
        guest.side = replace(guest.side, storage="fast", backup_storage="local")


def _audit(nodes: Any, way: str = decisions.ARCHIVE) -> dict[str, Any]:
    *_, source, target = nodes
    views = observed.look_at_both(source, target, all_disks=False)
    return audit.audit(source, target, *views, way, stateless=way == decisions.WARM)


def _carry(source: Any, target: Any, nodes: Any, stamp: str, **given: Any) -> None:
    archive = prepare.back_up(source, mark=stamp)["archive"]
    for node in nodes[:2]:
        node.archives = [dict(row) for row in {a["volid"]: a for n in nodes[:2] for a in n.archives}.values()]
    prepare.restore(target, source, archive["volid"], began=True, **given)


def _switch(source: Any, target: Any, epoch: Epoch) -> None:
    transitions.freeze(source, force=False)
    transitions.close_begin(source, epoch, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, epoch, DISKS, "2026-11-20T09:00:00Z")["receipt"])
    transitions.open_side(target, epoch, receipt, True, onboot=True, leads=False)


@pytest.mark.parametrize("way", [decisions.ARCHIVE, decisions.WARM, decisions.DELTA])
@pytest.mark.parametrize("kind", [*KINDS, "dir", "nfs", "cifs"])
def test_every_storage_that_vzdump_serves_is_accepted(nodes: Any, kind: str, way: str) -> None:
    _on(nodes, kind)
    found = _audit(nodes, way)
    assert found["refusals"] == []
    assert found["storages"]["pve-tls:fast"]["type"] == kind
    assert nodes[0].written() == nodes[1].written() == []


@pytest.mark.parametrize("kind", KINDS)
def test_proxmox_migrates_only_files_and_that_is_refused_by_name(nodes: Any, kind: str) -> None:
    _on(nodes, kind)
    found = _audit(nodes, decisions.REMOTE)
    said = f"of type {kind}; remote_migrate handles dir, nfs, cifs only: use way archive"
    assert f"the guest 100 at pve-mtp: disk scsi0 is on 'fast' {said}" in found["refusals"]
    assert f"storage 'fast' at pve-tls is {said}" in found["refusals"]


def test_changed_blocks_are_recommended_of_a_device_too(nodes: Any) -> None:
    _on(nodes, "lvmthin")
    assert _audit(nodes)["forecast"]["recommended"] == decisions.DELTA
    nodes[0].contents["fast:vm-100-disk-0"] = {"format": "vmdk"}
    assert _audit(nodes)["forecast"]["recommended"] == decisions.ARCHIVE


@pytest.mark.parametrize(("kind", "size", "made"), [
    ("lvmthin", "1025K", 4 << 20), ("lvm", "6M", 8 << 20), ("zfspool", "1025K", 2 << 20), ("rbd", "1025K", 2 << 20),
])  # fmt: skip
def test_a_disk_that_could_not_come_back_by_blocks_is_refused_before_it_is_copied(
    nodes: Any, kind: str, size: str, made: int
) -> None:
    _on(nodes, "dir", kind)
    nodes[0].guests[100]["scsi0"] = f"fast:100/vm-100-disk-0.raw,size={size}"
    said = f"'fast' at pve-tls (of type {kind}) would make {made} of them, which a return by delta could not bring back"
    assert [line for line in _audit(nodes, decisions.DELTA)["refusals"] if said in line]
    assert _audit(nodes)["refusals"] == []
    nodes[0].guests[100]["scsi0"] = "fast:100/vm-100-disk-0.raw,size=8M"
    assert _audit(nodes, decisions.DELTA)["refusals"] == []


@pytest.mark.parametrize("kind", ["zfs", "iscsi", "iscsidirect", "glusterfs", "drbd"])
def test_any_other_storage_is_refused_by_name(nodes: Any, kind: str) -> None:
    _on(nodes, kind)
    handled = "dir, nfs, cifs, btrfs, lvm, lvmthin, zfspool, rbd"
    assert f"storage 'fast' at pve-tls is of type {kind}; handled are {handled}" in _audit(nodes)["refusals"]


def test_archives_need_a_storage_for_files(nodes: Any) -> None:
    _on(nodes, "lvmthin")
    for guest in nodes[2:]:
        guest.side = replace(guest.side, backup_storage="")
    said = "of type lvmthin, and archives travel as files: name one of dir, nfs, cifs, btrfs, cephfs in backup_storage"
    found = _audit(nodes)["refusals"]
    assert [f"storage 'fast' at {name} is {said}" in found for name in ("pve-mtp", "pve-tls")] == [True, True]


@pytest.mark.parametrize(("image", "ways"), [
    ("qcow2", {"archive", "warm", "delta"}), ("vmdk", {"archive", "warm"}), ("raw", set(decisions.WAYS)),
    ("qed", set()),
])  # fmt: skip
def test_formats_in_a_folder(nodes: Any, image: str, ways: set[str]) -> None:
    nodes[0].guests[100]["scsi0"] = f"local:100/vm-100-disk-0.{image},size=1G"
    nodes[0].contents[f"local:100/vm-100-disk-0.{image}"] = {"format": image}
    refused = {way for way in decisions.WAYS if [w for w in _audit(nodes, way)["refusals"] if f"is {image};" in w]}
    assert set(decisions.WAYS) - refused == ways


def test_the_file_of_a_linked_clone_is_not_the_whole_disk(prepared: Any) -> None:
    """So what its guest sees is carried, never its file."""
    *_, source, target = prepared
    volid = "local:9000/base-9000-disk-0.qcow2/100/vm-100-disk-0.qcow2"
    path = "/var/lib/vz/images/100/vm-100-disk-0.qcow2"
    for node, name in zip(prepared[:2], (volid, "local:100/vm-100-disk-0.qcow2")):
        node.guests[100]["scsi0"] = f"{name},size=1G"
        node.contents[name] = {"format": "qcow2", "path": path}
    found = [line for way in (decisions.DELTA, decisions.ARCHIVE) for line in _audit(prepared, way)["refusals"]]
    assert [line for line in found if "clone" in line or "qcow2" in line] == []
    source.shut_down(force=False)
    todo = decisions.sync_todo(*observed.look_at_both(source, target))
    assert (todo.action, todo.pairs) == ("blocks", ())


def test_mixed_disks_come_to_lie_on_one_storage_and_that_is_said(nodes: Any) -> None:
    _on(nodes, "lvmthin", virtio1="local:100/vm-100-disk-1.qcow2,size=2G")
    nodes[0].contents["local:100/vm-100-disk-1.qcow2"] = {"format": "qcow2", "size": 2 << 30}
    found = _audit(nodes)
    assert found["refusals"] == []
    assert [
        note for note in found["notes"] if "lie on 'fast', 'local' at pve-mtp; they all come to lie on 'fast'" in note
    ]


def test_a_return_needs_a_storage_that_takes_disks_at_the_source_too(nodes: Any) -> None:
    _on(nodes, "lvmthin")
    nodes[2].side = replace(nodes[2].side, storage="gone")
    assert "storage 'gone' at pve-mtp: 500 storage 'gone' does not exist" in _audit(nodes)["refusals"]


@pytest.mark.parametrize(("kind", "there"), [*((kind, kind) for kind in KINDS), ("lvmthin", "dir"), ("dir", "zfspool")])
def test_forward_and_back_on_any_storage(nodes: Any, kind: str, there: str) -> None:
    here, other, source, target = nodes
    efi = f"fast:{'100/vm-100-disk-1.raw' if kind == 'dir' else 'vm-100-disk-1'},efitype=4m,size=528K"
    _on(nodes, kind, there, bios="ovmf", efidisk0=efi)
    here.volumes["fast:vm-100-disk-1"] = 4 << 20
    prepare.adopt(source)
    _carry(source, target, nodes, "state1")
    left, entered = observed.look_at_both(source, target)
    assert [disk.length for disk in left.disks] == [disk.length for disk in entered.disks] == [540672, 1 << 30]
    _switch(source, target, Epoch(1, "aaaa"))
    transitions.freeze(target, force=False)
    at_fence = dict(here.guests[100])
    before = len(here.archives)
    _carry(target, source, nodes, "state2", replace=True)
    kept = [a for a in here.archives if " fence-1.aaaa " in a["notes"]]
    if kind == "dir":
        assert kept == []
    else:
        assert [(a["protected"], a["_config"]) for a in kept] == [(1, at_fence)]
        assert len(here.archives) == before + 2
        order = [path for method, path, _ in here.written() if method == "POST" and path.endswith(("vzdump", "qemu"))]
        assert order[-2:] == ["nodes/pve-mtp/vzdump", "nodes/pve-mtp/qemu"], "it is kept before anything is restored"
    _switch(target, source, Epoch(2, "bbbb"))
    assert 100 in here.running
    assert 100 not in other.running


def test_it_is_kept_once_and_a_side_that_never_was_open_has_nothing_to_keep(nodes: Any) -> None:
    here, _, source, target = nodes
    _on(nodes, "lvmthin")
    prepare.adopt(source)
    _carry(source, target, nodes, "state1")
    assert prepare.keep_fence(target) is None
    _switch(source, target, Epoch(1, "aaaa"))
    kept = [prepare.keep_fence(source) or {} for _ in range(2)]
    assert [result["changed"] for result in kept] == [True, False]
    here.guests[100]["memory"] = "128"
    assert (prepare.keep_fence(source) or {})["changed"] is False, "nor of what a restore that was cut short has left"
    assert len([a for a in here.archives if "fence-1.aaaa" in a["notes"]]) == 1


def test_what_cannot_be_kept_is_not_written_over(nodes: Any) -> None:
    here, _, source, target = nodes
    _on(nodes, "lvmthin")
    prepare.adopt(source)
    _carry(source, target, nodes, "state1")
    _switch(source, target, Epoch(1, "aaaa"))
    transitions.freeze(target, force=False)
    archive = prepare.back_up(target, mark="state2")["archive"]
    before = dict(here.guests[100])
    undoings: list[Callable[[], Any]] = [
        lambda: prepare.restore(source, target, archive["volid"], began=True, replace=True),
        lambda: remote.put_aside(source, began=True),
        lambda: transitions.boot_apart(source),
    ]
    for undo in undoings:
        here.task_results["vzdump"] = ("job errors", ["ERROR: No space left on device", "TASK ERROR: job errors"])
        with pytest.raises(ProxmoxError, match="No space left"):
            undo()
        assert here.guests[100] == before
        assert 100 not in here.running


@pytest.mark.parametrize("side", [0, 1])
def test_before_the_window_a_disk_that_was_moved_to_a_device_since(prepared: Any, side: int) -> None:
    *nodes, source, target = prepared
    node = nodes[side]
    node.storages = {"fast": "lvmthin"}
    node.guests[100]["scsi0"] = "fast:vm-100-disk-0,size=1G"
    said = f"the guest 100 at {('pve-mtp', 'pve-tls')[side]}: disk scsi0 is on 'fast' of type lvmthin; "
    for way, count in ((decisions.REMOTE, 1), (decisions.DELTA, 0), (decisions.ARCHIVE, 0)):
        found = ready.ready(source, target, *observed.look_at_both(source, target), way)["refusals"]
        assert [line.startswith(said) for line in found] == [True] * count


@pytest.mark.parametrize(("kind", "there"), [*((kind, kind) for kind in KINDS), ("dir", "lvmthin"), ("rbd", "dir")])
def test_changed_blocks_of_what_is_no_file_at_both_sides(nodes: Any, kind: str, there: str) -> None:
    """What a node needs to find and activate the disk goes with it; a disk in files beside it travels as ever."""
    *_, source, target = nodes
    _on(nodes, kind, there, bios="ovmf", efidisk0="local:100/vm-100-disk-9.raw,efitype=4m,size=528K")
    prepare.adopt(source)
    _carry(source, target, nodes, "state1")
    transitions.freeze(source, force=False)
    nodes[1].guests[100]["efidisk0"] = "local:100/vm-100-disk-9.raw,efitype=4m,size=528K"
    todo = decisions.sync_todo(*observed.look_at_both(source, target)).to_dict()
    assert todo["action"] == "blocks"
    assert [pair["source"] for pair in todo["pairs"]] == ["/var/lib/vz/images/100/vm-100-disk-9.raw"]
    (disk,) = todo["blocks"]
    for side, config in (("source", nodes[0].guests[100]), ("target", nodes[1].guests[100])):
        assert {key: disk[side][key] for key in ("name", "format", "volid", "length")} == {
            "name": "scsi0", "format": "raw", "volid": config["scsi0"].partition(",")[0], "length": 1 << 30,
        }  # fmt: skip
        assert disk[side]["path"]


@pytest.mark.parametrize(
    ("size", "refused"), [((1 << 30) + (4 << 20), False), ((1 << 30) - 512, True), (2 << 30, True)]
)
def test_a_copy_is_never_smaller_and_larger_only_by_what_is_rounded_up(prepared: Any, size: int, refused: bool) -> None:
    *_, source, target = prepared
    prepared[1].contents["local:100/vm-100-disk-0.raw"] = {"size": size}
    source.shut_down(force=False)
    views = observed.look_at_both(source, target)
    if refused:
        with pytest.raises(ProxmoxError, match=rf"scsi0 at pve-tls as large as .* with {size} bytes"):
            decisions.sync_todo(*views)
    else:
        todo = decisions.sync_todo(*views)
        assert (todo.action, todo.pairs) == ("blocks", ()), "rsync would make the file another size"
        assert [disk.length for pair in todo.blocks for disk in pair] == [1 << 30, 1 << 30]


def test_no_changed_blocks_of_a_format_that_is_not_written_safely(prepared: Any) -> None:
    *_, source, target = prepared
    prepared[1].contents["local:100/vm-100-disk-0.raw"] = {"format": "vmdk"}
    source.shut_down(force=False)
    with pytest.raises(ProxmoxError, match=r"scsi0 .local:100/vm-100-disk-0.raw, vmdk. at pve-tls.*move: archive"):
        decisions.sync_todo(*observed.look_at_both(source, target))


def test_a_return_into_a_smaller_volume_is_named_before_anything_is_frozen(prepared: Any) -> None:
    *_, source, target = prepared
    _switch(source, target, Epoch(1, "aaaa"))
    assert ready.stops(target, source, decisions.DELTA) == []
    prepared[0].contents["local:100/vm-100-disk-0.raw"] = {"size": (1 << 30) - 512}
    (found,) = ready.stops(target, source, decisions.DELTA)
    assert found.startswith("disk scsi0 ")
    assert "never carried into a smaller volume" in found
    assert ready.stops(target, source, decisions.ARCHIVE) == []


def test_a_copy_that_is_too_small_is_not_switched_to(prepared: Any) -> None:
    here, there, source, target = prepared
    here.guests[100]["scsi0"] = "local:100/vm-100-disk-0.raw,size=2G"
    here.contents["local:100/vm-100-disk-0.raw"] = {"size": 2 << 30}
    views = observed.look_at_both(source, target)
    with pytest.raises(GuardRefused, match=r"scsi0 .2147483648 bytes at pve-mtp, 1073741824 bytes at pve-tls"):
        decisions.switch_todo(*views, decisions.ARCHIVE)
    assert here.written() == there.written() == []


def test_before_the_window_a_copy_for_changed_blocks_has_to_be_exact(prepared: Any) -> None:
    _, there, source, target = prepared
    there.contents["local:100/vm-100-disk-0.raw"] = {"size": (1 << 30) + (4 << 20)}
    views = observed.look_at_both(source, target)
    for way, count in ((decisions.DELTA, 1), (decisions.WARM, 0)):
        found = ready.ready(source, target, *views, way)["refusals"]
        assert len([line for line in found if line.startswith("disk scsi0")]) == count


def test_of_firmware_variables_no_volume_has_to_be_exact(prepared: Any) -> None:
    """The guest sees less of them than any volume has."""
    *_, source, target = prepared
    for node, size in zip(prepared[:2], (540672, 4 << 20)):
        node.guests[100] |= {"bios": "ovmf", "efidisk0": "local:100/vm-100-disk-1.raw,efitype=4m,size=528K"}
        node.contents["local:100/vm-100-disk-1.raw"] = {"size": size}
    found = ready.ready(source, target, *observed.look_at_both(source, target), decisions.DELTA)["refusals"]
    assert [line for line in found if "efidisk0" in line] == []
    source.shut_down(force=False)
    for views in (observed.look_at_both(source, target), observed.look_at_both(source, target)[::-1]):
        assert prepare.disks_differ(*views, exact=True) == []
    (pair,) = decisions.sync_todo(*observed.look_at_both(source, target)).blocks
    assert [(disk.name, disk.length) for disk in pair] == [("efidisk0", 540672)] * 2


@pytest.mark.parametrize(("sizes", "seen", "length"), [
    ((100, 120), 0, 100), ((100, 0), 0, 100), ((), 0, 0), ((4 << 20, 540672), 540672, 540672),
    ((4 << 20, 4 << 20), 540672, 540672), ((4 << 20, 4 << 20), 131072, 131072), ((131072,), 540672, 131072),
])  # fmt: skip
def test_how_much_of_a_disk_is_compared(sizes: tuple[int, ...], seen: int, length: int) -> None:
    assert disk_kinds.compared_length(*sizes, seen=seen) == length


def test_a_device_is_read_once_more_to_be_archived() -> None:
    plain, device = (
        forecast.forecast(forecast.Measured(300 << 30, 30 << 30, 25e6, on_devices=n)) for n in (0, 300 << 30)
    )
    assert device["archive"]["seconds"] - plain["archive"]["seconds"] == pytest.approx(1024, abs=1)
    assert device["warm"] == plain["warm"]
