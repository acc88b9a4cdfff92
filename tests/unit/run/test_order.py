"""Who waits for whom in a window, and what stops it."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.errors import JournalError
from bascule.run import order
from bascule.run.order import VERBS, Key

DEPENDS = {"db": [], "files": [], "guest": ["db"], "board": ["files"], "entrance": ["guest", "board"]}
ALL = list(DEPENDS)


def end(component: str, verb: str, result: str = "ok", phase: str = "cutover") -> dict[str, Any]:
    """Return the end of a verb."""
    return {"kind": "end", "component": component, "verb": verb, "phase": phase, "data": {"result": result}}


def done(*verbs: str, names: list[str] = ALL) -> list[dict[str, Any]]:
    """Return the ends of these verbs at all components."""
    return [end(name, verb) for verb in verbs for name in names]


def awaited(component: str, verb: str, entries: list[dict[str, Any]], **options: Any) -> set[Key]:
    """Return what a verb waits for."""
    given = {"moving": ALL, "gone": (), **options}
    return set(order.awaited(component, verb, entries, depends_on=DEPENDS, phase="cutover", **given))


def test_what_others_depend_on_is_frozen_last() -> None:
    assert awaited("entrance", "freeze", []) == set()
    assert awaited("guest", "freeze", []) == {("entrance", "freeze")}
    assert awaited("db", "freeze", []) == {("guest", "freeze"), ("entrance", "freeze")}
    assert awaited("db", "freeze", [end("entrance", "freeze"), end("guest", "freeze")]) == set()


def test_what_is_frozen_is_carried_over_at_once() -> None:
    assert awaited("guest", "sync", [end("guest", "freeze")]) == set()


def test_nothing_is_switched_before_all_is_frozen_and_carried_over() -> None:
    frozen = done("freeze")
    for name in ALL:
        others = [other for other in ALL if other != name]
        known = [*frozen, *done("sync", names=[name])]
        assert {(other, "sync") for other in others} <= awaited(name, "switch", known)
        for late in others:
            known = frozen + done("sync", names=[other for other in ALL if other != late])
            assert (late, "sync") in awaited(name, "switch", known)
    assert awaited("board", "switch", done("freeze", "sync")) == {("files", "switch")}
    # Not for the database, on which it does not depend.
    assert awaited("board", "switch", [*done("freeze", "sync"), end("files", "switch")]) == set()


def test_nobody_is_let_in_before_all_has_switched() -> None:
    for name in ALL:
        for late in (other for other in ALL if other != name):
            known = done("freeze", "sync") + done("switch", names=[other for other in ALL if other != late])
            assert (late, "switch") in awaited(name, "thaw", known)
    known = done("freeze", "sync", "switch")
    assert awaited("files", "thaw", known) == set()
    assert awaited("board", "thaw", known) == {("files", "thaw")}
    assert awaited("entrance", "thaw", known) == {(name, "thaw") for name in ALL if name != "entrance"}


def test_what_this_playbook_does_not_move_is_not_waited_for() -> None:
    assert awaited("db", "freeze", [], moving=["db"]) == set()
    assert awaited("guest", "switch", done("freeze", "sync", names=["guest"]), moving=["guest"]) == set()


@pytest.mark.parametrize("verb", VERBS[:3])
@pytest.mark.parametrize("failed", VERBS[:3])
def test_any_failure_before_the_thaw_stops_all_that_has_not_begun(verb: str, failed: str) -> None:
    with pytest.raises(JournalError, match=f"db failed in {failed}.*{verb} of board was not started"):
        awaited("board", verb, [*done("freeze", "sync", "switch"), end("db", failed, "failed")])


def test_whoever_needs_nothing_of_what_has_failed_is_let_in() -> None:
    """One that never left, whose own host alone answers, as well as one that has moved."""
    known = [*done("freeze", "sync"), *done("switch", names=["files", "board"]), end("db", "switch", "failed")]
    assert ("guest", "switch") in awaited("files", "thaw", known)
    known += [end(name, "switch", "failed") for name in ("guest", "entrance")]
    assert awaited("files", "thaw", known) == set()
    assert awaited("board", "thaw", known) == {("files", "thaw")}
    for name in ("guest", "entrance"):
        with pytest.raises(JournalError, match="db failed in switch"):
            awaited(name, "thaw", [*known, end(name, "switch")])


def test_the_same_playbook_once_more_in_one_process_begins_anew() -> None:
    go = {"kind": "decision", "component": "", "verb": "", "phase": "cutover", "data": {"decision": "GO"}}
    assert awaited("guest", "freeze", [go, *done(*VERBS)]) == set()
    assert awaited("guest", "freeze", [go, *done(*VERBS), go]) == {("entrance", "freeze")}
    other = {**go, "phase": "rollback"}, {**go, "data": {"decision": "override"}}
    assert awaited("guest", "freeze", [go, *done(*VERBS), *other]) == set()


def test_a_thaw_that_has_failed_stops_what_depends_on_it() -> None:
    known = [*done("freeze", "sync", "switch"), end("db", "thaw", "failed")]
    assert awaited("files", "thaw", known) == set()
    assert awaited("board", "thaw", known) == {("files", "thaw")}
    for name in ("guest", "entrance"):
        with pytest.raises(JournalError, match="db failed in thaw"):
            awaited(name, "thaw", known)


def test_what_has_dropped_out_without_a_word_is_not_waited_for() -> None:
    with pytest.raises(JournalError, match="entrance failed in an earlier play"):
        awaited("db", "freeze", [], gone=["entrance"])


def test_what_has_failed_in_thaw_may_be_gone() -> None:
    known = [*done("freeze", "sync", "switch"), end("db", "thaw", "failed")]
    assert awaited("files", "thaw", known, gone=["db"]) == set()


@pytest.mark.parametrize(
    ("verb", "known", "missing"),
    [("sync", [], "freeze"), ("switch", ["freeze"], "sync"), ("thaw", ["freeze"], "switch")],
)
def test_a_verb_that_was_left_out_is_refused_not_waited_for(verb: str, known: list[str], missing: str) -> None:
    with pytest.raises(JournalError, match=f"{missing} of db to have come through in this playbook"):
        awaited("db", verb, done(*known))


def test_the_same_verb_of_an_earlier_phase_does_not_count() -> None:
    synced = [end(name, "sync", phase="sync") for name in ALL]
    assert ("files", "sync") in awaited("db", "switch", [*synced, *done("freeze"), end("db", "sync")])


EARLY, LATE = "2026-12-02T22:00:00.000+00:00", "2026-12-02T22:01:00.000+00:00"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], ""),
        ([end("db", "freeze")], "freeze"),
        ([end("db", "freeze"), end("db", "sync")], "sync"),
        ([end("db", "freeze"), end("files", "sync")], "freeze"),
        ([end("db", "freeze"), end("db", "sync", "failed")], ""),
        # What was read for gates, or in another phase, was not read in the window.
        ([end("db", "freeze"), end("db", "check")], ""),
        ([end("db", "freeze", phase="rollback")], ""),
    ],
)
def test_what_has_come_through_last_is_known(entries: list[dict[str, Any]], expected: str) -> None:
    known = [{**entry, "time": LATE} for entry in entries]
    assert order.just_through("db", known, "cutover", EARLY) == expected
    assert order.just_through("db", known, "cutover", LATE) == expected


def test_what_has_come_through_long_ago_or_in_an_earlier_run_is_read_again() -> None:
    frozen = {**end("db", "freeze"), "time": EARLY}
    assert order.just_through("db", [frozen], "cutover", LATE) == ""
    go = {"kind": "decision", "component": "", "phase": "cutover", "data": {"decision": "GO"}, "time": EARLY}
    assert order.just_through("db", [frozen, go], "cutover", EARLY) == ""
