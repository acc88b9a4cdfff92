"""How far a phase is: who does what, since when users wait, what a return costs now, and the gates."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.run import board
from bascule.run.board import Cell

START = 1796155200.0
FORECAST = {
    "seconds": 40.0, "parts": {"db": 40.0, "guest": 0.0}, "pessimistic": 45.0, "worst": {"db": 45.0, "guest": 0.0},
    "limit": 100.0, "latest_return": 60.0,
}  # fmt: skip


def at(second: float) -> str:
    return f"2026-12-01T20:{int(second) // 60:02}:{second % 60:06.3f}+00:00"


def entry(second: float, kind: str, verb: str = "", component: str = "", /, **data: Any) -> dict[str, Any]:
    return {"time": at(second), "kind": kind, "phase": "cutover", "verb": verb, "component": component, "data": data}


def go(**forecast: Any) -> dict[str, Any]:
    return entry(0, "decision", decision="GO", takes_part=["db", "guest"], forecast=forecast)


CHECKED = [
    go(**FORECAST),
    entry(1, "begin", "check", "db"),
    entry(2, "sample", "check", "db", name="lag", passes=True),
    entry(3, "end", "check", "db", result="ok"),
]
FROZEN = [*CHECKED, entry(10, "begin", "freeze", "db"), entry(12, "end", "freeze", "db", result="ok")]
SWITCHED = [*FROZEN, entry(14, "begin", "switch", "db")]
FAILED = [*SWITCHED, entry(20, "end", "switch", "db", result="failed")]


def read(entries: list[dict[str, Any]], now: float, **said: str) -> board.Board:
    found = board.read("cutover", entries, said, START + now)
    assert found is not None
    return found


def test_a_row_says_what_is_done_at_work_and_still_to_come() -> None:
    found = read(SWITCHED, 17.5, db="12 of 40 MB, 3 MB/s")
    assert list(found.verbs) == ["check", "capture", "freeze", "sync", "switch", "thaw"]
    db, guest = found.rows
    assert (db.component, db.said, guest.component) == ("db", "12 of 40 MB, 3 MB/s", "guest")
    assert db.cells == {
        "check": Cell("done", 2.0), "capture": Cell("waits"), "freeze": Cell("done", 2.0), "sync": Cell("waits"),
        "switch": Cell("runs", 3.5), "thaw": Cell("waits"),
    }  # fmt: skip
    assert set(guest.cells.values()) == {Cell("waits")}
    assert (db.state, guest.state) == ("runs", "waits")
    assert read(FAILED, 30).rows[0].cells["switch"] == Cell("failed", 6.0)


@pytest.mark.parametrize(
    ("entries", "now", "lines"),
    [
        (CHECKED, 5, ["window: not begun, users are served (40 s forecast, the plan allows 100 s)"]),
        (
            FROZEN,
            13,
            [
                "window: users wait for 3 s, 38 s to go, at worst 43 s (40 s forecast, the plan allows 100 s)",
                "return: nothing has switched, so it only lets users in again",
            ],
        ),
        (
            SWITCHED,
            15,
            [
                "window: users wait for 5 s, 37 s to go, at worst 42 s (40 s forecast, the plan allows 100 s)",
                "return: it carries back what was switched; for the plan it begins within 55 s",
            ],
        ),
        (
            SWITCHED,
            75,
            [
                "window: users wait for 65 s, 0 s to go, at worst 18 s (40 s forecast, the plan allows 100 s)",
                "return: it carries back what was switched; for the plan it had to begin 5 s ago",
                "LATE: at worst the window ends 83 s after the freeze; a return that begins later than 60 s after it "
                "may end after what the plan allows",
            ],
        ),
        (
            [*SWITCHED, entry(22, "end", "thaw", "db", result="ok")],
            500,
            ["window: users waited for 12 s (40 s forecast, the plan allows 100 s)"],
        ),
        (
            [go(), *SWITCHED[1:]],
            15,
            ["window: users wait for 5 s", "return: it carries back what was switched"],
        ),
    ],
)
def test_the_clock_of_the_window_and_the_point_of_no_return(
    entries: list[dict[str, Any]], now: float, lines: list[str]
) -> None:
    assert read(entries, now).lines == [*lines, "gates: 1 GO"]


def test_a_window_back_has_no_return_of_its_own() -> None:
    back = [{**one, "phase": "rollback"} for one in SWITCHED]
    found = board.read("rollback", back, {}, START + 15)
    assert found is not None
    assert found.lines == [
        "window: users wait for 5 s, 37 s to go, at worst 42 s (40 s forecast, the plan allows 100 s)",
        "gates: 1 GO",
    ]
    # What only some kinds of components do keeps no row from being done.
    done = [*back, {**entry(15, "begin", "thaw", "db"), "phase": "rollback"}]
    done.append({**entry(16, "end", "thaw", "db", result="ok"), "phase": "rollback"})
    done.insert(-2, {**entry(15, "end", "switch", "db", result="ok"), "phase": "rollback"})
    found = board.read("rollback", done, {}, START + 17)
    assert found is not None
    assert found.rows[0].cells["stand_by"] == Cell("waits")
    assert found.rows[0].state == "done"


def test_while_somebody_waits_the_window_is_open() -> None:
    both = [*FROZEN, entry(13, "begin", "freeze", "guest"), entry(22, "end", "thaw", "db", result="ok")]
    assert read(both, 30).lines[0].startswith("window: users wait for 20 s")
    pointing = [*FROZEN, entry(13, "begin", "switch", "names", role="dns_switchover")]
    assert read(pointing, 30).lines[1].startswith("return: nothing has switched")


def test_a_gate_counts_by_its_last_sample() -> None:
    entries = [
        *CHECKED,
        entry(4, "sample", "check", "db", name="lag", passes=False, reason="9 s, at most 5"),
        entry(4, "sample", "check", "guest", name="age", passes=True, override="Nadia knows"),
    ]
    assert read(entries, 5).lines[-1] == "gates: 1 GO, 1 of them overridden; NO-GO lag of db: 9 s, at most 5"
    many = [entry(4, "sample", "check", f"c{number}", name="age", passes=False, reason="old") for number in range(500)]
    named = "; ".join(f"NO-GO age of c{number}: old" for number in range(3))
    assert read([*CHECKED, *many], 5).lines[-1] == f"gates: 1 GO; {named}; NO-GO 497 more"


def test_before_anything_has_begun_there_is_none() -> None:
    assert board.read("cutover", [], {}, START) is None
    assert board.read("status", [entry(1, "begin", "state", "db")], {}, START) is None
    # A phase that asks nobody shows who has begun, and no window.
    audit = [{**entry(1, "begin", "audit", "db"), "phase": "audit"}]
    found = board.read("audit", audit, {}, START + 3)
    assert found is not None
    assert (found.rows[0].cells, found.lines) == ({"audit": Cell("runs", 2.0)}, [])
