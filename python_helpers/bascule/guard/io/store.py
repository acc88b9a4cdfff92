"""The guard's durable state on a component's host: one JSON file and one lock per component.

The order is what makes it safe: the state that forbids is written before the world is changed, the state that permits
after. A process that dies in between leaves "closing" or "opening", which a later run continues.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ...errors import GuardRefused, StoreError
from ...system.io import storage
from .. import lost
from .. import state as rule
from ..state import Epoch, GuardState, Reached, Receipt, Word

GUARD_DIRECTORY = Path("/var/lib/bascule/guard")
LOCK_WAIT = 60.0


class Closing:
    """Handed to the code that closes a side."""

    def __init__(self, path: Path, state: GuardState, epoch: Epoch) -> None:
        self._path = path
        self._epoch = epoch
        self.state = state
        self.receipt: Receipt | None = state.receipt if state.status == rule.CLOSED else None

    @property
    def was_closed(self) -> bool:
        """Whether this side had given its receipt for this epoch before."""
        return self.receipt is not None

    def closed(self, position: Mapping[str, str]) -> Receipt:
        """Record durably that the side is closed, proved, and stands at `position`; return the receipt."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        self.state, self.receipt = rule.closed(self.state, self._epoch, position, now)
        _save(self._path, self.state)
        return self.receipt


class Opening:
    """Handed to the code that opens a side."""

    def __init__(self, path: Path, state: GuardState, epoch: Epoch, was_open: bool) -> None:
        self._path = path
        self._epoch = epoch
        self.state = state
        self.was_open = was_open
        self.done = False

    def opened(self, *, frozen: bool = False) -> GuardState:
        """Record durably that the side is open; frozen when nobody is let in before a thaw."""
        state = rule.opened(self.state, self._epoch)
        self.state = rule.freeze(state) if frozen else state
        _save(self._path, self.state)
        self.done = True
        return self.state


@contextlib.contextmanager
def closing(
    component: str, side: str, epoch: Epoch | str, *, root: Path = GUARD_DIRECTORY, wait: float = LOCK_WAIT
) -> Iterator[Closing]:
    """Hold the guard while the caller closes this side for `epoch`; the permit to be open ends on entry.

    The body must close, prove it, and call `closed(position)`. Any exception leaves the state "closing".
    """
    number = _epoch(epoch)
    with _closing(component, side, number, lambda state: rule.promise(_known(state), number), root, wait) as guard:
        yield guard


@contextlib.contextmanager
def giving_way(
    component: str,
    side: str,
    other: GuardState,
    epoch: Epoch | str,
    *,
    root: Path = GUARD_DIRECTORY,
    wait: float = LOCK_WAIT,
) -> Iterator[Closing]:
    """Hold the guard while the caller closes this side, which was given up as lost by `other` and is back.

    As `closing`, and for good: what this side was open under counts no more.
    """
    number = _epoch(epoch)
    with _closing(component, side, number, lambda state: lost.give_way(state, other, number), root, wait) as guard:
        yield guard


@contextlib.contextmanager
def promising(
    component: str, side: str, epoch: Epoch | str, *, root: Path = GUARD_DIRECTORY, wait: float = LOCK_WAIT
) -> Iterator[GuardState]:
    """Hold the guard while the caller stops this side for `epoch`, long before it can give its receipt.

    The permit to be open ends on entry. `closing` for the same epoch gives the receipt, `withdrawing` takes it back.
    """
    number = _epoch(epoch)
    with _locked(component, root, wait) as path:
        before = _known(_load(path, component, side))
        _save(path, rule.promise(before, number))
        yield before


@contextlib.contextmanager
def withdrawing(
    component: str,
    side: str,
    epoch: Epoch | str,
    *,
    frozen: bool,
    root: Path = GUARD_DIRECTORY,
    wait: float = LOCK_WAIT,
) -> Iterator[GuardState]:
    """Hold the guard while the caller makes this side serve again after a promise that ended without a receipt.

    The permit is back, and the epoch burnt, before the body runs: no receipt for it can be given any more.
    """
    with _locked(component, root, wait) as path:
        state = rule.withdraw(_known(_load(path, component, side)), _epoch(epoch), frozen=frozen)
        _save(path, state)
        yield state


