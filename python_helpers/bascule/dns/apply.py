"""Carry out a plan of updates: every server of every zone in turn, and then what it says, read from it again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..errors import BasculeError
from . import state as zone_state
from .planner import Change, DnsRefused, Survey, Zone, require_servers, survey, together, wrong_answers
from .records import ServerView

_BETWEEN = 2.0
# BIND with `inline-signing` answers an update before the zone that it serves holds it: seconds until it has to say so.
_SIGNED = 20.0
_SOON = 0.05
_PROGRESS = 30.0
_T = TypeVar("_T")


class Reader(Protocol):
    """Asks one server; an error becomes part of the view."""

    def __call__(self, host: str) -> ServerView: ...


class Writer(Protocol):
    """Sends one change; raises BasculeError when it was not carried out."""

    def __call__(self, change: Change) -> None: ...


@dataclass(frozen=True)
class Part:
    """One zone of a component: the servers that are updated, and the way to them.

    refuse: says no before anything is planned for this zone.
    """

    zone: Zone
    servers: Sequence[str]
    read: Reader
    write: Writer
    refuse: Callable[[Survey], None] = lambda found: None


@dataclass(frozen=True)
class Outcome:
    """What was done and what the servers of each zone say now, in the order of the zones."""

    found: Sequence[Survey]
    done: Sequence[Change]
    warnings: Sequence[str]


def look(zone: Zone, servers: Sequence[str], read: Reader) -> Survey:
    """Ask every server of one zone."""
    return survey(zone, [read(host) for host in servers])


def look_at_all(parts: Sequence[Part]) -> list[Survey]:
    """Ask every server of every zone."""
    return together([look(part.zone, part.servers, part.read) for part in parts])


def carry_out(
    parts: Sequence[Part],
    plan: Callable[[Zone, Survey], list[Change]],
    *,
    allow_unreachable: bool,
    check_mode: bool,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Look, plan, update, look again until every server says what it was told.

    The servers are independent of each other, and so are the zones: there is no moment at which all change. Forward,
    nothing is updated while any zone is refused. An update that fails leaves the others as they are: the error says how
    each server stands, and the next run brings the late one up. With `allow_unreachable` a zone that is silent or
    refused holds up no other: those are brought to where they belong first, and then it is an error.
    """
    found = look_at_all(parts)
    seen = {part.zone.name: one for part, one in zip(parts, found)}
    warnings: list[str] = []

    def admit(part: Part) -> None:
        one = seen[part.zone.name]
        told = require_servers(one, allow_unreachable)
        part.refuse(one)
        warnings.extend(told)

    # To ask providers may take long, and a plan may hold the time of now.
    admitted, barred = _each(parts, admit)
    decided, refused = _each([part for part, _ in admitted], lambda part: plan(part.zone, seen[part.zone.name]))
    refused = [*barred, *refused]
    if refused and (not allow_unreachable or not decided):
        _refuse(parts, refused)
    plans = [(part, change) for part, made in decided for change in made]
    held = [part.zone.name for part, _ in refused]
    failures = [f"{part.zone.name}: {_held(seen[part.zone.name], error)}" for part, error in refused]
    changes = [change for _, change in plans]
    if check_mode:
        return Outcome(found, changes, [*warnings, *failures])
    several = len(parts) > 1
    for part, change in plans:
        try:
            part.write(change)
        except BasculeError as error:
            failures.append(f"{_named(part, several)}{change.host}: {error.message()}")
    if not changes and not failures:
        return Outcome(found, changes, warnings)
    deadline = clock() + (0 if failures else _SIGNED)
    while True:
        after = [
            one if part.zone.name in held else look(part.zone, [view.host for view in one.answering], part.read)
            for part, one in zip(parts, found)
        ]
        said = {(part.zone.name, view.host): view for part, one in zip(parts, after) for view in one.views}
        views = [(part, change, said[change.zone, change.host]) for part, change in plans]
        unsaid = [(part, view) for part, change, view in views if not view.error and not _says(view, change)]
        if not unsaid or clock() >= deadline:
            break
        sleep(_SOON)
    failures += [f"{_named(part, several)}{view.host}: {view.error}" for part, _, view in views if view.error]
    failures += [f"{_named(part, several)}{view.host} does not say what it was told" for part, view in unsaid]
    if failures:
        standing = [(part, view) for part, one in zip(parts, after) for view in one.views]
        raise DnsRefused(
            expected="every server to carry out its update and to say so when asked again",
            found="; ".join(failures),
            state="; ".join(f"{_named(part, several)}{_standing(part.zone, view)}" for part, view in standing),
            next_command="run the same playbook again: servers that are done stay as they are",
        )
    return Outcome(together(after), changes, warnings)


