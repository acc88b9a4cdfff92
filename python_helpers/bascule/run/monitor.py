"""What is watched from the evening until the commit: series, their limits, a verdict for each, trends, full days. Pure.

A series of which nothing was heard is an alarm like one that is over its limit: silence is never taken for health.
"""

from __future__ import annotations

import datetime
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from . import chain
from .gates import decide, number_of
from .people import ROLES

EVENT, ERRORS = "monitor", "journal_errors"
WITHIN, OVER, ABSENT, STALE, UNREADABLE = VERDICTS = ("within", "over", "absent", "stale", "unreadable")
# A series with one of these was measured.
_HEARD = frozenset({WITHIN, OVER})
DAY_SECONDS = 86400.0
# Seconds that the last samples may be old at a commit: the timer of the runbook takes them every six hours.
MAX_AGE = 28800.0
# Clocks of machines differ a little.
_AHEAD = 60.0
_KEYS = frozenset({"day_seconds", "max_age_seconds", "limits", "calls", "units"})
_LIMIT_KEYS = frozenset({"min", "max", "equals"})


@dataclass(frozen=True)
class Kind:
    """A kind of series: its unit, the limit where the plan has none, who is called, whether it may be below zero."""

    unit: str
    limit: Mapping[str, Any]
    call: str
    signed: bool = False


KINDS: Mapping[str, Kind] = {
    "serves": Kind("", {"equals": "yes"}, "system"),
    "replication": Kind("", {"equals": "yes"}, "dba"),
    "replication_lag": Kind("s", {"max": 60}, "dba"),
    "requests_failed": Kind("", {"max": 0}, "network"),
    "latency": Kind("s", {"max": 2}, "network"),
    # One that has ended is below zero.
    "certificate_days": Kind("d", {"min": 14}, "network", signed=True),
    "disk_used": Kind("%", {"max": 85}, "system"),
    # Of the last five minutes, for each processor.
    "load": Kind("", {"max": 2}, "system"),
    # Lines of priority error or worse since the sample before.
    "journal_errors": Kind("", {"max": 10}, "system"),
}
# What a component has once, by its role, and what each of its machines has.
_ONCE: Mapping[str, tuple[str, ...]] = {
    "postgresql_replication": ("serves", "replication", "replication_lag"),
    "mysql_replication": ("serves", "replication"),
    "rsync_delta_sync": ("replication",),
    "dns_switchover": ("serves",),
    "web_entrance": ("requests_failed", "latency"),
}
_CARRYING = frozenset({"replication", "replication_lag"})
# The units whose errors count as those of a component, by its role; of other roles the plan says which.
UNITS: Mapping[str, tuple[str, ...]] = {
    "postgresql_replication": ("postgresql*", "pgbouncer*", "bascule*"),
    "mysql_replication": ("mariadb*", "mysql*", "bascule*"),
    "web_entrance": ("haproxy*", "nginx*", "keepalived*"),
    "dns_switchover": ("named*", "bind9*", "pdns*", "knot*"),
    "vpn_switchover": ("wg-quick@*",),
    "firewall": ("nftables*", "bascule*"),
    "proxmox_guest": ("pve*", "bascule*"),
}


@dataclass(frozen=True)
class Series:
    """One thing that is watched: of a component, and of one of its machines where each has its own."""

    component: str
    name: str
    where: str = ""

    @property
    def key(self) -> str:
        """How an override and a page name it."""
        return f"{self.component}.{self.name}" + (f"@{self.where}" if self.where else "")


@dataclass(frozen=True)
class Sample:
    """What was measured. at: seconds since the epoch, by the controller. why: why there is no value.

    machine: which machine has answered, as it names itself; empty where none was asked.
    """

    series: Series
    value: Any
    unit: str
    at: Any
    why: str = ""
    machine: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Sample:
        """Read what `to_dict` has returned.

        Raises:
            KeyError, TypeError: it is something else.
        """
        return cls(**{**data, "series": Series(**data["series"])})


@dataclass(frozen=True)
class Judged:
    """A series with its verdict, and why."""

    series: Series
    verdict: str
    reason: str
    value: Any
    unit: str
    limit: Mapping[str, Any]
    # The role of whom it calls.
    call: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return {**asdict(self), "key": self.series.key}


