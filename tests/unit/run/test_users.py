"""What users see, and since when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bascule.guard.state import GuardState
from bascule.run import users
from bascule.run.last import Last
from bascule.run.position import Sides

from . import telling
from .test_position import NAMES, SOURCE_CLOSED, SOURCE_OPEN, TARGET_CLOSED, TARGET_OPEN, sides

FROZEN = replace(SOURCE_OPEN, frozen=True)


def entry(minute: int, kind: str, verb: str, component: str = "db", **data: Any) -> Any:
    return {
        "time": f"2026-12-01T20:{minute:02}:00.000+00:00", "kind": kind, "verb": verb, "component": component,
        "data": data,
    }  # fmt: skip


FREEZE = [entry(1, "begin", "freeze"), entry(2, "end", "freeze", result="ok")]
SWITCH = [*FREEZE, entry(3, "begin", "switch"), entry(4, "end", "switch", result="ok")]
THAW = [*SWITCH, entry(5, "begin", "thaw"), entry(6, "end", "thaw", result="ok")]
FAILED = [*SWITCH, entry(5, "begin", "thaw"), entry(6, "end", "thaw", result="failed")]


@pytest.mark.parametrize(
    ("one", "entries", "said"),
    [
        (sides(SOURCE_OPEN, TARGET_CLOSED), [], "served at Montpellier since before this run"),
        (sides(SOURCE_OPEN, None), [], "served at Montpellier since before this run"),
        (sides(FROZEN, TARGET_CLOSED), FREEZE, "WAIT since 2026-12-01T20:01:00Z for db"),
        (sides(FROZEN, TARGET_CLOSED), [], "WAIT since nobody knows when for db"),
        (sides(SOURCE_CLOSED, TARGET_CLOSED), SWITCH, "WAIT since 2026-12-01T20:01:00Z for db"),
        (sides(SOURCE_CLOSED, TARGET_OPEN), SWITCH, "WAIT since 2026-12-01T20:01:00Z for db"),
        (sides(SOURCE_CLOSED, TARGET_OPEN), FAILED, "WAIT since 2026-12-01T20:01:00Z for db"),
        (sides(SOURCE_CLOSED, TARGET_OPEN), THAW, "served at Toulouse since 2026-12-01T20:06:00Z"),
        (sides(SOURCE_OPEN, TARGET_OPEN), THAW, "BOTH SIDES ACCEPT THEM at db"),
        (sides(None, None), THAW, "not known of db"),
        (sides(SOURCE_CLOSED, None), THAW, "not known of db"),
        (sides(GuardState("db", "db-mtp"), GuardState("db", "db-tls")), [], "not known of db"),
        (
            sides(SOURCE_OPEN, TARGET_CLOSED),
            [entry(1, "begin", "freeze", check_mode=True)],
            "served at Montpellier since before this run",
        ),
    ],
)
def test_one_component(one: Sides, entries: list[Any], said: str) -> None:
    found = users.read([one], entries)
    assert found.line == f"Users: {said}"
    assert bool(found.waiting) == said.startswith("WAIT")


def test_several_are_told_apart_and_what_only_points_is_left_out() -> None:
    all_of_it = [
        sides(SOURCE_CLOSED, TARGET_OPEN), sides(FROZEN, TARGET_CLOSED, "files"),
        sides(None, TARGET_CLOSED, "guest"), sides(SOURCE_OPEN, TARGET_CLOSED, "names"),
    ]  # fmt: skip
    entries = [
        *THAW, entry(7, "begin", "freeze", "files"), entry(8, "begin", "thaw", "names", role="dns_switchover")
    ]  # fmt: skip
    assert users.read(all_of_it, entries).line == (
        "Users: not known of guest; WAIT since 2026-12-01T20:07:00Z for files; "
        "served at Toulouse since 2026-12-01T20:06:00Z (db)"
    )
    assert users.read([], []).line == "Users: nothing that they would use is declared"


@pytest.mark.parametrize("last", [Last("verify", "verify", "db", outcome=how) for how in ("ok", "failed")])
def test_while_users_wait_the_next_command_is_the_one_that_lets_them_in(last: Last) -> None:
    def told(one: Sides, entries: list[Any], last: Last = last, **more: Any) -> str:
        found = users.read([one], entries)
        lines = telling.told("r", [one], last, {}, [], NAMES, users=found.line, waiting=found.waiting, **more)
        return f"{lines[-1]}; {lines[-2]}"

    go = "Next: ansible-playbook playbooks/60_cutover.yml -e confirm=toulouse"
    back = "Next: ansible-playbook playbooks/rollback.yml -e confirm=montpellier"
    # A cutover that was killed before its thaw, and then a verify: the guards alone say that all is fine.
    assert told(sides(SOURCE_CLOSED, TARGET_OPEN), SWITCH).startswith(
        f"{go} to go on, which lets users in; Or, to return: "
    )
    assert told(sides(None, TARGET_OPEN), SWITCH).startswith(f"{go}, which lets users in again")
    apart = replace(sides(SOURCE_CLOSED, TARGET_OPEN), apart="nobody streams")
    assert told(apart, SWITCH).startswith(f"{go} to go on"), "users who wait come first"
    late = Last("site_back", "give_way", "db", outcome="ok")
    assert told(replace(apart, late="ns1"), SWITCH, late).startswith(f"{go} to go on")
    for phase in ("rollback", "cutover", "verify"):
        assert told(sides(SOURCE_OPEN, TARGET_CLOSED), SWITCH, Last(phase, outcome="ok")).startswith(f"{back} to go on")
    turned = Last("rollback", "switch", "db", outcome="ok")
    assert told(sides(SOURCE_CLOSED, TARGET_OPEN), SWITCH, turned).startswith(f"{back} to go on; Or, to stay: ")
    assert "which lets users in" not in told(sides(SOURCE_CLOSED, TARGET_OPEN), THAW)


def test_nobody_is_served_by_what_was_not_seen_to_serve() -> None:
    why = "PostgreSQL of db-tls does not answer: FATAL: too many connections"
    blind = replace(sides(SOURCE_CLOSED, TARGET_OPEN), unseen=why)
    found = users.read([blind, sides(SOURCE_CLOSED, TARGET_OPEN, "files")], THAW)
    assert found.line == "Users: not known of db; served at Toulouse since before this run (files)"
    verified = Last("verify", "verify", "db", outcome="ok")
    told = telling.told("r", [blind], verified, {}, [], NAMES, users=found.line)
    assert told[-2].endswith(f"; NOT SEEN TO SERVE: {why}")
    assert told[-1].startswith(
        "Next: find out why it was not seen to serve, and ask again: ansible-playbook playbooks/status.yml; then: none"
    )
    # What waits anyhow is let in first, which starts what does not run.
    assert users.read([blind], SWITCH).waiting == ("db",)
    assert users.read([replace(blind, target=replace(blind.target, guard=None))], THAW).line.endswith("not known of db")
