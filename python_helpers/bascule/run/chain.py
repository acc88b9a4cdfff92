"""The journal's entries: one hash chain per controller and decision, readable wherever a copy lies.

An entry is one line of JSON. Its hash covers everything else in it, with the hash of the entry before.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import JournalError

Entry = dict[str, Any]

KINDS = ("step", "begin", "end", "sample", "decision", "state")
FIELDS = (
    "n",
    "time",
    "run",
    "controller",
    "epoch",
    "kind",
    "phase",
    "verb",
    "component",
    "data",
    "prev",
    "hash",
)
# A later version may write kinds that this one does not know: they are entries all the same.
_TEXTS = frozenset(FIELDS) - {"n", "data"}
# Time, a number above what is known to come before at that time, controller, decision, place in the chain.
_Rank = tuple[str, int, str, str, int]
# The phases that write nothing on any machine. Their chains stay at the controller until another phase begins.
READING = frozenset({"audit"})
# What stands before the first entry of a chain.
ROOT = ""


@dataclass(frozen=True)
class Reading:
    """What was found in a journal's text."""

    entries: list[Entry] = field(default_factory=list)
    # Lines that are no entry: a write that a crash cut short, or a change by somebody else.
    broken: list[str] = field(default_factory=list)


def digest(entry: Mapping[str, Any]) -> str:
    """Return the hash of the entry without its hash."""
    covered = {key: value for key, value in entry.items() if key != "hash"}
    return hashlib.sha256(_canonical(covered).encode("utf-8", "surrogatepass")).hexdigest()


def make(previous: Mapping[str, Any] | None, content: Mapping[str, Any]) -> Entry:
    """Return the entry that follows `previous` in its chain."""
    if content.get("kind") not in KINDS:
        raise JournalError(expected=f"an entry's kind out of {', '.join(KINDS)}", found=repr(content.get("kind")))
    entry: Entry = {
        **content,
        "n": (previous["n"] if previous else 0) + 1,
        "prev": previous["hash"] if previous else ROOT,
    }
    entry["hash"] = digest(entry)
    if set(entry) != set(FIELDS):
        raise JournalError(
            expected=f"an entry with {', '.join(FIELDS)}", found=f"one with {', '.join(sorted(map(str, entry)))}"
        )
    return {key: entry[key] for key in FIELDS}


def line(entry: Mapping[str, Any]) -> str:
    """Return the entry as a line of the journal."""
    return json.dumps(entry, ensure_ascii=True, separators=(",", ":")) + "\n"


def parse(text: str) -> Reading:
    """Read a journal's text; what is no entry is kept apart, never guessed."""
    reading = Reading()
    for raw in text.splitlines():
        if not raw.strip():
            continue
        try:
            entry = json.loads(raw)
        except (ValueError, RecursionError):
            reading.broken.append(raw)
            continue
        if _is_entry(entry):
            reading.entries.append(entry)
        else:
            reading.broken.append(raw)
    return reading


def _is_entry(value: Any) -> bool:
    """Say whether that is an entry, in its fields and in their types: everything that reads entries rests on it."""
    if not isinstance(value, dict) or set(value) != set(FIELDS) or not isinstance(value["data"], dict):
        return False
    number = value["n"]
    counted = isinstance(number, int) and not isinstance(number, bool) and number >= 1
    return counted and all(isinstance(value[field], str) for field in _TEXTS)


