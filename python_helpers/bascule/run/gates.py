"""A gate: a measured sample against a limit of the plan. Whatever is not clearly GO is NO-GO."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

MAX_AGE = 300.0
# Clocks of machines differ a little; a sample from further ahead is a wrong clock or a wrong sample.
_AHEAD = 60.0
# What is measured in these is never below zero: a sample that is was measured wrong, and would pass any upper limit.
_NEVER_NEGATIVE = frozenset({"s", "B", "Mbit/s", "%"})
# Gates that have a limit also where the plan declares none.
WAY_BACK = "way_back"
OWN: Mapping[str, Mapping[str, Any]] = {WAY_BACK: {"equals": "yes"}}
_KEYS = frozenset({"min", "max", "equals", "unit", "max_age"})


@dataclass(frozen=True)
class Verdict:
    """What a gate decided, and why."""

    name: str
    go: bool
    reason: str
    value: Any
    unit: str
    limit: Mapping[str, Any] | None
    override: str = ""
    # When the sample was taken, in seconds since the epoch; nothing where that is not known.
    sampled_at: float | None = None

    @property
    def passes(self) -> bool:
        """Whether the run may go on."""
        return self.go or bool(self.override)

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return {**asdict(self), "passes": self.passes}


def decide(
    name: str,
    value: Any,
    unit: str,
    sampled_at: Any,
    gates: Any,
    overrides: Any,
    now: float,
) -> Verdict:
    """Put a sample to the gate of that name.

    Args:
        value: the sample; texts that are numbers count as numbers.
        unit: its unit, which must be the unit of the limit.
        sampled_at: when it was taken, in seconds since the epoch.
        gates: the plan's limits by name.
        overrides: reasons by name, for gates that a person lets pass.
        now: the controller's clock.
    """
    limit = gates.get(name) if isinstance(gates, Mapping) else None
    problem = _problem(name, value, unit, sampled_at, limit, now)
    reason = overrides.get(name) if isinstance(overrides, Mapping) else None
    override = reason.strip() if problem and isinstance(reason, str) else ""
    shown = dict(limit) if isinstance(limit, Mapping) else None
    return Verdict(
        name,
        not problem,
        problem or _words(value, unit, shown or {}),
        value,
        unit,
        shown,
        override,
        number_of(sampled_at),
    )


def problems(gates: Any, known: Mapping[str, Collection[str]]) -> list[str]:
    """Name what cannot be right in the plan's limits, whatever a sample says.

    `known` are the gates to which the roles of the plan put samples, with the units that each comes in (none: any).
    """
    if not isinstance(gates, Mapping):
        return [f"plan_gates is no table of limits by name: {gates!r}"] if gates else []
    found = []
    for name, limit in gates.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            found.append(
                f"{name}: no role of this plan puts a sample to it" + (f"; is {near[0]} meant?" if near else "")
            )
            continue
        found += [f"{name}: {why}" for why in _limit_problems(limit, known[name])]
    return found


def unsampled(gates: Any, entries: Iterable[Mapping[str, Any]], phase: str) -> list[str]:
    """Return the gates of the plan to which nobody has put a sample in this phase; `entries` are this decision's."""
    taken = {
        str((entry.get("data") or {}).get("name"))
        for entry in entries
        if entry["kind"] == "sample" and entry.get("phase") == phase
    }
    return sorted(str(name) for name in gates if str(name) not in taken) if isinstance(gates, Mapping) else []


