"""What a playbook lets both sites know while it is at work, and what another machine makes of it. Pure.

A note comes to the sites anew every `BEAT` seconds. Its age is told by the site that keeps it, by that site's clock
alone: clocks of two machines are not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

BEAT = 15.0
# Seconds after which it counts as silent: several beats, and the slowest connection.
SILENT_AFTER = 75
AT_WORK, GONE = "at work", "gone"
# A clock that is set while somebody looks.
_STEP = 5


@dataclass(frozen=True)
class Heard:
    """A note as a site holds it.

    age: seconds since it came there, by the site's own clock.
    """

    site: str
    age: int
    note: Mapping[str, Any]


def line(note: Mapping[str, Any], state: str) -> str:
    """Return what comes to a site: the note of the playbook's own folder, and whether its process lives."""
    return json.dumps({**note, "state": state}, sort_keys=True) + "\n"


def parse(site: str, text: str) -> list[Heard]:
    """Return the notes that a site holds, each a line of its age and its JSON; what is none is left out."""
    found = []
    for one in text.splitlines():
        age, _, rest = one.partition(" ")
        try:
            note = json.loads(rest)
            if isinstance(note, dict) and {"host", "decision", "pid"} <= set(note):
                found.append(Heard(site, int(age), note))
        except ValueError:
            continue
    return found


def newest(heard: Iterable[Heard]) -> list[list[Heard]]:
    """Return what all sites hold of each playbook, its latest note first: an end, a death, then the youngest."""
    by: dict[tuple[str, str], list[Heard]] = {}
    for one in heard:
        by.setdefault((str(one.note["host"]), str(one.note["decision"])), []).append(one)
    return [sorted(each, key=_rank) for each in by.values()]


def lives(of_one: Iterable[Heard]) -> tuple[Optional[bool], str]:
    """Return whether a playbook of another machine lives by what the sites hold of it, and what is to be said of that.

    Silence is no death: the machine may be cut off from the sites.
    """
    first, *others = sorted(of_one, key=_rank)
    known = [first, *others]
    if first.note.get("ended") or first.note.get("state") == GONE:
        return False, ""
    sites = " and ".join(sorted({one.site for one in known}))
    if any(-_STEP <= one.age <= SILENT_AFTER for one in known):
        return True, f"heard of {max(0, first.age)} s ago at {first.site}"
    host, age = first.note["host"], min(one.age for one in known)
    since = f"for {age} s" if age > 0 else "since the clock there was set back"
    return None, f"no word of it at {sites} {since}; it is dead, or cut off from there: ask on {host} before you go on"


def _rank(one: Heard) -> tuple[bool, bool, int]:
    return not one.note.get("ended"), one.note.get("state") != GONE, abs(one.age)
