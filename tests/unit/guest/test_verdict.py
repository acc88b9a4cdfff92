"""What proves that a guest is closed, and what a verification says: each looks, and names what nobody could look at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bascule.guest import decisions, observed, serving, transitions, verify
from bascule.guest.errors import ProxmoxError

from .test_move import DISKS, E1, switch


def test_a_freeze_is_tried_from_outside_at_an_address_that_served_before(prepared: Any) -> None:
    said = transitions.freeze(prepared[2], force=False)["reason"]
    assert said.endswith("http://pve-mtp/healthz answered 200 before and does not any more")


def test_an_address_that_goes_on_serving_is_an_alarm(prepared: Any) -> None:
    """The node says stopped; who answers is another guest, or the node is not the one that was asked."""
    here, _there, source, _target = prepared
    here.impostor = True
    with pytest.raises(ProxmoxError, match="answers 200 as before"):
        transitions.freeze(source, force=False)


def test_a_guest_that_runs_again_before_its_receipt_gets_none(prepared: Any) -> None:
    """Somebody has started it after it was closed: its node says so, whoever else was told that it stands still."""
    here, _there, source, _target = prepared
    transitions.close_begin(source, E1, force=False)
    here.running.add(100)
    with pytest.raises(ProxmoxError, match="the node says running"):
        transitions.close_finish(source, E1, DISKS, "2026-11-20T09:00:00Z")
    assert source.guard(source.config()).receipt is None


@pytest.mark.parametrize("why", ["no health_url", "was stopped before", "did not serve while"])
def test_silence_of_an_address_that_never_served_proves_nothing(prepared: Any, why: str) -> None:
    here, _there, source, _target = prepared
    if why == "no health_url":
        source.side = replace(source.side, health_url="")
    elif why == "was stopped before":
        here.running.clear()
    else:
        source._probe = lambda url: f"{url} answered 503"
    said = transitions.freeze(source, force=False)["reason"]
    assert "not proved from outside: " in said
    assert why in said


def test_a_verification_asks_the_address_of_the_side_that_is_not_open(prepared: Any) -> None:
    here, _there, source, target = prepared
    transitions.freeze(source, force=False)
    switch(source, target, E1)
    assert serving.outside(source, target) == ([], {})
    asked = serving.asked(target, source, {"details": ["one"], "not_compared": {"scsi0": "why"}})
    assert (asked["details"], asked["not_compared"], len(asked["asked"])) == (["one"], {"scsi0": "why"}, 2)
    here.impostor = True
    (alarm,) = serving.outside(source, target)[0]
    assert alarm == "http://pve-mtp/healthz answers 200, and the guest at pve-mtp is not the one that is open"
    for url, why in ((target.side.health_url, "at the same health_url"), ("", "no health_url is declared")):
        source.side = replace(source.side, health_url=url)
        alarms, told = serving.outside(source, target)
        assert alarms == []
        assert why in told["the fence of pve-mtp from outside"]


def test_verification_compares_three_readings(prepared: Any) -> None:
    _, _, source, target = prepared
    transitions.freeze(source, force=False)
    switch(source, target, E1)
    views = observed.look_at_both(source, target)
    receipt = views[0].guard.receipt
    assert receipt is not None
    switched = {"receipt": receipt.to_dict(), "reached": DISKS}
    proof = verify.compare(*views, switched, DISKS)
    assert (proof["disks_compared"], proof["disks_different"], proof["details"]) == (1, 0, [])
    assert (proof["active_side"], proof["not_compared"]) == ("pve-tls", {})
    proof = verify.compare(*views, switched, {})
    assert (proof["disks_compared"], proof["details"]) == (1, [])
    assert proof["not_compared"] == {"disk:scsi0 at pve-mtp now": "it was used since: by a proof boot or a delta"}
    proof = verify.compare(*views, switched, {"disk:scsi0": "tree-sha256:9999"})
    assert proof["disks_different"] == 1
    assert "pve-mtp now: tree-sha256:9999" in proof["details"][0]
    proof = verify.compare(*views, {}, DISKS)
    assert proof["disks_different"] == 1


def test_a_volume_that_is_read_another_way_by_now_is_told_and_not_called_different(prepared: Any) -> None:
    """A container's files by archive, its blocks by delta: the way was changed after the switch."""
    _, _, source, target = prepared
    transitions.freeze(source, force=False)
    switch(source, target, E1)
    views = observed.look_at_both(source, target)
    receipt = views[0].guard.receipt
    assert receipt is not None
    switched = {"receipt": receipt.to_dict(), "reached": DISKS}
    proof = verify.compare(*views, switched, {"disk:scsi0": "files-sha256:1111"})
    assert (proof["disks_compared"], proof["disks_different"], proof["details"]) == (1, 0, [])
    told = "it is read as files-sha256 now, and was as tree-sha256 at the switch"
    assert proof["not_compared"] == {"disk:scsi0 at pve-mtp now": told}
    # One that was not read at all is no other way of reading it.
    assert verify.compare(*views, switched, {"disk:scsi1": "files-sha256:1111"})["disks_different"] == 1
    # What both sides said at the switch is compared all the same.
    other = {**switched, "reached": {"disk:scsi0": "files-sha256:1111"}}
    assert verify.compare(*views, other, {"disk:scsi0": "files-sha256:1111"})["disks_different"] == 1


def test_a_disk_that_the_receipt_does_not_name_was_not_looked_at(prepared: Any) -> None:
    _, _, source, target = prepared
    transitions.freeze(source, force=False)
    switch(source, target, E1)
    closed, opened = observed.look_at_both(source, target)
    receipt = closed.guard.receipt
    assert receipt is not None
    more = replace(closed, disks=(*closed.disks, replace(closed.disks[0], name="scsi1")))
    switched = {"receipt": receipt.to_dict(), "reached": DISKS}
    proof = verify.compare(more, opened, switched, DISKS)
    assert (proof["disks_compared"], proof["disks_different"]) == (1, 1)
    assert proof["details"] == ["scsi1 of pve-mtp is not in its receipt: nobody has compared it"]
    fewer = verify.compare(closed, opened, {**switched, "reached": {**DISKS, "disk:scsi1": "x"}}, DISKS)
    assert fewer["details"] == ["disk:scsi1 of the opened side is not in the receipt of pve-mtp"]
    assert fewer["disks_different"] == 1


def test_a_warm_copy_may_run_cut_from_its_network_and_nothing_else_may(prepared: Any) -> None:
    _, _, source, target = prepared
    active, passive = observed.look_at_both(source, target)
    assert verify.compare(active, passive, {}, {}, decisions.WARM)["details"] == []
    copy = replace(passive, running=True)
    assert verify.compare(active, copy, {}, {}, decisions.WARM)["details"] == []
    assert "runs at pve-mtp, pve-tls" in verify.compare(active, copy, {}, {}, decisions.DELTA)["details"][0]
    connected = replace(copy, links_up=True)
    assert "runs connected" in verify.compare(active, connected, {}, {}, decisions.WARM)["details"][-1]
    silent = replace(active, running=False)
    assert "the guest runs at pve-tls" in verify.compare(silent, copy, {}, {}, decisions.WARM)["details"][0]