def chains(entries: Iterable[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """Return each chain's entries in order, an entry that was copied twice once."""
    found: dict[tuple[str, str], dict[tuple[int, str], Entry]] = {}
    for entry in entries:
        chain = found.setdefault((str(entry["controller"]), str(entry["epoch"])), {})
        chain[(int(entry["n"]), str(entry["hash"]))] = entry
    return {key: [chain[position] for position in sorted(chain)] for key, chain in found.items()}


def verify(entries: Iterable[Entry]) -> list[str]:
    """Return what is wrong with the chains, in words; nothing when they hold."""
    problems = []
    for (controller, decision), chain in chains(entries).items():
        name = f"chain of {controller}, decision {decision}"
        previous: Mapping[str, Any] | None = None
        for entry in chain:
            where = f"{name}: entry {entry['n']}"
            if entry["hash"] != digest(entry):
                problems.append(f"{where} was changed after it was written")
            wanted = (previous["n"] if previous else 0) + 1
            if entry["n"] > wanted:
                problems.append(f"{where} follows {wanted - 1}: entries are missing")
            elif entry["n"] < wanted:
                problems.append(f"{where} is there twice, with different content")
            elif entry["prev"] != (previous["hash"] if previous else ROOT):
                problems.append(f"{where} does not follow the entry before it")
            previous = entry
    return problems


def merge(*copies: Iterable[Entry]) -> list[Entry]:
    """Return the entries of several copies in the order of their time, each once."""
    together = [entry for copy in copies for entry in copy]
    unique = [entry for chain in chains(together).values() for entry in chain]
    return sorted(unique, key=lambda entry: (str(entry["time"]), str(entry["controller"]), int(entry["n"])))


def in_order(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the entries in the order in which they were written.

    Inside a chain their numbers say it; between chains the heads that a chain's start names: what it has seen came
    before it. The time counts only where neither says anything.
    """
    return [entry for _, entry in sorted(_ranked(entries)[0], key=lambda one: one[0])]


def contradictions(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return where the times say otherwise than that order, in words."""
    return _ranked(entries)[1]


# Above this many seconds between what came first and its time, a clock has said something wrong.
_CLOCKS = 1.0


def _ranked(entries: Iterable[Mapping[str, Any]]) -> tuple[list[tuple[_Rank, Mapping[str, Any]]], list[str]]:
    """Give each entry a rank that is above all that it is known to follow; say where its time is not."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in entries:
        found.setdefault((str(entry.get("controller")), str(entry.get("epoch"))), []).append(entry)
    ordered = {
        key: sorted(one, key=lambda entry: (int(entry.get("n") or 0), str(entry["time"]))) for key, one in found.items()
    }
    whose = {
        str(entry["hash"]): (key, place)
        for key, one in ordered.items()
        for place, entry in enumerate(one)
        if entry.get("hash") is not None
    }
    ranks: dict[tuple[str, str], list[tuple[_Rank, Mapping[str, Any]]]] = {key: [] for key in ordered}
    odd: list[str] = []

    def rank(key: tuple[str, str], until: int, above: frozenset[tuple[str, str]]) -> None:
        """Rank a chain up to that place. What it names of another chain is ranked before, and no more of that."""
        ranked = ranks[key]
        while len(ranked) <= until:
            entry = ordered[key][len(ranked)]
            last = ranked[-1][0][:2] if ranked else ("", 0)
            latest, what = last, "the entry before it"
            for head in _seen(entry):
                other, place = whose.get(head, (key, 0))
                if other != key and other not in above:
                    rank(other, place, above | {key})
                if other != key and place < len(ranks[other]) and ranks[other][place][0][:2] > latest:
                    latest, what = (
                        ranks[other][place][0][:2],
                        f"what {other[0]}, decision {other[1]} had written before",
                    )
            time = str(entry["time"])
            if latest[0] > time and _seconds(latest[0]) - _seconds(time) > _CLOCKS:
                odd.append(f"chain of {key[0]}, decision {key[1]}: its time {time[:19]} is before that of {what}")
            last = max((time, 0), (latest[0], latest[1] + 1))
            ranked.append(((*last, *key, len(ranked)), entry))

    for key in sorted(ordered):
        rank(key, len(ordered[key]) - 1, frozenset())
    return [one for ranked in ranks.values() for one in ranked], list(dict.fromkeys(odd))


def _seen(entry: Mapping[str, Any]) -> list[str]:
    """Return the heads that a start entry names."""
    data = entry.get("data") or {}
    if data.get("event") != "start":
        return []
    groups = [*(data.get("heads") or {}).values(), data.get("local") or {}]
    return [str(head) for group in groups for head in group.values()]


def _seconds(time: str) -> float:
    return datetime.datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


def lacking(known: Iterable[Entry], held: Iterable[Entry]) -> list[Entry]:
    """Return the known entries that a copy does not hold, of chains that hold and of runs that were not only tried."""
    there = {str(entry["hash"]) for entry in held}
    real = [one for one in chains(known).values() if not any(entry["data"].get("check_mode") for entry in one)]
    return [entry for one in real if not verify(one) for entry in one if str(entry["hash"]) not in there]


def kept_here(known: Iterable[Entry], at_sites: Iterable[Entry]) -> list[Entry]:
    """Return the known entries of chains that no site has to hold yet: of phases that read only, and nowhere else."""
    there = {(str(entry["controller"]), str(entry["epoch"])) for entry in at_sites}
    return [
        entry
        for key, one in chains(known).items()
        if key not in there and all(_phase(entry) in READING for entry in one)
        for entry in one
    ]


def _phase(entry: Entry) -> str:
    """Return the phase of an entry; that of the start of a chain stands in its data."""
    return str(entry["phase"] or entry["data"].get("phase") or "")


def describe(reading: Reading) -> str:
    """Return what a copy holds, in words; lines that are no entries are told, for they may have been ones."""
    count, odd = len(merge(reading.entries)), len(reading.broken)
    told = {0: "", 1: " and 1 LINE THAT IS NO ENTRY"}
    return f"{count} entries{told.get(odd, f' and {odd} LINES THAT ARE NO ENTRIES')}"


def problems(copies: Mapping[str, Reading]) -> list[str]:
    """Return what is wrong with the chains in the copies, by place, or between them.

    Each copy is looked at by itself: beside another one, an entry that was changed in it would be taken for the same.
    """
    found = [f"{place}: {problem}" for place, reading in copies.items() for problem in verify(reading.entries)]
    return found or verify(merge(*(reading.entries for reading in copies.values())))


def heads(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the hash of each chain's last entry."""
    return {
        f"{controller}-{decision}": str(chain[-1]["hash"]) for (controller, decision), chain in chains(entries).items()
    }


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