@contextlib.contextmanager
def opening(
    component: str,
    side: str,
    epoch: Epoch | str,
    receipt: Receipt | Mapping[str, object] | None,
    *,
    reached: Reached,
    root: Path = GUARD_DIRECTORY,
    wait: float = LOCK_WAIT,
) -> Iterator[Opening]:
    """Hold the guard while the caller opens this side under `epoch` with the other side's receipt.

    The body must open and call `opened()`. Any exception leaves the state "opening": possibly open.
    """
    number = _epoch(epoch)
    other = Receipt.from_dict(receipt) if isinstance(receipt, Mapping) else receipt
    with _opening(
        component, side, number, lambda state: rule.may_open(state, number, other, reached), root, wait
    ) as guard:
        yield guard


@contextlib.contextmanager
def opening_by_word(
    component: str, side: str, word: Word, *, root: Path = GUARD_DIRECTORY, wait: float = LOCK_WAIT
) -> Iterator[Opening]:
    """Hold the guard while the caller opens this side without the other one, which is lost by a person's word."""
    with _opening(
        component, side, word.epoch, lambda state: lost.open_by_word(state, word.epoch, word), root, wait
    ) as guard:
        yield guard


@contextlib.contextmanager
def reopening(
    component: str,
    side: str,
    word: Word,
    receipt: Receipt,
    other: GuardState,
    *,
    root: Path = GUARD_DIRECTORY,
    wait: float = LOCK_WAIT,
) -> Iterator[Opening]:
    """Hold the guard while the caller opens this side, whose guard is lost, with the other side's receipt."""
    with _opening(
        component, side, word.epoch, lambda state: lost.reopen(state, word.epoch, receipt, other, word), root, wait
    ) as guard:
        yield guard


def read(component: str, side: str, *, root: Path = GUARD_DIRECTORY) -> GuardState:
    """Return the state; a host that has none is "unknown". Needs no lock: the file is replaced at once."""
    return _load(_path(component, root), component, side)


def read_any(component: str, *, root: Path = GUARD_DIRECTORY) -> GuardState:
    """Return this host's state of the component, whatever the host is called in the inventory."""
    data = storage.read_json(_path(component, root))
    if not isinstance(data, Mapping):
        raise StoreError(expected=f"a guard state of {component}", found=type(data).__name__)
    return GuardState.from_dict(data)


def adopt(
    component: str,
    side: str,
    status: str,
    *,
    other: GuardState | None = None,
    empty: bool = False,
    root: Path = GUARD_DIRECTORY,
    check: bool = False,
) -> tuple[GuardState, bool]:
    """Take over a side that has no state yet; return the state and whether that changed anything.

    As open only before the `other` side; as closed beside one that is taken over only while that one is open, and
    `empty` beside one that has given this side up as lost.
    """
    if status not in (rule.OPEN, rule.CLOSED):
        raise GuardRefused(expected="a side to be adopted as open or closed", found=repr(status))

    def transition(state: GuardState) -> GuardState:
        if status == rule.OPEN:
            return rule.adopt_open(state, other)
        return rule.adopt_closed(state, other, empty=empty)

    if check:
        state = read(component, side, root=root)
        return (transition(state), True) if state.status == rule.UNKNOWN else (state, False)
    with _locked(component, root, LOCK_WAIT) as path:
        state = _load(path, component, side)
        if state.status != rule.UNKNOWN:
            return state, False
        state = transition(state)
        _save(path, state)
        return state, True


def frozen(
    component: str, side: str, value: bool, *, root: Path = GUARD_DIRECTORY, check: bool = False
) -> tuple[GuardState, bool]:
    """Mark an open side as frozen, or as thawed; return the state and whether that changed anything."""
    return _marked(component, side, rule.freeze if value else rule.thaw, root, check)


def settled(
    component: str, side: str, other: GuardState, *, root: Path = GUARD_DIRECTORY, check: bool = False
) -> tuple[GuardState, bool]:
    """Tell a side that was opened by a person's word that the `other` one has given way to it.

    Returns the state and whether that changed anything; nothing opens or closes by it.
    """
    return _marked(component, side, lambda state: lost.settle(state, other), root, check)


