"""The opening rule: which side of a component may open, decided from durable facts alone.

Everything here takes values and returns values. Where the state is kept (a file on the component's host, a guest's
config, a DNS record) is the business of the caller; that every returned state is made durable BEFORE the world is
changed is the caller's duty, and what the proof rests on:

* A receipt for epoch E is given only by a side that has closed, has promised E, and never opened under E or above.
* A side opens under E only with the other side's receipt for E, when E is not below what it promised and above every
  receipt it has given itself.
* A side that promised E while open may take that back before its receipt: it is open under E, which is burnt.

Were both sides open, under Ea <= Eb: the side open under Ea gave its receipt for Eb when it was closed and had promised
Eb, so it could not open under Ea afterwards, and if it had opened before, it closed since. Hence one side at most.

Were Eb an epoch that its side took back: that side was open before, under Ec < Eb, so the other one was closed then. It
cannot have opened since without a receipt above Ec, and none was given.

Where a side, or its guard, is lost for good, a person's word (`Word`) takes the place of its receipt, and the person
answers for its fence; `lost` has the transitions. The side that was given up gives way before it opens or follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Union

from ..errors import GuardRefused

OPEN = "open"
CLOSING = "closing"
CLOSED = "closed"
OPENING = "opening"
UNKNOWN = "unknown"
STATUSES = (OPEN, CLOSING, CLOSED, OPENING, UNKNOWN)

Reached = Union[bool, str, Callable[[], Union[bool, str]]]


@dataclass(frozen=True, order=True)
class Epoch:
    """One decision of one controller; epochs are totally ordered."""

    number: int
    decision: str

    def __str__(self) -> str:
        return f"{self.number}.{self.decision}"

    @classmethod
    def parse(cls, text: str) -> Epoch:
        """Read what `str` wrote."""
        number, dot, decision = str(text).partition(".")
        if not dot or not decision or not (number.isascii() and number.isdigit()):
            raise GuardRefused(expected="an epoch such as 7.3f2a", found=repr(text))
        return cls(int(number), decision)


ADOPTED = Epoch(0, "adopted")


# How far the number of an epoch jumps where one of the two guards could not be read: that guard may have promised
# epochs which the other one has never heard of. Each takes a run of its own, so they are few.
UNHEARD = 1000


@dataclass(frozen=True)
class Word:
    """What a person has answered for, so that a side opens although the other side, or a guard, is lost.

    about: the side that is lost, or whose guard is. epoch: the one under which the other side, or it itself, opened.
    fenced: how the person made sure that the other side cannot accept writes. settled: the epoch for which the side
    that was lost has given way since; receipts carry the word no more.
    """

    about: str
    epoch: Epoch
    by: str
    fenced: str
    given_at: str
    settled: Epoch | None = None

    def to_dict(self) -> dict[str, str]:
        """Return plain types."""
        return {
            "about": self.about,
            "epoch": str(self.epoch),
            "by": self.by,
            "fenced": self.fenced,
            "given_at": self.given_at,
            **({"settled": str(self.settled)} if self.settled else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Word:
        """Read what `to_dict` wrote; a word without a name or a reason is refused."""
        if not isinstance(data, Mapping):
            raise GuardRefused(expected="a person's word with its fields", found=repr(data))
        about, epoch, by, fenced, given_at = (
            _text(data, key) for key in ("about", "epoch", "by", "fenced", "given_at")
        )
        settled = Epoch.parse(data["settled"]) if data.get("settled") else None
        return cls(about, Epoch.parse(epoch), by, fenced, given_at, settled)


@dataclass(frozen=True)
class Receipt:
    """A host's durable statement: closed for this epoch, at this final position.

    over: the epoch of the person's word by which the other side was given up; it opens only after it has given way.
    """

    component: str
    side: str
    epoch: Epoch
    position: Mapping[str, str]
    issued_at: str
    over: Epoch | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return {
            "component": self.component,
            "side": self.side,
            "epoch": str(self.epoch),
            "position": dict(self.position),
            "issued_at": self.issued_at,
            **({"over": str(self.over)} if self.over else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Receipt:
        """Read what `to_dict` wrote; anything missing or of a wrong type is refused."""
        if not isinstance(data, Mapping):
            raise GuardRefused(expected="a receipt with its fields", found=repr(data))
        component, side, epoch, issued_at = (_text(data, key) for key in ("component", "side", "epoch", "issued_at"))
        position = data.get("position")
        if not isinstance(position, Mapping):
            raise GuardRefused(expected="a receipt with a position", found=f"position {position!r}")
        over = Epoch.parse(data["over"]) if data.get("over") else None
        return cls(component, side, Epoch.parse(epoch), {str(k): str(v) for k, v in position.items()}, issued_at, over)


@dataclass(frozen=True)
class GuardState:
    """What one side of a component has durably promised, and where it stands.

    word: the last opening of this side that rests on a person's word. gave_way: the epoch for which this side
    has closed after it was given up; what it was open under before counts no more.
    """

    component: str
    side: str
    promised: Epoch | None = None
    status: str = UNKNOWN
    opened: Epoch | None = None
    receipt: Receipt | None = None
    frozen: bool = False
    word: Word | None = None
    gave_way: Epoch | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return {
            "component": self.component,
            "side": self.side,
            "promised": str(self.promised) if self.promised else None,
            "status": self.status,
            "opened": str(self.opened) if self.opened else None,
            "receipt": self.receipt.to_dict() if self.receipt else None,
            "frozen": self.frozen,
            **({"word": self.word.to_dict()} if self.word else {}),
            **({"gave_way": str(self.gave_way)} if self.gave_way else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GuardState:
        """Read what `to_dict` wrote; a state that does not make sense is refused, never guessed."""
        status = _text(data, "status")
        if status not in STATUSES:
            raise GuardRefused(expected=f"a guard status out of {', '.join(STATUSES)}", found=repr(status))
        frozen = data.get("frozen", False)
        if not isinstance(frozen, bool):
            raise GuardRefused(expected="a guard state whose 'frozen' is true or false", found=repr(frozen))
        promised, opened, receipt = data.get("promised"), data.get("opened"), data.get("receipt")
        word, gave_way = data.get("word"), data.get("gave_way")
        return cls(
            component=_text(data, "component"),
            side=_text(data, "side"),
            promised=Epoch.parse(promised) if promised else None,
            status=status,
            opened=Epoch.parse(opened) if opened else None,
            receipt=Receipt.from_dict(receipt) if receipt else None,
            frozen=frozen,
            word=Word.from_dict(word) if word else None,
            gave_way=Epoch.parse(gave_way) if gave_way else None,
        )

    def describe(self) -> str:
        """Return the state in a few words, for messages."""
        words = [f"{self.component} at {self.side} is {self.status}{' and frozen' if self.frozen else ''}"]
        if self.promised:
            words.append(f"promised epoch {self.promised}")
        if self.opened:
            words.append(f"last opened under {self.opened}")
        if self.word and self.word.epoch == self.opened:
            words.append(f"by the word of {self.word.by} that {self.word.about} is lost")
        return ", ".join(words)


def adopt_open(state: GuardState, other: GuardState | None = None) -> GuardState:
    """Take over a side that serves already, when nothing is known about it yet.

    It is the first of the two: where the other side's guard is given, that one is not taken over yet. Otherwise the
    guard of this side is lost, and a receipt that it gave may still be on its way to the other side.
    """
    unadopted(state)
    of_other_side(state, other)
    if other is not None and other.status != UNKNOWN:
        raise GuardRefused(
            expected=f"{other.side} not to be taken over yet, so that {state.side} can be taken over as open",
            found=f"{other.describe()}; the guard of {state.component} at {state.side} is lost",
            state="nothing was taken over",
            next_command=f"see which side serves users; if it is {other.side}, make {state.side} refuse them by hand, "
            f"then run prepare again; if it is {state.side}, docs/runbooks/guard_lost.md says what to type",
        )
    return replace(state, promised=ADOPTED, status=OPEN, opened=ADOPTED, receipt=None, frozen=False)


def adopt_closed(state: GuardState, other: GuardState | None = None, *, empty: bool = False) -> GuardState:
    """Take over a passive side, when nothing is known about it yet.

    A guard that was lost may have been the one of the side that serves, and may have given receipts that are still on
    their way. Where the other side is taken over, this side is passive only while that one is open; and where that one
    has ever promised anything, no epoch that it may have known opens this side any more. Beside one that has given this
    side up as lost, it is passive only when it is `empty`: a machine that was put in the place of the lost one.
    """
    unadopted(state)
    of_other_side(state, other)
    promised = gave_way = None
    if other is not None and other.status != UNKNOWN:
        given_up = other.word is not None and other.word.about == state.side
        if other.status != OPEN or (given_up and not empty):
            raise GuardRefused(
                expected=f"{other.side} to be open, so that {state.side} can be taken over as passive",
                found=f"{other.describe()}; the guard of {state.component} at {state.side} is lost, and it may hold "
                "what nobody else has",
                state="nothing was taken over",
                next_command="docs/runbooks/guard_lost.md says how to find out which side is the latest, and what to "
                "type",
            )
        if (other.promised or ADOPTED) > ADOPTED:
            promised = beyond(other, "adopted")
        gave_way = promised if given_up else None
    return replace(state, promised=promised, status=CLOSED, opened=None, receipt=None, frozen=False, gave_way=gave_way)


def promise(state: GuardState, epoch: Epoch) -> GuardState:
    """Promise never again to act for an epoch below this one; a permit to be open ends here.

    The same epoch again is fine, unless this side has opened, or begun to open, under it: its receipt for that epoch
    would then let both sides open.
    """
    if state.promised and epoch < state.promised:
        raise GuardRefused(
            expected=f"an epoch of at least {state.promised}",
            found=f"epoch {epoch}: a later decision has taken over",
            state=state.describe(),
            next_command="ansible-playbook playbooks/status.yml",
        )
    under = last_open(state)
    if under is not None and epoch <= under:
        raise GuardRefused(
            expected=f"an epoch above {under}, under which this side was opened",
            found=f"epoch {epoch}",
            state=state.describe(),
            next_command="run the same playbook again: it takes a new epoch",
        )
    if state.receipt and state.receipt.epoch == epoch and state.status == CLOSED:
        return state
    # An opening that never ended may have let writes in: it counts as opened from here on, and this side stays leader.
    return replace(state, promised=epoch, status=CLOSING, opened=under or state.opened, frozen=False)


def closed(state: GuardState, epoch: Epoch, position: Mapping[str, str], issued_at: str) -> tuple[GuardState, Receipt]:
    """Record that this side has closed; return the new state and its receipt (the stored one for the same epoch)."""
    if state.receipt and state.receipt.epoch == epoch and state.status == CLOSED and state.promised == epoch:
        return state, state.receipt
    if state.promised != epoch or state.status != CLOSING:
        raise GuardRefused(
            expected=f"a side that is closing for epoch {epoch}",
            found=state.describe(),
            state=state.describe(),
            next_command="run the same playbook again: closing is idempotent",
        )
    if any(not isinstance(k, str) or not isinstance(v, str) for k, v in position.items()):
        raise GuardRefused(expected="a final position of texts", found=repr(dict(position)), state=state.describe())
    over = state.word.epoch if state.word and state.word.about != state.side and not state.word.settled else None
    receipt = Receipt(state.component, state.side, epoch, dict(position), issued_at, over)
    return replace(state, status=CLOSED, receipt=receipt, frozen=False), receipt


def withdraw(state: GuardState, epoch: Epoch, *, frozen: bool) -> GuardState:
    """Take back a promise to close for `epoch` before its receipt was given: open again, and the epoch is burnt.

    Only a side that was open when it promised gets its permit back. Every receipt it gave is older than that permit, so
    none of them opens the other side; and from here on it never gives one for `epoch`: it counts as opened under it.
    """
    if state.status != CLOSING or state.promised != epoch:
        raise GuardRefused(
            expected=f"a side that is closing for epoch {epoch} and has not given its receipt",
            found=state.describe(),
            state=f"{state.describe()}; nothing was taken back",
            next_command="ansible-playbook playbooks/status.yml",
        )
    under = last_open(state)
    if under is None or (state.receipt is not None and state.receipt.epoch >= under):
        raise GuardRefused(
            expected=f"a side that was open when it promised epoch {epoch}",
            found=f"{state.describe()}, and its receipt of an earlier epoch may be in use at the other side",
            state=f"{state.describe()}; nothing was taken back",
            next_command="run the rollback, or the same playbook again",
        )
    return replace(state, status=OPEN, opened=epoch, frozen=frozen)


def may_open(state: GuardState, epoch: Epoch, receipt: Receipt | None, reached: Reached) -> GuardState:
    """Check the opening rule; return the state "opening", to be made durable before anything opens.

    `reached` is asked last and only when everything else holds: True when this side has reached the receipt's position,
    or the reason why not.
    """

    def refuse(expected: str, found: str) -> GuardRefused:
        return GuardRefused(
            expected=expected,
            found=found,
            state=f"{state.describe()}; nothing was opened",
            next_command="ansible-playbook playbooks/status.yml",
        )

    if state.status == UNKNOWN:
        raise refuse("a side that prepare has taken over", "no guard state")
    if state.promised and epoch < state.promised:
        raise refuse(f"an epoch of at least {state.promised}", f"epoch {epoch}: a later decision has taken over")
    if state.receipt and epoch <= state.receipt.epoch:
        raise refuse(
            f"an epoch above {state.receipt.epoch}, for which this side has given its own receipt", f"epoch {epoch}"
        )
    if state.promised == epoch and state.status in (CLOSING, CLOSED):
        raise refuse(f"an epoch above {epoch}, for which this side has promised to close", f"epoch {epoch}")
    if receipt is None:
        raise refuse(f"the other side's receipt for epoch {epoch}", "no receipt: no answer is no receipt")
    if receipt.component != state.component:
        raise refuse(f"a receipt for {state.component}", f"a receipt for {receipt.component}")
    if receipt.side == state.side:
        raise refuse("the OTHER side's receipt", f"a receipt of {receipt.side} itself")
    if receipt.epoch != epoch:
        raise refuse(f"a receipt for epoch {epoch}", f"a receipt for epoch {receipt.epoch}")
    if receipt.over and (state.gave_way is None or state.gave_way < receipt.over):
        raise refuse(
            f"{state.side} to have given way to the opening of {receipt.side} under {receipt.over}",
            f"{state.side} was given up as lost then, and has not been closed and looked through since",
        )
    answer = reached() if callable(reached) else reached
    if answer is not True:
        raise refuse(
            f"this side to have reached the final position {_position(receipt)} of {receipt.side}",
            answer if isinstance(answer, str) and answer else "it has not",
        )
    return replace(state, promised=epoch, status=OPENING, frozen=False)


def gave_up(survivor: GuardState, lost: GuardState) -> bool:
    """Say whether `survivor` was opened by the word that `lost` is lost, and `lost` has not given way to that yet."""
    word = survivor.word
    if word is None or word.about != lost.side or word.settled:
        return False
    return lost.gave_way is None or lost.gave_way < word.epoch


def beyond(state: GuardState, decision: str) -> Epoch:
    """Return an epoch that is above what the other side's guard, which cannot be read, may have promised."""
    known = next_epoch(state, state, decision)
    return replace(known, number=known.number + UNHEARD)


