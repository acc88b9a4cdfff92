"""A guest comes back to the networks it left, and a link that somebody had cut stays cut."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from bascule.guard.state import Epoch, Receipt
from bascule.guest import audit, observed, prepare, remote, session, transitions
from bascule.guest import config as guest_config
from bascule.guest.errors import ProxmoxError
from bascule.guest.remote import Endpoint

DISKS = {"disk:scsi0": "tree-sha256:1111"}
FRONT = "virtio=BC:24:11:03:07:C1,bridge=vmbr0"
BACK = "virtio=BC:24:11:03:07:C2,bridge=vmbr1,tag=7"
MOVED = {"bridge": "vmbr9", "tag": "40", "overrides": {"ipconfig0": "ip=198.51.100.10/24"}}
HOME = {"net0": FRONT, "ipconfig0": "ip=203.0.113.10/24,gw=203.0.113.1", "nameserver": "203.0.113.53"}


def _captured(source: Any) -> dict[str, Any]:
    """What the role's verb capture keeps."""
    machine = source.side.machine
    return {"active": machine, "nets": {machine: guest_config.nets(source.config())}}


def _switch(source: Any, target: Any, epoch: Epoch, captured: Any) -> None:
    transitions.freeze(source, force=False)
    transitions.close_begin(source, epoch, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, epoch, DISKS, "2026-11-20T09:00:00Z")["receipt"])
    transitions.open_side(target, epoch, receipt, True, onboot=True, leads=False, cut=guest_config.cut(captured))


def _carry(source: Any, target: Any, nodes: Any, stamp: str, **given: Any) -> None:
    archive = prepare.back_up(source, mark=stamp)["archive"]
    for node in nodes:
        node.archives = [dict(row) for row in (*nodes[0].archives, *nodes[1].archives)]
    prepare.restore(target, source, archive["volid"], began=True, **given)


def _own(node: Any) -> dict[str, str]:
    return guest_config.home({k: str(v).replace(",link_down=1", "") for k, v in node.guests[100].items()})


def test_a_return_by_archive_gives_the_guest_its_own_network_back(nodes: Any) -> None:
    here, there, source, target = nodes
    here.guests[100] |= HOME
    target.side = replace(target.side, **MOVED)
    prepare.adopt(source)
    captured, before = _captured(source), _own(here)
    _carry(source, target, nodes[:2], "")
    _switch(source, target, Epoch(1, "aaaa"), captured)
    assert there.guests[100]["net0"] == "virtio=BC:24:11:03:07:C1,bridge=vmbr9,tag=40"
    assert there.guests[100]["ipconfig0"] == "ip=198.51.100.10/24"
    transitions.freeze(target, force=False)
    _carry(target, source, nodes[:2], "back", replace=True)
    _switch(target, source, Epoch(2, "bbbb"), captured)
    assert _own(here) == before
    assert here.guests[100]["net0"] == FRONT


@pytest.mark.parametrize("left", [lambda was: {}, lambda was: {"description": was["description"]}])
def test_and_after_a_return_that_failed_in_between(nodes: Any, left: Any) -> None:
    """What is left is a bare number, with the guard's line or without."""
    here, _, source, target = nodes
    here.guests[100] |= HOME
    target.side = replace(target.side, **MOVED)
    prepare.adopt(source)
    before = _own(here)
    _carry(source, target, nodes[:2], "")
    _switch(source, target, Epoch(1, "aaaa"), _captured(source))
    transitions.freeze(target, force=False)
    seen = observed.look(source).to_dict()
    here.guests[100] = {"memory": "128"} | left(here.guests[100])
    _carry(target, source, nodes[:2], "back", replace=True, kept=seen["guard"], home=seen["home"])
    assert _own(here) == before


