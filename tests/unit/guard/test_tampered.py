"""A record that no command has left (a hand, a fault, another version) opens nothing and hides nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bascule.errors import GuardRefused
from bascule.guard import state as rule
from bascule.guard.state import Epoch, GuardState, Receipt

from .test_state import CLOSED_THERE, E5, E6, HERE_CLOSED, NOW, OPEN_HERE, RECEIPT, THERE_OPEN, close

BACK = replace(CLOSED_THERE, promised=E6, opened=E5, gave_way=E6)


@pytest.mark.parametrize(
    ("state", "epoch"),
    [
        (replace(HERE_CLOSED, promised=E6), E6),
        (replace(HERE_CLOSED, promised=E6), E5),
        (replace(HERE_CLOSED, status="open"), E5),
        (replace(HERE_CLOSED, status="opening"), E5),
        (replace(HERE_CLOSED, receipt=None), E5),
    ],
)
def test_a_receipt_is_given_again_only_as_it_was_given(state: GuardState, epoch: Epoch) -> None:
    with pytest.raises(GuardRefused, match=f"a side that is closing for epoch {epoch}"):
        rule.closed(state, epoch, {"lsn": "0/9"}, NOW)


def test_a_side_that_closes_gives_a_receipt_of_what_it_has_now() -> None:
    state, receipt = rule.closed(replace(HERE_CLOSED, status="closing"), E5, {"lsn": "0/9"}, "later")
    assert (receipt.position, receipt.issued_at, state.receipt) == ({"lsn": "0/9"}, "later", receipt)


def test_a_promise_ends_a_permit_that_stands_beside_a_receipt() -> None:
    assert rule.promise(replace(HERE_CLOSED, status="open"), E5).status == "closing"


def test_what_is_closed_is_not_frozen() -> None:
    state, _ = rule.closed(replace(rule.promise(OPEN_HERE, E5), frozen=True), E5, {}, NOW)
    assert not state.frozen


def test_what_a_side_was_open_under_is_remembered_after_it_gave_way() -> None:
    again = rule.promise(BACK, Epoch(7, "c"))
    assert (again.opened, again.status) == (E5, "closing")
    assert rule.last_open(again) is None


def test_a_side_is_taken_over_above_what_the_other_has_promised() -> None:
    gone = GuardState("db", "here")
    assert rule.adopt_closed(gone, GuardState("db", "there", status="open")).promised is None
    assert rule.adopt_closed(gone, replace(OPEN_HERE, side="there")).promised is None
    taken = rule.adopt_closed(gone, THERE_OPEN)
    assert taken.promised == Epoch(6 + rule.UNHEARD, "adopted")
    assert (taken.gave_way, taken.opened, taken.receipt) == (None, None, None)
    assert RECEIPT.epoch < taken.promised


def test_both_sides_take_their_next_epochs_from_all_they_know() -> None:
    odd = replace(CLOSED_THERE, opened=Epoch(30, "x"))
    assert rule.next_epoch(odd, HERE_CLOSED, "d") == rule.next_epoch(HERE_CLOSED, odd, "d") == Epoch(31, "d")
    later = replace(close(OPEN_HERE, E6)[0], promised=None)
    assert rule.next_epoch(later, CLOSED_THERE, "d") == Epoch(7, "d")


def test_a_receipt_for_the_epoch_of_the_permit_is_not_taken_back() -> None:
    state = replace(THERE_OPEN, promised=E6, status="closing", receipt=replace(RECEIPT, side="there"))
    with pytest.raises(GuardRefused, match="may be in use at the other side"):
        rule.withdraw(state, E6, frozen=False)


def test_the_open_side_leads_whatever_the_other_one_says() -> None:
    opening = replace(THERE_OPEN, status="opening", promised=Epoch(7, "c"))
    assert rule.leader(replace(OPEN_HERE, opened=E6, promised=E6), opening) == "here"


def test_an_opening_without_an_epoch_is_none() -> None:
    assert rule.last_open(replace(THERE_OPEN, status="opening", promised=None)) == E5
    assert rule.last_open(GuardState("db", "there", status="opening")) is None


def test_what_was_opened_since_a_side_gave_way_counts() -> None:
    assert rule.last_open(replace(BACK, opened=None)) is None
    assert rule.last_open(replace(BACK, opened=E6)) is None
    assert rule.last_open(replace(BACK, opened=Epoch(7, "c"))) == Epoch(7, "c")
    assert rule.leader(CLOSED_THERE, HERE_CLOSED) == rule.leader(HERE_CLOSED, BACK) == "here"


@pytest.mark.parametrize("key", ["component", "side"])
@pytest.mark.parametrize("value", [7, True, ["db"], {"db": 1}])
def test_what_is_no_text_is_no_name(key: str, value: object) -> None:
    for read, record in ((GuardState.from_dict, HERE_CLOSED.to_dict()), (Receipt.from_dict, RECEIPT.to_dict())):
        with pytest.raises(GuardRefused, match=f"a guard record with '{key}'"):
            read({**record, key: value})