@dataclass(frozen=True)
class Watched:
    """A component as it is watched.

    carries: whether what is written comes to the other side between moves. tls: whether its entrances have
    certificates. units: the systemd units whose errors are its own.
    """

    name: str
    role: str
    sides: tuple[str, str]
    carries: bool = True
    tls: bool = True
    units: Sequence[str] = ()

    def expected(self) -> list[Series]:
        """Return the series that have to be heard of."""
        once = [name for name in _ONCE.get(self.role, ()) if self.carries or name not in _CARRYING]
        each = ["disk_used", "load", *(["journal_errors"] if self.units else [])]
        each += ["certificate_days"] if self.role == "web_entrance" and self.tls else []
        return [Series(self.name, name) for name in once] + [
            Series(self.name, name, side) for side in self.sides for name in each
        ]


@dataclass(frozen=True)
class Wanted:
    """What the plan asks of monitoring: `plan_monitor`, with what it leaves out."""

    day_seconds: float = DAY_SECONDS
    max_age: float = MAX_AGE
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    calls: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def limit(self, name: str) -> Mapping[str, Any]:
        """Return the limit of a series."""
        return self.limits.get(name) or KINDS[name].limit

    def call(self, name: str) -> str:
        """Return the role that a series calls."""
        return self.calls.get(name) or KINDS[name].call


def problems(declared: Any) -> list[str]:
    """Name what cannot be right in the plan's `plan_monitor`; nothing where none is declared."""
    if declared is None:
        return []
    if not isinstance(declared, Mapping):
        return [f"it is no table: {declared!r}"]
    found = [f"{key}: a key that means nothing" for key in declared if key not in _KEYS]
    for key in ("day_seconds", "max_age_seconds"):
        number = number_of(declared.get(key, 1))
        if number is None or number <= 0:
            found.append(f"{key}: no number above zero: {declared[key]!r}")
    for key in ("limits", "calls", "units"):
        table = declared.get(key) or {}
        if not isinstance(table, Mapping):
            found.append(f"{key}: no table: {table!r}")
            continue
        if key != "units":
            found += [
                f"{key}.{name}: no series; there are {', '.join(KINDS)}" for name in table if str(name) not in KINDS
            ]
        for name, value in table.items():
            if key == "limits" and (why := _limit_problem(value)):
                found.append(f"limits.{name}: {why}")
            elif key == "calls" and value not in ROLES:
                found.append(f"calls.{name}: no role out of {', '.join(ROLES)}: {value!r}")
            elif key == "units" and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
                found.append(f"units.{name}: no list of units: {value!r}")
    return found


def wanted(declared: Any) -> Wanted:
    """Return what a `plan_monitor` without problems asks for."""
    table = declared or {}
    return Wanted(
        number_of(table.get("day_seconds")) or DAY_SECONDS,
        number_of(table.get("max_age_seconds")) or MAX_AGE,
        table.get("limits") or {},
        table.get("calls") or {},
        table.get("units") or {},
    )


def judge(series: Series, sample: Optional[Sample], want: Wanted, now: float, machine: str = "") -> Judged:
    """Return the verdict of a series.

    Args:
        series: what had to be heard of.
        sample: what was; None where nothing came.
        want: what the plan asks for.
        now: the time, in seconds since the epoch.
        machine: which machine has answered for it before; empty where none has.
    """
    limit = want.limit(series.name)
    verdict, reason = _verdict(series, sample, limit, want.max_age, now, machine)
    value = sample.value if sample else None
    return Judged(series, verdict, reason, value, KINDS[series.name].unit, limit, want.call(series.name))


def _verdict(
    series: Series, sample: Optional[Sample], limit: Mapping[str, Any], max_age: float, now: float, machine: str
) -> tuple[str, str]:
    kind = KINDS[series.name]
    if sample is None:
        return ABSENT, "there is no sample"
    if sample.series != series:
        return UNREADABLE, f"the sample is of {sample.series.key}"
    if sample.why:
        return UNREADABLE, sample.why
    if machine and sample.machine and sample.machine != machine:
        return UNREADABLE, f"another machine answers: {sample.machine}, before it was {machine}"
    if sample.value is None or (isinstance(sample.value, str) and not sample.value.strip()):
        return ABSENT, "the sample is empty"
    if sample.unit != kind.unit:
        return UNREADABLE, f"the sample is in {sample.unit or 'no unit'}, the limit in {kind.unit or 'no unit'}"
    number, taken = number_of(sample.value), number_of(sample.at)
    if "equals" not in limit and number is None:
        return UNREADABLE, f"{sample.value!r} is no number"
    if number is not None and number < 0 and not kind.signed:
        return UNREADABLE, f"{number:g} is below zero, which nothing can be: it was measured wrong"
    if taken is None:
        return UNREADABLE, f"when the sample was taken is not known: {sample.at!r}"
    if taken - now > _AHEAD:
        return UNREADABLE, f"the sample is from {taken - now:.0f} s in the future: a clock is wrong"
    if now - taken > max_age:
        return STALE, f"the sample is {now - taken:.0f} s old, {max_age:.0f} s are allowed"
    gates = {series.name: {**limit, "unit": kind.unit, "max_age": max_age}}
    said = decide(series.name, sample.value, kind.unit, taken, gates, None, now)
    return (WITHIN if said.go else OVER), said.reason


