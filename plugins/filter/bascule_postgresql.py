"""Decisions about a database that the controller takes from what both sides have said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from bascule.errors import BasculeError
from bascule.integrity import rows
from bascule.postgresql import control, decide, parity, pgbouncer


def bascule_postgresql_decide(source: Mapping[str, Any], to: Mapping[str, Any]) -> dict[str, Any]:
    """Return who is active, and what the verbs have to do, from the states of both sides."""
    try:
        a, b = decide.Side.from_dict(source), decide.Side.from_dict(to)
        leader = decide.leader(a, b)
    except BasculeError as error:
        raise AnsibleFilterError(error.message()) from error
    active = leader or a.name
    return {
        "leader": leader or "",
        "active": active,
        "passive": b.name if active == a.name else a.name,
    }


def bascule_postgresql_switch(source: Mapping[str, Any], to: Mapping[str, Any]) -> dict[str, str]:
    """Return what a switch has to do."""
    try:
        found = decide.switch(decide.Side.from_dict(source), decide.Side.from_dict(to))
    except BasculeError as error:
        raise AnsibleFilterError(error.message()) from error
    return {"action": found.action, "reason": found.reason}


def bascule_postgresql_parity(
    source: Mapping[str, Any], target: Mapping[str, Any], replace: bool = False
) -> dict[str, list[str]]:
    """Return the differences that stand in the way, and what is worth knowing."""
    return {
        "differences": parity.differences(source, target, replace=replace),
        "notes": parity.notes(source, target),
    }


def bascule_postgresql_compare(
    active: Mapping[str, Any] | None, passive: Mapping[str, Any] | None, active_state: Mapping[str, Any]
) -> dict[str, Any]:
    """Compare the digests of both sides, and where the old side's log ended with where the new one's begins."""
    if not active or not passive:
        missing = "the active side" if not active else "the passive side"
        return {
            **rows.Comparison(
                not_proved=[f"no digest of {missing}: nothing was switched, or it was cut short"]
            ).to_dict(),
            "rows_not_proved": rows.count(active or passive or {"databases": {}}),
            "divergent_bytes": None,
            "ask": {},
        }
    found = rows.compare(active, passive)
    history = [(int(timeline), str(where)) for timeline, where in active_state.get("history") or []]
    fork = control.fork_of(history, int(passive["timeline"]))
    divergent = control.divergent_bytes(str(passive["end_lsn"]), fork) if fork else None
    if divergent:
        found.details.append(f"{divergent} bytes of log beyond the fork at {fork} exist at {passive['side']} only")
    return {**found.to_dict(), "divergent_bytes": divergent, "ask": rows.questions(active, passive, found)}


def bascule_postgresql_rows(active: Mapping[str, Any] | None, passive: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the masked keys of the rows that differ, by table."""
    one, other = active or {}, passive or {}
    return {
        table: rows.differing_rows(one.get(table, []), other.get(table, [])) for table in sorted(set(one) | set(other))
    }


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
            "bascule_postgresql_parity": bascule_postgresql_parity,
            "bascule_postgresql_pooled": bascule_postgresql_pooled,
            "bascule_postgresql_rows": bascule_postgresql_rows,
            "bascule_postgresql_switch": bascule_postgresql_switch,
        }