def test_a_return_by_remote_migrate_too(nodes: Any) -> None:
    here, there, source, target = nodes
    here.peer, there.peer = there, here
    here.guests[100] |= HOME
    target.side = replace(target.side, **MOVED)
    prepare.adopt(source)
    captured, before = _captured(source), _own(here)
    transitions.freeze(source, force=False)
    remote.migrate(source, target, Endpoint("pve-tls", 8006, "x", "AA:BB"), None)
    del here.guests[100]["lock"]
    _switch(source, target, Epoch(1, "aaaa"), captured)
    transitions.freeze(target, force=False)
    seen = observed.look(source).to_dict()
    remote.put_aside(source, began=True)
    remote.migrate(target, source, Endpoint("pve-mtp", 8006, "x", "AA:BB"), seen["guard"], home=seen["home"])
    assert _own(here) == before
    sent = [values for _, path, values in there.written() if path.endswith("remote_migrate")]
    assert sent[0]["target-bridge"] == "vmbr9:vmbr0"


def test_a_link_that_somebody_had_cut_stays_cut_there_and_back(nodes: Any) -> None:
    here, there, source, target = nodes
    here.guests[100]["net1"] = f"{BACK},link_down=1"
    prepare.adopt(source)
    captured = _captured(source)
    _carry(source, target, nodes[:2], "")
    _switch(source, target, Epoch(1, "aaaa"), captured)
    for node in (there, here):
        links = {name: guest_config.link_is_up(net) for name, net in guest_config.nets(node.guests[100]).items()}
        assert links == {"net0": node is there, "net1": False}
    _switch(target, source, Epoch(2, "bbbb"), captured)
    assert here.guests[100]["net0"] == FRONT
    assert here.guests[100]["net1"] == f"{BACK},link_down=1"


NETS = {"net0": FRONT, "net1": BACK}
CARDS = {
    "net0": FRONT, "net1": "virtio=BC:24:11:03:07:C2,bridge=vmbr1,tag=20",
    "net2": "virtio=BC:24:11:03:07:C3,bridge=vmbr1,link_down=1",
    "ipconfig0": "ip=203.0.113.10/24,gw=203.0.113.1", "ipconfig1": "ip=10.9.0.10/24,ip6=fd00::10/64",
}  # fmt: skip


def test_three_cards_on_two_bridges_keep_their_places_and_the_one_that_is_down_stays_down(nodes: Any) -> None:
    here, there, source, target = nodes
    here.guests[100] |= CARDS
    found = audit.audit(source, target, *observed.look_at_both(source, target))["refusals"]
    assert found == ["there is no bridge vmbr1 at pve-tls"]
    prepare.adopt(source)
    captured, before = _captured(source), {name: here.guests[100][name] for name in CARDS}
    _carry(source, target, nodes[:2], "")
    _switch(source, target, Epoch(1, "aaaa"), captured)
    for name in ("net0", "net1", "net2"):
        assert there.guests[100][name] == CARDS[name]
    transitions.freeze(target, force=False)
    _carry(target, source, nodes[:2], "back", replace=True)
    _switch(target, source, Epoch(2, "bbbb"), captured)
    assert {name: here.guests[100][name] for name in CARDS} == before


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({}, ""),
        ({"ipconfig0": "ip=198.51.100.10/24"}, "ipconfig1 .ip=10.9.0.10/24,ip6=fd00::10/64. .* is not declared for"),
        ({"ipconfig0": "ip=198.51.100.10/24", "ipconfig1": "ip=10.9.0.10/24"}, ""),
    ],
)
def test_an_address_that_would_stay_as_it_is_while_others_change_is_named(
    nodes: Any, declared: dict[str, str], words: str
) -> None:
    here, _, source, target = nodes
    here.guests[100] |= CARDS
    target.side = replace(target.side, overrides=declared)
    found = audit.audit(source, target, *observed.look_at_both(source, target))["refusals"]
    found = [line for line in found if "there is no bridge" not in line]
    assert len(found) == bool(words), found
    if words:
        assert re.search(words, found[0]), found[0]


