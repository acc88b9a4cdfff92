"""A side or a guard is lost for good: what a person's word opens, and what stays impossible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.guard import lost
from bascule.guard import state as rule
from bascule.guard.io import store
from bascule.guard.state import UNHEARD, Epoch, GuardState, Receipt, Word

E5, E6 = Epoch(5, "a"), Epoch(6, "b")
NOW = "2026-01-01T00:00:00+00:00"


def word(about: str, epoch: Epoch) -> Word:
    """Return a person's word."""
    return Word(about, epoch, "Nadia", "power cut at the PDU", NOW)


def close(state: GuardState, epoch: Epoch) -> tuple[GuardState, Receipt]:
    """Close a side for an epoch."""
    return rule.closed(rule.promise(state, epoch), epoch, {"lsn": "0/1"}, NOW)


def open_(state: GuardState, epoch: Epoch, receipt: Receipt) -> GuardState:
    """Open a side with a receipt."""
    return rule.opened(rule.may_open(state, epoch, receipt, True), epoch)


HERE_CLOSED, RECEIPT = close(rule.adopt_open(GuardState("db", "here")), E5)
THERE_OPEN = open_(rule.adopt_closed(GuardState("db", "there")), E5, RECEIPT)
AFTER = rule.beyond(HERE_CLOSED, "c")


def without_there(state: GuardState = HERE_CLOSED) -> GuardState:
    """Open `here` by the word that `there` is lost."""
    epoch = rule.beyond(state, "c")
    return rule.opened(lost.open_by_word(state, epoch, word("there", epoch)), epoch)


HERE_OPEN = without_there()


def test_a_side_opens_by_a_persons_word_and_the_word_is_kept() -> None:
    assert (HERE_OPEN.status, HERE_OPEN.opened) == ("open", AFTER)
    assert AFTER.number == 6 + UNHEARD
    assert GuardState.from_dict(HERE_OPEN.to_dict()) == HERE_OPEN
    assert HERE_OPEN.to_dict()["word"]["by"] == "Nadia"
    assert "by the word of Nadia that there is lost" in HERE_OPEN.describe()


@pytest.mark.parametrize(
    "state", [rule.promise(HERE_CLOSED, E6), rule.may_open(HERE_CLOSED, E6, close(THERE_OPEN, E6)[1], True)]
)
def test_what_was_interrupted_opens_by_a_word_too(state: GuardState) -> None:
    assert without_there(state).status == "open"


@pytest.mark.parametrize("state", [GuardState("db", "here"), rule.adopt_open(GuardState("db", "here"))])
def test_a_word_opens_neither_what_is_unknown_nor_what_is_open(state: GuardState) -> None:
    with pytest.raises(GuardRefused, match="taken over and that is not open, to go on without there"):
        without_there(state)


@pytest.mark.parametrize("change", [{"by": " "}, {"fenced": ""}, {"about": "here"}, {"epoch": E6}])
def test_a_word_without_a_name_a_fence_or_its_epoch_opens_nothing(change: dict[str, Any]) -> None:
    with pytest.raises(GuardRefused):
        lost.open_by_word(HERE_CLOSED, AFTER, replace(word("there", AFTER), **change))


def test_the_epoch_is_above_what_the_lost_side_may_have_promised() -> None:
    low = Epoch(5 + UNHEARD, "c")
    with pytest.raises(GuardRefused, match=f"an epoch of at least {6 + UNHEARD}"):
        lost.open_by_word(HERE_CLOSED, low, word("there", low))


def test_the_side_that_was_given_up_never_leads() -> None:
    taken_back = rule.withdraw(rule.promise(THERE_OPEN, Epoch(9000, "z")), Epoch(9000, "z"), frozen=False)
    for back in (THERE_OPEN, close(THERE_OPEN, E6)[0], taken_back):
        assert rule.leader(HERE_OPEN, back) == rule.leader(back, HERE_OPEN) == "here"
        shut, _ = close(HERE_OPEN, rule.next_epoch(HERE_OPEN, back, "d"))
        assert rule.leader(shut, back) == "here"


