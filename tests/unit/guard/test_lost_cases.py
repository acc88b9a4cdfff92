"""What a person's word does not do, case by case: nothing else is opened by it, and nothing is forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.guard import lost
from bascule.guard import state as rule
from bascule.guard.state import Epoch, GuardState

from .test_lost import (
    AFTER,
    E5,
    E6,
    HERE_CLOSED,
    HERE_OPEN,
    NOW,
    RECEIPT,
    THERE_OPEN,
    UNKNOWN_THERE,
    close,
    open_,
    without_there,
    word,
)

WAY = rule.next_epoch(HERE_OPEN, THERE_OPEN, "d")
GONE = rule.closed(lost.give_way(THERE_OPEN, HERE_OPEN, WAY), WAY, {}, NOW)[0]
LATER = Epoch(WAY.number + 1, "e")


def test_a_side_that_opens_by_a_word_lets_in() -> None:
    assert not HERE_OPEN.frozen
    assert not without_there(replace(HERE_CLOSED, frozen=True)).frozen


def test_a_side_gives_way_only_to_the_other_side_of_its_component() -> None:
    for other in (replace(HERE_OPEN, component="files"), replace(HERE_OPEN, side="there")):
        with pytest.raises(GuardRefused, match="the guard of the other side of db"):
            lost.give_way(THERE_OPEN, other, WAY)


def test_a_side_that_gives_way_keeps_no_receipt_and_no_mark_of_being_frozen() -> None:
    shut, receipt = close(rule.freeze(THERE_OPEN), E6)
    assert shut.receipt == receipt
    for state in (shut, rule.freeze(THERE_OPEN), replace(shut, frozen=True)):
        closing = lost.give_way(state, HERE_OPEN, WAY)
        assert (closing.receipt, closing.frozen, closing.promised) == (None, False, WAY)
        assert closing.opened == E5


def test_what_a_side_may_have_been_open_under_is_remembered_when_it_gives_way() -> None:
    """An opening that was interrupted may have let writes in."""
    opening = rule.may_open(rule.adopt_closed(GuardState("db", "there")), E5, RECEIPT, True)
    assert opening.opened is None
    closing = lost.give_way(opening, HERE_OPEN, WAY)
    assert closing.opened == E5
    again = lost.give_way(closing, HERE_OPEN, LATER)
    assert (again.opened, again.gave_way) == (E5, LATER)
    never = lost.give_way(rule.adopt_closed(GuardState("db", "there")), HERE_OPEN, WAY)
    assert never.opened is None


def test_only_a_side_that_was_interrupted_gives_way_again() -> None:
    interrupted = lost.give_way(THERE_OPEN, HERE_OPEN, WAY)
    assert lost.has_to_give_way(interrupted, HERE_OPEN)
    for state in (
        GONE,
        rule.promise(GONE, LATER),
        replace(GONE, status="open", opened=LATER),
        GuardState("db", "there", status="closing"),
    ):
        assert not lost.has_to_give_way(state, replace(HERE_OPEN, word=None))
    assert not lost.has_to_give_way(rule.promise(GONE, LATER), HERE_OPEN)


@pytest.mark.parametrize("change", [{"by": " "}, {"fenced": "\t"}, {"epoch": E6}])
def test_a_side_without_its_guard_opens_by_no_word_without_a_name_a_fence_or_its_epoch(change: dict[str, Any]) -> None:
    receipt = close(HERE_CLOSED, AFTER)[1]
    said = word("there", AFTER)
    assert lost.reopen(UNKNOWN_THERE, AFTER, receipt, HERE_CLOSED, said).status == "opening"
    with pytest.raises(GuardRefused, match="a person's word for epoch"):
        lost.reopen(UNKNOWN_THERE, AFTER, receipt, HERE_CLOSED, replace(said, **change))


def test_a_side_without_its_guard_opens_only_beside_the_other_side_of_its_component() -> None:
    receipt = close(HERE_CLOSED, AFTER)[1]
    with pytest.raises(GuardRefused, match="the guard of the other side of db"):
        lost.reopen(UNKNOWN_THERE, AFTER, receipt, replace(HERE_CLOSED, component="files"), word("there", AFTER))
    own = replace(receipt, side="there")
    with pytest.raises(GuardRefused, match="the guard of the other side of db"):
        lost.reopen(UNKNOWN_THERE, AFTER, own, replace(HERE_CLOSED, side="there"), word("there", AFTER))


def test_a_side_that_is_opened_again_begins_with_nothing_but_the_word() -> None:
    odd = GuardState("db", "there", promised=E5, opened=E5, receipt=RECEIPT, frozen=True)
    receipt = close(HERE_CLOSED, AFTER)[1]
    state = lost.reopen(odd, AFTER, receipt, HERE_CLOSED, word("there", AFTER))
    assert (state.promised, state.status, state.opened, state.receipt, state.frozen) == (
        AFTER, "opening", None, None, False,
    )  # fmt: skip
    assert state.word == word("there", AFTER)


def test_both_guards_have_to_be_known_whichever_is_asked_first() -> None:
    nobody = GuardState("db", "here"), GuardState("db", "there")
    lost.must_be_known(*nobody)
    lost.must_be_known(HERE_CLOSED, THERE_OPEN)
    for pair in ((HERE_CLOSED, UNKNOWN_THERE), (UNKNOWN_THERE, HERE_CLOSED)):
        with pytest.raises(GuardRefused, match="may hold what nobody else has"):
            lost.must_be_known(*pair)
    for pair in ((HERE_OPEN, THERE_OPEN), (THERE_OPEN, HERE_OPEN)):
        for check in (lost.must_be_known, lost.must_have_given_way):
            with pytest.raises(GuardRefused, match=r"there to be closed.*here leads, and there must not serve.*db"):
                check(*pair)
    # A machine in the place of the lost one may be empty; whether it is, is looked at where it is taken over.
    for pair in ((HERE_OPEN, UNKNOWN_THERE), (UNKNOWN_THERE, HERE_OPEN)):
        lost.must_be_known(*pair)
        lost.must_have_given_way(*pair)


def test_after_it_gave_way_a_side_follows_and_opens_as_ever() -> None:
    lost.must_be_known(HERE_OPEN, GONE)
    shut, receipt = close(HERE_OPEN, LATER)
    there = open_(GONE, LATER, receipt)
    assert rule.leader(shut, there) == "there"
    lost.must_be_known(shut, there)
