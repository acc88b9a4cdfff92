"""The opening rule: which side of a component may open, decided from durable facts alone.

Everything here takes values and returns values. Where the state is kept (a file on the component's host, a guest's
config, a DNS record) is the business of the caller; that every returned state is made durable BEFORE the world is
changed is the caller's duty, and what the proof rests on:

* A receipt for epoch E is given only by a side that has closed, has promised E, and never opened under E or above.
* A side opens under E only with the other side's receipt for E, when E is not below what it promised and above every
  receipt it has given itself.
* A side that was open and promised E may take that back while it has given no receipt: it is open again, as if under E,
  and never gives a receipt for E.

Were both sides open, under Ea <= Eb: the side open under Ea gave its receipt for Eb when it was closed and had promised
Eb, so it could not open under Ea afterwards, and if it had opened before, it closed since. Hence one side at most.

Were Eb an epoch that its side took back: that side was open before, under Ec < Eb, so the other one was closed then. It
cannot have opened since without a receipt above Ec, and none was given.
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


@dataclass(frozen=True)
class Receipt:
    """A host's durable statement: closed for this epoch, at this final position."""

    component: str
    side: str
    epoch: Epoch
    position: Mapping[str, str]
    issued_at: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return {
            "component": self.component,
            "side": self.side,
            "epoch": str(self.epoch),
            "position": dict(self.position),
            "issued_at": self.issued_at,
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
        return cls(component, side, Epoch.parse(epoch), {str(k): str(v) for k, v in position.items()}, issued_at)


@dataclass(frozen=True)
class GuardState:
    """What one side of a component has durably promised, and where it stands."""

    component: str
    side: str
    promised: Epoch | None = None
    status: str = UNKNOWN
    opened: Epoch | None = None
    receipt: Receipt | None = None
    frozen: bool = False

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
        return cls(
            component=_text(data, "component"),
            side=_text(data, "side"),
            promised=Epoch.parse(promised) if promised else None,
            status=status,
            opened=Epoch.parse(opened) if opened else None,
            receipt=Receipt.from_dict(receipt) if receipt else None,
            frozen=frozen,
        )

    def describe(self) -> str:
        """Return the state in a few words, for messages."""
        words = [f"{self.component} at {self.side} is {self.status}{' and frozen' if self.frozen else ''}"]
        if self.promised:
            words.append(f"promised epoch {self.promised}")
        if self.opened:
            words.append(f"last opened under {self.opened}")
        return ", ".join(words)


def adopt_open(state: GuardState, other: GuardState | None = None) -> GuardState:
    """Take over a side that serves already, when nothing is known about it yet.

    A guard that was lost must not make two: where the other side's guard is given, it must never have been open.
    """
    _unadopted(state)
    if other is not None and (other.component, other.side == state.side) != (state.component, False):
        raise GuardRefused(expected=f"the guard of the other side of {state.component}", found=other.describe())
    if other is not None and (other.status not in (UNKNOWN, CLOSED) or other.opened or other.promised):
        raise GuardRefused(
            expected=f"{other.side} never to have been open, so that {state.side} can be taken over as open",
            found=f"{other.describe()}; the guard of {state.component} at {state.side} is lost",
            state="nothing was taken over",
            next_command=f"see which side serves users; if it is {other.side}, make {state.side} refuse them by hand, "
            "then run prepare again",
        )
    return replace(state, promised=ADOPTED, status=OPEN, opened=ADOPTED, receipt=None, frozen=False)


def adopt_closed(state: GuardState) -> GuardState:
    """Take over a passive side, when nothing is known about it yet."""
    _unadopted(state)
    return replace(state, promised=None, status=CLOSED, opened=None, receipt=None, frozen=False)


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
    return replace(state, promised=epoch, status=CLOSING, opened=under, frozen=False)


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
    receipt = Receipt(state.component, state.side, epoch, dict(position), issued_at)
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
    if state.opened is None or (state.receipt is not None and state.receipt.epoch >= state.opened):
        raise GuardRefused(
            expected=f"a side that was open when it promised epoch {epoch}",
            found=f"{state.describe()}, and its receipt of an earlier epoch may be in use at the other side",
            state=f"{state.describe()}; nothing was taken back",
            next_command="run the rollback, or the same playbook again",
        )
    return replace(state, status=OPEN, opened=epoch, frozen=frozen)


def open_since_receipt(state: GuardState) -> bool:
    """Whether this side may have been open since it gave its last receipt, or ever when it gave none."""
    if state.status not in (CLOSED, CLOSING):
        return True
    return state.opened is not None and (state.receipt is None or state.receipt.epoch < state.opened)


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
    answer = reached() if callable(reached) else reached
    if answer is not True:
        raise refuse(
            f"this side to have reached the final position {_position(receipt)} of {receipt.side}",
            answer if isinstance(answer, str) and answer else "it has not",
        )
    return replace(state, promised=epoch, status=OPENING, frozen=False)


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

    A side that began to open counts as opened: it may have accepted writes before its controller died.
    """
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
    """Return the highest epoch under which this side opened or may have opened."""
    if state.status == OPENING and state.promised and (state.opened is None or state.promised > state.opened):
        return state.promised
    return state.opened


def _set_frozen(state: GuardState, frozen: bool) -> GuardState:
    if state.status != OPEN:
        raise GuardRefused(
            expected="an open side" if frozen else "a side with a live permit",
            found=state.describe(),
            state=state.describe(),
            next_command="ansible-playbook playbooks/status.yml",
        )
    return replace(state, frozen=frozen)


def _unadopted(state: GuardState) -> None:
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