def test_the_side_that_was_given_up_opens_by_no_receipt_before_it_has_given_way() -> None:
    epoch = rule.next_epoch(HERE_OPEN, THERE_OPEN, "d")
    shut, receipt = close(HERE_OPEN, epoch)
    assert Receipt.from_dict(receipt.to_dict()) == receipt
    closed_there, _ = close(THERE_OPEN, E6)
    for back in (THERE_OPEN, closed_there):
        with pytest.raises(GuardRefused, match="there to have given way to the opening of here"):
            rule.may_open(back, epoch, receipt, True)
    way = rule.next_epoch(shut, closed_there, "e")
    gone, _ = rule.closed(lost.give_way(closed_there, shut, way), way, {}, NOW)
    later = rule.next_epoch(shut, gone, "f")
    assert open_(gone, later, close(shut, later)[1]).status == "open"


def test_a_side_gives_way_for_good() -> None:
    epoch = rule.next_epoch(HERE_OPEN, THERE_OPEN, "d")
    closing = lost.give_way(replace(THERE_OPEN, frozen=True), HERE_OPEN, epoch)
    assert GuardState.from_dict(closing.to_dict()) == closing
    with pytest.raises(GuardRefused, match="a side that was open when it promised"):
        rule.withdraw(closing, epoch, frozen=False)
    with pytest.raises(GuardRefused):
        rule.thaw(closing)
    closed, _ = rule.closed(closing, epoch, {}, NOW)
    assert rule.leader(HERE_OPEN, closed) == "here"
    with pytest.raises(GuardRefused, match=r"epoch 5\.a"):
        rule.may_open(closed, E5, RECEIPT, True)
    with pytest.raises(GuardRefused, match="not to have given way yet"):
        lost.give_way(closed, HERE_OPEN, rule.next_epoch(closed, HERE_OPEN, "e"))


def test_a_side_gives_way_under_an_epoch_above_all() -> None:
    ahead = rule.withdraw(rule.promise(THERE_OPEN, Epoch(9000, "z")), Epoch(9000, "z"), frozen=False)
    with pytest.raises(GuardRefused, match="an epoch above everything"):
        lost.give_way(ahead, HERE_OPEN, Epoch(9000, "zz"))
    assert lost.give_way(ahead, HERE_OPEN, Epoch(9001, "a")).status == "closing"


def test_nobody_gives_way_to_a_side_that_was_opened_by_a_receipt() -> None:
    assert rule.gave_up(HERE_OPEN, THERE_OPEN)
    for other in (THERE_OPEN, rule.adopt_closed(GuardState("db", "there"))):
        with pytest.raises(GuardRefused, match="to have been given up by there"):
            lost.give_way(HERE_CLOSED, other, Epoch(9, "d"))


def test_two_words_against_each_other_are_two_histories() -> None:
    epoch = rule.beyond(close(THERE_OPEN, E6)[0], "d")
    there = rule.opened(lost.open_by_word(close(THERE_OPEN, E6)[0], epoch, word("here", epoch)), epoch)
    with pytest.raises(GuardRefused, match="two histories"):
        rule.leader(HERE_OPEN, there)


# A guard is lost, its data is kept.

UNKNOWN_THERE = GuardState("db", "there")


@pytest.mark.parametrize(
    "other",
    [
        HERE_CLOSED,
        rule.promise(HERE_CLOSED, E6),
        rule.may_open(HERE_CLOSED, E6, close(THERE_OPEN, E6)[1], True),
        rule.adopt_closed(GuardState("db", "here")),
    ],
)
def test_a_side_without_its_guard_is_not_passive_beside_one_that_is_not_open(other: GuardState) -> None:
    with pytest.raises(GuardRefused, match=r"it may hold what nobody else has.*guard_lost\.md"):
        rule.adopt_closed(UNKNOWN_THERE, other)


