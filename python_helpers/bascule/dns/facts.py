"""What is told of a component's zones after they were looked at: for status, gates, captures and reports. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import planner
from .planner import Survey, Zone
from .records import ServerView


def active(found: Sequence[Survey]) -> str:
    """Return the side that the newest state of all zones points to; nothing before prepare."""
    newest = next((one.newest for one in found if one.newest), None)
    return (newest.active() or "") if newest else ""


def facts(zones: Sequence[Zone], found: Sequence[Survey], now: int, counted: Mapping[str, int]) -> dict[str, Any]:
    """Return what every look tells.

    Args:
        zones: the zones.
        found: what the servers of each have said.
        now: when they were asked, in seconds since 1970.
        counted: from when on caches are counted, by zone, where the zone's own state does not say it.
    """
    known = any(one.newest for one in found)
    silent = _silent(zones, found)
    left = [
        planner.seconds_until_forgotten(one.own, now, counted.get(zone.name)) if one.own else None
        for zone, one in zip(zones, found)
    ]
    return {
        "changed": False,
        "sampled_at": now,
        "active": active(found),
        "guards": {name: side.to_dict() for name, side in planner.guards(zones, found).items()},
        # A server that was silent may hold the state: what was not read is not "not prepared".
        "unread": {} if known or not silent else dict.fromkeys(zones[0].sides, _joined(silent)),
        "unseen": _unseen(zones, found) if known else "",
        "ttls": {key: ttl for one in found if one.own for key, ttl in one.own.ttls.items()},
        # One zone of which nobody knows it is enough.
        "ttl_left": None if None in left else max(value for value in left if value is not None),
        "servers": [{"zone": zone.name, **view.to_dict()} for zone, one in zip(zones, found) for view in one.views],
        "silent": silent,
        "differences": [text for zone, one in zip(zones, found) for text in planner.differences(zone, one.views)],
    }


def look(
    zones: Sequence[Zone],
    found: Sequence[Survey],
    asked: Sequence[tuple[Sequence[ServerView], Sequence[ServerView]]],
    side: str,
    captured: Mapping[str, Any],
    lenient: bool,
) -> dict[str, Any]:
    """Return what is wrong in what was told, of each zone in turn.

    Args:
        zones: the zones.
        found: what the servers of each have said.
        asked: what the secondaries of each have said, and what the resolvers have said of it.
        side: the side whose answers are right.
        captured: what capture kept; serials must have moved since, if the records did.
        lenient: whether a server that does not answer is left out.
    """
    wrong: list[str] = planner.undeclared(zones, captured)
    faults: list[str] = []
    late: list[str] = []
    checked = 0
    for zone, one, (follow, resolve) in zip(zones, found, asked):
        views = [view for view in [*one.views, *follow] if not (view.error and lenient)] + [*resolve]
        checked += len(zone.records) * len(views)
        wrong += [text for view in views for text in planner.wrong_answers(zone, view, side)]
        wrong += planner.unfinished(zone, one) + planner.unmoved(zone, one, active(found), captured)
        faults += planner.faults(zone, one, side)
        # A secondary says what the zone says, which a switch may not have reached yet.
        own = (one.own.active() if one.own else None) or side
        faults += [text for view in follow for text in planner.wrong_answers(zone, view, own)]
        faults += planner.behind(one, follow)
        late += planner.late(zone, one)
    if lenient and (unseen := _unseen(zones, found)):
        wrong.append(unseen)
    return {
        "wrong": wrong,
        "faults": faults,
        "late": late,
        "answers_checked": checked,
        "resolvers": [
            {"zone": zone.name, **view.to_dict()}
            for zone, (follow, resolve) in zip(zones, asked)
            for view in [*follow, *resolve]
        ],
    }


def captured(zones: Sequence[Zone], found: Sequence[Survey]) -> dict[str, Any]:
    """Return what capture keeps: the active side, and serials and records by zone and server."""
    return {
        "active": active(found),
        "serials": {zone.name: {v.host: v.serial for v in one.views} for zone, one in zip(zones, found)},
        "records": {
            zone.name: {view.host: view.to_dict()["records"] for view in one.views} for zone, one in zip(zones, found)
        },
    }


def _silent(zones: Sequence[Zone], found: Sequence[Survey]) -> dict[str, str]:
    """Return why servers were not heard, by server; where there are several zones, by zone and server."""
    several = len(zones) > 1
    return {
        f"{host} ({zone.name})" if several else host: why
        for zone, one in zip(zones, found)
        for host, why in sorted(one.unreachable.items())
    }


def _unseen(zones: Sequence[Zone], found: Sequence[Survey]) -> str:
    """Name the zones of which no server answers, or none with a state that can be read."""
    away = [
        f"no server of {zone.name} {'has a state that can be read' if one.unreadable else 'answers'}"
        for zone, one in zip(zones, found)
        if not one.answering
    ]
    return "; ".join(away)


def _joined(silent: Mapping[str, str]) -> str:
    return "; ".join(f"name server {host}: {why}" for host, why in silent.items())
