"""Decisions about a database that the controller takes from what both sides have said."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from bascule.errors import BasculeError
from bascule.guard import lost
from bascule.postgresql import (
    compare,
    compatibility,
    compatibility_dump,
    control,
    decisions,
    dump_restore,
    live,
    locate,
    pgbouncer,
    restore_point,
    slots,
)
from bascule.postgresql.spec import DUMP_RESTORE


def bascule_postgresql_decide(source: Mapping[str, Any], to: Mapping[str, Any]) -> dict[str, Any]:
    """Return who is active, and what the verbs have to do, from the states of both sides."""
    try:
        a, b = decisions.Side.from_dict(source), decisions.Side.from_dict(to)
        lost.must_be_known(a.guard, b.guard)
        leader = decisions.leader(a, b)
        follows, lag_unasked = decisions.follows(a, b), decisions.lag_unasked(a, b)
    except BasculeError as error:
        raise AnsibleFilterError(error.message()) from error
    active = leader or a.name
    primary, standby = (source, to) if active == a.name else (to, source)
    return {
        "leader": leader or "",
        "active": active,
        "passive": b.name if active == a.name else a.name,
        "follows": follows,
        "caught_up": decisions.caught_up(source, to),
        "lag_unasked": lag_unasked,
        "why_silent": decisions.why_silent(primary, standby),
    }


def bascule_postgresql_switch(source: Mapping[str, Any], to: Mapping[str, Any]) -> dict[str, str]:
    """Return what a switch has to do."""
    try:
        lost.must_be_known(*(decisions.Side.from_dict(side).guard for side in (source, to)))
        return decisions.switch(decisions.Side.from_dict(source), decisions.Side.from_dict(to)).to_dict()
    except BasculeError as error:
        raise AnsibleFilterError(error.message()) from error


def bascule_postgresql_parity(
    source: Mapping[str, Any],
    target: Mapping[str, Any],
    replace: bool = False,
    spec: Mapping[str, Any] | None = None,
) -> dict[str, list[str]]:
    """Return the differences that stand in the way, and what is worth knowing."""
    now = time.time()
    source, target = (
        {**side, "clock_slack": now - side["clock_asked"]} if side.get("clock_asked") else side
        for side in (source, target)
    )
    if spec and spec["method"] == DUMP_RESTORE:
        return {
            "differences": [
                *compatibility_dump.differences(source, target, spec, replace=replace),
                *live.differences(source, target, spec),
            ],
            "notes": [*compatibility_dump.notes(source, target), *live.notes(source, target, spec)],
        }
    source, target = slots.settled(source, target, copied=compatibility.is_copy(source, target))
    return {
        "differences": [
            *compatibility.differences(source, target, replace=replace),
            *live.differences(source, target, spec or {}),
        ],
        "notes": [*compatibility.notes(source, target), *live.notes(source, target, spec or {})],
    }


def bascule_postgresql_restore_points(active: Mapping[str, Any], passive: Mapping[str, Any]) -> dict[str, Any]:
    """Return by what each side keeps its state when it closes, and what is against that for the active one."""
    return restore_point.chosen(*slots.settled(active, passive, copied=True))


def bascule_postgresql_compare(
    active: Mapping[str, Any] | None, passive: Mapping[str, Any] | None, active_state: Mapping[str, Any]
) -> dict[str, Any]:
    """Compare the digests of both sides, and where the old side's log ended with where the new one's begins."""
    if not active or not passive:
        missing = "the active side" if not active else "the passive side"
        return {
            **compare.Comparison(
                not_proved=[f"no digest of {missing}: nothing was switched, or it was cut short"]
            ).to_dict(),
            "rows_not_proved": max(1, compare.count(active or passive or {"databases": {}})),
            "divergent_bytes": None,
            "ask": {},
        }
    found = compare.compare(active, passive)
    history = [(int(timeline), str(where)) for timeline, where in active_state.get("history") or []]
    fork = control.fork_of(history, int(passive["timeline"]))
    divergent = control.divergent_bytes(str(passive["end_lsn"]), fork) if fork else None
    if divergent:
        found.details.append(f"{divergent} bytes of log beyond the fork at {fork} exist at {passive['side']} only")
    # The hashes of single columns travel to the controller: salted, so that nobody can look short values up.
    ask = locate.first(active, passive, found, secrets.token_hex(8))
    return {**found.to_dict(), "divergent_bytes": divergent, "ask": ask}


def bascule_postgresql_narrow(
    before: Mapping[str, Any], active: Mapping[str, Any] | None, passive: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the next question about what differs, and all that the answers have shown so far."""
    found = locate.following(before["ask"], active, passive)
    return {
        "ask": found["ask"],
        "rows": {**before.get("rows", {}), **found["rows"]},
        "details": [*before.get("details", []), *found["details"]],
        "unanswered": [*before.get("unanswered", []), *found["unanswered"]],
    }


def bascule_postgresql_found(comparison: Mapping[str, Any], narrowed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is recorded: the comparison, with the rows, columns and objects that differ by name."""
    return locate.finished(comparison, narrowed)


def bascule_postgresql_forecast(rehearsed: Mapping[str, Any], state: Mapping[str, Any]) -> float | str:
    """Return the seconds that the window will take; nothing when no rehearsal of this cluster's move was proved."""
    system_id = str((state.get("control") or {}).get("system_id", ""))
    if rehearsed.get("name") != dump_restore.rehearsal(system_id):
        return ""
    found = dump_restore.forecast(rehearsed, int(state.get("size_bytes") or 0))
    return "" if found is None else found


def bascule_postgresql_refused(rehearsed: Mapping[str, Any] | None) -> str:
    """Return the dump that the last rehearsal has tried and refused, or nothing."""
    return dump_restore.refused(rehearsed)


def bascule_postgresql_restored(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is recorded about a side that was restored from a dump: what was compared before it opened."""
    return dump_restore.verified(state.get("restored"), str((state.get("control") or {}).get("system_id", "")))


def bascule_postgresql_pooled(clients: Iterable[Mapping[str, Any]], addresses: Iterable[str]) -> list[dict[str, str]]:
    """Return the clients of the poolers as the servers see them: from the poolers' own addresses."""
    return pgbouncer.seen_by_server(clients, addresses)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "bascule_postgresql_compare": bascule_postgresql_compare,
            "bascule_postgresql_decide": bascule_postgresql_decide,
            "bascule_postgresql_forecast": bascule_postgresql_forecast,
            "bascule_postgresql_found": bascule_postgresql_found,
            "bascule_postgresql_narrow": bascule_postgresql_narrow,
            "bascule_postgresql_parity": bascule_postgresql_parity,
            "bascule_postgresql_pooled": bascule_postgresql_pooled,
            "bascule_postgresql_refused": bascule_postgresql_refused,
            "bascule_postgresql_restore_points": bascule_postgresql_restore_points,
            "bascule_postgresql_restored": bascule_postgresql_restored,
            "bascule_postgresql_switch": bascule_postgresql_switch,
        }
