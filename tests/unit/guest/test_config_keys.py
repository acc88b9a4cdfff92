"""Every line of a guest's config is carried, mapped, asked for or refused by name; one that nobody knows is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from bascule.guest import audit, config_keys, decisions, observed, prepare, ready, remote, session, transitions
from bascule.guest.errors import ProxmoxError
from bascule.guest.remote import Endpoint

# Parameters of a change of the config that are no lines of it: what to do, and with which guest.
ORDERS = frozenset({"node", "vmid", "delete", "force", "revert", "skiplock", "background_delay"})
# `cdrom` is another name of ide2, and never written down as such.
NAMES_OF_OTHERS = frozenset({"cdrom"})


def _refusals(nodes: Any, way: str = decisions.ARCHIVE) -> list[str]:
    *_, source, target = nodes
    views = observed.look_at_both(source, target, all_disks=False)
    found: list[str] = audit.audit(source, target, *views, way, stateless=True)["refusals"]
    return found


@pytest.mark.parametrize(("key", "verdict"), [
    ("scsi0", config_keys.ASKED), ("efidisk0", config_keys.ASKED), ("tpmstate0", config_keys.ASKED),
    ("net31", config_keys.MAPPED), ("ipconfig7", config_keys.MAPPED), ("onboot", config_keys.MAPPED),
    ("unused255", config_keys.ASKED), ("hostpci0", config_keys.ASKED), ("virtiofs2", config_keys.ASKED),
    ("numa", config_keys.CARRIED), ("numa3", config_keys.ASKED), ("tags", config_keys.CARRIED),
    ("args", config_keys.REFUSED), ("ivshmem", config_keys.REFUSED), ("amd-sev", config_keys.REFUSED),
    ("vmstate", config_keys.REFUSED), ("parent", config_keys.REFUSED), ("cpu", config_keys.ASKED),
    ("efidisk1", config_keys.REFUSED), ("net", config_keys.REFUSED), ("scsi", config_keys.REFUSED),
    ("xnet0", config_keys.REFUSED), ("net0x", config_keys.REFUSED), ("quantum0", config_keys.REFUSED),
])  # fmt: skip
def test_what_becomes_of_a_line(key: str, verdict: str) -> None:
    assert config_keys.fate(key).verdict == verdict


def test_every_row_is_reached_by_its_own_pattern() -> None:
    for number, (pattern, found) in enumerate(config_keys.TABLE):
        for word in re.sub(r"\(\?:|\)", "|", pattern).split("|"):
            key = word.replace(r"\d+", "0")
            earlier = [p for p, _ in config_keys.TABLE[:number] if re.fullmatch(p, key)]
            assert not earlier, (key, earlier)
        assert found.why or found.verdict == config_keys.CARRIED


def test_a_setting_that_nobody_knows_is_refused_by_name_for_every_way(nodes: Any) -> None:
    nodes[0].guests[100]["quantum0"] = "entangled=secret"
    said = "the guest 100 at pve-mtp: quantum0: Bascule does not know this setting, nor what a move would make of it"
    for way in decisions.WAYS:
        assert _refusals(nodes, way) == [said]


def test_no_value_is_told(nodes: Any) -> None:
    nodes[0].guests[100] |= {"args": "-fw_cfg name=opt/token,string=hunter2", "amd-sev": "type=snp"}
    (one, other) = _refusals(nodes)
    assert one.startswith("the guest 100 at pve-mtp: amd-sev: encrypted memory")
    assert other.startswith("the guest 100 at pve-mtp: args: arguments for kvm")
    assert "hunter2" not in one + other


def test_and_before_the_window_what_was_set_since(prepared: Any) -> None:
    here, _, source, target = prepared
    here.guests[100]["ivshmem"] = "size=32"
    found = ready.ready(source, target, *observed.look_at_both(source, target), decisions.ARCHIVE)["refusals"]
    assert [line for line in found if line.startswith("the guest 100 at pve-mtp: ivshmem: ")] == found != []


@pytest.mark.parametrize("version", ["8.4", "9.1"])
def test_every_key_that_proxmox_knows_has_its_row(version: str, schema: Any) -> None:
    if not schema.available(version):
        pytest.skip(f"Proxmox's schema of {version} is not at hand: set BASCULE_PVE_SCHEMAS")
    known = schema.parameters(version, "PUT /nodes/{node}/qemu/{vmid}/config")
    known |= schema.returned(version, "GET /nodes/{node}/qemu/{vmid}/config")
    assert len(known) > 70
    keys = {name.replace("[n]", "0") for name in known - ORDERS - NAMES_OF_OTHERS}
    assert {key for key in keys if config_keys.fate(key) is config_keys.UNKNOWN} == set()


CARDS = {
    "net0": "virtio=BC:24:11:03:07:C1,bridge=vmbr0",
    "net1": "virtio=BC:24:11:03:07:C2,bridge=vmbr1,tag=7",
    "net2": "virtio=BC:24:11:03:07:C3,bridge=vmbr1,tag=8,link_down=1,firewall=1",
}
OWN = {"net1": {"bridge": "vmbr0", "tag": "40"}, "net2": {"bridge": "vmbr0", "tag": ""}}


def test_each_interface_is_mapped_by_itself(nodes: Any) -> None:
    here, there, source, target = nodes
    here.guests[100] |= CARDS
    target.side = replace(target.side, cards=OWN)
    assert _refusals(nodes) == []
    prepare.adopt(source)
    archive = prepare.back_up(source)["archive"]
    there.archives = [dict(row) for row in here.archives]
    prepare.restore(target, source, archive["volid"], began=True)
    assert {name: there.guests[100][name] for name in CARDS} == {
        "net0": "virtio=BC:24:11:03:07:C1,bridge=vmbr0,link_down=1",
        "net1": "virtio=BC:24:11:03:07:C2,bridge=vmbr0,tag=40,link_down=1",
        "net2": "virtio=BC:24:11:03:07:C3,bridge=vmbr0,firewall=1,link_down=1",
    }


def test_and_by_proxmoxs_own_migration(nodes: Any) -> None:
    here, there, source, target = nodes
    here.peer = there
    here.guests[100] |= CARDS
    target.side = replace(target.side, cards=OWN)
    prepare.adopt(source)
    transitions.freeze(source, force=False)
    remote.migrate(source, target, Endpoint("pve-tls", 8006, "x", "AA:BB"), None)
    assert there.guests[100]["net1"] == "virtio=BC:24:11:03:07:C2,bridge=vmbr0,tag=40,link_down=1"


@pytest.mark.parametrize(("here", "there", "words"), [
    ({}, {"net1": {"bridge": "vmbr9"}}, "there is no bridge vmbr9 at pve-tls"),
    ({}, {"net5": {"tag": "4"}}, "net5 is declared for pve-tls, and the guest 100 at pve-mtp has no such interface"),
    ({"net1": {"tag": "9"}}, {}, "tag 9 is declared for net1 at pve-mtp, and .* has 7: a return would not bring it"),
    ({"net1": {"bridge": "vmbr1", "tag": "7"}}, {}, ""),
])  # fmt: skip
def test_what_is_declared_for_an_interface_and_does_not_fit_is_named(
    nodes: Any, here: Any, there: Any, words: str
) -> None:
    node, _, source, target = nodes
    node.guests[100] |= CARDS
    source.side, target.side = replace(source.side, cards=here), replace(target.side, cards={**OWN, **there})
    found = _refusals(nodes)
    assert len(found) == bool(words), found
    if words:
        assert re.match(words, found[0]), found


def test_one_bridge_for_the_other_interfaces_joins_nothing_of_those_declared(nodes: Any) -> None:
    nodes[0].guests[100] |= CARDS
    nodes[3].side = replace(nodes[3].side, bridge="vmbr0", cards=OWN)
    assert _refusals(nodes) == []
    nodes[3].side = replace(nodes[3].side, cards={"net1": OWN["net1"]})
    assert [line for line in _refusals(nodes) if "would join networks that are apart" in line and "net0" in line]


def test_a_firewall_is_told(nodes: Any) -> None:
    nodes[0].guests[100] |= CARDS
    nodes[3].side = replace(nodes[3].side, cards=OWN)
    *_, source, target = nodes
    notes = audit.audit(source, target, *observed.look_at_both(source, target), decisions.ARCHIVE)["notes"]
    assert [note for note in notes if note.startswith("net2 has firewall=1: compare the guest's rules at pve-tls")]
    assert [note for note in notes if note.startswith("net1 is in VLAN 40 at pve-tls")]
    assert not [note for note in notes if "net2 is in VLAN" in note]


def test_a_pool_is_told(nodes: Any) -> None:
    here, _, source, target = nodes
    for pool, count in (("", 0), ("teaching", 1)):
        here.pool = pool
        notes = audit.audit(source, target, *observed.look_at_both(source, target), decisions.ARCHIVE)["notes"]
        assert len([note for note in notes if note.startswith("the guest is in the pool teaching: its copy")]) == count


def _side(nets: Any) -> Any:
    values = {"node": "pve-tls", "vmid": 100, "storage": "local", "api_host": "x", "nets": nets}
    known = session.Settings("courses_guest", {"pve-tls": values}, "a@b!c", {}, "", session.limits({}), 1)
    return session.side("pve-tls", known)


def test_what_is_declared_for_interfaces_is_read() -> None:
    assert _side({"net1": {"bridge": "vmbr1", "tag": 20}, "net2": {"tag": ""}}).cards == {
        "net1": {"bridge": "vmbr1", "tag": "20"}, "net2": {"tag": ""},
    }  # fmt: skip
    for wrong in ({"eth0": {"tag": 1}}, {"net1": {"vlan": 1}}, {"net1": "vmbr1"}, ["net1"], {"net1": {"bridge": ""}}):
        with pytest.raises(ProxmoxError, match="expected: interfaces with their bridge and tag for pve-tls"):
            _side(wrong)
