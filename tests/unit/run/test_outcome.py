"""What the exit status of `bascule` says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bascule.run import chain, outcome
from bascule.run.outcome import Status, Told
from bascule.run.position import Standing


def journal(*done: str, decision: str = "d", check: bool = False) -> list[chain.Entry]:
    """Return a chain of entries such as `begin freeze low` and `end thaw low failed`."""
    entries: list[chain.Entry] = []
    for number, words in enumerate(done):
        kind, verb, component, *result = words.split()
        data: dict[str, Any] = {"check_mode": check, **({"result": result[0]} if result else {})}
        content = {
            "time": f"2026-01-01T00:00:{number:02}.000+00:00",
            "run": "r",
            "controller": "c",
            "epoch": decision,
            "kind": kind,
            "phase": "cutover",
            "verb": verb,
            "component": component,
            "data": data,
        }
        entries.append(chain.make(entries[-1] if entries else None, content))
    return entries


FROZEN = ("begin freeze low", "end freeze low ok", "begin switch low", "end switch low failed")
IN_AGAIN = ("begin freeze low", "end freeze low ok", "begin thaw low", "end thaw low ok")


@pytest.mark.parametrize(
    ("told", "entries", "status"),
    [
        # Nothing was run: a trial, or nothing that a limit meets.
        (Told(0, phase="cutover"), (), Status.NOTHING),
        (Told(0, phase="verify"), (), Status.NOTHING),
        (Told(0, phase="report"), (), Status.DONE),
        (Told(0, phase="verify"), ("begin verify low", "end verify low ok"), Status.DONE),
        (Told(0, phase="cutover"), IN_AGAIN, Status.DONE),
        # It came through, and yet somebody waits.
        (Told(0, phase="cutover"), FROZEN, Status.HELD),
        (Told(0, phase="report"), FROZEN, Status.DONE),
        (Told(2), (), Status.REFUSED),
        (Told(4), (), Status.REFUSED),
        (Told(2, ("PlanError",)), (), Status.REFUSED),
        (Told(2, ("NoGo",)), (), Status.NO_GO),
        (Told(2, ("", "GateError")), ("begin check low", "end check low failed"), Status.NO_GO),
        # Something was closed before: a gate says nothing about that any more.
        (Told(2, ("GateError",)), FROZEN, Status.HELD),
        (Told(2, ("",)), FROZEN, Status.HELD),
        (Told(2, ("",)), ("begin freeze low", "end freeze low failed"), Status.HELD),
        (Told(2, ("",)), ("begin take_over low", "end take_over low ok"), Status.HELD),
        (Told(2, ("",)), IN_AGAIN, Status.PERSON),
        (Told(2, ("",)), ("begin sync low", "end sync low failed"), Status.PERSON),
        # A declaration that is found wrong when a verb has begun is no refused input.
        (Told(2, ("PlanError",)), ("begin audit low", "end audit low failed"), Status.PERSON),
        (Told(None), (), Status.PERSON),
        (Told(None), FROZEN[:1], Status.HELD),
        (Told(99), ("begin check low",), Status.PERSON),
    ],
)
def test_the_status_of_a_playbook(told: Told, entries: tuple[str, ...], status: Status) -> None:
    assert outcome.judge(told, journal(*entries), "d") is status


def test_what_was_only_tried_holds_up_nobody_and_is_not_done() -> None:
    assert outcome.waiting(journal(*FROZEN, check=True)) == []
    assert outcome.judge(Told(2, ("GateError",)), journal(*FROZEN, check=True), "d") is Status.NO_GO
    assert outcome.judge(Told(0, phase="cutover"), journal(*IN_AGAIN, check=True), "d") is Status.NOTHING


@pytest.mark.parametrize(
    "told", [Told(2, ("",)), Told(2, ("NoGo",)), Told(2, ("GateError",)), Told(2, ("PlanError",)), Told(2), Told(4)]
)
def test_users_whom_another_decision_has_closed_still_wait(told: Told) -> None:
    assert outcome.judge(told, journal(*FROZEN, decision="a"), "d") is Status.HELD
    assert outcome.judge(told, journal(*FROZEN, decision="a"), "") is Status.HELD


@pytest.mark.parametrize(
    ("where", "phase", "status"),
    [
        (["source", "source"], "", Status.DONE),
        (["source", "source"], "rollback", Status.ROLLED_BACK),
        # Some moved and some did not: what is next is a person's to say.
        (["source", "target"], "rollback", Status.PERSON),
        (["source"], "cutover", Status.DONE),
        (["unprepared"], "", Status.DONE),
        (["source", "held"], "rollback", Status.HELD),
        (["target-frozen"], "cutover", Status.HELD),
        (["source-frozen-alone"], "cutover", Status.HELD),
        (["source-alone"], "cutover", Status.PERSON),
        (["source", "unread"], "rollback", Status.PERSON),
        (["held", "both"], "cutover", Status.PERSON),
        (["guard-lost"], "cutover", Status.PERSON),
        (["back"], "cutover", Status.PERSON),
        # Nothing was seen.
        ([], "cutover", Status.PERSON),
    ],
)
def test_the_status_of_status(where: list[str], phase: str, status: Status) -> None:
    stands = {str(n): one for n, one in enumerate(where)}
    told = Told(0, phase="status", where={"standings": stands, "phase": phase, "outcome": "ok"})
    assert outcome.judge(told, [], "") is status


@pytest.mark.parametrize(
    ("also", "status"),
    [
        ({}, Status.DONE),
        ({"waits": True}, Status.HELD),
        ({"doubts": ["a chain of the journal is broken"]}, Status.PERSON),
        ({"doubts": ["a controller has died"], "waits": True}, Status.HELD),
        # While it is at work nothing else is to be run.
        ({"at_work": "none while process 7 is at work", "waits": True}, Status.RUNNING),
    ],
)
def test_a_status_with_all_open_is_done_only_where_nothing_is_in_the_way(also: dict[str, Any], status: Status) -> None:
    where = {"standings": {"low": "target"}, "phase": "cutover", "outcome": "ok", **also}
    assert outcome.judge(Told(0, phase="status", where=where), [], "") is status


@pytest.mark.parametrize("wrong", ["late", "apart", "unseen"])
def test_what_is_wrong_with_a_component_that_is_open_is_a_doubt(wrong: str) -> None:
    fine = Standing("low", "target", "")
    assert outcome.found([fine], []) == {"standings": {"low": "target"}, "doubts": []}
    not_so: dict[str, Any] = {wrong: True}
    assert len(outcome.found([fine, replace(fine, **not_so)], ["x"])["doubts"]) == 2
