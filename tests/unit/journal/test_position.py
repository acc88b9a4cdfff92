"""Where a run stands, in words a tired reader understands, with a next command that is safe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bascule.guard import state as rule
from bascule.guard.state import Epoch, GuardState
from bascule.journal import position
from bascule.journal.position import Last, Side, Sides

NAMES = ("montpellier", "toulouse")
SOURCE_OPEN = rule.adopt_open(GuardState("db", "db-mtp"))
TARGET_CLOSED = rule.adopt_closed(GuardState("db", "db-tls"))
E1 = Epoch(1, "d")
SOURCE_CLOSED, RECEIPT = rule.closed(rule.promise(SOURCE_OPEN, E1), E1, {}, "now")
TARGET_OPENING = rule.may_open(TARGET_CLOSED, E1, RECEIPT, True)
TARGET_OPEN = rule.opened(TARGET_OPENING, E1)


def sides(source: GuardState | None, target: GuardState | None, name: str = "db") -> Sides:
    """Return both sides of a component."""
    return Sides(
        name,
        Side("db-mtp", "Montpellier", source, "" if source else "timed out"),
        Side("db-tls", "Toulouse", target, "" if target else "timed out"),
    )


@pytest.mark.parametrize(
    ("source", "target", "where", "words"),
    [
        (SOURCE_OPEN, TARGET_CLOSED, "source", "active at Montpellier"),
        (replace(SOURCE_OPEN, frozen=True), TARGET_CLOSED, "source-frozen", "frozen at Montpellier"),
        (SOURCE_CLOSED, TARGET_CLOSED, "held", "HELD: no side is open, latest data at Montpellier"),
        (rule.promise(SOURCE_OPEN, E1), TARGET_CLOSED, "held", "interrupted"),
        (SOURCE_CLOSED, TARGET_OPENING, "held", "interrupted: no side is open, latest data at Toulouse"),
        (SOURCE_CLOSED, TARGET_OPEN, "target", "active at Toulouse"),
        (SOURCE_OPEN, TARGET_OPEN, "both", "BOTH SIDES OPEN"),
        (SOURCE_OPEN, None, "unread", "db-tls NOT READ: timed out"),
        (GuardState("db", "db-mtp"), GuardState("db", "db-tls"), "unprepared", "not taken over"),
    ],
)
def test_where_a_component_stands(source: GuardState | None, target: GuardState | None, where: str, words: str) -> None:
    standing = position.standing(sides(source, target))
    assert standing.where == where
    assert words in standing.words


@pytest.mark.parametrize(
    ("where", "last", "command"),
    [
        (["unprepared"], Last(), "playbooks/10_audit.yml"),
        (["unprepared"], Last("audit", "audit", outcome="ok"), "playbooks/20_prepare.yml"),
        (["source"], Last("prepare", "prepare", outcome="ok"), "playbooks/30_sync.yml"),
        (["source"], Last("prepare", "prepare", outcome="failed"), "playbooks/20_prepare.yml"),
        (["source"], Last("pretest", "check", outcome="ok"), "60_cutover.yml -e confirm=toulouse"),
        (
            ["source-frozen", "source"],
            Last("cutover", "freeze", outcome="failed"),
            "rollback.yml -e confirm=montpellier",
        ),
        (["held", "target"], Last("cutover", "switch", outcome="not ended"), "rollback.yml -e confirm=montpellier"),
        (["held", "target"], Last("rollback", "switch", outcome="not ended"), "rollback.yml -e confirm=montpellier"),
        (["target"], Last("cutover", "thaw", outcome="ok"), "70_verify.yml; to return"),
        (["target"], Last("verify", "verify", outcome="ok"), "none is needed; to return"),
        (["unread", "held"], Last("cutover", "switch"), "make the machine that was not read reachable"),
        (["both", "unread"], Last("cutover", "switch"), "close one side by hand"),
    ],
)
def test_the_next_command(where: list[str], last: Last, command: str) -> None:
    standings = [position.Standing(f"c{i}", w, "") for i, w in enumerate(where)]
    assert command in position.next_command(standings, last, *NAMES)


def entry(kind: str, component: str, second: int, **data: Any) -> dict[str, Any]:
    """Return an entry of a cutover's switch."""
    return {
        "kind": kind,
        "component": component,
        "time": f"2026-01-01T00:00:{second:02d}",
        "epoch": "d",
        "controller": "ctl",
        "phase": "cutover",
        "verb": "switch",
        "data": data,
    }


def test_the_last_verb_shows_the_worst_of_what_ran_side_by_side() -> None:
    entries = [entry("begin", "db", 1), entry("begin", "files", 2), entry("end", "files", 3, result="ok")]
    last = position.last_verb(entries)
    assert (last.component, last.outcome) == ("db", "not ended")
    last = position.last_verb([*entries, entry("end", "db", 4, result="failed")])
    assert (last.component, last.outcome) == ("db", "failed")
    last = position.last_verb([*entries, entry("end", "db", 4, result="ok")])
    assert (last.component, last.outcome) == ("files", "ok")


def test_a_dry_run_is_no_verb() -> None:
    assert position.last_verb([entry("begin", "db", 1, check_mode=True)]) == Last()


def test_guards_are_found_whatever_a_role_calls_them() -> None:
    registered = {
        "failed": False,
        "results": [{"guard": SOURCE_OPEN.to_dict()}, {"guards": {"x": TARGET_CLOSED.to_dict()}}],
    }
    assert position.find_guards(registered) == [SOURCE_OPEN, TARGET_CLOSED]
    assert position.find_guards({"guard": {**SOURCE_OPEN.to_dict(), "status": "ajar"}}) == []


def test_the_report_is_about_ten_lines() -> None:
    lines = position.report(
        "r",
        [sides(SOURCE_CLOSED, TARGET_OPEN), sides(SOURCE_OPEN, TARGET_CLOSED, "files")],
        position.last_verb([entry("begin", "db", 1)]),
        {"here": "3 entries", "tls": "NOT READ (timed out)"},
        [],
        NAMES,
    )
    assert len(lines) == 6
    assert lines[0] == "Run r"
    assert "cutover/switch of db" in lines[1]
    assert "NOT ENDED" in lines[1]
    assert lines[2] == "Journal: here 3 entries, tls NOT READ (timed out); chains hold"
    assert lines[-1].startswith("Next: ansible-playbook playbooks/60_cutover.yml -e confirm=toulouse to go on")
    assert "CHAIN BROKEN: x" in position.report("r", [], Last(), {}, ["x"], NAMES)[2]
