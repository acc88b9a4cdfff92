"""A window as a budget: when it ends by the forecast of its GO, corrected with every step. Pure.

A component costs what was forecast for it, less what its own verbs have taken by now; what has switched costs nothing
any more. Where an earlier window of the run has shown how its verbs share that time, each verb that ends gives back, or
takes, the difference to its share. Expected leaves what has taken too long as it is; pessimistic reckons as long again
as it is over. The window ends after the longest chain of what is left.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from . import chain, window
from .components import layers_of
from .gates import number_of
from .order import FREEZE, SWITCH, VERBS
from .progress import OK
from .verbs import POINTING

Entry = Mapping[str, Any]
# The verbs in which the time goes that a component keeps its users waiting for.
_WORK = VERBS[: VERBS.index(SWITCH) + 1]


@dataclass(frozen=True)
class Ends:
    """When a window ends, in seconds after its first freeze.

    waited: how long users have waited by now. expected, pessimistic: its end. least: whether somebody's figure is not
    known, so that both are lower bounds. latest_return: until when a return has to begin so that at worst it ends
    within what the plan allows; nothing where the plan allows any time. late: whether the pessimistic end lies behind
    that, and behind what was to be reckoned with at the GO.
    """

    waited: float
    expected: float
    pessimistic: float
    least: bool = False
    latest_return: Optional[float] = None
    late: bool = False


def longest(seconds: Mapping[str, float], depends_on: Mapping[str, Iterable[str]]) -> tuple[float, list[str]]:
    """Return the seconds of the longest chain of components that wait for one another, and its names in their order."""
    needed = {name: [other for other in depends_on.get(name, ()) if other in seconds] for name in seconds}
    # The longest chain that ends with a name: its seconds, and the name before.
    total: dict[str, float] = {}
    before: dict[str, Optional[str]] = {}
    layers, _ = layers_of(needed)
    # A declaration that goes round in a circle is refused long before; then each stands for itself.
    for name in sorted(seconds, key=lambda one: layers.get(one, 0)):
        last = max((other for other in needed[name] if layers), key=lambda one: (total[one], one), default=None)
        before[name] = last
        total[name] = (0.0 if last is None else total[last]) + seconds[name]
    end: Optional[str] = max(seconds, key=lambda one: (total[one], one), default=None)
    whole, names = (0.0 if end is None else total[end]), []
    while end is not None:
        names.append(end)
        end = before[end]
    return whole, names[::-1]


def shares(entries: Iterable[Entry]) -> dict[str, dict[str, float]]:
    """Return which share of a component's time each of its verbs took in its last window of the run.

    Args:
        entries: the journal of the run, with all of its decisions.
    """
    found: dict[str, dict[str, float]] = {}
    chains = chain.chains([dict(one) for one in entries]).values()
    for one in sorted(chains, key=lambda known: str(known[0]["time"])):
        spans = window.spans(one).spans
        for name in dict.fromkeys(name for name, _ in spans):
            taken = {verb: spans[name, verb].end - spans[name, verb].begin for verb in _WORK if (name, verb) in spans}
            whole = sum(taken.values())
            if len(taken) == len(_WORK) and whole > 0:
                found[name] = {verb: round(seconds / whole, 4) for verb, seconds in taken.items()}
    return found


def read(forecast: Mapping[str, Any], entries: Iterable[Entry], now: float) -> Optional[Ends]:
    """Return when a window ends; nothing where its GO has kept no forecast.

    Args:
        forecast: what the GO has kept of it: `parts` and `worst`, seconds by component; `depends_on`; `shares`, as the
            function of that name returns them; `pessimistic`, the seconds of all; `latest_return`.
        entries: those of the decision, in their order.
        now: seconds since the epoch, as the journal's times are read.
    """
    parts, worst = forecast.get("parts") or {}, forecast.get("worst") or {}
    if not parts:
        return None
    begun: dict[str, dict[str, float]] = {}
    spent: dict[str, dict[str, float]] = {}
    done: dict[str, set[str]] = {}
    first: Optional[float] = None
    for one in entries:
        name, verb = str(one["component"]), str(one["verb"])
        if verb not in _WORK or one["data"].get("role") in POINTING:
            continue
        at = time_of(one)
        if one["kind"] == "begin":
            first = at if first is None and verb == FREEZE else first
            begun.setdefault(name, {})[verb] = at
        elif one["kind"] == "end" and (since := begun.get(name, {}).pop(verb, None)) is not None:
            spent.setdefault(name, {})[verb] = max(0.0, at - since)
            if one["data"].get("result") == OK:
                done.setdefault(name, set()).add(verb)
    for name, running in begun.items():
        for verb, since in running.items():
            spent.setdefault(name, {})[verb] = max(0.0, now - since)
    waited = 0.0 if first is None else max(0.0, now - first)
    left: dict[str, float] = {}
    most: dict[str, float] = {}
    for name in map(str, parts):
        about = spent.get(name, {}), done.get(name, set()), (forecast.get("shares") or {}).get(name)
        expected = number_of(parts[name]) or 0.0
        left[name] = _left(expected, *about)[0]
        most[name] = sum(_left(max(expected, number_of(worst.get(name)) or 0.0), *about))
    depends_on = forecast.get("depends_on") or {}
    pessimistic = waited + longest(most, depends_on)[0]
    latest = number_of(forecast.get("latest_return"))
    accepted = max(number_of(forecast.get("pessimistic")) or 0.0, number_of(forecast.get("seconds")) or 0.0)
    return Ends(
        waited,
        waited + longest(left, depends_on)[0],
        pessimistic,
        any(number_of(part) is None for part in parts.values()),
        latest,
        latest is not None and pessimistic > max(latest, accepted),
    )


def _left(
    seconds: float, spent: Mapping[str, float], done: Iterable[str], share: Optional[Mapping[str, float]]
) -> tuple[float, float]:
    """Return what is left of a component's seconds, and by how much what is at work is over."""
    through = set(done)
    if SWITCH in through:
        return 0.0, 0.0
    if not share:
        rest = seconds - sum(spent.values())
        return max(0.0, rest), max(0.0, -rest)
    rests = [seconds * share.get(verb, 0.0) - spent.get(verb, 0.0) for verb in _WORK if verb not in through]
    return sum(max(0.0, rest) for rest in rests), sum(max(0.0, -rest) for rest in rests)


def time_of(entry: Entry) -> float:
    """Return the time of an entry, in seconds since the epoch."""
    return datetime.datetime.fromisoformat(str(entry["time"])).timestamp()
