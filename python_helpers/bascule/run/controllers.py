"""Who is at work in a run, and who has died in it, by their own notes and by the journal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Noted:
    """A playbook of this machine, as it has noted itself.

    alive: whether its process still holds its note. ended: when it ended by itself; empty where it did not.
    """

    decision: str
    pid: int
    user: str
    playbook: str
    started: str
    play: str
    ended: str
    alive: bool


@dataclass(frozen=True)
class AtWork:
    """What `status` says of the controllers: lines, and what is to be done before anything else is.

    first: nothing where nobody is in the way. last_words: how a verb that has not ended is to be read.
    """

    lines: Sequence[str] = ()
    first: str = ""
    last_words: str = ""


NOBODY = AtWork()


def at_work(noted: Iterable[Noted], entries: Iterable[Entry], controller: str, now: str) -> AtWork:
    """Return who is at work and who has died.

    Only what was begun last counts: whoever has begun after a dead one has seen what it left, and went on with it. One
    that lives always counts.

    Args:
        noted: what the playbooks of this machine have noted in the run.
        entries: the journal's entries, from here and from the sites.
        controller: this machine's name as the journal has it.
        now: the time, in UTC, as the journal writes it.
    """
    known = [entry for entry in entries if not entry["data"].get("check_mode")]
    chains: dict[tuple[str, str], list[Entry]] = {}
    for entry in sorted(known, key=lambda one: str(one["time"])):
        chains.setdefault((str(entry["controller"]), str(entry["epoch"])), []).append(entry)
    newest = max(chains, key=lambda whose: str(chains[whose][0]["time"]), default=None)
    found: list[AtWork] = []
    told = {(controller, one.decision): one for one in noted}
    for whose, one in told.items():
        left = _left(chains.get(whose, []))
        about = f"{one.playbook}, process {one.pid} of {one.user} on {controller}, begun {_second(one.started)}"
        where = f', in play "{one.play}"' if one.play else ""
        if one.alive:
            found.append(
                AtWork(
                    [f"Controller: AT WORK: {about}{where}" + (f"; now {left}" if left else "")],
                    f"none while process {one.pid} is at work; wait until it has ended (kill -INT {one.pid} ends it, "
                    "and what it started on the machines goes on), then ask again",
                    "under way",
                )
            )
        elif not one.ended and whose == newest:
            line = f"Controller: DEAD: {about}, is gone and has not ended by itself{where}"
            rest = f"; it left {left}, and what it started on the machines goes on" if left else ""
            found.append(AtWork([line + rest], "", "NOT ENDED: its controller is dead"))
    if newest is not None and newest not in told and (left := _left(chains[newest])):
        heard = str(chains[newest][-1]["time"])
        asked = "it has left no note" if newest[0] == controller else f"ask on {newest[0]} before you go on"
        line = f"Controller: {newest[0]}, heard of last {_second(heard)} (it is {_second(now)}), left {left}"
        found.append(AtWork([f"{line}; whether it is still at work is not known here: {asked}"]))
    return AtWork(
        [line for one in found for line in one.lines],
        next((one.first for one in found if one.first), ""),
        next((one.last_words for one in found if one.last_words), ""),
    )


def _left(entries: Iterable[Entry]) -> str:
    """Return the verbs of a chain that have begun and not ended, in words."""
    begun: dict[tuple[str, str, str], Optional[Entry]] = {}
    for entry in entries:
        key = (str(entry["phase"]), str(entry["verb"]), str(entry["component"]))
        if entry["kind"] == "begin":
            begun[key] = entry
        elif entry["kind"] == "end":
            begun.pop(key, None)
    return ", ".join(f"{verb} of {component}" for _, verb, component in begun)


def _second(time: str) -> str:
    return f"{time[:19]}Z"