def test_a_side_that_was_given_up_and_comes_back_without_its_guard_is_not_adopted() -> None:
    with pytest.raises(GuardRefused, match="it may hold what nobody else has"):
        rule.adopt_closed(UNKNOWN_THERE, HERE_OPEN)


def test_an_empty_machine_in_the_place_of_the_lost_one_is_adopted_and_has_given_way() -> None:
    there = rule.adopt_closed(UNKNOWN_THERE, HERE_OPEN, empty=True)
    lost.must_be_known(HERE_OPEN, there)
    assert rule.leader(HERE_OPEN, there) == "here"
    epoch = rule.next_epoch(HERE_OPEN, there, "d")
    shut, receipt = close(HERE_OPEN, epoch)
    assert open_(there, epoch, receipt).status == "open"
    with pytest.raises(GuardRefused, match="may hold what nobody else has"):
        rule.adopt_closed(UNKNOWN_THERE, shut, empty=True)


def test_a_passive_side_without_its_guard_is_taken_over_beside_one_that_is_open() -> None:
    """Old receipts of both sides, still on their way, open nothing afterwards."""
    here = open_(HERE_CLOSED, E6, close(THERE_OPEN, E6)[1])
    stray = close(close(THERE_OPEN, E6)[0], Epoch(8, "s"))[1]
    there = rule.adopt_closed(UNKNOWN_THERE, here)
    with pytest.raises(GuardRefused, match="a later decision"):
        rule.may_open(there, E5, RECEIPT, True)
    epoch = rule.next_epoch(here, there, "d")
    shut, receipt = close(here, epoch)
    assert open_(there, epoch, receipt).status == "open"
    with pytest.raises(GuardRefused):
        rule.may_open(shut, Epoch(8, "s"), stray, True)


def test_before_anything_was_promised_sides_are_adopted_as_ever() -> None:
    for other in (None, GuardState("db", "here"), rule.adopt_open(GuardState("db", "here"))):
        assert rule.adopt_closed(UNKNOWN_THERE, other).promised is None


def test_a_side_without_its_guard_opens_again_by_receipt_and_word() -> None:
    epoch = rule.beyond(HERE_CLOSED, "d")
    shut, receipt = close(HERE_CLOSED, epoch)
    there = rule.opened(lost.reopen(UNKNOWN_THERE, epoch, receipt, HERE_CLOSED, word("there", epoch)), epoch)
    assert (there.status, there.opened) == ("open", epoch)
    assert rule.leader(shut, there) == "there"
    assert not rule.gave_up(there, shut)
    stray = Receipt("db", "there", Epoch(8, "s"), {}, NOW)
    with pytest.raises(GuardRefused, match="a later decision"):
        rule.may_open(shut, Epoch(8, "s"), stray, True)
    later = rule.next_epoch(shut, there, "e")
    assert open_(shut, later, close(there, later)[1]).status == "open"


@pytest.mark.parametrize(
    ("receipt", "about", "epoch"),
    [
        (replace(RECEIPT, epoch=AFTER, side="there"), "there", AFTER),
        (replace(RECEIPT, epoch=AFTER, component="files"), "there", AFTER),
        (RECEIPT, "there", AFTER),
        (replace(RECEIPT, epoch=AFTER), "here", AFTER),
        (replace(RECEIPT, epoch=AFTER, over=E5), "there", AFTER),
        (replace(RECEIPT, epoch=E6), "there", E6),
    ],
)
def test_a_side_without_its_guard_opens_by_nothing_less(receipt: Receipt, about: str, epoch: Epoch) -> None:
    with pytest.raises(GuardRefused, match="nothing was opened"):
        lost.reopen(UNKNOWN_THERE, epoch, receipt, HERE_CLOSED, word(about, epoch))


def test_a_side_that_has_its_guard_is_not_reopened() -> None:
    with pytest.raises(GuardRefused, match="a side without a guard state"):
        lost.reopen(THERE_OPEN, AFTER, replace(RECEIPT, epoch=AFTER), HERE_CLOSED, word("there", AFTER))


# On disk.


