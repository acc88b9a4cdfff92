"""A cloud-init drive is known by the name of its volume, as Proxmox knows it; what else is called so is a disk."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.guest import audit, config, decisions, observed


@pytest.mark.parametrize(
    "volid",
    [
        "local-lvm:vm-100-cloudinit",
        "local:100/vm-100-cloudinit.qcow2",
        "local:100/vm-100-cloudinit.raw",
        "local-lvm:cloudinit",
        "cloudinit-ssd:vm-100-cloudinit",
    ],
)
def test_the_drive_that_the_node_makes_at_each_start_is_no_disk_and_nothing_lent(volid: str) -> None:
    for value in (volid, f"{volid},media=cdrom,size=4M"):
        assert not config.drives({"ide2": value})
        assert not config.lent({"ide2": value})


@pytest.mark.parametrize(
    "volid",
    [
        "cloudinit-ssd:vm-100-disk-1",
        "cloudinit:vm-100-disk-1",
        "local:100/vm-100-disk-cloudinit-1.raw",
        "ssd:vm-100-cloudinit-data",
        "cloudinit:100/vm-100-disk-1.qcow2",
    ],
)
def test_a_disk_is_a_disk_whatever_its_storage_is_called(volid: str) -> None:
    assert [drive.volid for drive in config.drives({"scsi1": f"{volid},size=900G"})] == [volid]
    assert list(config.left_out({"scsi1": f"{volid},size=900G,backup=0"})) == ["scsi1"]


@pytest.mark.parametrize("volid", ["cloudinit-images:iso/debian.iso", "local:iso/cloudinit.iso"])
def test_an_image_is_lent_whatever_it_or_its_storage_is_called(volid: str) -> None:
    assert config.lent({"ide2": f"{volid},media=cdrom,size=600M"}) == {"ide2": volid}


def test_the_audit_and_the_receipt_see_a_disk_on_a_storage_of_that_name(prepared: Any) -> None:
    here, there, source, target = prepared
    for node in (here, there):
        node.storages = {"cloudinit-ssd": "dir"}
        node.guests[100]["scsi1"] = "cloudinit-ssd:100/vm-100-disk-1.raw,size=1G"
    found = audit.audit(source, target, *observed.look_at_both(source, target), decisions.DELTA)
    assert {disk["name"] for disk in found["guest"]["disks"]} == {"scsi0", "scsi1"}
    assert {disk.name for disk in observed.look(source).disks} == {"scsi0", "scsi1"}