def opened(state: GuardState, epoch: Epoch) -> GuardState:
    """Record that the opening has succeeded."""
    if state.promised != epoch or state.status not in (OPENING, OPEN):
        raise GuardRefused(
            expected=f"a side that is opening under epoch {epoch}",
            found=state.describe(),
            state=state.describe(),
            next_command="ansible-playbook playbooks/status.yml",
        )
    return replace(state, status=OPEN, opened=epoch)


def freeze(state: GuardState) -> GuardState:
    """Stop accepting writes without giving up the permit."""
    return _set_frozen(state, True)


def thaw(state: GuardState) -> GuardState:
    """Accept writes again under the permit that was never given up."""
    return _set_frozen(state, False)


def leader(a: GuardState, b: GuardState) -> str | None:
    """Return the side that holds the latest data: the open one, else the one opened last; None when neither ever was.

    A side that began to open counts as opened: it may have accepted writes before its controller died. A side that was
    given up as lost never leads the one that was opened instead.
    """
    if gave_up(a, b) or gave_up(b, a):
        if gave_up(a, b) and gave_up(b, a):
            raise GuardRefused(
                expected="at most one side that was opened by a person's word without the other",
                found=f"{a.describe()}; {b.describe()}",
                state="there are two histories, and each was declared to be the one that counts",
                next_command="keep both sides away from users, and decide by hand which history goes on",
            )
        return a.side if gave_up(a, b) else b.side
    serving = [s for s in (a, b) if s.status == OPEN]
    if len(serving) == 2:
        raise GuardRefused(
            expected="at most one open side",
            found=f"{a.describe()}; {b.describe()}",
            state="both guards say open: somebody changed a guard by hand, or two components share a name",
            next_command="close one side by hand and prove it before anything else",
        )
    if serving:
        # An opening that began later than the open side's permit means that the open side's guard was tampered with;
        # with honest guards it cannot be: that opening needed this side's receipt.
        return serving[0].side
    first, second = last_open(a), last_open(b)
    if first == second:
        return None
    if second is None or (first is not None and first > second):
        return a.side
    return b.side


