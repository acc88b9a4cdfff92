"""A guest that is moved warm shuts down beside the rest of the window: nothing is switched before it has stopped."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.guard.state import Epoch, Receipt
from bascule.guest import decisions, observed, transitions
from bascule.guest.errors import ProxmoxError

NOBODY = "nobody asked"


def _shutdowns(node: Any) -> int:
    return sum(path.endswith("status/shutdown") for _, path, _ in node.requests)


def _frozen(prepared: Any, takes: int = 3) -> tuple[Any, Any, Any, dict[str, Any]]:
    here, _, source, target = prepared
    here.shutdown_takes = takes
    return here, source, target, transitions.freeze(source, force=False, waits=False)


def test_a_freeze_waits_for_nothing_and_says_so(prepared: Any) -> None:
    here, source, _, said = _frozen(prepared)
    assert source.running()
    assert said["changed"]
    assert said["guard"]["frozen"]
    assert said["reason"] == "is being shut down; nothing is switched before it has stopped"
    # It does not come back with its node.
    assert str(here.guests[100]["onboot"]) == "0"


def test_what_was_frozen_is_seen_to_have_stopped(prepared: Any) -> None:
    here, source, _, said = _frozen(prepared)
    proved = transitions.stopped(source, False, said["outside"])
    assert not source.running()
    assert proved["reason"].startswith("shut down; the node says stopped and refuses the agent")
    assert _shutdowns(here) == 1


def test_a_frozen_guest_that_still_shuts_down_is_not_copied(prepared: Any) -> None:
    _, source, target, _ = _frozen(prepared)
    views = observed.look_at_both(source, target)
    assert views[0].running
    assert decisions.sync_todo(*views, decisions.WARM).action == "boot"


def test_a_second_freeze_follows_the_first_shutdown(prepared: Any) -> None:
    here, source, _, _ = _frozen(prepared)
    transitions.freeze(source, force=False, waits=False)
    transitions.freeze(source, force=False)
    assert not source.running()
    assert _shutdowns(here) == 1


def test_one_that_does_not_shut_down_is_found_before_anything_is_switched(prepared: Any) -> None:
    here, source, _, _ = _frozen(prepared)
    (upid,) = here.shutting
    here.tasks[upid] = ("VM quit/powerdown failed - got timeout", ["TASK ERROR: VM quit/powerdown failed"])
    with pytest.raises(ProxmoxError, match="to shut down cleanly within 5 s"):
        transitions.stopped(source, False, NOBODY)
    assert source.running()
    assert source.guard(source.config()).status == "open"


def test_an_undo_waits_for_the_shutdown_and_starts_the_guest_again(prepared: Any) -> None:
    here, source, target, _ = _frozen(prepared)
    said = transitions.thaw(source, onboot=True, other=target)
    assert said["reason"] == "runs and serves"
    assert source.running()
    assert not source.guard(source.config()).frozen
    assert not here.shutting


def test_an_undo_of_a_shutdown_that_failed_leaves_the_guest_running(prepared: Any) -> None:
    here, source, target, _ = _frozen(prepared)
    (upid,) = here.shutting
    here.tasks[upid] = ("VM quit/powerdown failed - got timeout", ["TASK ERROR: VM quit/powerdown failed"])
    transitions.thaw(source, onboot=True, other=target)
    assert source.running()
    assert not source.guard(source.config()).frozen


def test_a_switch_that_comes_early_waits_as_well(prepared: Any) -> None:
    here, source, _, _ = _frozen(prepared)
    transitions.close_begin(source, Epoch(1, "aaaa"), force=False)
    assert not source.running()
    assert _shutdowns(here) == 1


def test_somebody_who_answers_at_the_address_of_the_stopped_guest_is_found(prepared: Any) -> None:
    here, source, _, said = _frozen(prepared)
    here.impostor = True
    if said["outside"]:
        # Nobody has seen it answer before: its silence proves nothing, and neither does an answer.
        assert "not proved from outside" in transitions.stopped(source, False, said["outside"])["reason"]
        return
    with pytest.raises(ProxmoxError, match="nobody to serve at"):
        transitions.stopped(source, False, said["outside"])


def test_a_guest_that_nobody_froze_is_left_as_it_is(prepared: Any) -> None:
    here, _, source, _ = prepared
    assert transitions.stopped(source, False, NOBODY)["reason"] == "pve-mtp is not frozen"
    assert source.running()
    assert _shutdowns(here) == 0


def test_a_side_that_never_finished_opening_is_waited_for(prepared: Any) -> None:
    """Nothing marks it as frozen, so that no sync would wait for it."""
    here, there, source, target = prepared
    epoch = Epoch(1, "aaaa")
    transitions.freeze(source, force=False)
    transitions.close_begin(source, epoch, force=False)
    given = transitions.close_finish(source, epoch, {decisions.STATELESS: "x"}, "2026-11-20T09:00:00Z")["receipt"]
    there.agent_silent = True
    with pytest.raises(ProxmoxError):
        transitions.open_side(target, epoch, Receipt.from_dict(given), True, onboot=True, leads=False, stateless=True)
    assert target.guard(target.config()).status == "opening"
    there.shutdown_takes = 3
    transitions.freeze(target, force=False, waits=False)
    assert not target.running()
    assert here.guests


def test_a_start_waits_for_a_shutdown_that_nobody_has_noted(prepared: Any) -> None:
    here, _, source, _ = prepared
    here.shutdown_takes = 3
    source.begin_shut_down(force=False)
    assert source.start()
    assert source.running()


def test_a_task_that_has_ended_is_not_followed_though_it_is_still_listed(prepared: Any) -> None:
    here, _, source, _ = prepared
    here.active.append({"upid": "UPID:old", "type": "qmshutdown", "id": "100", "user": "x", "endtime": 1})
    assert source.shut_down(force=False)
    assert _shutdowns(here) == 1


def test_what_stands_by_is_booted_and_seen_to_come_up(prepared: Any) -> None:
    _, _, source, target = prepared
    said = transitions.stand_by(target, source)
    assert said["changed"]
    assert target.running()
    assert said["reason"].startswith("up after ")


def test_nobody_waits_for_it_where_the_other_side_serves_nobody(prepared: Any) -> None:
    here, there, source, target = prepared
    here.running.clear()
    there.agent_silent = True
    said = transitions.stand_by(target, source)
    assert said["reason"] == "booted; users of the other side wait already, so nobody waits for it here"
    assert target.running()


def test_one_that_does_not_come_up_ahead_stops_no_return(prepared: Any) -> None:
    _, there, source, target = prepared
    there.agent_silent = True
    said = transitions.stand_by(target, source)
    assert said["reason"].startswith("booted, and not up yet: ")
    assert target.running()
