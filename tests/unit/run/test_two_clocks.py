"""Two controllers, one of whose clocks is ahead: what came last is told by the chains, not by the clocks."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.guard import state as rule
from bascule.report import proof
from bascule.run import chain, last, position, users
from bascule.run.chain import Entry
from bascule.run.progress import OK

from .test_position import SOURCE_OPEN, TARGET_CLOSED, sides


def wrote(controller: str, hour: int, *content: dict[str, Any], seen: dict[str, str] | None = None) -> list[Entry]:
    """Return a chain that begins with the heads that it has seen."""
    start = {"kind": "state", "data": {"event": "start", "heads": {"mtp": seen or {}}}}
    made: list[Entry] = []
    for second, one in enumerate((start, *content)):
        about = {"run": "r", "controller": controller, "epoch": controller, "phase": "", "verb": "", "component": ""}
        time = f"2026-01-01T{hour:02}:00:{second:02}.000+00:00"
        made.append(chain.make(made[-1] if made else None, {**about, "time": time, "data": {}, **one}))
    return made


def verb(phase: str, name: str, **data: Any) -> list[dict[str, Any]]:
    about = {"phase": phase, "verb": name, "component": "db"}
    return [{**about, "kind": kind, "data": {"result": OK, **data}} for kind in ("begin", "end")]


def together(first: list[dict[str, Any]], then: list[dict[str, Any]]) -> list[Entry]:
    """Return what a controller wrote whose clock is an hour ahead, and then another one that had seen it."""
    ahead = wrote("ahead", 2, *first)
    return chain.merge(wrote("right", 1, *then, seen=chain.heads(ahead)), ahead)


def test_the_last_verb_is_that_of_whoever_came_last() -> None:
    entries = together(verb("cutover", "thaw"), verb("rollback", "freeze")[:1])
    found = last.last_verb(entries)
    assert (found.phase, found.verb, found.outcome) == ("rollback", "freeze", last.NOT_ENDED)


def test_a_side_that_was_closed_again_is_given_up_no_more() -> None:
    lost = {"kind": "decision", "data": {"decision": "GO", "lost": {"site": "mtp", "hosts": {"db": "db-mtp"}}}}
    assert position.given_up(together([lost], [])) == {"db": "db-mtp"}
    assert position.given_up(together([lost], verb("site_back", "give_way"))) == {}
    assert position.given_up(together(verb("site_back", "give_way"), [lost])) == {"db": "db-mtp"}


def test_a_way_back_that_was_made_again_is_there_and_one_that_was_removed_is_not() -> None:
    retire, prepare = verb("decommission", "retire"), verb("prepare", "prepare")
    assert position.retired(together(retire, prepare)) == set()
    assert position.retired(together(prepare, retire)) == {"db"}
    assert position.last_fresh(together(prepare, verb("sync", "sync")), "db") == "2026-01-01T01:00:02Z (sync)"


@pytest.mark.parametrize("in_again", [True, False])
def test_users_wait_or_are_in_by_what_came_last(in_again: bool) -> None:
    steps = [verb("cutover", "switch"), verb("rollback", "thaw")]
    found = users.read([sides(SOURCE_OPEN, TARGET_CLOSED)], together(*(steps if in_again else reversed(steps))))
    assert found.waiting == (() if in_again else ("db",))
    assert SOURCE_OPEN.status == rule.OPEN


def test_what_a_return_left_behind_counts_until_the_next_move_forward() -> None:
    behind = {"kind": "state", "component": "db", "data": {"event": "left_behind", "found": {"left_behind": ["a"]}}}
    back = [behind, *verb("rollback", "switch", direction="back")]
    forward = verb("cutover", "switch", direction="forward")
    assert proof.left_behind(together(forward, back), "db") == ["a"]
    assert proof.left_behind(together(back, forward), "db") == []
