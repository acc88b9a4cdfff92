"""The time within which a person has to commit after a switch, and what happens when it is over. Pure.

It begins with the first switch to the target since the last return, so that a cutover that is run again gives nobody
more of it. A check that has failed proposes the return at once. Nothing but a check that has failed, at the end of the
time, lets a plan make it: what nobody has looked at brings nobody back, and what would not be lossless is not made.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import chain
from .commits import CLOSING
from .controllers import Noted
from .gates import number_of
from .load_test import GATES
from .progress import OK

ASK, RETURN = "ask", "return"
ANSWERS = (ASK, RETURN)
NONE, RUNNING, OVER = "none", "running", "over"
COMMAND, BACK = "bascule commit", "bascule rollback"
# How the journal calls a task whose machine did not answer.
_UNREACHABLE = "unreachable"
# Clocks of two controllers differ a little.
_AHEAD = 60.0


@dataclass(frozen=True)
class Timer:
    """How the time stands.

    state: one of NONE, RUNNING, OVER. left: seconds, below zero when it is over; nothing where none runs. proposes: the
    return is proposed to a person. returns: the plan has it made now. line: for people; empty where none runs.
    """

    state: str = NONE
    left: float | None = None
    proposes: bool = False
    returns: bool = False
    line: str = ""


def problems(within: Any, on_overrun: Any) -> list[tuple[str, str]]:
    """Name what cannot be right in `plan_commit_within` and `plan_on_overrun`, by variable."""
    found = []
    if within is not None and not (number_of(within) or 0) > 0:
        found.append(("plan_commit_within", f"no number of minutes above zero: {within!r}"))
    if on_overrun is not None and on_overrun not in ANSWERS:
        found.append(("plan_on_overrun", f"none of {', '.join(ANSWERS)}: {on_overrun!r}"))
    if on_overrun is not None and within is None:
        found.append(("plan_on_overrun", "an answer to the end of a time that plan_commit_within does not set"))
    return found


def switched_at(entries: Iterable[Mapping[str, Any]]) -> float | None:
    """Return when the first component was switched to the target since the last return; None where none was."""
    found: float | None = None
    for entry in _real(entries):
        if entry["verb"] == "switch" and entry["phase"] == "cutover":
            if found is None and entry["kind"] == "end" and entry["data"].get("result") == OK:
                time = str(entry["time"]).replace("Z", "+00:00")
                found = datetime.datetime.fromisoformat(time).timestamp()
        elif entry["kind"] == "begin" and entry["verb"] in ("switch", "take_over"):
            # On the way back, or where one site is lost: who serves then was not switched to.
            found = None
    return found


def failing(entries: Iterable[Mapping[str, Any]], components: Collection[str]) -> list[str]:
    """Return the checks that have failed since these components were closed for their users last, in words.

    A verification that was not let begin, or did not reach a machine, has not looked: the one before it counts.
    """
    verified: dict[str, bool] = {}
    looking: dict[tuple[str, str, str], bool] = {}
    loaded: dict[str, str] = {}
    for entry in _real(entries):
        name, data, kind = str(entry["component"]), entry["data"], entry["kind"]
        if kind == "begin" and entry["verb"] in CLOSING:
            verified.pop(name, None)
            loaded.clear()
        elif entry["verb"] == "verify" and name in components and kind in ("begin", "step", "end"):
            whose = (*_whose(entry), name)
            if kind == "begin" or data.get("result") == _UNREACHABLE:
                looking[whose] = kind == "begin"
            elif kind == "end" and (looking.pop(whose, False) or data.get("result") == OK):
                verified[name] = data.get("result") == OK
        elif kind == "sample" and entry["phase"] == "verify" and data.get("name") in GATES:
            # What was not measured says nothing of who serves.
            wrong = not data.get("passes") and number_of(data.get("value")) is not None
            loaded[str(data["name"])] = str(data.get("reason")) if wrong else ""
    return [f"{name}: its last verification has failed" for name, well in verified.items() if not well] + [
        f"load test: {name}: {why}" for name, why in sorted(loaded.items()) if why
    ]


def busy(noted: Iterable[Noted], own: str) -> list[str]:
    """Return who is at work in the run beside the decision `own`, in words: whoever may be mending is not cut off."""
    return [
        f"{one.playbook} is at work, process {one.pid} of {one.user} on {one.host}"
        for one in noted
        if one.alive and not one.ended and one.decision != own
    ]


def decide(
    begun: float | None,
    within: Any,
    on_overrun: Any,
    *,
    committed: bool,
    failing: Sequence[str],
    against: Sequence[str],
    now: float,
) -> Timer:
    """Decide how the time stands.

    Args:
        begun: when it began, as `switched_at` returns it.
        within: the plan's minutes, `plan_commit_within`; nothing where it sets none.
        on_overrun: the plan's answer at its end, `plan_on_overrun`; nothing is `ask`.
        committed: whether a person has committed the switch that stands.
        failing: the checks that have failed.
        against: what keeps a return from being made, or from being without loss, by itself.
        now: the time, in seconds since the epoch.
    """
    minutes = number_of(within)
    if begun is None or within is None or committed:
        return Timer()
    if problems(within, on_overrun) or minutes is None:
        return Timer(
            RUNNING, None, bool(failing), False, f"the plan's time to commit is none: {within!r}, {on_overrun!r}"
        )
    if now < begun - _AHEAD:
        words = f"a clock is wrong, the switch lies {begun - now:.0f} s ahead; commit or return by hand"
        return Timer(RUNNING, None, bool(failing), False, words)
    left = begun + 60 * minutes - now
    until = f"{datetime.datetime.fromtimestamp(begun + 60 * minutes, datetime.timezone.utc):%H:%M}Z"
    time = f"{_words(left)} left to commit, until {until}" if left > 0 else f"the time to commit was over at {until}"
    state = RUNNING if left > 0 else OVER
    if not failing:
        rest = COMMAND if left > 0 else f"nothing has failed, a person decides: {COMMAND}, or {BACK}"
        return Timer(state, left, False, False, f"{time}: {rest}")
    why = "; ".join(failing)
    if against:
        held = f"{why}; a return is not made by itself ({'; '.join(against)}): a person decides, {BACK}"
        return Timer(state, left, True, False, f"{time}: {held}")
    if left <= 0 and on_overrun == RETURN:
        return Timer(state, left, True, True, f"{time}: {why}; the plan has the return made: bascule overrun")
    by_plan = ", which the plan has made at the end" if on_overrun == RETURN else ""
    return Timer(state, left, True, False, f"{time}: {why}; proposed: {BACK}, without loss{by_plan}")


def _words(seconds: float) -> str:
    minutes = int(seconds) // 60
    return (
        f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "under a minute"
    )


def _real(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the entries of what was not only tried, in their order."""
    known = chain.in_order(entries)
    tried = {_whose(entry) for entry in known if (entry["data"] or {}).get("check_mode")}
    return [entry for entry in known if _whose(entry) not in tried]


def _whose(entry: Mapping[str, Any]) -> tuple[str, str]:
    return str(entry.get("controller")), str(entry.get("epoch"))