def next_epoch(a: GuardState, b: GuardState, decision: str) -> Epoch:
    """Return an epoch above everything either side has promised, opened under or given a receipt for."""
    known = [
        epoch
        for state in (a, b)
        for epoch in (state.promised, state.opened, state.receipt.epoch if state.receipt else None)
        if epoch is not None
    ]
    return Epoch(max((epoch.number for epoch in known), default=0) + 1, decision)


def last_open(state: GuardState) -> Epoch | None:
    """Return the highest epoch under which this side opened or may have opened, unless it has given way since."""
    under = state.opened
    if state.status == OPENING and state.promised and (under is None or state.promised > under):
        under = state.promised
    return None if under and state.gave_way and under <= state.gave_way else under


def _set_frozen(state: GuardState, frozen: bool) -> GuardState:
    if state.status != OPEN:
        raise GuardRefused(
            expected="an open side" if frozen else "a side with a live permit",
            found=state.describe(),
            state=state.describe(),
            next_command="ansible-playbook playbooks/status.yml",
        )
    return replace(state, frozen=frozen)


def of_other_side(state: GuardState, other: GuardState | None) -> None:
    """Refuse a guard that is not the one of the other side of the same component."""
    if other is not None and (other.component, other.side == state.side) != (state.component, False):
        raise GuardRefused(expected=f"the guard of the other side of {state.component}", found=other.describe())


def unadopted(state: GuardState) -> None:
    """Refuse a side that has a guard."""
    if state.status != UNKNOWN:
        raise GuardRefused(
            expected="a side without a guard state", found=state.describe(), state=state.describe(), next_command=""
        )


def _position(receipt: Receipt) -> str:
    return ", ".join(f"{k}={v}" for k, v in sorted(receipt.position.items())) or "(no data to carry over)"


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value:
        raise GuardRefused(expected=f"a guard record with '{key}'", found=f"{key} = {value!r}")
    return value