def _limit_problems(limit: Any, units: Collection[str]) -> list[str]:
    if not isinstance(limit, Mapping) or not any(key in limit for key in ("min", "max", "equals")):
        return [f"it has no min, no max and no equals: {limit!r}"]
    found = []
    if unknown := sorted(str(key) for key in limit if key not in _KEYS):
        found.append(f"keys that mean nothing: {', '.join(unknown)}")
    unit = str(limit.get("unit", ""))
    if units and unit not in units:
        found.append(f"it is in {unit or 'no unit'}, the samples in {' or '.join(one or 'no unit' for one in units)}")
    bounds = {key: number_of(limit[key]) for key in ("min", "max", "max_age") if key in limit}
    found += [f"{key} is no number: {limit[key]!r}" for key, bound in bounds.items() if bound is None]
    low, high, oldest = bounds.get("min"), bounds.get("max"), bounds.get("max_age")
    if low is not None and high is not None and low > high:
        found.append(f"min {low:g} is above max {high:g}")
    if high is not None and high < 0 and unit in _NEVER_NEGATIVE:
        found.append(f"max {high:g} {unit} is below zero, which nothing can be")
    if oldest is not None and oldest <= 0:
        found.append(f"max_age {oldest:g} s is no time")
    if "equals" in limit and bounds.keys() & {"min", "max"} and _value_problem(limit["equals"], limit):
        found.append(f"equals {limit['equals']} is outside of min and max")
    return found


def _problem(name: str, value: Any, unit: str, sampled_at: Any, limit: Any, now: float) -> str:
    if not isinstance(limit, Mapping) or not any(key in limit for key in ("min", "max", "equals")):
        return f"the plan declares no limit for {name}"
    unknown = sorted(str(key) for key in limit if key not in _KEYS)
    if unknown:
        return f"the plan's limit has keys that mean nothing: {', '.join(unknown)}"
    if value is None or (isinstance(value, str) and not value.strip()):
        return "there is no sample"
    wanted_unit = str(limit.get("unit", ""))
    if unit != wanted_unit:
        return f"the sample is in {unit or 'no unit'}, the limit in {wanted_unit or 'no unit'}"
    number = number_of(value)
    if unit in _NEVER_NEGATIVE and number is not None and number < 0:
        return f"{number:g} {unit} is below zero, which nothing can be: it was measured wrong"
    return _age_problem(sampled_at, limit, now) or _value_problem(value, limit)


def _age_problem(sampled_at: Any, limit: Mapping[str, Any], now: float) -> str:
    taken, oldest = number_of(sampled_at), number_of(limit.get("max_age", MAX_AGE))
    if taken is None:
        return f"when the sample was taken is not known: {sampled_at!r}"
    if oldest is None or oldest <= 0:
        return f"the plan's max_age is no time: {limit.get('max_age')!r}"
    if now - taken > oldest:
        return f"the sample is {now - taken:.0f} s old, {oldest:.0f} s are allowed"
    if taken - now > _AHEAD:
        return f"the sample is from {taken - now:.0f} s in the future: a clock is wrong"
    return ""


def _value_problem(value: Any, limit: Mapping[str, Any]) -> str:
    if "equals" in limit and not _same(value, limit["equals"]):
        return f"{value} is not {limit['equals']}"
    if "min" not in limit and "max" not in limit:
        return ""
    number = number_of(value)
    if number is None:
        return f"{value!r} is no number"
    for key in ("min", "max"):
        if key not in limit:
            continue
        bound = number_of(limit[key])
        if bound is None:
            return f"the plan's {key} is no number: {limit[key]!r}"
        if key == "min" and number < bound:
            return f"{number:g} is below {bound:g}"
        if key == "max" and number > bound:
            return f"{number:g} is above {bound:g}"
    return ""


def number_of(value: Any) -> float | None:
    """Return a value that was measured or declared as a number; None where it is none, or has no end."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(value, bool):
        # A template hands over "True" for true; nothing else counts as true.
        return str(value).strip().lower() == str(wanted).strip().lower()
    if (number := number_of(wanted)) is not None:
        return number_of(value) == number
    return str(value) == str(wanted)


def _words(value: Any, unit: str, limit: Mapping[str, Any]) -> str:
    bounds = [f"{key} {limit[key]}" for key in ("min", "max", "equals") if key in limit]
    return f"{value} {unit} ({', '.join(bounds)})".replace("  ", " ")
