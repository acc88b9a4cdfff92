"""What a side wrote that its successor never had: read from its log, named by table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from . import control, lsn

_COMMIT = re.compile(r"^rmgr: Transaction\b.*\btx:\s*(\d+),.*\bdesc: COMMIT(?:_PREPARED)?\b(.*)$")
_SUBXACTS = re.compile(r"\bsubxacts: ([\d ]+)")
_DELETE = re.compile(r"^rmgr: Heap\b.*\btx:\s*(\d+),.*\bdesc: DELETE\b.*\brel \d+/(\d+)/(\d+)")
# So many ranges stand in one statement; more are put together, which names too many rows, never too few.
_RANGES = 200


@dataclass
class Written:
    """What was committed beyond the fork: transactions, and rows deleted by (database, file)."""

    transactions: set[int] = field(default_factory=set)
    deleted: dict[tuple[int, int], int] = field(default_factory=dict)


def fork(own_timeline: int, end: str, peer_timeline: int, history: Sequence[tuple[int, str]]) -> str | None:
    """Return where the other side's history left ours when we went on beyond it, else None.

    `end` is where our log ends. A history that does not know our timeline left it before it began.
    """
    if peer_timeline <= own_timeline:
        return None
    where = control.fork_of(history, own_timeline)
    if where is None:
        return "0/0"
    return where if lsn.parse(end) > lsn.parse(where) else None


def read(lines: Iterable[str]) -> Written:
    """Read what pg_waldump prints."""
    found = Written()
    deleted: list[tuple[int, tuple[int, int]]] = []
    for line in lines:
        commit = _COMMIT.match(line)
        if commit:
            found.transactions.add(int(commit[1]))
            below = _SUBXACTS.search(commit[2])
            found.transactions.update(int(word) for word in below[1].split()) if below else None
            continue
        delete = _DELETE.match(line)
        if delete:
            deleted.append((int(delete[1]), (int(delete[2]), int(delete[3]))))
    for transaction, place in deleted:
        if transaction in found.transactions:
            found.deleted[place] = found.deleted.get(place, 0) + 1
    return found


def condition(transactions: Iterable[int]) -> str:
    """Return the condition that names the rows these transactions have written."""
    ranges: list[list[int]] = []
    for number in sorted(transactions):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    while len(ranges) > _RANGES:
        ranges = [
            [pair[0][0], pair[-1][1]] for pair in (ranges[start : start + 2] for start in range(0, len(ranges), 2))
        ]
    return " OR ".join(f"xmin::text::bigint BETWEEN {first} AND {last}" for first, last in ranges) or "false"
