"""Who is at work in a run, and who has died in it, by their own notes and by the journal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from . import verbs

Entry = Mapping[str, Any]
# Controller and decision.
Whose = tuple[str, str]
# Whoever is at work in these alone moves and changes nothing.
LOOKING = frozenset({"audit", "plan", "verify", "monitor", "report", "status"})
UNKNOWN = "whether a controller is at work is not known"


@dataclass(frozen=True)
class Noted:
    """A playbook, as it has noted itself.

    alive: whether its process still lives; nothing where that is not known, and why. ended: when it ended by itself;
    empty where it did not. host: the machine it was begun on. far: it is known from what the sites have heard of it.
    """

    decision: str
    pid: int
    user: str
    playbook: str
    started: str
    play: str
    ended: str
    alive: Optional[bool]
    host: str
    why: str = ""
    far: bool = False


@dataclass(frozen=True)
class AtWork:
    """What `status` says of the controllers: lines, and what is to be done before anything else is.

    first: nothing where nobody is in the way. beside: who is at work and in nobody's way. last_words: how a verb that
    has not ended is to be read, by whose it is. doubts: who has died, or may be at work elsewhere, in a few words each.
    """

    lines: Sequence[str] = ()
    first: str = ""
    beside: str = ""
    last_words: Mapping[Whose, str] = field(default_factory=dict)
    doubts: Sequence[str] = ()


NOBODY = AtWork()


def at_work(noted: Iterable[Noted], entries: Iterable[Entry], controller: str, now: str) -> AtWork:
    """Return who is at work and who has died.

    A dead one is told until what it left has been begun again by somebody who knew of it and changes things: a look, a
    trial, or another machine's clock ends nothing. One that lives is always told.

    Args:
        noted: what the playbooks have noted in the run.
        entries: the journal's entries, from here and from the sites.
        controller: this machine's name as the journal has it.
        now: the time, in UTC, as the journal writes it.
    """
    chains = _real(entries)
    found: list[AtWork] = []
    told = {(one.host, one.decision): one for one in noted}
    for whose, one in told.items():
        if one.ended:
            continue
        left, taken_on = _left(whose, chains), _is_taken_on(whose, chains)
        about = f"{one.playbook}, process {one.pid} of {one.user} on {one.host}, begun {_second(one.started)}"
        where = f', in play "{one.play}"' if one.play else ""
        if one.alive:
            found.append(
                _live(one, chains.get(whose, []), f"{about}{where}" + (f"; now {left}" if left else ""), whose)
            )
        elif one.alive is None:
            if one.pid and taken_on:
                continue
            who = f"{about}{where}" if one.pid else f"decision {one.decision}"
            rest = f", left {left}" if left else ""
            line = f"Controller: {who}{rest}; whether it is still at work is not known here: {one.why}"
            found.append(AtWork([line], doubts=[UNKNOWN]))
        elif not taken_on:
            line = f"Controller: DEAD: {about}, is gone and has not ended by itself{where}"
            rest = f"; it left {left}, and what it started on the machines goes on" if left else ""
            words = {whose: "NOT ENDED: its controller is dead"}
            found.append(AtWork([line + rest], last_words=words, doubts=["a controller has died"]))
    for whose, chain in chains.items():
        left = "" if whose in told else _left(whose, chains)
        if not left:
            continue
        heard = str(chain[-1]["time"])
        asked = "it has left no note" if whose[0] == controller else f"ask on {whose[0]} before you go on"
        line = f"Controller: {whose[0]}, heard of last {_second(heard)} (it is {_second(now)}), left {left}"
        line = f"{line}; whether it is still at work is not known here: {asked}"
        found.append(AtWork([line], doubts=[UNKNOWN]))
    return AtWork(
        [line for one in found for line in one.lines],
        next((one.first for one in found if one.first), ""),
        ", and ".join(one.beside for one in found if one.beside),
        {whose: words for one in found for whose, words in one.last_words.items()},
        list(dict.fromkeys(doubt for one in found for doubt in one.doubts)),
    )


def still_writing(noted: Iterable[Noted], entries: Iterable[Entry]) -> set[Whose]:
    """Return the chains among these whose process is known to live, or has begun a verb and left no note yet."""
    alive = {one.decision: not one.ended and one.alive is True for one in noted}
    chains = _real(entries)
    return {whose for whose in chains if alive.get(whose[1], bool(_left(whose, chains)))}


def _live(one: Noted, chain: Sequence[Entry], about: str, whose: Whose) -> AtWork:
    line = f"Controller: AT WORK: {about}" + (f"; {one.why}" if one.far else "")
    words, where = {whose: "under way"}, f" on {one.host}" if one.far else ""
    phases = {str(entry["phase"]) for entry in chain if entry["kind"] == "begin"}
    if phases and phases <= LOOKING:
        looks = f"process {one.pid}{where} is at work as well and changes nothing ({one.playbook})"
        return AtWork([line], beside=looks, last_words=words)
    first = (
        f"none while process {one.pid}{where} is at work; wait until it has ended (bascule watch shows what bascule "
        f"has begun; kill -INT {one.pid}{where} ends it, and what it started on the machines goes on), then ask again"
    )
    return AtWork([line], first, last_words=words)


def _real(entries: Iterable[Entry]) -> dict[Whose, list[Entry]]:
    """Return the chains of what was not only tried, in the order of their time."""
    chains: dict[Whose, list[Entry]] = {}
    for entry in sorted(entries, key=lambda one: str(one["time"])):
        chains.setdefault((str(entry["controller"]), str(entry["epoch"])), []).append(entry)
    return {whose: one for whose, one in chains.items() if not any(entry["data"].get("check_mode") for entry in one)}


def _left(whose: Whose, chains: Mapping[Whose, Sequence[Entry]]) -> str:
    """Return what a chain has begun and not ended and nobody has begun again."""
    begun, _ = _begun(chains.get(whose, []))
    return ", ".join(
        f"{verb} of {component}" for (_, verb, component), at in begun.items() if not _taken_on(whose, at, chains)
    )


def _is_taken_on(whose: Whose, chains: Mapping[Whose, Sequence[Entry]]) -> bool:
    """Say whether all that a chain has left was begun again.

    One that died between two verbs has left its components there.
    """
    begun, last = _begun(chains.get(whose, []))
    places = begun.values() or last.values()
    return bool(places) and all(_taken_on(whose, at, chains) for at in places)


def _begun(chain: Sequence[Entry]) -> tuple[dict[tuple[str, str, str], int], dict[str, int]]:
    """Return the places of the verbs that have not ended, and of the last verb of each component."""
    begun: dict[tuple[str, str, str], int] = {}
    last: dict[str, int] = {}
    for at, entry in enumerate(chain):
        key = (str(entry["phase"]), str(entry["verb"]), str(entry["component"]))
        if entry["kind"] == "begin":
            begun[key] = last[key[2]] = at
        elif entry["kind"] == "end":
            begun.pop(key, None)
    return begun, last


def _taken_on(whose: Whose, at: int, chains: Mapping[Whose, Sequence[Entry]]) -> bool:
    """Say whether what was begun at this place of a chain was begun again by one that knew of it."""
    begin = chains[whose][at]
    for other, chain in chains.items():
        near = other[0] == whose[0]
        if other == whose or not (near or _knew(chain, whose, chains[whose][at:])):
            continue
        for entry in chain:
            # Clocks of two machines are not compared.
            later = not near or str(entry["time"]) > str(begin["time"])
            same = entry["kind"] == "begin" and entry["component"] == begin["component"] and later
            if same and (_changes(entry) or not _changes(begin)):
                return True
    return False


def _knew(chain: Sequence[Entry], whose: Whose, since: Sequence[Entry]) -> bool:
    """Say whether a chain's start says that it has seen one of these entries of another machine's chain.

    A chain of an audit has another start when a phase follows in its process.
    """
    seen = {str(entry["hash"]) for entry in since if "hash" in entry}
    starts = [entry["data"] for entry in chain if entry["data"].get("event") == "start"]
    heads = [one for data in starts for one in (data.get("local") or {}, *(data.get("heads") or {}).values())]
    return any(one.get("-".join(whose)) in seen for one in heads)


def _changes(entry: Entry) -> bool:
    known = verbs.VERBS.get(str(entry["verb"]))
    return known is not None and known.mutates


def _second(time: str) -> str:
    return f"{time[:19]}Z"