def day_of(at: float, day_seconds: float) -> str:
    """Return the name of the day that a moment lies in: its date (UTC), with the time where days are shortened."""
    begun = datetime.datetime.fromtimestamp(math.floor(at / day_seconds) * day_seconds, datetime.timezone.utc)
    return begun.strftime("%Y-%m-%d" if day_seconds == DAY_SECONDS else "%Y-%m-%dT%H%M%S")


def worst(samples: Iterable[Sample], series: Series, limit: Mapping[str, Any]) -> Any:
    """Return the worst value of a series among samples: the largest, the smallest where that is what is limited.

    Where a certain value is asked for, any other one. None where there is none that can be read.
    """
    values = [one.value for one in samples if one.series == series and not one.why]
    if "equals" in limit:
        return next((one for one in values if one is not None and str(one) != str(limit["equals"])), None) or (
            values[-1] if values else None
        )
    numbers = [number for number in map(number_of, values) if number is not None]
    return (min(numbers) if "max" not in limit else max(numbers)) if numbers else None


def middle(samples: Iterable[Sample], series: Series) -> Optional[float]:
    """Return the median of a series among samples; None where none is a number."""
    values = (number_of(one.value) for one in samples if one.series == series and not one.why)
    numbers = [number for number in values if number is not None]
    return round(statistics.median(numbers), 3) if numbers else None


def change(now: Optional[float], before: Optional[float]) -> Optional[float]:
    """Return by how many percent a figure has grown; None where one is not known or the earlier one is nothing."""
    return None if now is None or not before else round((now - before) / abs(before) * 100, 1)


