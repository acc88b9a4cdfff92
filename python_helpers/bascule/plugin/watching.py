"""The samples of monitoring, out of what roles have registered and machines have said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..report import forecast
from ..run import monitor
from ..run.io.monitor import Answer
from ..run.monitor import KINDS, UNITS, Sample, Series, Wanted, Watched
from . import standing
from .action import Scope
from .values import plain

# What a role's verb `watch` leaves: a list of samples, each with `name`, `value`, and `where` for one machine's.
WATCHED = "watched"
_ERRORS = "journal_errors"
_DUMP = "dump_restore"
_LONGEST = 300


def watched(scope: Scope, want: Wanted) -> list[Watched]:
    """Return the components of the play as they are watched."""
    found = []
    for name in scope.in_play:
        variables = scope.hostvars[name]
        role = str(variables["component_role"])
        found.append(
            Watched(
                name,
                role,
                (str(variables["source_host"]), str(variables["target_host"])),
                carries=plain(variables.get(forecast.METHOD)) != _DUMP,
                tls=plain(variables.get("web_entrance_scheme")) != "http",
                units=tuple(want.units.get(name) or UNITS.get(role, ())),
            )
        )
    return found


def units(components: Iterable[Watched]) -> dict[str, dict[str, list[str]]]:
    """Return the units whose errors count, by machine and component."""
    found: dict[str, dict[str, list[str]]] = {}
    for one in components:
        for side in one.sides:
            own = found.setdefault(side, {})
            if one.units:
                own[one.name] = list(one.units)
    return found


def samples(
    scope: Scope, components: Iterable[Watched], answers: Mapping[str, Answer], at: float
) -> dict[Series, Sample]:
    """Return the sample of every series of which something was heard; what is missing is absent.

    Args:
        scope: the action's.
        components: those that are watched.
        answers: what each machine has said.
        at: when, in seconds since the epoch, by the controller.
    """
    unseen, late, apart = (
        standing.told(scope, "unseen"),
        standing.told(scope, "late"),
        standing.told(scope, "apart", "missed"),
    )
    found: dict[Series, Sample] = {}
    for one in components:
        expected = one.expected()
        registered = _registered(scope, one)
        once: dict[str, Any] = {}
        if one.name in unseen or one.name in late:
            why = "; ".join(filter(None, (unseen.get(one.name), late.get(one.name))))
            once["serves"] = ("no" if why else "yes", why)
        if one.name in apart:
            once["replication"] = ("no" if apart[one.name] else "yes", apart[one.name])
        if (lag := _lag(registered)) is not None:
            once["replication_lag"] = (lag, "")
        said = _said(registered)
        failed = _failure(registered)
        for series in expected:
            kind = KINDS[series.name]
            if series.where and series.name in ("disk_used", "load", _ERRORS):
                found |= _of_machine(series, one.name, answers.get(series.where), at)
            elif series.name in once:
                value, _ = once[series.name]
                found[series] = Sample(series, value, kind.unit, at)
            elif (series.name, series.where) in said:
                found[series] = Sample(series, said[series.name, series.where], kind.unit, at)
            elif failed:
                found[series] = Sample(series, None, kind.unit, at, failed)
    return found


def _of_machine(series: Series, component: str, answer: Answer | None, at: float) -> dict[Series, Sample]:
    if answer is None:
        return {}
    unit = KINDS[series.name].unit
    name = f"{_ERRORS} {component}" if series.name == _ERRORS else series.name
    why = answer.why or answer.reasons.get(name, "")
    if not why and name not in answer.values:
        return {}
    return {series: Sample(series, answer.values.get(name), unit, at, why, answer.machine)}


def _registered(scope: Scope, one: Watched) -> list[Mapping[str, Any]]:
    variables = scope.hostvars[one.name]
    kept = [plain(variables[key]) for key in variables if str(key).startswith(f"__{one.role}_")]
    found: list[Mapping[str, Any]] = [{**value, WATCHED: []} for value in kept if isinstance(value, Mapping)]
    return [*found, *({WATCHED: value} for value in kept if isinstance(value, list))]


def _said(registered: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Any]:
    """Return what the verb `watch` of a role has left, by series and machine."""
    return {
        (str(each["name"]), str(each.get("where") or "")): each.get("value")
        for one in registered
        for each in one.get(WATCHED) or []
        if isinstance(each, Mapping) and each.get("name") in KINDS and "value" in each
    }


def _lag(registered: Iterable[Mapping[str, Any]]) -> Any:
    """Return how far a standby is behind, as the open side says it; None where nobody does."""
    for one in registered:
        state = one.get("state")
        standby = state.get("standby") if isinstance(state, Mapping) else None
        if isinstance(standby, Mapping) and standby.get("lag") is not None:
            return standby["lag"]
    return None


def _failure(registered: Iterable[Mapping[str, Any]]) -> str:
    """Return why a role could not look; nothing where it could."""
    for one in registered:
        if one.get("failed") is True or one.get("unreachable") is True:
            return " ".join(str(one.get("msg") or "no reason given").split())[:_LONGEST]
    return ""


def judged(
    components: Iterable[Watched],
    found: Mapping[Series, Sample],
    want: Wanted,
    now: float,
    machines: Mapping[str, str],
) -> list[monitor.Judged]:
    """Return the verdict of every series that has to be heard of."""
    return [
        monitor.judge(series, found.get(series), want, now, machines.get(series.where, ""))
        for one in components
        for series in one.expected()
    ]
