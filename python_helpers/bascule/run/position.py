"""Where each component stands: what the guards say is true, and what the journal says was given up. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import BasculeError
from ..guard import lost
from ..guard import state as rule
from ..guard.state import GuardState
from . import chain
from .progress import OK


@dataclass(frozen=True)
class Side:
    """One side of a component as it was read: a guard, or the reason why there is none.

    holds: what it says that it may lack of the other side's data, for whom the other one is silent.
    """

    host: str
    site: str
    guard: GuardState | None
    error: str = ""
    holds: str = ""


@dataclass(frozen=True)
class Sides:
    """Both sides of a component; `given_up` is the one that the journal says was given up, and has not closed since.

    late: which of its servers still say what was before, where a component only points. apart: why what is written at
    the open side does not come to the other one. unseen: why the open side was not seen to serve. carried: how what is
    written there comes to the other one, and how far that is behind.
    """

    component: str
    source: Side
    target: Side
    given_up: str = ""
    late: str = ""
    apart: str = ""
    unseen: str = ""
    carried: str = ""


@dataclass(frozen=True)
class Standing:
    """Where one component stands: `where` is one word, `words` is for people.

    late: one of its servers still sends users to where they were. by_word: it is open by a person's word, and the other
    side has nothing that it could be compared with. given_up: the side that is silent was given up as lost. apart: what
    is written where it is open does not come to the other side. unseen: where it is open it was not seen to serve.
    """

    component: str
    where: str
    words: str
    late: bool = False
    by_word: bool = False
    given_up: bool = False
    apart: bool = False
    unseen: bool = False


def find_guards(value: Any, depth: int = 4) -> list[GuardState]:
    """Return every guard state in what a role's `state` verb has registered, whatever it is called there."""
    if isinstance(value, Mapping):
        if {"component", "side", "status", "promised"} <= set(value):
            try:
                return [GuardState.from_dict(value)]
            except BasculeError:
                return []
        values: Iterable[Any] = value.values()
    elif isinstance(value, (list, tuple)):
        values = value
    else:
        return []
    return [guard for item in values for guard in find_guards(item, depth - 1)] if depth else []


def carried(registered: Mapping[str, Any]) -> str:
    """Return how what is written comes to the other side, by what a role's `state` verb has registered of one.

    The open side says it, or the closed one that follows. One that only tried to reach the other side says why not:
    where it was reached nothing more is known.
    """
    if "carried" in registered:
        return str(registered["carried"])
    opened = any(guard.status == rule.OPEN for guard in find_guards(registered))
    return "the other side can be reached" if opened and registered.get("apart") == "" else ""


def alone(entered: Side, left: Side, journal_silent: bool) -> bool:
    """Say whether the side that is entered can only be let in again, without the other one.

    It holds its permit, so the other side cannot have opened since: that takes the receipt which ends the permit.
    Nothing was written there, nothing has to be carried or closed. Asked only where the other side, or the journal of
    a site, is silent; else both sides are brought to where they belong.
    """
    open_here = entered.guard is not None and entered.guard.status == rule.OPEN
    return open_here and (left.guard is None or journal_silent)


def unsettled(entered: Side, left: Side, retired: bool) -> str:
    """Return why the side that was left may not be retired; nothing when all stands where it is to stay."""
    now, before = entered.guard, left.guard
    if now is None or now.status != rule.OPEN or now.frozen:
        return f"{_told(entered)}, not open to users"
    if not retired and (before is None or before.status != rule.CLOSED):
        return f"{_told(left)}, not closed"
    return ""


def switched(entered: Side, left: Side) -> str:
    """Return why more than a freeze has to be undone for the side that is entered; nothing where it holds its permit.

    One that holds it was never closed, so the other side has not opened since, also where that is silent.
    """
    if entered.guard is None:
        return f"{entered.host} does not answer, and whether it was closed is not known"
    if entered.guard.status != rule.OPEN:
        return f"{entered.guard.component}: {_told(entered)}"
    other = left.guard
    return f"{other.component}: {_told(left)}" if other and other.status in (rule.OPEN, rule.OPENING) else ""