def keep(root: Path, state: GuardState) -> Callable[[], GuardState]:
    """Write a guard as the store keeps it; return how to read it."""
    root.mkdir(exist_ok=True)
    store._save(root / "db.json", state)
    return lambda: store.read("db", state.side, root=root)


def test_the_word_is_durable_before_anything_opens(tmp_path: Path) -> None:
    read = keep(tmp_path, HERE_CLOSED)
    with (
        pytest.raises(GuardRefused, match="without saying so"),
        store.opening_by_word("db", "here", word("there", AFTER), root=tmp_path),
    ):
        assert (read().status, read().word) == ("opening", word("there", AFTER))
    assert read().status == "opening"
    again = rule.beyond(read(), "d")
    with store.opening_by_word("db", "here", word("there", again), root=tmp_path) as opening:
        opening.opened(frozen=True)
    assert (read().status, read().frozen, read().opened) == ("open", True, again)


def test_a_side_that_is_back_ends_its_permit_before_it_is_closed(tmp_path: Path) -> None:
    read = keep(tmp_path, THERE_OPEN)
    epoch = rule.next_epoch(HERE_OPEN, THERE_OPEN, "d")
    with (
        pytest.raises(GuardRefused, match="without a receipt"),
        store.giving_way("db", "there", HERE_OPEN, epoch, root=tmp_path),
    ):
        assert (read().status, read().opened, read().gave_way) == ("closing", E5, epoch)
    with pytest.raises(GuardRefused, match=r"looked through.*site_back\.yml --limit db"):
        lost.must_be_known(HERE_OPEN, read())
    again = rule.next_epoch(HERE_OPEN, read(), "e")
    with store.giving_way("db", "there", HERE_OPEN, again, root=tmp_path) as closing:
        assert closing.closed({}).epoch == again
    assert read().status == "closed"
    lost.must_be_known(HERE_OPEN, read())


def test_a_lost_guard_is_written_again_by_receipt_and_word(tmp_path: Path) -> None:
    epoch = rule.beyond(HERE_CLOSED, "d")
    receipt = close(HERE_CLOSED, epoch)[1]
    with store.reopening("db", "there", word("there", epoch), receipt, HERE_CLOSED, root=tmp_path) as opening:
        opening.opened()
    assert store.read("db", "there", root=tmp_path).opened == epoch


def test_a_side_is_told_durably_and_once(tmp_path: Path) -> None:
    read = keep(tmp_path, HERE_OPEN)
    epoch = rule.next_epoch(HERE_OPEN, THERE_OPEN, "d")
    with pytest.raises(GuardRefused, match="to have given way"):
        store.settled("db", "here", THERE_OPEN, root=tmp_path)
    gone, _ = rule.closed(lost.give_way(THERE_OPEN, HERE_OPEN, epoch), epoch, {}, NOW)
    would, changes = store.settled("db", "here", gone, root=tmp_path, check=True)
    assert (changes, read()) == (True, HERE_OPEN)
    assert store.settled("db", "here", gone, root=tmp_path) == (would, True)
    assert read() == would
    assert read().word == replace(word("there", AFTER), settled=epoch)
    for check in (True, False):
        assert store.settled("db", "here", gone, root=tmp_path, check=check) == (would, False)