def test_what_is_no_address_is_named(nodes: Any) -> None:
    _, _, source, target = nodes
    target.side = replace(target.side, overrides={"ipconfig0": "ip=198.51.100.300/24"})
    with pytest.raises(ProxmoxError, match=r"found: ip=198\.51\.100\.300/24"):
        audit.audit(source, target, *observed.look_at_both(source, target))


def test_every_card_has_an_address_of_its_own_at_each_side(nodes: Any) -> None:
    values = {"node": "pve-tls", "vmid": 100, "storage": "local", "api_host": "x", "ipconfig12": "ip=dhcp"}
    known = session.Settings("courses_guest", {"pve-tls": values}, "a@b!c", {}, "", session.limits({}), 1)
    assert session.side("pve-tls", known).overrides == {"ipconfig12": "ip=dhcp"}


def test_the_address_of_any_card_may_be_somebody_elses(nodes: Any) -> None:
    here, there, source, target = nodes
    here.guests[100] |= CARDS
    there.guests[300] = {"name": "twin", "ipconfig3": "ip=dhcp,ip6=FD00:0::10/64"}
    found = audit.audit(source, target, *observed.look_at_both(source, target))["refusals"]
    assert "the guest 300 'twin' at pve-tls has the address fd00::10" in found


def test_the_audit_asks_no_passive_guest_to_be_connected(nodes: Any) -> None:
    """After the switch the source is cut, and the audit may be run again."""
    here, _there, source, target = nodes
    prepare.adopt(source)
    captured = _captured(source)
    _carry(source, target, nodes[:2], "")
    _switch(source, target, Epoch(1, "aaaa"), captured)
    assert not guest_config.links_up(here.guests[100])
    found = audit.audit(source, target, *observed.look_at_both(source, target))["refusals"]
    assert not [line for line in found if "connected" in line]


@pytest.mark.parametrize(
    ("config", "here", "there", "words"),
    [
        ({}, {}, {"bridge": "vmbr0"}, ""),
        ({}, {"bridge": "vmbr0"}, {"bridge": "vmbr0", "tag": "40"}, ""),
        (NETS, {}, {}, ""),
        (NETS, {}, {"bridge": "vmbr0"}, "bridge vmbr0 for pve-tls would join networks that are apart: .* net1 vmbr1"),
        (NETS, {"bridge": "vmbr0"}, {}, "bridge vmbr0 for pve-mtp would join networks that are apart"),
        (NETS, {}, {"tag": "40"}, "tag 40 for pve-tls would join .* has net0 none, net1 7"),
        ({}, {"bridge": "vmbr1"}, {}, "bridge vmbr1 is declared for pve-mtp, and .* has net0 vmbr0: a return would"),
        ({}, {"tag": "7"}, {}, "tag 7 is declared for pve-mtp, and .* has net0 none"),
        ({}, {}, {"overrides": {"ipconfig0": "ip=dhcp"}}, "ipconfig0 is declared for pve-tls alone, and .* has none"),
        (HOME, {}, {"overrides": {"ipconfig0": "ip=dhcp"}}, ""),
        ({}, {"overrides": {"ipconfig0": "ip=dhcp"}}, {"overrides": {"ipconfig0": "ip=dhcp"}}, ""),
        ({"net0": f"{FRONT},link_down=1"}, {}, {}, "has no interface that is connected"),
    ],
)
def test_the_audit_names_interfaces_that_would_not_be_what_they_are(
    nodes: Any, config: Any, here: Any, there: Any, words: str
) -> None:
    node, other, source, target = nodes
    node.guests[100] |= config
    source.side, target.side = replace(source.side, **here), replace(target.side, **there)
    found = audit.audit(source, target, *observed.look_at_both(source, target))["refusals"]
    found = [line for line in found if "there is no bridge" not in line and "lacks SDN" not in line]
    assert len(found) == bool(words), found
    if words:
        assert re.search(words, found[0]), found[0]
    assert other.written() == []