def _says(view: ServerView, change: Change) -> bool:
    return view.state_text == change.state_after and set(view.rrsets.values()) == set(change.after)


def _named(part: Part, several: bool) -> str:
    return f"{part.zone.name}: " if several else ""


def _held(found: Survey, error: BasculeError) -> str:
    if found.answering:
        return f"it is refused and stays as it is: {error.message()}"
    if found.unreadable:
        return f"no server of this zone has a state that can be read, and it stays as it is: {error.message()}"
    return "no server of this zone answers, and it stays as it is"


def _each(
    parts: Sequence[Part], do: Callable[[Part], _T]
) -> tuple[list[tuple[Part, _T]], list[tuple[Part, BasculeError]]]:
    """Do it for every zone; return what came of it, and what was refused."""
    done, errors = [], []
    for part in parts:
        try:
            done.append((part, do(part)))
        except BasculeError as error:
            errors.append((part, error))
    return done, errors


def _refuse(parts: Sequence[Part], errors: Sequence[tuple[Part, BasculeError]]) -> None:
    """Raise what was refused; for several zones it is one error with all of it."""
    if len(parts) == 1:
        raise errors[0][1]
    raise DnsRefused(
        expected="; ".join(dict.fromkeys(error.expected for _, error in errors)),
        found="; ".join(f"{part.zone.name}: {error.found}" for part, error in errors),
        state="; ".join(dict.fromkeys(error.state for _, error in errors)),
        next_command=errors[0][1].next_command,
    )


def await_answer(
    zone: Zone,
    ask: Callable[[], Sequence[ServerView]],
    side: str,
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Wait until all resolvers give the answers of `side`; return what is still wrong when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        wrong = [text for view in ask() for text in wrong_answers(zone, view, side)]
        if not wrong or time.monotonic() >= deadline:
            return wrong
        sleep(0.5)


def await_change(
    change: Change,
    read: Reader,
    say: Callable[[str], None],
    seconds: float,
    late: Callable[[Sequence[str]], BasculeError],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until a server says what it has to; every half minute say what is still missing.

    Raises:
        what `late` makes of that: `seconds` are over.
    """
    begun = told = clock()
    while True:
        wrong = missing(change, read(change.host))
        if not wrong:
            say(f"{change.host} says so.")
            return
        now = clock()
        if now - begun >= seconds:
            raise late(wrong)
        if now - told >= _PROGRESS:
            told = now
            say(f"Waiting since {now - begun:.0f} of {seconds:g} s: {'; '.join(wrong)}")
        sleep(_BETWEEN)


def missing(change: Change, view: ServerView) -> list[str]:
    """Name what a server does not say yet of a change."""
    if view.error:
        return [f"{view.host}: {view.error}"]
    held = set(view.rrsets.values())
    found = [
        f"{view.host}: {rrset.name}/{rrset.type} is not {rrset.shown()}" for rrset in change.after if rrset not in held
    ]
    if view.state_text != change.state_after:
        found.append(f"{view.host}: the TXT record _bascule is not what it has to be")
    return found


def _standing(zone: Zone, view: ServerView) -> str:
    if view.error:
        return f"{view.host}: {view.error}"
    if view.state_text is None:
        return f"{view.host}: no state"
    state = zone_state.from_text(view.state_text, zone.component, zone.sides)
    return f"{view.host} points to {state.active()} under epoch {state.rank()}" + (
        f"; {state.pending} has begun there and was not seen to end" if state.pending else ""
    )