def not_lost(entered: Side, left: Side) -> str:
    """Return why a component cannot go on without the side that is left behind; nothing when it can."""
    if left.guard is not None:
        return f"{left.guard.component}: {left.host} answers, it is {left.guard.status}"
    if entered.guard is None:
        return f"{entered.host}, the side that is left, does not answer"
    if entered.guard.status == rule.UNKNOWN:
        return f"{entered.guard.component}: {entered.host} was never taken over by prepare, or has lost its guard"
    return ""


def last_fresh(entries: Iterable[Mapping[str, Any]], component: str) -> str:
    """Return when, by the journal, the passive side was brought up to date last, and by what; nothing when never."""
    ends = [
        entry
        for entry in chain.in_order(entries)
        if entry["kind"] == "end"
        and entry["verb"] in ("prepare", "sync", "switch")
        and entry["component"] == component
        and entry["data"].get("result") == OK
        and not entry["data"].get("check_mode")
    ]
    newest = ends[-1] if ends else None
    return f"{newest['time'][:19]}Z ({newest['verb']})" if newest else ""


def loss(component: str, entered: Side, points_only: bool, fresh: str, said: str) -> str:
    """Return what may be lost when a component goes on at this side alone."""
    if points_only:
        return f"{component}: nothing; the names that the servers still give move last"
    guard = entered.guard
    if guard is not None and guard.status == rule.OPEN:
        return f"{component}: nothing; {entered.host} holds its permit and {'is frozen' if guard.frozen else 'serves'}"
    parts = [f"everything written at the other side after {fresh}" if fresh else "nobody knows since when", said]
    return f"{component}: {'; '.join(part for part in parts if part)}"


