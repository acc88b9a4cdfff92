"""The audit measures, refuses by name, and writes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.guest import audit, decisions, forecast, observed, preflight, serving
from bascule.guest.errors import NotPermitted
from bascule.guest.forecast import Measured


def test_audit_of_a_movable_guest(nodes: Any) -> None:
    here, there, source, target = nodes
    found = audit.audit(source, target, *observed.look_at_both(source, target))
    assert found["refusals"] == []
    assert found["forecast"]["disk_bytes"] == 1 << 30
    assert found["versions"] == {"pve-mtp": "8.4.21", "pve-tls": "8.4.21"}
    assert here.written() == there.written() == []


def test_audit_refuses_by_name(nodes: Any) -> None:
    here, there, source, target = nodes
    here.guests[100] |= {
        "hostpci0": "0000:01:00.0",
        "scsi1": "local:100/vm-100-disk-1.qed,size=8G",
        "net0": "virtio=BC:24:11:03:07:C1,bridge=vmbr7",
    }
    here.contents["local:100/vm-100-disk-1.qed"] = {"format": "qed", "size": 8 << 30}
    there.guests[100] = {"name": "mail"}
    found = audit.audit(source, target, *observed.look_at_both(source, target))["refusals"]
    for reason in (
        "disk scsi1 is qed; handled are raw, qcow2, vmdk",
        "hostpci0 (0000:01:00.0) ties it to its node",
        "there is no bridge vmbr7 at pve-tls",
        "the number 100 is taken at pve-tls by a guest that is not this component's",
    ):
        assert [line for line in found if reason in line], reason


def test_what_ties_a_guest_to_its_node_is_named_with_the_rest(nodes: Any) -> None:
    here, there, source, target = nodes
    here.guests[100] |= {
        "scsi1": "/dev/disk/by-id/wwn-0x5000,size=8G",
        "serial0": "socket",
        "serial1": "/dev/ttyS0",
        "parallel0": "/dev/parport0",
        "usb0": "host=spice,usb3=1",
        "usb1": "spice",
        "usb2": "host=1234:5678",
    }
    found = audit.audit(source, target, *observed.look_at_both(source, target, all_disks=False))["refusals"]
    assert found == [
        f"the guest 100 at pve-mtp: {name} ({value}) ties it to its node"
        for name, value in (
            ("parallel0", "/dev/parport0"),
            ("serial1", "/dev/ttyS0"),
            ("usb2", "host=1234:5678"),
            ("scsi1", "/dev/disk/by-id/wwn-0x5000,size=8G"),
        )
    ]
    assert here.written() == there.written() == []


@pytest.mark.parametrize("way", decisions.WAYS)
def test_a_storage_that_the_token_may_not_see_is_one_finding_among_others(nodes: Any, way: str) -> None:
    here, _, source, target = nodes
    here.guests[100] |= {"hostpci0": "0000:01:00.0", "protection": "1"}
    here.hidden = True
    found = audit.audit(source, target, *observed.look_at_both(source, target, all_disks=False), way)["refusals"]
    forbidden = "403 Permission check failed (/storage/local, Datastore.Audit)"
    for reason in (
        f"the guest 100 at pve-mtp: disk scsi0 (local:100/vm-100-disk-0.raw) is not shown: {forbidden}",
        f"pve-mtp: GET nodes/pve-mtp/storage/local/status: {forbidden}",
        "hostpci0 (0000:01:00.0) ties it to its node",
    ):
        assert [line for line in found if reason in line], (reason, found)
    assert not [line for line in found if "has no disks" in line or "only folders" in line]
    with pytest.raises(NotPermitted):
        observed.look_at_both(source, target)


@pytest.mark.parametrize(
    ("agent", "urls", "unasked"),
    [("1", ("", ""), []), ("0", ("http://x/", "http://y/"), []), ("0", ("http://x/", ""), ["pve-tls"]),
     ("0", ("", ""), ["pve-mtp", "pve-tls"])],
)  # fmt: skip
def test_a_guest_that_nobody_could_ask_whether_it_serves_is_refused(
    nodes: Any, agent: str, urls: tuple[str, str], unasked: list[str]
) -> None:
    here, _, source, target = nodes
    here.guests[100]["agent"] = agent
    for guest, url in zip((source, target), urls):
        guest.side = replace(guest.side, health_url=url)
    found = audit.audit(source, target, *observed.look_at_both(source, target))["refusals"]
    assert found == [
        f"nobody could be asked whether the guest serves at {machine}: its agent is not enabled, and there is no "
        "health_url for that side in proxmox_guest_sides"
        for machine in unasked
    ]


def test_nor_is_it_proved_to_serve(nodes: Any) -> None:
    here, _, source, _ = nodes
    assert serving.silence(source, source.config()) == ""
    source.side = replace(source.side, health_url="")
    assert serving.silence(source, source.config()) == ""
    here.guests[100]["agent"] = "0"
    assert "nobody could be asked" in serving.silence(source, source.config())


def test_audit_names_a_running_backup(nodes: Any) -> None:
    here, _, source, target = nodes
    here.active.append({"type": "vzdump", "upid": "UPID:x", "user": "root@pam"})
    found = audit.audit(source, target, *observed.look_at_both(source, target))
    assert [note for note in found["notes"] if "a backup job is running at pve-mtp" in note]


def test_every_finding_is_named_at_once(nodes: Any) -> None:
    here, there, source, target = nodes
    there.withdrawn = {"VM.Allocate", "Datastore.AllocateSpace"}
    here.withdrawn = {"VM.Backup"}
    here.replication = [{"id": "100-0", "guest": 100}, {"id": "7-0", "guest": 7}]
    here.jobs = {"nightly": {"id": "nightly", "enabled": 1}}
    here.pending = [{"key": "memory", "value": "256", "pending": "512"}, {"key": "name", "value": "courses"}]
    there.guests[300] = {"name": "twin", "net0": "virtio=bc:24:11:03:07:c1,bridge=vmbr0"}
    there.guests[301] = {"name": "neighbour", "ipconfig0": "ip=198.51.100.10/24"}
    here.guests[100]["ipconfig0"] = "ip=198.51.100.10/24,gw=198.51.100.1"
    there.fail_next.append(
        ("GET", "nodes/pve-tls/status", (403, "Permission check failed (/nodes/pve-tls)", None, None))
    )
    found = audit.audit(source, target, *observed.look_at_both(source, target))["refusals"]
    for reason in (
        "pve-tls: the token lacks VM.Allocate on /vms/100",
        "pve-tls: the token lacks Datastore.AllocateSpace on /storage/local",
        "pve-mtp: the token lacks VM.Backup on /vms/100",
        "is replicated by the job 100-0",
        "pve-mtp: the token lacks Sys.Modify on / to switch off scheduled backups (nightly)",
        "has changes that wait for its next start (memory)",
        "the guest 300 'twin' at pve-tls has the hardware address",
        "the guest 301 'neighbour' at pve-tls has the address 198.51.100.10",
        "pve-tls: GET nodes/pve-tls/status: 403",
    ):
        assert [line for line in found if reason in line], reason
    assert here.written() == there.written() == []


def test_a_warm_move_names_what_it_drops(nodes: Any) -> None:
    _, _, source, target = nodes
    found = audit.audit(source, target, *observed.look_at_both(source, target), decisions.WARM, True, {"rate": 25e6})
    assert [note for note in found["notes"] if "is dropped: scsi0 (local:100/vm-100-disk-0.raw)" in note]
    assert found["forecast"]["ways"]["warm"]["bytes"] == 0
    assert [line for line in found["summary"] if line.startswith("warm: ") and "(chosen, recommended)" in line]


def test_a_way_that_does_not_fit_the_window_is_refused(nodes: Any) -> None:
    _, _, source, target = nodes
    views = observed.look_at_both(source, target)

    def refused(way: str, window: float, **measured: float) -> list[str]:
        return list(audit.audit(source, target, *views, way, False, measured, window)["refusals"])

    assert [line for line in refused(decisions.REMOTE, 0) if "window" in line] == []
    slow = refused(decisions.REMOTE, 300, rate=1e6)
    assert [line for line in slow if line.startswith("remote_migrate would take 1") and "300 s are allowed" in line]
    assert [line for line in refused(decisions.REMOTE, 300, rate=25e6) if "window" in line] == []
    assert [line for line in refused(decisions.REMOTE, 300) if "the link's speed is not measured" in line]
    assert [line for line in refused(decisions.DELTA, 300) if "window" in line] == []


@pytest.mark.parametrize(("version", "name"), [(8, "VM.Monitor"), (9, "VM.GuestAgent.Unrestricted")])
def test_a_command_inside_the_guest_needs_its_own_privilege(nodes: Any, version: int, name: str) -> None:
    _, _, _, target = nodes
    assert (name,) in preflight.needed(target, version, decisions.DELTA, [], runs_inside=True)["/vms/100"]
    plain = preflight.needed(target, 9, decisions.DELTA, [])["/vms/100"]
    assert ("VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted") in plain


SIZES = st.integers(1 << 20, 1 << 42)


@given(SIZES, SIZES, st.floats(1e5, 1e10), st.floats(1.01, 100))
def test_a_faster_link_never_costs_more_and_warm_costs_least(one: int, other: int, rate: float, more: float) -> None:
    size, used = max(one, other), min(one, other)
    slow, fast = (forecast.forecast(Measured(size, used, r)) for r in (rate, rate * more))
    for way in decisions.WAYS:
        assert fast[way]["seconds"] <= slow[way]["seconds"]
        assert slow[decisions.WARM]["seconds"] <= slow[way]["seconds"]
        assert slow[way]["bytes"] <= size


@pytest.mark.parametrize(
    ("size", "used", "stateless", "way"),
    [(30 << 30, 20 << 30, False, "delta"), (30 << 30, 20 << 30, True, "warm"), (30 << 30, 64 << 20, False, "archive")],
)
def test_recommendation(size: int, used: int, stateless: bool, way: str) -> None:
    assert forecast.recommend(forecast.forecast(Measured(size, used, 25e6)), stateless) == way


def test_what_was_not_measured_is_said_to_be_assumed() -> None:
    known, assumed = forecast.measured(1 << 30, 1 << 29, {"planned": 25e6})
    assert (known.rate, len(assumed)) == (25e6, 3)
    known, assumed = forecast.measured(1 << 30, 1 << 29, {"rate": 20e6, "archive": 5, "changed": 7, "planned": 25e6})
    assert (known.rate, known.archive, known.changed, assumed) == (20e6, 5, 7, [])


def test_the_storage_for_archives_at_the_source_is_asked_for(nodes: Any) -> None:
    here, _, source, target = nodes
    views = observed.look_at_both(source, target)
    found = audit.audit(source, target, *views)
    assert found["storages"]["pve-mtp:local"]["available"] == 50 << 30
    here.storage = {"content": "images,iso", "avail": 1 << 20}
    found = audit.audit(source, target, *views)["refusals"]
    for reason in (
        "storage 'local' at pve-mtp does not take backup",
        "storage 'local' at pve-mtp has 1048576 bytes free; ",
    ):
        assert [line for line in found if line.startswith(reason)], (reason, found)
    here.storage = {"active": 0}
    assert "storage 'local' at pve-mtp is not active" in audit.audit(source, target, *views)["refusals"]
