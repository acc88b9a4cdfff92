"""What speaks for going back is named from the journal: failures, data that differ, a window that is too long."""

from __future__ import annotations

import datetime
from typing import Any

from bascule.run.criteria import met

BEGAN = 1_796_250_000.0
MINUTE = 60.0
NAMES = ("db", "web")


def entry(minute: float, kind: str, phase: str, verb: str = "", component: str = "", **data: Any) -> dict[str, Any]:
    """Return an entry of the journal."""
    time = datetime.datetime.fromtimestamp(BEGAN + minute * MINUTE, datetime.timezone.utc)
    return {
        "time": time.isoformat(timespec="milliseconds"), "run": "r", "controller": "c", "epoch": "d", "n": minute,
        "kind": kind, "phase": phase, "verb": verb, "component": component, "data": data, "prev": "",
        "hash": str(minute),
    }  # fmt: skip


GO = entry(0, "decision", "cutover", decision="GO")
WAITS = [GO, entry(1, "begin", "cutover", "freeze", "db"), entry(2, "end", "cutover", "freeze", "db", result="ok")]
IN = [*WAITS, entry(20, "begin", "cutover", "thaw", "db"), entry(21, "end", "cutover", "thaw", "db", result="ok")]
AGAIN = [entry(22, "decision", "cutover", decision="GO"), entry(23, "begin", "cutover", "freeze", "web")]


def criteria(entries: list[Any], minute: float, limit: float | None = 600) -> list[str]:
    return met(entries, NAMES, limit, BEGAN + minute * MINUTE)


def test_a_window_that_is_too_long_is_one_while_users_wait() -> None:
    assert criteria(WAITS, 11) == []
    assert criteria(WAITS, 12) == ["users of db wait for 11 min, 10 min are allowed"]
    assert criteria(WAITS, 999, None) == []
    assert criteria(IN, 999) == []
    assert criteria([*WAITS, *AGAIN], 30) == ["users of db, web wait for 29 min, 10 min are allowed"]


def test_what_has_failed_is_one_until_it_comes_through() -> None:
    failed = entry(
        3, "end", "cutover", "switch", "db", result="failed", message=f"expected:\n the guest up {'x' * 200}"
    )
    found = criteria([*WAITS, failed], 4)
    assert len(found) == 1
    assert found[0].startswith("switch of db has failed: expected: the guest up xxx")
    assert found[0].endswith("x…")
    assert criteria([*WAITS, failed, entry(5, "end", "cutover", "switch", "db", result="ok")], 6) == []
    other = entry(3, "end", "cutover", "switch", "other", result="failed")
    assert criteria([*WAITS, other], 4) == [], "it is none of the plan's"
    gate = entry(3, "end", "cutover", "check", "db", result="failed", message="NO-GO")
    assert criteria([GO, gate], 4) == [], "a gate that says no before anything was frozen"


def test_data_that_differ_are_one() -> None:
    differs = entry(30, "end", "verify", "verify", "db", result="failed")
    looks = entry(29, "begin", "verify", "verify", "db")
    assert criteria([*IN, looks, differs], 40) == ["db: its last verification has failed"]
    assert criteria([*IN, differs], 40) == [], "it was not let begin, and has not looked"
    assert criteria([*IN, looks, differs, entry(31, "end", "verify", "verify", "db", result="ok")], 40) == []


def test_there_are_none_before_a_cutover_on_the_way_back_or_after_a_commit() -> None:
    looks = entry(29, "begin", "verify", "verify", "db")
    differs = entry(30, "end", "verify", "verify", "db", result="failed")
    assert criteria([looks, differs], 40) == []
    assert criteria([*WAITS, entry(13, "decision", "rollback", decision="GO")], 40) == []
    assert criteria([*IN, looks, differs, entry(33, "decision", "commit", decision="COMMIT")], 40) == []
    tried = [{**one, "data": {**one["data"], "check_mode": True}} for one in WAITS]
    assert criteria(tried, 40) == []
