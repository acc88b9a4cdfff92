"""Which verb was begun last, and how it ended, by the journal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import chain
from .progress import FAILED, OK

NOT_ENDED = "not ended"
# What a playbook refuses after all its verbs have come through: its judge, gates without a sample, a load test.
REFUSED = "refused"
JUDGED = frozenset({"pretest", "verify"})
# A timer begins them at any time: they leave what is next as it was.
_BESIDE = frozenset({"monitor"})


@dataclass(frozen=True)
class Last:
    """The last verb the journal knows of, and how it ended.

    takes_part: what its GO was given for; nothing where there was no question, or it is not known.
    """

    phase: str = ""
    verb: str = ""
    component: str = ""
    time: str = ""
    controller: str = ""
    outcome: str = ""
    decision: str = ""
    takes_part: tuple[str, ...] = ()


def last_verb(entries: Sequence[Mapping[str, Any]]) -> Last:
    """Return the last verb that was begun for real, the worst of what ran side by side first.

    In a window one component may be a verb ahead of another: the last one of each counts. Clocks of two controllers are
    not compared where their chains tell who came first.
    """
    begins: dict[tuple[str, str, str, str], Mapping[str, Any]] = {}
    ends: dict[tuple[str, str, str, str], Mapping[str, Any]] = {}
    newest: Mapping[str, Any] = {}
    refused: set[tuple[str, str]] = set()
    for entry in chain.in_order(entries):
        if entry["phase"] in _BESIDE:
            continue
        key = (str(entry["epoch"]), str(entry["phase"]), str(entry["verb"]), str(entry["component"]))
        if entry["kind"] == "begin" and not entry["data"].get("check_mode"):
            begins[key] = newest = entry
            ends.pop(key, None)
            refused.discard(key[:2])
        elif entry["kind"] == "state" and entry["data"].get("event") == REFUSED:
            refused.add(key[:2])
        elif entry["kind"] == "end":
            ends[key] = entry
    if not begins:
        return Last()
    batch = {
        str(entry["component"]): (entry, str(ends[key]["data"].get("result")) if key in ends else NOT_ENDED)
        for key, entry in begins.items()
        if key[:2] == (newest["epoch"], newest["phase"])
    }
    whole = FAILED if (str(newest["epoch"]), str(newest["phase"])) in refused else OK
    entry, outcome = next(((e, o) for e, o in batch.values() if o != OK), (newest, whole))
    return Last(
        str(entry["phase"]),
        str(entry["verb"]),
        str(entry["component"]),
        str(entry["time"]),
        str(entry["controller"]),
        outcome,
        str(entry["epoch"]),
        _takes_part(entries, entry),
    )


def _takes_part(entries: Sequence[Mapping[str, Any]], begun: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the last GO of a verb's decision and phase was given for."""
    given = [
        entry["data"]
        for entry in entries
        if entry["kind"] == "decision" and (entry["epoch"], entry["phase"]) == (begun["epoch"], begun["phase"])
    ]
    part = [data["takes_part"] for data in given if data.get("decision") == "GO" and data.get("takes_part")]
    return tuple(str(name) for name in part[-1]) if part else ()
