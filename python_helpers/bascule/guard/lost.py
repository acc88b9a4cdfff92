"""A side, or its guard, is lost for good: the transitions that rest on a person's word.

`open_by_word`: the other side is lost; this one opens without its receipt.
`give_way`: a side that was given up is back; it closes for good, and what it had been open under counts no more.
`settle`: the side that was opened by the word is told so; its receipts carry the word no more.
`reopen`: a side has lost its guard and kept its data, which is the latest; it opens with the other side's receipt.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import GuardRefused
from . import state as rule
from .state import Epoch, GuardState, Receipt, Word, beyond, gave_up, next_epoch, of_other_side, unadopted

STATUS = "ansible-playbook playbooks/status.yml"


def open_by_word(state: GuardState, epoch: Epoch, word: Word) -> GuardState:
    """Return the state "opening" without the other side's receipt, by a person's word that it is lost and fenced.

    The epoch is above everything this side knows by `UNHEARD`, so that whatever the lost side has promised or taken
    back is older. The only other way to open is `may_open`.
    """
    _believed(state, epoch, word)
    if state.status not in (rule.CLOSED, rule.CLOSING, rule.OPENING) or word.about == state.side:
        raise GuardRefused(
            expected=f"a side that prepare has taken over and that is not open, to go on without {word.about}",
            found=state.describe(),
            state=f"{state.describe()}; nothing was opened",
            next_command=STATUS,
        )
    _unheard(state, epoch)
    return replace(state, promised=epoch, status=rule.OPENING, frozen=False, word=word)


def give_way(state: GuardState, other: GuardState, epoch: Epoch) -> GuardState:
    """Return the state "closing" of a side that is back after it was given up: its permit ends for good.

    What it was open under counts no more: the other side leads. `closed` follows once it is proved closed.
    """
    of_other_side(state, other)
    if not has_to_give_way(state, other):
        raise GuardRefused(
            expected=f"{state.side} to have been given up by {other.side}, and not to have given way yet",
            found=f"{other.describe()}; {state.describe()}",
            state="nothing was changed",
            next_command=STATUS,
        )
    if state.status == rule.UNKNOWN:
        # Refuses where the other side is not open: the one whose guard is lost may be the latest then.
        rule.adopt_closed(state, other, empty=True)
    if epoch < next_epoch(state, other, ""):
        raise GuardRefused(
            expected="an epoch above everything either side has promised",
            found=f"epoch {epoch}",
            state=f"{state.describe()}; {other.describe()}",
            next_command="run the same playbook again: it takes a new epoch",
        )
    under = rule.last_open(state)
    return replace(
        state,
        promised=epoch,
        status=rule.CLOSING,
        opened=under or state.opened,
        receipt=None,
        frozen=False,
        gave_way=epoch,
    )


def has_to_give_way(state: GuardState, other: GuardState) -> bool:
    """Say whether this side was given up by the other one and has not closed since, or was interrupted while it did."""
    interrupted = state.status == rule.CLOSING and state.gave_way is not None and state.gave_way == state.promised
    return gave_up(other, state) or interrupted


def may_settle(state: GuardState, other: GuardState) -> bool:
    """Say whether the other side has given way to this side's word about it, and has closed for that.

    Its receipt says so; a machine that was taken over as empty in its place is closed without one.
    """
    word, way, receipt = state.word, other.gave_way, other.receipt
    if word is None or word.about != other.side or way is None or way < word.epoch:
        return False
    if receipt is None:
        return other.status == rule.CLOSED
    return (receipt.component, receipt.side) == (other.component, other.side) and receipt.epoch >= way


def has_to_be_told(state: GuardState, other: GuardState) -> bool:
    """Say whether the other side has given way to this side's word, and this one does not know it yet."""
    return may_settle(state, other) and settle(state, other) != state


def settle(state: GuardState, other: GuardState) -> GuardState:
    """Return the state of a side that knows that the other one has given way to its word: nothing else changes."""
    of_other_side(state, other)
    if state.word is None or not may_settle(state, other):
        raise GuardRefused(
            expected=f"{other.side} to have given way to the word by which {state.side} was opened, and its receipt",
            found=f"{other.describe()}, gave way for {other.gave_way}, receipt for "
            f"{other.receipt.epoch if other.receipt else None}; {state.describe()}",
            state="nothing was changed",
            next_command=STATUS,
        )
    return state if state.word.settled else replace(state, word=replace(state.word, settled=other.gave_way))


def reopen(state: GuardState, epoch: Epoch, receipt: Receipt, other: GuardState, word: Word) -> GuardState:
    """Return the state "opening" of a side that has lost its guard, and is the latest by a person's word.

    `other` is the other side's guard before it gave the receipt, for an epoch above everything it knew by `UNHEARD`:
    no receipt that this side has given before, and does not remember, opens the other side any more.
    """
    _believed(state, epoch, word)
    unadopted(state)
    of_other_side(state, other)
    ours = receipt.component == state.component and receipt.side == other.side and word.about == state.side
    if not ours or receipt.epoch != epoch or receipt.over:
        raise GuardRefused(
            expected=f"the receipt of {other.side} for {state.component} and epoch {epoch}, and a word about "
            f"{state.side}",
            found=f"a receipt of {receipt.side} for {receipt.component} and epoch {receipt.epoch}, a word about "
            f"{word.about}" + (f"; {receipt.side} has given up {state.side}" if receipt.over else ""),
            state="nothing was opened",
            next_command=STATUS,
        )
    _unheard(other, epoch)
    return replace(state, promised=epoch, status=rule.OPENING, opened=None, receipt=None, frozen=False, word=word)


def must_be_known(a: GuardState, b: GuardState) -> None:
    """Refuse to go on where a guard is lost that the other cannot do without, or a side has yet to give way."""
    for gone, other in ((a, b), (b, a)):
        if gone.status == rule.UNKNOWN and other.status != rule.UNKNOWN:
            # Whether it is empty is looked at where it is taken over.
            rule.adopt_closed(gone, other, empty=True)
    must_have_given_way(a, b)


def must_have_given_way(a: GuardState, b: GuardState) -> None:
    """Refuse to go on where a side that was given up as lost is back, and has not been closed since."""
    for gone, other in ((a, b), (b, a)):
        if gone.status != rule.UNKNOWN and has_to_give_way(gone, other):
            raise GuardRefused(
                expected=f"{gone.side} to be closed, and looked through for what it alone has, before anything else",
                found=f"{other.describe()}; {gone.describe()}",
                state=f"nothing was changed; {other.side} leads, and {gone.side} must not serve",
                next_command=f"ansible-playbook playbooks/site_back.yml --limit {gone.component}",
            )


def _believed(state: GuardState, epoch: Epoch, word: Word) -> None:
    if word.epoch != epoch or not word.by.strip() or not word.fenced.strip():
        raise GuardRefused(
            expected=f"a person's word for epoch {epoch}, with a name and how the other side was fenced",
            found=f"epoch {word.epoch}, by {word.by!r}, fenced by {word.fenced!r}",
            state=f"{state.describe()}; nothing was opened",
            next_command="give -e by=NAME and -e fenced='how it was fenced'",
        )


def _unheard(known: GuardState, epoch: Epoch) -> None:
    least = beyond(known, "")
    if epoch < least:
        raise GuardRefused(
            expected=f"an epoch of at least {least.number}, above what the guard that is lost may have promised",
            found=f"epoch {epoch}",
            state=f"{known.describe()}; nothing was opened",
            next_command="run the same playbook again: it takes a new epoch",
        )
