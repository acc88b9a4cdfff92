"""The opening rule, case by case: what is refused, with which words, and what each transition leaves behind."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.guard import state as rule
from bascule.guard.state import Epoch, GuardState, Receipt

E5, E6 = Epoch(5, "a"), Epoch(6, "b")
NOW = "2026-01-01T00:00:00+00:00"
OPEN_HERE = rule.adopt_open(GuardState("db", "here"))
CLOSED_THERE = rule.adopt_closed(GuardState("db", "there"))


def close(state: GuardState, epoch: Epoch) -> tuple[GuardState, Receipt]:
    """Close a side for an epoch."""
    return rule.closed(rule.promise(state, epoch), epoch, {"lsn": "0/1"}, NOW)


def open_(state: GuardState, epoch: Epoch, receipt: Receipt) -> GuardState:
    """Open a side with a receipt."""
    return rule.opened(rule.may_open(state, epoch, receipt, True), epoch)


HERE_CLOSED, RECEIPT = close(OPEN_HERE, E5)
THERE_OPEN = open_(CLOSED_THERE, E5, RECEIPT)


def test_epochs_are_ordered_by_number_then_decision() -> None:
    assert Epoch(9, "z") < Epoch(10, "a") < Epoch(10, "b")
    assert Epoch.parse(str(Epoch(7, "3f.2a"))) == Epoch(7, "3f.2a")


@pytest.mark.parametrize("text", ["", "7", "7.", ".a", "-1.a", "x.a", "1 .a", "²." + "a"])
def test_what_is_no_epoch_is_refused(text: str) -> None:
    with pytest.raises(GuardRefused, match="an epoch such as"):
        Epoch.parse(text)


def test_a_switch_closes_one_side_and_opens_the_other() -> None:
    assert (HERE_CLOSED.status, THERE_OPEN.status) == ("closed", "open")
    assert THERE_OPEN.opened == E5
    assert rule.leader(HERE_CLOSED, THERE_OPEN) == "there"


def test_states_and_receipts_survive_a_round_trip() -> None:
    for state in (OPEN_HERE, HERE_CLOSED, THERE_OPEN, replace(OPEN_HERE, frozen=True), GuardState("db", "x")):
        assert GuardState.from_dict(state.to_dict()) == state
    assert Receipt.from_dict(RECEIPT.to_dict()) == RECEIPT


@pytest.mark.parametrize(
    "change",
    [
        {"status": "ajar"},
        {"status": None},
        {"frozen": "no"},
        {"side": ""},
        {"promised": "seven"},
        {"receipt": {"a": 1}},
        {"receipt": "5.a"},
        {"receipt": ["5.a"]},
    ],
)
def test_a_stored_state_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(GuardRefused):
        GuardState.from_dict({**OPEN_HERE.to_dict(), **change})


@pytest.mark.parametrize("other", [THERE_OPEN, HERE_CLOSED, rule.promise(OPEN_HERE, E5), OPEN_HERE, CLOSED_THERE])
def test_a_lost_guard_does_not_make_a_second_open_side(other: GuardState) -> None:
    lost = GuardState("db", "elsewhere")
    with pytest.raises(GuardRefused, match=f"{other.side} not to be taken over yet.*at elsewhere is lost"):
        rule.adopt_open(lost, other)


def test_a_side_is_taken_over_as_open_before_the_other_one() -> None:
    for other in (GuardState("db", "there"), None):
        assert rule.adopt_open(GuardState("db", "here"), other) == OPEN_HERE
    for other in (GuardState("db", "here"), GuardState("files", "there")):
        with pytest.raises(GuardRefused, match="the guard of the other side of db"):
            rule.adopt_open(GuardState("db", "here"), other)


def test_closing_again_for_the_same_epoch_gives_the_same_receipt() -> None:
    again, receipt = rule.closed(rule.promise(HERE_CLOSED, E5), E5, {"lsn": "0/2"}, "later")
    assert (again, receipt) == (HERE_CLOSED, RECEIPT)


def test_closing_for_a_lower_epoch_is_refused() -> None:
    later, _ = close(HERE_CLOSED, E6)
    with pytest.raises(GuardRefused, match=r"a later decision has taken over.*status\.yml"):
        rule.promise(later, E5)


def test_a_side_that_opened_under_an_epoch_gives_no_receipt_for_it() -> None:
    for state in (THERE_OPEN, rule.may_open(CLOSED_THERE, E5, RECEIPT, True)):
        with pytest.raises(GuardRefused, match="under which this side was opened"):
            rule.promise(state, E5)


def test_a_promise_ends_the_permit_at_once() -> None:
    assert rule.promise(OPEN_HERE, E5).status == "closing"
    with pytest.raises(GuardRefused, match="an open side"):
        rule.freeze(rule.promise(OPEN_HERE, E5))


def test_a_receipt_needs_a_promise() -> None:
    with pytest.raises(GuardRefused, match="closing for epoch"):
        rule.closed(OPEN_HERE, E5, {}, NOW)


@pytest.mark.parametrize(
    ("state", "epoch", "receipt", "reached", "words"),
    [
        (GuardState("db", "there"), E5, RECEIPT, True, "prepare has taken over"),
        (CLOSED_THERE, E5, None, True, "no answer is no receipt"),
        (CLOSED_THERE, E6, RECEIPT, True, "a receipt for epoch 5.a"),
        (CLOSED_THERE, E5, replace(RECEIPT, component="files"), True, "a receipt for files"),
        (CLOSED_THERE, E5, replace(RECEIPT, side="there"), True, "the OTHER side's receipt"),
        (CLOSED_THERE, E5, RECEIPT, False, "it has not"),
        (CLOSED_THERE, E5, RECEIPT, "0/0 is behind 0/1", "0/0 is behind 0/1"),
        (CLOSED_THERE, E5, RECEIPT, lambda: "asked and short", "asked and short"),
        (replace(CLOSED_THERE, promised=E6), E5, RECEIPT, True, "a later decision has taken over"),
        (rule.promise(CLOSED_THERE, E5), E5, RECEIPT, True, "for which this side has promised to close"),
        (close(CLOSED_THERE, E5)[0], E5, RECEIPT, True, "has given its own receipt"),
    ],
)
def test_what_may_not_open(
    state: GuardState, epoch: Epoch, receipt: Receipt | None, reached: rule.Reached, words: str
) -> None:
    with pytest.raises(GuardRefused) as refusal:
        rule.may_open(state, epoch, receipt, reached)
    assert words in refusal.value.message()
    assert "nothing was opened" in refusal.value.state
    assert "status.yml" in refusal.value.next_command


def test_both_sides_cannot_exchange_receipts_for_one_epoch() -> None:
    there_closed, there_receipt = close(CLOSED_THERE, E5)
    for state, receipt in ((HERE_CLOSED, there_receipt), (there_closed, RECEIPT)):
        with pytest.raises(GuardRefused, match="its own receipt"):
            rule.may_open(state, E5, receipt, True)


def test_an_interrupted_opening_goes_on_under_the_same_epoch_or_a_higher_one() -> None:
    opening = rule.may_open(CLOSED_THERE, E5, RECEIPT, True)
    assert open_(opening, E5, RECEIPT) == THERE_OPEN
    _, higher = close(HERE_CLOSED, E6)
    assert open_(opening, E6, higher).opened == E6


def test_an_interrupted_opening_counts_as_opened() -> None:
    opening = rule.may_open(CLOSED_THERE, E5, RECEIPT, True)
    assert rule.leader(HERE_CLOSED, opening) == "there"
    closed_again, _ = close(opening, E6)
    assert closed_again.opened == E5
    assert rule.leader(HERE_CLOSED, closed_again) == "there"


def test_the_reached_question_is_asked_last() -> None:
    def never() -> bool:
        raise AssertionError("asked although the receipt is missing")

    with pytest.raises(GuardRefused, match="no receipt"):
        rule.may_open(CLOSED_THERE, E5, None, never)


def test_the_leader_is_the_open_side_else_the_one_opened_last() -> None:
    nobody = GuardState("db", "x"), GuardState("db", "y")
    assert rule.leader(*nobody) is None
    assert rule.leader(OPEN_HERE, CLOSED_THERE) == "here"
    assert rule.leader(HERE_CLOSED, CLOSED_THERE) == "here"
    assert rule.leader(close(THERE_OPEN, E6)[0], HERE_CLOSED) == "there"
    with pytest.raises(GuardRefused, match="both guards say open"):
        rule.leader(OPEN_HERE, THERE_OPEN)


def test_the_next_epoch_is_above_everything_either_side_knows() -> None:
    assert rule.next_epoch(GuardState("db", "x"), GuardState("db", "y"), "d") == Epoch(1, "d")
    assert rule.next_epoch(OPEN_HERE, CLOSED_THERE, "d") == Epoch(1, "d")
    assert rule.next_epoch(HERE_CLOSED, close(THERE_OPEN, E6)[0], "d") == Epoch(7, "d")


def test_freeze_and_thaw_keep_the_permit() -> None:
    frozen = rule.freeze(OPEN_HERE)
    assert (frozen.status, frozen.frozen) == ("open", True)
    assert rule.thaw(frozen) == OPEN_HERE
    with pytest.raises(GuardRefused, match="a side with a live permit"):
        rule.thaw(HERE_CLOSED)


def test_a_side_is_adopted_once() -> None:
    for again in (rule.adopt_open, rule.adopt_closed):
        with pytest.raises(GuardRefused, match="a side without a guard state"):
            again(HERE_CLOSED)


def test_a_promise_is_taken_back_and_its_epoch_burnt() -> None:
    again = rule.withdraw(rule.promise(replace(OPEN_HERE, frozen=True), E5), E5, frozen=True)
    assert (again.status, again.frozen, again.promised) == ("open", True, E5)
    with pytest.raises(GuardRefused, match=r"an epoch above 5\.a"):
        rule.promise(again, E5)
    with pytest.raises(GuardRefused, match="is closing for epoch"):
        rule.closed(again, E5, {"lsn": "0/1"}, NOW)
    assert close(again, E6)[1].epoch == E6


def test_nothing_is_taken_back_once_the_receipt_is_given() -> None:
    for state in (HERE_CLOSED, OPEN_HERE, THERE_OPEN):
        with pytest.raises(GuardRefused, match=r"has not given its receipt.*nothing was taken back"):
            rule.withdraw(state, E5, frozen=False)


def test_only_a_side_that_was_open_takes_its_promise_back() -> None:
    # Its receipt for epoch 5 has opened the other side.
    with pytest.raises(GuardRefused, match="may be in use at the other side"):
        rule.withdraw(rule.promise(HERE_CLOSED, E6), E6, frozen=False)
    with pytest.raises(GuardRefused, match="a side that was open"):
        rule.withdraw(rule.promise(CLOSED_THERE, E5), E5, frozen=False)


def test_a_promise_of_a_later_decision_is_not_taken_back_by_an_earlier_one() -> None:
    with pytest.raises(GuardRefused, match=r"closing for epoch 5\.a"):
        rule.withdraw(rule.promise(OPEN_HERE, E6), E5, frozen=False)


@pytest.mark.parametrize(("thing", "name"), [(E5, "number"), (RECEIPT, "epoch"), (OPEN_HERE, "status")])
def test_what_is_known_does_not_change(thing: object, name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(thing, name, E6)


def test_a_state_is_described_in_a_few_words() -> None:
    assert GuardState("db", "here").describe() == "db at here is unknown"
    assert CLOSED_THERE.describe() == "db at there is closed"
    assert rule.freeze(THERE_OPEN).describe() == (
        "db at there is open and frozen, promised epoch 5.a, last opened under 5.a"
    )


def test_nothing_is_made_up_for_what_is_missing_in_a_record() -> None:
    for key in ("component", "side", "epoch", "position", "issued_at"):
        data = {k: v for k, v in RECEIPT.to_dict().items() if k != key}
        with pytest.raises(GuardRefused, match=key):
            Receipt.from_dict(data)
    for key in ("component", "side", "status"):
        data = {k: v for k, v in OPEN_HERE.to_dict().items() if k != key}
        with pytest.raises(GuardRefused):
            GuardState.from_dict(data)
    assert GuardState.from_dict({"component": "db", "side": "x", "status": "unknown"}) == GuardState("db", "x")


def test_records_are_plain_and_complete() -> None:
    assert HERE_CLOSED.to_dict() == {
        "component": "db",
        "side": "here",
        "promised": "5.a",
        "status": "closed",
        "opened": "0.adopted",
        "receipt": {"component": "db", "side": "here", "epoch": "5.a", "position": {"lsn": "0/1"}, "issued_at": NOW},
        "frozen": False,
    }
    assert CLOSED_THERE.to_dict() == {
        "component": "db",
        "side": "there",
        "promised": None,
        "status": "closed",
        "opened": None,
        "receipt": None,
        "frozen": False,
    }
    assert Receipt.from_dict({**RECEIPT.to_dict(), "position": {"writes": 5}}).position == {"writes": "5"}


def test_adoption_forgets_what_a_state_without_a_status_says() -> None:
    odd = GuardState("db", "here", promised=E5, opened=E5, receipt=RECEIPT, frozen=True)
    adopted = rule.ADOPTED
    assert rule.adopt_open(odd) == GuardState("db", "here", promised=adopted, status="open", opened=adopted)
    assert rule.adopt_closed(odd) == GuardState("db", "here", status="closed")


def test_a_promise_is_repeated_and_a_given_receipt_kept() -> None:
    closing = rule.promise(OPEN_HERE, E5)
    assert rule.promise(closing, E5) == closing
    assert rule.promise(HERE_CLOSED, E5) == HERE_CLOSED
    assert rule.promise(HERE_CLOSED, E6).status == "closing"
    assert not rule.promise(rule.freeze(OPEN_HERE), E5).frozen


def test_a_receipt_of_an_earlier_epoch_is_not_given_again() -> None:
    closing = rule.promise(HERE_CLOSED, E6)
    with pytest.raises(GuardRefused, match=r"closing for epoch 5\.a"):
        rule.closed(closing, E5, {}, NOW)
    with pytest.raises(GuardRefused, match=r"closing for epoch 6\.b"):
        rule.closed(HERE_CLOSED, E6, {}, NOW)


@pytest.mark.parametrize("position", [{"lsn": 1}, {1: "lsn"}])
def test_a_position_is_texts(position: Any) -> None:
    with pytest.raises(GuardRefused, match="a final position of texts"):
        rule.closed(rule.promise(OPEN_HERE, E5), E5, position, NOW)


@pytest.mark.parametrize(("position", "words"), [({"b": "2", "a": "1"}, "a=1, b=2"), ({}, "no data to carry over")])
def test_a_refusal_names_the_position_that_is_not_reached(position: dict[str, str], words: str) -> None:
    for answer in (False, ""):
        with pytest.raises(GuardRefused, match=f"{words}.* of here; found: it has not"):
            rule.may_open(CLOSED_THERE, E5, replace(RECEIPT, position=position), answer)


def test_an_opening_is_recorded_once_or_again_and_under_its_epoch_alone() -> None:
    opening = rule.may_open(CLOSED_THERE, E5, RECEIPT, True)
    assert (opening.promised, opening.status, opening.opened) == (E5, "opening", None)
    assert rule.opened(THERE_OPEN, E5) == THERE_OPEN
    for state, epoch in ((opening, E6), (HERE_CLOSED, E5)):
        with pytest.raises(GuardRefused, match="a side that is opening under epoch"):
            rule.opened(state, epoch)
    assert not rule.may_open(replace(THERE_OPEN, frozen=True), E5, RECEIPT, True).frozen


def test_who_began_to_open_later_leads() -> None:
    again = replace(THERE_OPEN, status="opening", promised=E6)
    assert rule.last_open(again) == E6
    assert rule.last_open(replace(again, promised=Epoch(1, "a"))) == E5
    assert rule.last_open(replace(THERE_OPEN, promised=E6)) == E5
    assert rule.leader(replace(HERE_CLOSED, opened=E5), again) == "there"
    assert rule.leader(replace(HERE_CLOSED, opened=E5), replace(THERE_OPEN, status="closed")) is None


@pytest.mark.parametrize("change", [{"promised": E6}, {"opened": E6}, {"receipt": replace(RECEIPT, epoch=E6)}])
def test_the_next_epoch_counts_all_that_a_side_knows(change: dict[str, Any]) -> None:
    known, other = replace(CLOSED_THERE, **change), replace(OPEN_HERE, promised=E5, opened=E5)
    assert rule.next_epoch(known, other, "d") == rule.next_epoch(other, known, "d") == Epoch(7, "d")
    assert rule.beyond(known, "d") == Epoch(7 + rule.UNHEARD, "d")


# There and back: `there` was open under 5, gave its receipt for 6, and is open again under 8.
E7, E8, E9 = Epoch(7, "a"), Epoch(8, "a"), Epoch(9, "a")
THERE_CLOSED, THERE_RECEIPT = close(THERE_OPEN, E6)
HERE_AGAIN = open_(HERE_CLOSED, E6, THERE_RECEIPT)
THERE_AGAIN = open_(THERE_CLOSED, E8, close(HERE_AGAIN, E8)[1])


def test_a_receipt_that_is_older_than_the_permit_does_not_hold_a_promise_back() -> None:
    assert THERE_AGAIN.receipt == THERE_RECEIPT
    again = rule.withdraw(rule.promise(THERE_AGAIN, E9), E9, frozen=False)
    assert (again.status, again.opened) == ("open", E9)
