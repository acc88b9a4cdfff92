"""What the token may do stands where no deletion of a guest reaches it, and a blind passive side stops nobody."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.guard import state as guard
from bascule.guard.state import Epoch, Receipt
from bascule.guest import audit, decisions, observed, preflight, prepare, transitions
from bascule.guest.api import NotSent
from bascule.guest.errors import NotPermitted

DISKS = {"disk:scsi0": "tree-sha256:1111"}


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("way", decisions.WAYS)
def test_rights_that_go_with_the_guest_are_refused_by_the_audit(prepared: Any, way: str, side: int) -> None:
    *nodes, source, target = prepared
    nodes[side].on_guest = {"VM.Audit", "VM.Allocate"}
    found = audit.audit(source, target, *observed.look_at_both(source, target), way, stateless=True)["refusals"]
    machine = ("pve-mtp", "pve-tls")[side]
    assert found == [
        f"{machine}: the token has VM.Audit, VM.Allocate by an entry for /vms/100 or by its pool, and Proxmox deletes "
        "both with the guest: grant it on /vms, with propagation"
    ]


def test_rights_that_do_not_propagate_are_none(nodes: Any) -> None:
    _, there, _, target = nodes
    there.fail_next.append(("GET", "permissions", (200, "OK", {"/vms/100": dict.fromkeys(there.privileges, 1)}, None)))
    there.fail_next.append(("GET", "permissions", (200, "OK", {"/vms": dict.fromkeys(there.privileges, 0)}, None)))
    found = preflight.privileges(target, 8, decisions.DELTA, [])
    assert len(found) == 1
    assert "VM.PowerMgmt" in found[0]
    assert "grant it on /vms, with propagation" in found[0]


def test_the_bridges_the_guest_is_plugged_into_are_asked_for(nodes: Any) -> None:
    _, there, source, target = nodes
    there.withdrawn = {"SDN.Use"}
    found = audit.audit(source, target, *observed.look_at_both(source, target))["refusals"]
    assert found == ["pve-tls: the token lacks SDN.Use on /sdn/zones/localnetwork/vmbr0"]


def test_a_migration_by_proxmox_needs_to_see_the_other_cluster(nodes: Any) -> None:
    _, _, _, target = nodes
    assert ("Sys.Audit",) in preflight.needed(target, 8, decisions.REMOTE, [])["/"]


def test_a_guest_that_is_removed_stays_in_the_backup_jobs(prepared: Any) -> None:
    here, _, source, target = prepared
    transitions.freeze(source, force=False)
    epoch = Epoch(1, "aaaa")
    transitions.close_begin(source, epoch, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, epoch, DISKS, "2026-11-20T09:00:00Z")["receipt"])
    transitions.open_side(target, epoch, receipt, True, onboot=True, leads=False)
    prepare.retire(source, target.guard(target.config()))
    assert [values for method, path, values in here.written() if method == "DELETE" and "qemu" in path] == [{}]


@pytest.mark.parametrize("trouble", ["403", "silent"])
def test_a_blind_passive_side_does_not_keep_the_frozen_one_out(prepared: Any, trouble: str) -> None:
    here, there, source, target = prepared
    transitions.freeze(source, force=False)
    there.withdrawn = {"VM.Audit"}
    if trouble == "silent":
        there.fail_next = [("GET", "", NotSent("no route to host")) for _ in range(50)]
    read, unread, gone = observed.guards(target, source)
    assert read["pve-mtp"].status == guard.OPEN
    assert list(unread) == ["pve-tls"]
    assert gone == []
    before = len(there.requests)
    assert transitions.thaw(source, True, other=target)["changed"]
    assert 100 in here.running
    assert len(there.requests) == before, "the other node is not even asked"


def test_but_it_opens_nothing(prepared: Any) -> None:
    _, there, source, target = prepared
    there.withdrawn = {"VM.Audit"}
    transitions.freeze(source, force=False)
    with pytest.raises(NotPermitted):
        observed.look_at_both(source, target)


# What a token of Proxmox VE 8 needs at both sides for a virtual machine, written down a second time on purpose.
EVERY_WAY = {
    "/vms/100": (
        *("VM.Allocate", "VM.Audit", "VM.Backup", "VM.Monitor", "VM.PowerMgmt"),
        *("VM.Config.CDROM", "VM.Config.CPU", "VM.Config.Cloudinit", "VM.Config.Disk", "VM.Config.HWType"),
        *("VM.Config.Memory", "VM.Config.Network", "VM.Config.Options"),
    ),
    "/storage/local": ("Datastore.AllocateSpace", "Datastore.Audit"),
    "/nodes/{node}": ("Sys.Audit",),
    "/sdn/zones/localnetwork/vmbr0": ("SDN.Use",),
}
BESIDE = {decisions.REMOTE: {"/vms/100": ("VM.Migrate",), "/": ("Sys.Incoming", "Sys.Audit")}}
LEAST = [
    (way, path, name)
    for way in decisions.WAYS
    for places in (EVERY_WAY, BESIDE.get(way, {}))
    for path, names in places.items()
    for name in names
]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(("way", "path", "name"), LEAST)
def test_each_privilege_that_a_way_needs_is_named_where_it_is_missing(
    nodes: Any, way: str, path: str, name: str, side: int
) -> None:
    *both, source, target = nodes
    views = observed.look_at_both(source, target, all_disks=False)
    assert audit.audit(source, target, *views, way, stateless=True)["refusals"] == []
    both[side].withdrawn = {name}
    machine = ("pve-mtp", "pve-tls")[side]
    if name == "VM.Audit":
        # Nothing can be asked of a guest that is not shown: that alone is said.
        with pytest.raises(NotPermitted, match=rf"config at {machine} .*\(/vms/100, VM.Audit\)"):
            observed.look_at_both(source, target, all_disks=False)
        return
    views = observed.look_at_both(source, target, all_disks=False)
    wanted = f"{machine}: the token lacks {name} on {path.format(node=machine)}"
    found = audit.audit(source, target, *views, way, stateless=True)["refusals"]
    assert wanted in found
    other = ("pve-tls", "pve-mtp")[side]
    assert [line for line in found if line.startswith(f"{other}: the token lacks")] == []


@pytest.mark.parametrize("way", decisions.WAYS)
def test_no_way_asks_for_a_privilege_that_is_not_in_the_list(nodes: Any, way: str) -> None:
    *_, target = nodes
    found = preflight.needed(target, 8, way, ["vmbr0"])
    asked = {(path, name) for path, wanted in found.items() for names in wanted for name in names}
    listed = {(path.format(node="pve-tls"), name) for of, path, name in LEAST if of == way}
    assert asked == listed


@pytest.mark.parametrize("kind", ["disk", "place"])
def test_a_storage_that_the_token_may_not_see_is_named_among_the_other_findings(nodes: Any, kind: str) -> None:
    """Be it that of a disk at the side that is left, or that of the other side: it does not end the audit."""
    here, there, source, target = nodes
    refused = (403, "Permission check failed (/storage/local, Datastore.Audit|Datastore.AllocateSpace)", None, None)
    if kind == "disk":
        here.fail_next.append(("GET", "content/local:100", refused))
    else:
        there.fail_next.append(("GET", "storage/local/status", refused))
    there.withdrawn = {"SDN.Use"}
    here.withdrawn = {"VM.Backup"}
    views = observed.look_at_both(source, target, all_disks=False)
    found = audit.audit(source, target, *views)["refusals"]
    assert [line for line in found if "403" in line and "/storage/local" in line]
    assert "pve-tls: the token lacks SDN.Use on /sdn/zones/localnetwork/vmbr0" in found
    assert "pve-mtp: the token lacks VM.Backup on /vms/100" in found