def rounds(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return what the journal holds of samples that were judged, the oldest first; trials left out."""
    return [
        entry["data"]
        for entry in chain.in_order(entries)
        if entry["kind"] == "state" and entry["data"].get("event") == EVENT and not entry["data"].get("check_mode")
    ]


def machines(known: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return which machine was the first to answer under each name in these rounds."""
    found: dict[str, str] = {}
    for one in known:
        for name, machine in (one.get("machines") or {}).items():
            found.setdefault(str(name), str(machine))
    return found


def counted_until(known: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return until when the errors of each component were counted on each machine, by that machine's own clock.

    A round of another component, or one that could not count them, has counted none of its errors.
    """
    found: dict[str, dict[str, float]] = {}
    for one in known:
        clocks = one.get("clocks") or {}
        for each in one.get("series") or []:
            series = each.get("series") or {}
            at = number_of(clocks.get(series.get("where")))
            if series.get("name") == ERRORS and each.get("verdict") in _HEARD and at is not None:
                found.setdefault(str(series["where"]), {})[str(series.get("component"))] = at
    return found


def full_days(
    known: Iterable[Mapping[str, Any]],
    component: str,
    since: float,
    day_seconds: float,
    now: float,
    passed_by: Collection[str] = (),
) -> tuple[int, list[int]]:
    """Return how many days have passed, and the numbers (from 1) of those in which a component was not seen.

    A day in which a series was asked for and never heard of is one of them: silence fills no day.

    Args:
        known: the rounds of samples.
        component: whose series are looked at.
        since: when users were let in.
        day_seconds: how long a day is.
        now: the time; all in seconds since the epoch.
        passed_by: series that a person lets pass, by their keys; whether they were heard of does not count.
    """
    passed = max(0, math.floor((now - since) / day_seconds))
    asked: dict[int, set[str]] = {}
    silent: dict[int, set[str]] = {}
    for one in known:
        if not since <= _at(one) < since + passed * day_seconds:
            continue
        day = math.floor((_at(one) - since) / day_seconds)
        for each in _of(one, component):
            key = str(each.get("key"))
            if key not in asked.setdefault(day, set()):
                silent.setdefault(day, set()).add(key)
            asked[day].add(key)
            if each.get("verdict") in _HEARD or key in passed_by:
                silent[day].discard(key)
    return passed, [day + 1 for day in range(passed) if day not in asked or silent[day]]


def against(
    entries: Iterable[Mapping[str, Any]],
    let_in: Mapping[str, Optional[float]],
    days: Any,
    want: Wanted,
    overrides: Any,
    now: float,
) -> list[str]:
    """Return what monitoring says against staying; too few full days, and each series not seen within its limit.

    Args:
        entries: the journal of the run, all copies.
        let_in: when users were let in last, by component that takes part; None where nobody has seen it.
        days: how many days have to be full.
        want: what the plan asks for.
        overrides: reasons by gate (`monitor_days`) or series (`monitor.COMPONENT.SERIES`).
        now: the time, in seconds since the epoch.
    """
    known = rounds(entries)
    passed = overrides if isinstance(overrides, Mapping) else {}
    found: dict[str, str] = {}
    needed, begun = number_of(days), [at for at in let_in.values() if at is not None]
    if needed is None or needed <= 0:
        found["monitor_days"] = f"the plan's plan_observation_days is no number above zero: {days!r}"
    elif len(begun) < len(let_in) or not begun:
        silent = ", ".join(sorted(name for name, at in let_in.items() if at is None)) or "any component"
        found["monitor_days"] = f"nobody has seen users let in to {silent} since the last switch"
    else:
        missing: dict[int, list[str]] = {}
        let_pass = {str(gate).removeprefix("monitor.") for gate in passed if _reason(passed[gate])}
        for name in let_in:
            passed_days, unseen = full_days(known, name, max(begun), want.day_seconds, now, let_pass)
            for day in unseen:
                missing.setdefault(day, []).append(name)
        if (full := passed_days - len(missing)) < needed:
            blind = [f"{day}{_whom(missing[day], let_in)}" for day in sorted(missing)]
            without = f"; without a sample: day {', '.join(blind)}" if blind else ""
            found["monitor_days"] = f"{full} of {needed:g} days are full{without}"
    for component, at in let_in.items():
        mine = [one for one in known if _at(one) >= (at or 0.0) and _of(one, component)]
        if not mine:
            found[f"monitor.{component}"] = "there is no sample since users were let in"
            continue
        age = now - _at(mine[-1])
        if age < -_AHEAD:
            found[f"monitor.{component}"] = f"the last samples are from {-age:.0f} s in the future: a clock is wrong"
            continue
        if age > want.max_age:
            allowed = f"{want.max_age:.0f} s are allowed"
            found[f"monitor.{component}"] = f"the last samples are {age:.0f} s old, {allowed}"
            continue
        for one in _of(mine[-1], component):
            if one.get("verdict") != WITHIN:
                found[f"monitor.{one.get('key')}"] = f"{one.get('verdict')}: {one.get('reason')}"
    return [f"{name}: {why}" for name, why in found.items() if not _reason(passed.get(name))]


def _whom(missing: Collection[str], known: Collection[str]) -> str:
    return "" if len(missing) == len(known) else f" ({', '.join(missing)})"


def _at(one: Mapping[str, Any]) -> float:
    """Return when a round was; never where that is not known, so that it counts for nothing."""
    number = number_of(one.get("at"))
    return -math.inf if number is None else number


def _of(one: Mapping[str, Any], component: str) -> list[Mapping[str, Any]]:
    series = one.get("series")
    kept = series if isinstance(series, list) else []
    return [each for each in kept if (each.get("series") or {}).get("component") == component]


def _reason(given: Any) -> str:
    return given.strip() if isinstance(given, str) else ""


def _limit_problem(limit: Any) -> str:
    if not isinstance(limit, Mapping) or not limit.keys() & _LIMIT_KEYS:
        return f"it has no min, no max and no equals: {limit!r}"
    if unknown := sorted(str(key) for key in limit if key not in _LIMIT_KEYS):
        return f"keys that mean nothing: {', '.join(unknown)}"
    wrong = [key for key in ("min", "max") if key in limit and number_of(limit[key]) is None]
    return f"{wrong[0]} is no number: {limit[wrong[0]]!r}" if wrong else ""
