"""What is done in one go of a window: only where nothing has to be done in between, and with the same rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guard import state as guard
from bascule.guard.state import Epoch, Receipt
from bascule.guest import at_once, decisions, lost, observed, recover, transitions

RUN = "ab12"


def _freeze(source: Any, target: Any) -> dict[str, Any]:
    return at_once.freeze(source, target, decisions.DELTA, False, lost.no_copies, False, True)


def test_where_nothing_is_in_the_way_the_guest_is_frozen(prepared: Any) -> None:
    *_, source, target = prepared
    said = _freeze(source, target)
    assert (said["before"], said["changed"], said["guard"]["frozen"]) == ([], True, True)
    assert not source.running()
    # The second time there is nothing to do.
    assert _freeze(source, target)["changed"] is False


@pytest.mark.parametrize("side", [0, 1])
def test_scheduled_backups_of_either_node_are_held_off_first(prepared: Any, side: int) -> None:
    *_, source, target = prepared
    prepared[side].jobs = {"nightly": {"id": "nightly", "all": 1}}
    said = _freeze(source, target)
    assert said["before"] == [(source, target)[side].side.machine]
    assert said["nodes"][said["before"][0]]["enabled"] == ["nightly"]
    assert source.running()
    assert not source.guard(source.config()).frozen


def test_what_an_interrupted_copy_has_left_is_put_right_first(prepared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    *_, source, target = prepared
    left = {"changed": True, "gone": "pve-tls", "locked": "", "noted": "pve-tls", "lifted": ["pve-mtp"]}
    monkeypatch.setattr(recover, "unfinished", lambda *_: left)
    said = _freeze(source, target)
    assert (said["before"], said["changed"]) == (["pve-tls"], True)
    assert source.running()


def _close(source: Any, target: Any, kept: list[Any], **changes: Any) -> dict[str, Any]:
    views = observed.look_at_both(source, target)
    todo = replace(decisions.switch_todo(*views, decisions.WARM), **changes)
    return at_once.close_stateless(source, *views, todo, RUN, False, kept.append)


def test_a_stateless_guest_is_closed_under_an_epoch_of_this_decision(prepared: Any) -> None:
    *_, source, target = prepared
    left, entered = observed.look_at_both(source, target)
    before = guard.next_epoch(left.guard, entered.guard, RUN)
    kept: list[Any] = []
    receipt = Receipt.from_dict(_close(source, target, kept)["receipt"])
    assert (receipt.epoch, receipt.position) == (before, decisions.DROPPED)
    assert [said["guard"]["status"] for said in kept] == ["closing"]
    opened = transitions.open_side(target, receipt.epoch, receipt, True, onboot=True, leads=False, stateless=True)
    assert opened["guard"]["status"] == "open"
    # Interrupted after its receipt: the same switch gives a receipt for a higher epoch, and nothing is shut down again.
    assert source.guard(source.config()).status == "closed"


@pytest.mark.parametrize(
    "changes", [{"digests": True}, {"stateless": False}, {"action": "close"}, {"action": "nothing"}]
)
def test_nothing_else_is_closed_at_once(prepared: Any, changes: dict[str, Any]) -> None:
    *_, source, target = prepared
    assert _close(source, target, [], **changes) == {}
    assert source.running()
    assert source.guard(source.config()).status == "open"


def test_one_that_was_closed_by_a_switch_that_broke_gives_its_receipt_again(prepared: Any) -> None:
    *_, source, target = prepared
    first = Receipt.from_dict(_close(source, target, [])["receipt"])
    again = Receipt.from_dict(_close(source, target, [])["receipt"])
    assert again.epoch > first.epoch
    with pytest.raises(BasculeError):
        transitions.open_side(target, Epoch(1, "zz"), first, True, onboot=True, leads=False, stateless=True)


def test_the_copy_knows_of_a_permit_that_was_ended_without_a_receipt(
    prepared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, source, target = prepared

    def broken(*_: Any) -> Any:
        raise BasculeError(expected="an answer", found="none", state="closing")

    monkeypatch.setattr(transitions, "close_finish", broken)
    kept: list[Any] = []
    with pytest.raises(BasculeError):
        _close(source, target, kept)
    assert [said["guard"]["status"] for said in kept] == ["closing"]
