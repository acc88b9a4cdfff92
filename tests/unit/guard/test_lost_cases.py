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


TOLD = lost.settle(HERE_OPEN, GONE)


def test_a_side_that_is_told_changes_in_nothing_but_its_word() -> None:
    assert HERE_OPEN.word is not None
    assert replace(HERE_OPEN, word=replace(HERE_OPEN.word, settled=WAY)) == TOLD
    assert lost.settle(TOLD, GONE) == TOLD
    later = rule.closed(rule.promise(GONE, LATER), LATER, {}, NOW)[0]
    assert lost.settle(TOLD, replace(later, gave_way=LATER)) == TOLD, "it is told once"
    assert GuardState.from_dict(TOLD.to_dict()) == TOLD
    assert TOLD.to_dict()["word"]["settled"] == str(WAY)
    assert close(HERE_OPEN, LATER)[1].over == AFTER
    assert close(TOLD, LATER)[1].over is None
    assert rule.leader(TOLD, GONE) == "here"


def test_a_side_has_to_be_told_once_and_not_before_the_other_one_has_given_way() -> None:
    assert lost.has_to_be_told(HERE_OPEN, GONE) is True
    assert lost.has_to_be_told(TOLD, GONE) is False
    assert lost.has_to_be_told(HERE_OPEN, THERE_OPEN) is False


@pytest.mark.parametrize("status", ["open", "closing", "closed", "opening"])
def test_a_side_is_told_wherever_it_stands(status: str) -> None:
    assert lost.settle(replace(HERE_OPEN, status=status), GONE) == replace(TOLD, status=status)


def test_a_side_is_told_also_after_the_other_one_has_gone_on() -> None:
    """Whoever came back long ago, and was closed since or opened, has given way all the same."""
    shut, receipt = close(HERE_OPEN, LATER)
    there = open_(GONE, LATER, receipt)
    assert lost.settle(shut, there).word == TOLD.word
    again = rule.closed(rule.promise(GONE, LATER), LATER, {}, NOW)[0]
    assert lost.settle(HERE_OPEN, again).word == TOLD.word
    empty = rule.adopt_closed(GuardState("db", "there"), HERE_OPEN, empty=True)
    assert lost.settle(HERE_OPEN, empty).word is not None
    assert close(lost.settle(HERE_OPEN, empty), LATER)[1].over is None


GIVEN = GONE.receipt
assert GIVEN is not None


@pytest.mark.parametrize(
    "other",
    [
        THERE_OPEN,
        close(THERE_OPEN, LATER)[0],
        UNKNOWN_THERE,
        lost.give_way(THERE_OPEN, HERE_OPEN, WAY),
        replace(GONE, gave_way=E6),
        replace(GONE, receipt=replace(GIVEN, epoch=Epoch(WAY.number - 1, "a"))),
        replace(GONE, receipt=replace(GIVEN, side="here")),
        replace(GONE, receipt=replace(GIVEN, component="files")),
        replace(GONE, receipt=None, status="open"),
    ],
    ids=[
        "open", "closed without giving way", "no guard", "not closed yet", "before the word", "older", "its own",
        "another component", "no receipt",
    ],
)  # fmt: skip
def test_a_side_is_told_by_nothing_less_than_the_receipt_of_the_one_that_gave_way(other: GuardState) -> None:
    assert lost.may_settle(HERE_OPEN, other) is False
    for state in (HERE_OPEN, TOLD):
        with pytest.raises(GuardRefused, match=r"there to have given way to the word.*nothing was changed"):
            lost.settle(state, other)


def test_only_a_side_that_was_opened_by_a_word_about_the_other_is_told() -> None:
    for state in (HERE_CLOSED, replace(HERE_OPEN, word=word("here", AFTER))):
        assert lost.may_settle(state, GONE) is False
        with pytest.raises(GuardRefused, match="there to have given way to the word by which here was opened"):
            lost.settle(state, GONE)
    for other in (replace(GONE, component="files"), replace(GONE, side="here")):
        with pytest.raises(GuardRefused, match="the guard of the other side of db"):
            lost.settle(HERE_OPEN, other)


def test_a_settled_word_leaves_nothing_passive_that_may_hold_more() -> None:
    with pytest.raises(GuardRefused, match="it may hold what nobody else has"):
        rule.adopt_closed(UNKNOWN_THERE, TOLD)
    there = rule.adopt_closed(UNKNOWN_THERE, TOLD, empty=True)
    assert there.gave_way == there.promised


def test_a_later_word_is_not_settled_by_what_settled_the_earlier_one() -> None:
    shut, _ = close(TOLD, LATER)
    epoch = rule.beyond(shut, "g")
    again = lost.open_by_word(shut, epoch, word("there", epoch))
    assert rule.gave_up(again, GONE)
    with pytest.raises(GuardRefused, match="there to have given way"):
        lost.settle(again, GONE)


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


def test_a_word_about_a_side_itself_gives_nobody_up() -> None:
    """A side that was opened again after its own guard was lost; the other one's guard is lost later."""
    reopened = replace(HERE_OPEN, word=word("here", AFTER))
    assert rule.adopt_closed(UNKNOWN_THERE, reopened).gave_way is None
    with pytest.raises(GuardRefused, match="may hold what nobody else has"):
        rule.adopt_closed(UNKNOWN_THERE, HERE_OPEN)


def test_a_side_without_its_guard_gives_way_only_to_one_that_is_open() -> None:
    """It may be the latest: closed for good, it would leave nobody to open."""
    lost.give_way(UNKNOWN_THERE, HERE_OPEN, LATER)
    shut = close(HERE_OPEN, LATER)[0]
    assert lost.has_to_give_way(UNKNOWN_THERE, shut)
    with pytest.raises(GuardRefused, match="may hold what nobody else has"):
        lost.give_way(UNKNOWN_THERE, shut, rule.next_epoch(shut, UNKNOWN_THERE, "z"))


def test_after_it_gave_way_a_side_follows_and_opens_as_ever() -> None:
    lost.must_be_known(HERE_OPEN, GONE)
    shut, receipt = close(HERE_OPEN, LATER)
    there = open_(GONE, LATER, receipt)
    assert rule.leader(shut, there) == "there"
    lost.must_be_known(shut, there)
