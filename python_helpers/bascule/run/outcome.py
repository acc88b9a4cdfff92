"""What a playbook has come to, as the exit status of `bascule` says it. Pure.

It is read from the journal and from what the playbook's own process has told, never from what was printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Optional

from . import chain, verbs
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


WORDS: Mapping[Status, str] = {
    Status.DONE: "done",
    Status.REFUSED: "refused input: nothing was begun",
    Status.NO_GO: "NO-GO: a gate, or the person who was asked, said no before anything was closed",
    Status.HELD: "held: users of a component wait; run the same phase again, or bascule rollback",
    Status.ROLLED_BACK: "rolled back: status found everything at the source after a rollback",
    Status.PERSON: "needs a person: it failed or was ended, and what is to be done is said above, or by bascule status",
    Status.RUNNING: "still running: bascule watch shows it again",
}
# The verbs after whose begin users of the component wait, and the one whose end lets them in.
_CLOSING, _OPENING = frozenset({"freeze", "switch", "take_over"}), "thaw"
# The answers of ansible-playbook to what it cannot read: general errors, the parser, options.
_UNREAD = frozenset({1, 2, 4, 5})
_NO_GO = frozenset({"GateError", "NoGo"})
_WRONG = frozenset({"both", "back", "guard-lost", "unread"})
_WAITING = frozenset({"held", "source-frozen", "target-frozen", "source-frozen-alone", "target-frozen-alone"})


@dataclass(frozen=True)
class Told:
    """What the process of a playbook has told of itself.

    status: its exit status; nothing where it was killed or is not known. failures: the name of the error of each task
    that has failed, empty where it was none of ours. standings: what `status` has found, a word for each component;
    nothing where it was not asked. last: the last verb that `status` knows of: `phase`, `outcome`, `alive`.
    """

    status: Optional[int]
    failures: Sequence[str] = ()
    standings: Optional[Mapping[str, str]] = None
    last: Mapping[str, Any] | None = None


def judge(told: Told, entries: Sequence[Entry], decision: str) -> Status:
    """Return what a playbook has come to.

    Args:
        told: what its process has told.
        entries: what the journal of its run holds.
        decision: its decision; empty where it has begun none.
    """
    if told.status == 0:
        return Status.DONE if told.standings is None else _stands(told.standings, told.last or {})
    begun = [entry for entry in entries if decision and entry["epoch"] == decision and entry["kind"] == "begin"]
    if set(told.failures) & _NO_GO and not any(_changes(entry) for entry in begun):
        return Status.NO_GO
    if not begun and ("PlanError" in told.failures or (told.status in _UNREAD and not told.failures)):
        return Status.REFUSED
    return Status.HELD if waiting(entries) else Status.PERSON


def waiting(entries: Iterable[Entry]) -> list[str]:
    """Return the components whose users wait: closed for them, or about to be, and not let in again."""
    held: dict[str, bool] = {}
    for entry in chain.in_order(entries):
        if (entry["data"] or {}).get("check_mode"):
            continue
        name = str(entry["component"])
        if entry["kind"] == "begin" and entry["verb"] in _CLOSING:
            held[name] = True
        elif entry["kind"] == "end" and entry["verb"] == _OPENING and entry["data"].get("result") == OK:
            held[name] = False
    return [name for name, waits in held.items() if waits]


def _stands(standings: Mapping[str, str], last: Mapping[str, Any]) -> Status:
    where = set(standings.values())
    if not where or where & _WRONG:
        return Status.PERSON
    if where & _WAITING:
        return Status.HELD
    if any(one.endswith("-alone") for one in where):
        return Status.PERSON
    back = last.get("phase") == "rollback" and last.get("outcome") == OK and where == {"source"}
    return Status.ROLLED_BACK if back else Status.DONE


def _changes(entry: Entry) -> bool:
    known = verbs.VERBS.get(str(entry["verb"]))
    return known is not None and known.mutates and not entry["data"].get("check_mode")