def given_up(entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the sides that a person has given up as lost and that have not been closed since, by component."""
    found: dict[str, str] = {}
    for entry in chain.in_order(entries):
        data = entry["data"]
        if data.get("check_mode"):
            continue
        if entry["kind"] == "decision" and isinstance(data.get("lost"), Mapping):
            found |= {str(name): str(host) for name, host in data["lost"]["hosts"].items()}
        elif entry["kind"] == "end" and entry["verb"] == "give_way" and data.get("result") == OK:
            found.pop(str(entry["component"]), None)
    return found


def retired(entries: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the components whose way back a decommission has begun to remove and no later prepare has made again."""
    gone: dict[str, bool] = {}
    for entry in chain.in_order(entries):
        if entry["data"].get("check_mode"):
            continue
        if entry["kind"] == "begin" and entry["verb"] == "retire":
            gone[str(entry["component"])] = True
        elif entry["kind"] == "end" and entry["verb"] == "prepare" and entry["data"].get("result") == OK:
            gone[str(entry["component"])] = False
    return {component for component, is_gone in gone.items() if is_gone}


def standing(sides: Sides, retired: bool = False) -> Standing:
    """Return where the component stands; `retired`: a decommission may have removed the guard of the side left."""
    found = _standing(sides, retired)
    # After a decommission there is nowhere to carry anything.
    apart = "" if retired else sides.apart
    guards = [side.guard for side in (sides.source, sides.target) if side.guard is not None]
    return replace(
        found,
        words=found.words
        + (f"; STILL SENDS USERS ELSEWHERE: {sides.late}" if sides.late else "")
        + (f"; NOT CARRIED OVER: {apart}" if apart else "")
        + (f"; NOT SEEN TO SERVE: {sides.unseen}" if sides.unseen else ""),
        late=bool(sides.late),
        apart=bool(apart),
        unseen=bool(sides.unseen),
        by_word=any(guard.status == rule.OPEN and _by_word(guard) for guard in guards),
        given_up=any(sides.given_up == side.host and side.guard is None for side in (sides.source, sides.target)),
    )


def _standing(sides: Sides, retired: bool) -> Standing:
    source, target = sides.source, sides.target
    first, second = source.guard, target.guard
    for side, other in ((source, target), (target, source)):
        if side.guard is not None and side.guard.status != rule.UNKNOWN and _is_back(sides, side, other):
            what = f"{other.host} {_status(other)}" if other.guard else _unread(other)
            words = f"BACK AFTER IT WAS GIVEN UP: {side.host} {_status(side)} must not serve; {what}"
            return Standing(sides.component, "back", words)
    for name, side, guard, other in (("source", source, first, target), ("target", target, second, source)):
        if guard is not None and other.guard is None and guard.status == rule.OPEN:
            # It holds its permit, so the other cannot be open, whatever state it is in.
            where, what = (f"{name}-frozen", "frozen") if guard.frozen else (name, "active")
            words = f"{what} at {side.site} ({side.host} {_status(side)}; {_unread(other)})"
            return Standing(sides.component, f"{where}-alone", words)
    if first is None or second is None:
        words = "; ".join(
            _unread(side) if side.guard is None else f"{side.host} {_status(side)}{_holds(side)}"
            for side in (source, target)
        )
        return Standing(sides.component, "unread", words)
    both = f"{source.host} {_status(source)}, {target.host} {_status(target)}"
    for gone, known in ((first, second), (second, first)):
        if gone.status != rule.UNKNOWN or known.status == rule.UNKNOWN:
            continue
        if retired and known.status == rule.OPEN:
            continue
        # Beside one that was ever opened by a word about it, only an empty one is taken over.
        serves = known.status == rule.OPEN and (known.word is None or known.word.about != gone.side)
        if not serves and (known.promised or rule.ADOPTED) > rule.ADOPTED:
            return Standing(sides.component, "guard-lost", f"THE GUARD OF {gone.side} IS LOST ({both})")
        what = f"open at {known.side}, and " if serves else ""
        return Standing(sides.component, "unprepared", f"{what}not taken over by prepare at {gone.side} ({both})")
    if first.status == second.status == rule.OPEN:
        return Standing(sides.component, "both", f"BOTH SIDES OPEN: {both}")
    for name, side, guard in (("source", source, first), ("target", target, second)):
        if guard.status == rule.OPEN:
            what = "frozen" if guard.frozen else "active"
            return Standing(
                sides.component, f"{name}-frozen" if guard.frozen else name, f"{what} at {side.site} ({both})"
            )
    if rule.UNKNOWN in (first.status, second.status):
        return Standing(sides.component, "unprepared", f"not taken over by prepare ({both})")
    leader = rule.leader(first, second)
    latest = next((side.site for side in (source, target) if side.host == leader), "neither side")
    moving = {first.status, second.status} & {rule.OPENING, rule.CLOSING}
    what = "interrupted" if moving else "HELD"
    return Standing(sides.component, "held", f"{what}: no side is open, latest data at {latest} ({both})")


def _is_back(sides: Sides, side: Side, other: Side) -> bool:
    if side.guard is None:
        return False
    if other.guard is None:
        return sides.given_up == side.host
    return lost.has_to_give_way(side.guard, other.guard)


def _by_word(guard: GuardState) -> bool:
    return guard.word is not None and guard.word.epoch == guard.opened and guard.word.about != guard.side


def _told(side: Side) -> str:
    return f"{side.host} {_status(side)}{', frozen' if side.guard and side.guard.frozen else ''}"


def _unread(side: Side) -> str:
    return f"{side.host} NOT READ: {side.error or 'no answer'}"


def _holds(side: Side) -> str:
    return f" (of what was written elsewhere: {side.holds})" if side.holds else ""


def _status(side: Side) -> str:
    guard = side.guard
    if guard is None:
        return "not read"
    epoch = guard.opened if guard.status == rule.OPEN else guard.promised
    return guard.status + (f" {epoch.number}" if epoch else "")
