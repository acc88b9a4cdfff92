"""Snapshots do not travel, and go with disks that are written over: they are named before, at whichever side."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.guard.state import Epoch, GuardState, Receipt
from bascule.guest import audit, decisions, drift, observed, prepare, ready, remote, transitions
from bascule.guest.errors import ProxmoxError
from bascule.plugin import standing
from bascule.run.position import Side

NAME = "before_failback"
WORDS = f"no snapshots of the guest 100 at pve-mtp.*found: {NAME}.*qm delsnapshot 100 NAME' at pve-mtp"


def _moved(nodes: Any) -> tuple[Any, Any, Any, Any]:
    """Move the guest forward, and let somebody snapshot the closed old one."""
    here, there, source, target = nodes
    transitions.freeze(source, force=False)
    transitions.close_begin(source, Epoch(1, "aaaa"), force=False)
    disks = {"disk:scsi0": "tree-sha256:1111"}
    given = transitions.close_finish(source, Epoch(1, "aaaa"), disks, "2026-11-20T09:00:00Z")["receipt"]
    transitions.open_side(target, Epoch(1, "aaaa"), Receipt.from_dict(given), True, onboot=True, leads=False)
    here.snapshots[100] = [NAME]
    here.requests.clear()
    there.requests.clear()
    return here, there, source, target


@pytest.mark.parametrize("way", decisions.WAYS)
@pytest.mark.parametrize("side", [0, 1])
def test_the_audit_and_the_check_before_a_window_name_them_at_either_side(prepared: Any, way: str, side: int) -> None:
    *nodes, source, target = prepared
    nodes[side].snapshots[100] = [NAME]
    views = observed.look_at_both(source, target)
    said = f"the guest 100 at {('pve-mtp', 'pve-tls')[side]} has snapshots ({NAME}): they do not travel"
    for found in (audit.audit(source, target, *views, way, stateless=True), ready.ready(source, target, *views, way)):
        assert [line for line in found["refusals"] if line.startswith(said)], found["refusals"]


@pytest.mark.parametrize("way", decisions.WAYS)
def test_a_return_is_told_while_the_guest_still_serves(prepared: Any, way: str) -> None:
    here, _, source, target = _moved(prepared)
    found = ready.stops(target, source, way)
    assert bool([line for line in found if NAME in line]) is (way != decisions.WARM), (
        "a warm return writes nothing over"
    )
    del here.snapshots[100]
    assert ready.stops(target, source, way) == []
    transitions.freeze(target, force=False)
    assert ready.stops(target, source, way) == [], "its window has begun"


def test_what_would_stop_a_return_keeps_it_from_beginning() -> None:
    serves = GuardState(component="c", side="b")
    sides = (Side("b", "Toulouse", serves), Side("a", "Montpellier", GuardState(component="c", side="a")))
    assert standing.obstacle(standing.Component("c", *sides, False, False, ""), False) == ""
    stopped = standing.Component("c", *sides, False, False, "", ("it has snapshots",))
    assert standing.obstacle(stopped, False) == "c: it has snapshots"


def test_nothing_is_restored_over_them_and_nothing_with_them_is_removed(prepared: Any) -> None:
    here, there, source, target = _moved(prepared)
    opened = target.guard(target.config())
    before = dict(here.guests[100])
    with pytest.raises(ProxmoxError, match=WORDS):
        prepare.retire(source, opened)
    with pytest.raises(ProxmoxError, match=WORDS):
        remote.put_aside(source, began=True)
    transitions.freeze(target, force=False)
    archive = prepare.back_up(target, mark="state2")["archive"]
    here.archives = [*here.archives, *there.archives]
    with pytest.raises(ProxmoxError, match=WORDS):
        prepare.restore(source, target, archive["volid"], began=True, replace=True)
    assert here.guests[100] == before
    assert here.written() == []
    del here.snapshots[100]
    assert prepare.restore(source, target, archive["volid"], began=True, replace=True)["changed"]


def test_a_copy_with_a_snapshot_is_another_guest() -> None:
    assert drift.settings({"parent": NAME}) == {"parent": NAME}
