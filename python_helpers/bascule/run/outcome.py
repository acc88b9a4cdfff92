"""What a playbook has come to, as the exit status of `bascule` says it. Pure.

It is read from the journal and from what the playbook's own process has told, never from what was printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Optional

from . import chain, verbs
from .commits import CLOSING, COMMIT
from .controllers import LOOKING
from .position import Standing
from .progress import OK

Entry = Mapping[str, Any]


class Status(IntEnum):
    """The exit statuses of `bascule`."""

    DONE = 0
    REFUSED = 2
    NO_GO = 3
    HELD = 4
    ROLLED_BACK = 5
    PERSON = 6
    RUNNING = 7
    NOTHING = 8


WORDS: Mapping[Status, str] = {
    Status.DONE: "done",
    Status.REFUSED: "refused input: nothing was begun",
    Status.NO_GO: "NO-GO: a gate, or the person who was asked, said no before anything was closed",
    Status.HELD: "held: users of a component wait; run the same phase again, or bascule rollback",
    Status.ROLLED_BACK: "rolled back: status found everything at the source after a rollback",
    Status.PERSON: "needs a person: what is to be done is said above, or by bascule status",
    Status.RUNNING: "still running: bascule watch shows it again, or bascule status says who is at work",
    Status.NOTHING: "nothing was run: it was a trial (--check), or nothing that --limit names takes part",
}
# The verb whose end lets the users of a component in.
_OPENING = "thaw"
# The answers of ansible-playbook to what it cannot read: general errors, the parser, options.
_UNREAD = frozenset({1, 2, 4, 5})
_NO_GO = frozenset({"GateError", "NoGo"})
_WRONG = frozenset({"both", "back", "guard-lost", "unread"})
_OPEN = frozenset({"source", "target"})
# These begin no verb.
_TRACELESS = frozenset({"status", "report"})
_WAITING = frozenset({"held", "source-frozen", "target-frozen", "source-frozen-alone", "target-frozen-alone"})


@dataclass(frozen=True)
class Told:
    """What the process of a playbook has told of itself.

    status: its exit status; nothing where it was killed or is not known. failures: the name of the error of each task
    that has failed, empty where it was none of ours. phase: what was asked for. where: what `status` has found, with
    `standings` (a word for each component), `doubts` (what makes it no good one, such as a chain that is broken),
    `waits`, `at_work`, and the `phase` and `outcome` of the last verb; nothing where it was not asked.
    """

    status: Optional[int]
    failures: Sequence[str] = ()
    phase: str = ""
    where: Optional[Mapping[str, Any]] = None


def found(standings: Iterable[Standing], doubts: Iterable[str]) -> dict[str, Any]:
    """Return what `status` has found at the machines, as `Told` has it."""
    seen = list(standings)
    wrong = {
        "names are late": any(one.late for one in seen),
        "what is written is not carried over": any(one.apart for one in seen),
        "not seen to serve": any(one.unseen for one in seen),
    }
    return {
        "standings": {one.component: one.where for one in seen},
        "doubts": [*doubts, *(what for what, is_so in wrong.items() if is_so)],
    }


def judge(told: Told, entries: Sequence[Entry], decision: str) -> Status:
    """Return what a playbook has come to.

    Args:
        told: what its process has told.
        entries: what the journal of its run holds.
        decision: its decision; empty where it has begun none.
    """
    if told.status == 0 and told.where is not None:
        return _stands(told.where)
    begun = [entry for entry in entries if decision and entry["epoch"] == decision and entry["kind"] == "begin"]
    if told.status == 0 and told.phase in LOOKING and (told.phase in _TRACELESS or any(map(_is_real, begun))):
        return Status.DONE
    if waiting(entries):
        # Whatever this command has come to, and whoever has closed them.
        return Status.HELD
    if told.status == 0:
        return Status.DONE if any(map(_is_real, begun)) or _committed(entries, decision) else Status.NOTHING
    if set(told.failures) & _NO_GO and not any(_changes(entry) for entry in begun):
        return Status.NO_GO
    if not begun and ("PlanError" in told.failures or (told.status in _UNREAD and not told.failures)):
        return Status.REFUSED
    return Status.PERSON


def waiting(entries: Iterable[Entry]) -> list[str]:
    """Return the components whose users wait: closed for them, or about to be, and not let in again."""
    held: dict[str, bool] = {}
    for entry in chain.in_order(entries):
        if (entry["data"] or {}).get("check_mode"):
            continue
        name = str(entry["component"])
        if entry["kind"] == "begin" and entry["verb"] in CLOSING:
            held[name] = True
        elif entry["kind"] == "end" and entry["verb"] == _OPENING and entry["data"].get("result") == OK:
            held[name] = False
    return [name for name, waits in held.items() if waits]


def _stands(where: Mapping[str, Any]) -> Status:
    """Return what `status` has found; where it has found nothing, that is no good one."""
    words = set((where.get("standings") or {}).values())
    if not words or words & _WRONG:
        return Status.PERSON
    if where.get("at_work"):
        return Status.RUNNING
    if where.get("waits") or words & _WAITING:
        return Status.HELD
    if where.get("doubts") or len(words & _OPEN) > 1 or any(one.endswith("-alone") for one in words):
        return Status.PERSON
    back = where.get("phase") == "rollback" and where.get("outcome") == OK and words == {"source"}
    return Status.ROLLED_BACK if back else Status.DONE


def _committed(entries: Iterable[Entry], decision: str) -> bool:
    """Say whether this decision is that a move stays: that begins no verb."""
    return any(
        entry["kind"] == "decision" and entry["epoch"] == decision and entry["data"].get("decision") == COMMIT
        for entry in entries
    )


def _is_real(entry: Entry) -> bool:
    return not entry["data"].get("check_mode")


def _changes(entry: Entry) -> bool:
    known = verbs.VERBS.get(str(entry["verb"]))
    return known is not None and known.mutates and _is_real(entry)