@pytest.mark.parametrize("told", [False, True])
def test_a_guard_that_is_lost_after_a_lost_site_is_back_is_written_again_once_the_survivor_is_told(
    tmp_path: Path, told: bool
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    keep_here, keep_there = keep(here, HERE_CLOSED), keep(there, THERE_OPEN)
    with store.opening_by_word("db", "here", word("there", AFTER), root=here) as opening:
        opening.opened()
    with store.giving_way(
        "db", "there", keep_here(), rule.next_epoch(keep_here(), keep_there(), "d"), root=there
    ) as closing:
        closing.closed({})
    if told:
        store.settled("db", "here", keep_there(), root=here)
    # A switch as ever; then the guard of the side that serves is lost.
    epoch = rule.next_epoch(keep_here(), keep_there(), "e")
    with store.closing("db", "here", epoch, root=here) as closing:
        receipt = closing.closed({})
    with store.opening("db", "there", epoch, receipt, reached=True, root=there) as opening:
        opening.opened()
    (there / "db.json").unlink()
    before = keep_here()
    epoch = rule.beyond(before, "f")
    with store.closing("db", "here", epoch, root=here) as closing:
        receipt = closing.closed({})

    def reopen() -> None:
        with store.reopening("db", "there", word("there", epoch), receipt, before, root=there) as opening:
            opening.opened()

    if not told:
        with pytest.raises(GuardRefused, match=r"here has given up there.*nothing was opened"):
            reopen()
        return
    reopen()
    lost.must_be_known(keep_here(), keep_there())
    assert rule.leader(keep_here(), keep_there()) == "there"
    # And back again.
    epoch = rule.next_epoch(keep_here(), keep_there(), "g")
    with store.closing("db", "there", epoch, root=there) as closing:
        receipt = closing.closed({})
    with store.opening("db", "here", epoch, receipt, reached=True, root=here) as opening:
        assert opening.opened().status == "open"


def test_adoption_as_closed_looks_at_the_other_side(tmp_path: Path) -> None:
    for check in (True, False):
        with pytest.raises(GuardRefused, match="may hold what nobody else has"):
            store.adopt("db", "there", "closed", other=HERE_CLOSED, root=tmp_path, check=check)
    assert not (tmp_path / "db.json").exists()


def test_a_word_is_told_only_of_the_opening_that_rests_on_it() -> None:
    way = rule.next_epoch(HERE_OPEN, THERE_OPEN, "d")
    gone, _ = rule.closed(lost.give_way(THERE_OPEN, HERE_OPEN, way), way, {}, NOW)
    shut, _ = close(HERE_OPEN, rule.next_epoch(HERE_OPEN, gone, "e"))
    later = rule.next_epoch(shut, gone, "f")
    again = open_(shut, later, close(gone, later)[1])
    assert again.word == HERE_OPEN.word, "it is kept"
    assert "by the word" not in again.describe()


@pytest.mark.parametrize("odd", ["5.a", ["5.a"], 7, {"about": "there"}])
def test_a_stored_word_that_makes_no_sense_is_refused(odd: Any) -> None:
    with pytest.raises(GuardRefused):
        GuardState.from_dict({**HERE_OPEN.to_dict(), "word": odd})


def test_a_word_does_not_change() -> None:
    for name in ("epoch", "by"):
        with pytest.raises(FrozenInstanceError):
            setattr(word("there", E5), name, "Nobody")


def test_a_side_is_taken_over_as_passive_beside_the_other_side_alone() -> None:
    for other in (replace(HERE_OPEN, component="files"), replace(HERE_OPEN, side="there")):
        with pytest.raises(GuardRefused, match="the guard of the other side of db"):
            rule.adopt_closed(GuardState("db", "there"), other, empty=True)


def test_to_have_given_way_once_is_not_enough_for_a_later_word() -> None:
    way = rule.next_epoch(HERE_OPEN, THERE_OPEN, "d")
    gone, _ = rule.closed(lost.give_way(THERE_OPEN, HERE_OPEN, way), way, {}, NOW)
    # Given up a second time, by a word of which this side knows nothing.
    closed_here, _ = close(HERE_OPEN, Epoch(way.number + 1, "e"))
    here = without_there(closed_here)
    assert here.word is not None
    second = here.word.epoch
    later = rule.next_epoch(here, gone, "f")
    shut, receipt = close(here, later)
    assert receipt.over == second
    with pytest.raises(GuardRefused, match=f"to the opening of here under {second}"):
        rule.may_open(gone, later, receipt, True)
    again, _ = rule.closed(
        lost.give_way(gone, shut, Epoch(later.number + 1, "g")), Epoch(later.number + 1, "g"), {}, NOW
    )
    last = rule.next_epoch(shut, again, "h")
    assert open_(again, last, close(shut, last)[1]).status == "open"
