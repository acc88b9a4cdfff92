"""The audit measures, refuses by name, and writes nothing."""

from __future__ import annotations

from typing import Any

from bascule.proxmox import audit, view


def test_audit_of_a_movable_guest(nodes: Any) -> None:
    here, there, source, target = nodes
    found = audit.audit(source, target, *view.look_at_both(source, target))
    assert found["refusals"] == []
    assert found["forecast"]["disk_bytes"] == 1 << 30
    assert found["versions"] == {"pve-mtp": "8.4.21", "pve-tls": "8.4.21"}
    assert here.written() == there.written() == []


def test_audit_refuses_by_name(nodes: Any) -> None:
    here, there, source, target = nodes
    here.guests[100] |= {
        "hostpci0": "0000:01:00.0",
        "scsi1": "local:100/vm-100-disk-1.qcow2,size=8G",
        "net0": "virtio=BC:24:11:03:07:C1,bridge=vmbr7",
    }
    here.contents["local:100/vm-100-disk-1.qcow2"] = {"format": "qcow2", "size": 8 << 30}
    there.guests[100] = {"name": "mail"}
    found = audit.audit(source, target, *view.look_at_both(source, target))["refusals"]
    for reason in (
        "disk scsi1 is qcow2; only raw is handled",
        "hostpci0 ties it to its node",
        "there is no bridge vmbr7 at pve-tls",
        "the number 100 is taken at pve-tls by a guest that is not this component's",
    ):
        assert [line for line in found if reason in line], reason


def test_audit_names_a_running_backup(nodes: Any) -> None:
    here, _, source, target = nodes
    here.active.append({"type": "vzdump", "upid": "UPID:x", "user": "root@pam"})
    found = audit.audit(source, target, *view.look_at_both(source, target))
    assert [note for note in found["notes"] if "a backup job is running at pve-mtp" in note]
