"""Carry out a plan of updates: every server in turn, and then what it says now, read from it again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import BasculeError
from . import state as zone_state
from .planner import Change, DnsRefused, Survey, Zone, require_servers, survey, wrong_answers
from .records import ServerView

_BETWEEN = 2.0
_PROGRESS = 30.0


class Reader(Protocol):
    """Asks one server; an error becomes part of the view."""

    def __call__(self, host: str) -> ServerView: ...


class Writer(Protocol):
    """Sends one change; raises BasculeError when it was not carried out."""

    def __call__(self, change: Change) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What was done and what the servers say now."""

    found: Survey
    done: Sequence[Change]
    warnings: Sequence[str]


def look(zone: Zone, servers: Sequence[str], read: Reader) -> Survey:
    """Ask every server."""
    return survey(zone, [read(host) for host in servers])


def carry_out(
    zone: Zone,
    servers: Sequence[str],
    read: Reader,
    write: Writer,
    plan: Callable[[Survey], list[Change]],
    *,
    allow_unreachable: bool,
    check_mode: bool,
) -> Outcome:
    """Look, plan, update, look again.

    The servers are independent of each other, so there is no moment at which both change. An update that fails leaves
    the others as they are: the error says how each server stands, and the next run brings the late one up.
    """
    found = look(zone, servers, read)
    warnings = require_servers(found, allow_unreachable)
    changes = plan(found)
    if check_mode or not changes:
        return Outcome(found, changes, warnings)
    failures = []
    for change in changes:
        try:
            write(change)
        except BasculeError as error:
            failures.append(f"{change.host}: {error.message()}")
    after = look(zone, [view.host for view in found.answering], read)
    said = {view.host: view for view in after.views}
    for change in changes:
        view = said[change.host]
        if view.error:
            failures.append(f"{view.host}: {view.error}")
        elif view.state_text != change.state_after or set(view.rrsets.values()) != set(change.after):
            failures.append(f"{view.host} does not say what it was told")
    if failures:
        raise DnsRefused(
            expected="every server to carry out its update and to say so when asked again",
            found="; ".join(failures),
            state="; ".join(_standing(zone, view) for view in after.views),
            next_command="run the same playbook again: servers that are done stay as they are",
        )
    return Outcome(after, changes, warnings)


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
