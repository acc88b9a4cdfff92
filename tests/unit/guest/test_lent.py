"""What a guest needs at its node and no copy brings along: images in its drives, scripts and snippets."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.guest import audit, decisions, observed, ready

ISO = "local:iso/debian.iso"
NAMED = {
    "ide0": f"{ISO},media=cdrom,size=600M",
    "hookscript": "local:snippets/start.pl",
    "cicustom": "user=local:snippets/user.yaml,network=local:snippets/net.yaml",
}


def _audit(nodes: Any, way: str) -> list[str]:
    *_, source, target = nodes
    views = observed.look_at_both(source, target)
    found: list[str] = audit.audit(source, target, *views, way, stateless=True)["refusals"]
    return found


@pytest.mark.parametrize("way", [decisions.ARCHIVE, decisions.DELTA, decisions.WARM])
def test_what_only_the_source_has_is_refused_by_name(nodes: Any, way: str) -> None:
    here, there, *_ = nodes
    here.guests[100] |= NAMED
    for volid in (ISO, "local:snippets/start.pl", "local:snippets/user.yaml", "local:snippets/net.yaml"):
        here.contents[volid] = {"size": 1}
    found = _audit(nodes, way)
    assert [line.partition(":")[0] for line in found] == ["the guest 100 at pve-mtp"] * 4
    assert found[3] == (
        f"the guest 100 at pve-mtp: ide0 is {ISO}, which pve-tls has not (500 volume '{ISO}' does not exist): put it "
        "there under the same name, or take it out of the guest"
    )
    there.contents |= here.contents
    assert _audit(nodes, way) == []


@pytest.mark.parametrize("empty", ["none,media=cdrom", "local:100/vm-100-cloudinit.qcow2,media=cdrom"])
def test_an_empty_drive_and_one_that_the_node_makes_need_nothing(nodes: Any, empty: str) -> None:
    nodes[0].guests[100]["ide0"] = empty
    assert [_audit(nodes, way) for way in decisions.WAYS] == [[]] * 4


def test_the_drive_of_the_node_itself_is_nowhere_else(nodes: Any) -> None:
    nodes[0].guests[100]["ide0"] = "cdrom,media=cdrom"
    assert _audit(nodes, decisions.DELTA) == ["the guest 100 at pve-mtp: ide0 is the node's own drive: take it out"]


def test_no_image_may_be_in_a_drive_when_proxmox_migrates(nodes: Any) -> None:
    here, there, *_ = nodes
    here.guests[100]["ide0"] = f"{ISO},media=cdrom"
    there.contents[ISO] = {"size": 1}
    (line,) = _audit(nodes, decisions.REMOTE)
    assert line == f"the guest 100 at pve-mtp: ide0 is {ISO}, and Proxmox migrates no guest with one: take it out"


@pytest.mark.parametrize("way", [decisions.ARCHIVE, decisions.DELTA, decisions.WARM])
def test_what_is_gone_at_its_own_node_would_keep_a_return_from_starting(nodes: Any, way: str) -> None:
    """A guest runs on with an image that was deleted; once it is shut down it does not start again."""
    here, there, source, target = nodes
    there.contents[ISO] = {"size": 1}
    here.guests[100]["ide0"] = f"{ISO},media=cdrom"
    found = ready.ready(source, target, *observed.look_at_both(source, target), way)["refusals"]
    assert [line for line in found if f"ide0 is {ISO}, which pve-mtp has not" in line]
    assert [line for line in _audit(nodes, way) if f"ide0 is {ISO}, which pve-mtp has not" in line]


@pytest.mark.parametrize(("way", "side"), [(decisions.DELTA, 1), (decisions.ARCHIVE, 0), (decisions.REMOTE, 0)])
def test_and_before_the_window_what_was_put_in_since(prepared: Any, way: str, side: int) -> None:
    """A copy that is there starts with its own drives; an archive and a migration of the window bring the others."""
    here, _, source, target = prepared
    here.contents[ISO] = {"size": 1}
    for number in (0, 1):
        prepared[number].guests[100]["ide0"] = f"{ISO},media=cdrom"
        found = ready.ready(source, target, *observed.look_at_both(source, target), way)["refusals"]
        assert [line for line in found if "ide0 is" in line] == found
        assert bool(found) is (number == side), found
        del prepared[number].guests[100]["ide0"]


def test_a_hook_script_runs_at_the_closed_side_too_and_that_is_told(nodes: Any) -> None:
    *_, source, target = nodes
    for node in nodes[:2]:
        node.contents["local:snippets/start.pl"] = {"size": 1}
    nodes[0].guests[100]["hookscript"] = "local:snippets/start.pl"
    found = audit.audit(source, target, *observed.look_at_both(source, target))
    assert found["refusals"] == []
    assert [note for note in found["notes"] if "local:snippets/start.pl" in note and "proof boot" in note]
