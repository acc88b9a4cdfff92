"""The journal's entries: one hash chain per controller and decision, readable wherever a copy lies.

An entry is one line of JSON. Its hash covers everything else in it, with the hash of the entry before.
"""

from __future__ import annotations

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
        except ValueError:
            reading.broken.append(raw)
            continue
        if isinstance(entry, dict) and set(entry) == set(FIELDS):
            reading.entries.append(entry)
        else:
            reading.broken.append(raw)
    return reading


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


def heads(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the hash of each chain's last entry."""
    return {
        f"{controller}-{decision}": str(chain[-1]["hash"]) for (controller, decision), chain in chains(entries).items()
    }


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