@contextlib.contextmanager
def thawing(
    component: str, side: str, *, root: Path = GUARD_DIRECTORY, wait: float = LOCK_WAIT
) -> Iterator[tuple[GuardState, bool]]:
    """Hold the guard while the caller lets clients in under the live permit; yield the guard and whether it was frozen.

    The mark goes first: a fence must not be looser than the guard. When the body fails, it is put back; the body has to
    see to it that nobody was let in then.
    """
    with _locked(component, root, wait) as path:
        before = _load(path, component, side)
        state = rule.thaw(before)
        if state != before:
            _save(path, state)
        try:
            yield state, before.frozen
        except BaseException:
            if state != before:
                _save(path, before)
            raise


def _marked(
    component: str, side: str, transition: Callable[[GuardState], GuardState], root: Path, check: bool
) -> tuple[GuardState, bool]:
    if check:
        before = read(component, side, root=root)
        state = transition(before)
        return state, state != before
    with _locked(component, root, LOCK_WAIT) as path:
        before = _load(path, component, side)
        state = transition(before)
        if state != before:
            _save(path, state)
        return state, state != before


def _path(component: str, root: Path) -> Path:
    if not component or "/" in component or component.startswith("."):
        raise GuardRefused(expected="a component name that can be a file name", found=repr(component))
    return root / f"{component}.json"


@contextlib.contextmanager
def _locked(component: str, root: Path, wait: float) -> Iterator[Path]:
    path = _path(component, root)
    with storage.locked(path.with_suffix(".lock"), wait):
        yield path


@contextlib.contextmanager
def _closing(
    component: str, side: str, epoch: Epoch, transition: Callable[[GuardState], GuardState], root: Path, wait: float
) -> Iterator[Closing]:
    with _locked(component, root, wait) as path:
        state = transition(_load(path, component, side))
        _save(path, state)
        guard = Closing(path, state, epoch)
        yield guard
        if guard.receipt is None:
            raise GuardRefused(
                expected=f"{component} at {side} to be proved closed",
                found="the code that closes it ended without a receipt",
                state=guard.state.describe(),
            )


@contextlib.contextmanager
def _opening(
    component: str, side: str, epoch: Epoch, transition: Callable[[GuardState], GuardState], root: Path, wait: float
) -> Iterator[Opening]:
    with _locked(component, root, wait) as path:
        before = _load(path, component, side)
        state = transition(before)
        was_open = before.status == rule.OPEN and before.opened == epoch
        _save(path, state)
        guard = Opening(path, state, epoch, was_open)
        yield guard
        if not guard.done:
            raise GuardRefused(
                expected=f"{component} at {side} to be open",
                found="the code that opens it ended without saying so",
                state=guard.state.describe(),
            )


def _load(path: Path, component: str, side: str) -> GuardState:
    data = storage.read_json(path)
    if data is None and not storage.is_file(path):
        return GuardState(component, side)
    if not isinstance(data, Mapping):
        raise StoreError(expected=f"a guard state in {path}", found=f"{type(data).__name__}")
    state = GuardState.from_dict(data)
    if (state.component, state.side) != (component, side):
        raise StoreError(
            expected=f"the guard state of {component} at {side} in {path}",
            found=f"that of {state.component} at {state.side}: copied from another host, or the side was renamed",
            state="nothing was changed",
            next_command=f"compare {path} on both hosts; a guard state must never be copied between hosts",
        )
    return state


def _known(state: GuardState) -> GuardState:
    if state.status == rule.UNKNOWN:
        raise GuardRefused(
            expected=f"a guard state of {state.component} at {state.side}",
            found="none: this side has not been taken over",
            state="nothing was changed",
            next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {state.component}",
        )
    return state


def _save(path: Path, state: GuardState) -> None:
    storage.write_json(path, state.to_dict())


def _epoch(epoch: Epoch | str) -> Epoch:
    return epoch if isinstance(epoch, Epoch) else Epoch.parse(epoch)
