"""A window from two sides, and the way back from it: what is expected, and what is to be reckoned with. Pure.

Expected is what the last audit and the last samples say; pessimistic is the worst that any audit and any sample of the
run has said. The way back is the way there with the sides swapped, so it takes what that takes unless it was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional

from ..run.gates import number_of
from ..run.window import EVENT as WINDOW
from ..system.work import SECONDS
from . import forecast
from .forecast import Forecast, Known, Part

# For each gate that a forecast rests on, whether less of it is worse.
_LESS_IS_WORSE: Mapping[str, bool] = {"link_rate": True, "file_delta": False, "dump_window": False}


@dataclass(frozen=True)
class Outlook:
    """A window and the way back from it, in seconds.

    expected, pessimistic: the window there. back, back_pessimistic: the way back. measured: whether one of this run was
    measured. unknown: the components of which nobody has a figure; with one of them all are lower bounds.
    """

    expected: Forecast
    pessimistic: Forecast
    back: float
    back_pessimistic: float
    measured: bool

    @property
    def unknown(self) -> list[str]:
        """Return the components of which nobody has a figure."""
        return self.expected.unknown


def outlook(components: Mapping[str, Known], entries: Iterable[Mapping[str, Any]]) -> Outlook:
    """Return what a window of these components is expected to take.

    Args:
        components: what is known of each, by the last audit and the last samples.
        entries: the journal of the run.
    """
    known = sorted(entries, key=lambda entry: str(entry["time"]))
    windows = [entry["data"] for entry in known if entry["kind"] == "state" and entry["data"].get("event") == WINDOW]
    own: dict[str, list[Mapping[str, Any]]] = {}
    for entry in known:
        own.setdefault(str(entry["component"]), []).append(entry)
    there = {name: _expected(name, one, windows) for name, one in components.items()}
    worst = {name: _worst(one, there[name], own.get(name, [])) for name, one in components.items()}
    depends_on = {name: one.depends_on for name, one in components.items()}
    expected, pessimistic = forecast.chained(there, depends_on), forecast.chained(worst, depends_on)
    backs = [float(one["window_seconds"]) for one in windows if one.get("phase") == "rollback"]
    return Outlook(
        expected,
        pessimistic,
        backs[-1] if backs else expected.seconds,
        max([pessimistic.seconds, *backs]),
        bool(backs),
    )


def fits(found: Outlook, limit: Any) -> bool:
    """Say whether the expected outage is within the plan's limit, in seconds; without a limit it is."""
    return not forecast.too_long(found.expected, limit)


def lines(found: Outlook, limit: Any) -> list[str]:
    """Return the outlook as a person reads it; `limit` is the plan's, in seconds, or nothing."""
    width = max([12, *(len(name) for name in found.expected.parts)])
    said = [f"{'forecast':<{width}}  expected  pessimistic"]
    for name, part in found.expected.parts.items():
        said.append(f"{name:<{width}}  {_said(part):>8}  {_said(found.pessimistic.parts[name]):>11}  {part.why}")
    least = " at least" if found.unknown else ""
    row = "{:<" + str(width) + "}  {:>8}  {:>11}  {}"
    chain = ", ".join(found.pessimistic.chain)
    there = f"critical path: {chain}" if chain else ""
    back = "as measured last in this run" if found.measured else "assumed like the way there: none was measured yet"
    said.append(row.format("there", _s(found.expected.seconds), _s(found.pessimistic.seconds), there + least).rstrip())
    said.append(row.format("back", _s(found.back), _s(found.back_pessimistic), back + least))
    allowed = number_of(limit)
    if allowed is None:
        return [*said, "the plan allows the outage any time: plan_limits.write_outage_seconds says none"]
    if found.unknown and fits(found, limit):
        names = ", ".join(found.unknown)
        return [*said, f"fits as far as it is known, with no figure of {names}: the plan allows {_s(allowed)}"]
    if not fits(found, limit):
        said.append(f"DOES NOT FIT: the plan allows {_s(allowed)}")
    elif found.pessimistic.seconds > allowed:
        said.append(f"fits as expected, and NOT at worst: the plan allows {_s(allowed)}")
    else:
        said.append(f"fits: the plan allows {_s(allowed)}")
    return [*said, _return(found, allowed)]


def at_worst(found: Outlook, limit: Any) -> str:
    """Return in one line what is to be reckoned with, and until when a return has to begin."""
    allowed = number_of(limit)
    back = "" if allowed is None or found.unknown else f"; {_return(found, allowed)}"
    return f"at worst: {found.pessimistic.figure}{back}"


def _return(found: Outlook, allowed: float) -> str:
    latest = allowed - found.back_pessimistic
    if latest < found.pessimistic.seconds:
        return "there and back DO NOT FIT into that at worst: a return would end after it"
    return f"to be back within that at worst, a return begins no later than {_s(latest)} after the freeze"


def _expected(name: str, known: Known, windows: list[Mapping[str, Any]]) -> Part:
    """Return what a component is expected to add: a database by replication what it has taken last, if it has."""
    part = forecast.part(known)
    if known.role != "postgresql_replication" or known.variables.get(forecast.METHOD) == "dump_restore":
        return part
    taken = [one["components"][name].get(SECONDS) for one in windows if name in (one.get("components") or {})]
    last = number_of(taken[-1]) if taken else None
    return part if last is None else Part(last, "as measured last in this run; the budget of its switch bounds it")


def _worst(known: Known, expected: Part, mine: list[Mapping[str, Any]]) -> Part:
    """Return the most that a component may add, by all of its audits and samples of the run."""
    samples = dict(known.samples)
    for entry in mine:
        gate = str(entry["data"].get("name"))
        value = number_of(entry["data"].get("value")) if entry["kind"] == "sample" else None
        before = number_of(samples.get(gate))
        if value is not None and gate in _LESS_IS_WORSE and before is not None:
            samples[gate] = (min if _LESS_IS_WORSE[gate] else max)(value, before)
    audits = [
        entry["data"]["found"]
        for entry in mine
        if entry["kind"] == "state" and entry["data"].get("event") == forecast.AUDIT
    ]
    found = [forecast.part(replace(known, samples=samples, found=one)) for one in [known.found, *audits]]
    if known.role == "web_entrance" and expected.seconds is not None:
        drain = number_of(known.variables.get(forecast.DRAIN)) or 0.0
        found.append(Part(drain, expected.why))
    figures = [one for one in [expected, *found] if one.seconds is not None]
    return max(figures, key=lambda one: one.seconds or 0.0) if expected.seconds is not None else expected


def _said(part: Part) -> str:
    return "not known" if part.seconds is None else _s(part.seconds)


def _s(seconds: Optional[float]) -> str:
    return f"{seconds:.0f} s"
