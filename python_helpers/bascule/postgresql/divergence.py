"""What a side wrote that its successor never had: read from its log, named by table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from . import lsn

# What commits a prepared transaction is none itself: the number stands in the description.
_COMMIT = re.compile(r"^rmgr: Transaction\b.*\btx:\s*(\d+),.*\bdesc: COMMIT\b(.*)$")
_PREPARED = re.compile(r"^rmgr: Transaction\b.*\bdesc: COMMIT_PREPARED (\d+):(.*)$")
_SUBXACTS = re.compile(r"\bsubxacts: ([\d ]+)")
_REMOVED = re.compile(r"; rels: ([^;]+)")
_DELETE = re.compile(r"^rmgr: Heap\b.*\btx:\s*(\d+),.*\bdesc: DELETE\b.*\brel \d+/(\d+)/(\d+)")
_CREATE = re.compile(r"^rmgr: Storage\b.*\bdesc: CREATE \S*?(\d+)/(\d+)\s*$")
_LSN = re.compile(r"\blsn: ([0-9A-F]+/[0-9A-F]+),")
# So many ranges stand in one statement; more are put together, which names too many rows, never too few.
_RANGES = 200
# What no history tells: where two histories part that have nothing in common.
NOWHERE = "0/0"


@dataclass
class Written:
    """What was committed beyond the fork: transactions, rows deleted and files made by (database, file), files gone."""

    transactions: set[int] = field(default_factory=set)
    deleted: dict[tuple[int, int], int] = field(default_factory=dict)
    made: set[tuple[int, int]] = field(default_factory=set)
    removed: dict[int, int] = field(default_factory=dict)


def one_line(
    own_timeline: int, own: Sequence[tuple[int, str]], peer_timeline: int, peer: Sequence[tuple[int, str]]
) -> bool:
    """Whether both sides are on one timeline that they came to the same way: only the log itself can tell more."""
    return own_timeline == peer_timeline and _plain(own) == _plain(peer)


def fork(
    own_timeline: int, own: Sequence[tuple[int, str]], end: str, peer_timeline: int, peer: Sequence[tuple[int, str]]
) -> str | None:
    """Return where the two histories part when ours, whose log ends at `end`, goes on beyond it, else None.

    Numbers alone say nothing: who is promoted by hand takes the next one, whoever else has it.
    """
    mine = [*_plain(own), (own_timeline, lsn.parse(end))]
    theirs: list[tuple[int, int | None]] = [*_plain(peer), (peer_timeline, None)]
    shared = None
    for (number, left), (other, went) in zip(mine, theirs):
        if number != other:
            break
        shared = (left, went)
        if left != went:
            break
    if shared is None:
        return NOWHERE
    left, went = shared
    where = left if went is None else min(left, went)
    if one_line(own_timeline, own, peer_timeline, peer):
        return None
    return lsn.render(where) if lsn.parse(end) > where else None


def stretches(timeline: int, history: Sequence[tuple[int, str]], start: str, end: str) -> list[tuple[int, str, str]]:
    """Return the parts of our log from `start` on: (timeline, from, to)."""
    found, begin = [], lsn.parse(start)
    for number, left in [*_plain(history), (timeline, lsn.parse(end))]:
        if left > begin:
            found.append((number, lsn.render(begin), lsn.render(left)))
            begin = left
    return found


def record_at(lines: Iterable[str], place: str) -> str | None:
    """Return where the record begins that holds a byte of the log."""
    found = None
    for line in lines:
        match = _LSN.search(line)
        if match and lsn.parse(match[1]) <= lsn.parse(place):
            found = match[1]
    return found


def read(lines: Iterable[str]) -> Written:
    """Read what pg_waldump prints."""
    found = Written()
    deleted: list[tuple[int, tuple[int, int]]] = []
    for line in lines:
        commit = _PREPARED.match(line) or _COMMIT.match(line)
        if commit:
            found.transactions.add(int(commit[1]))
            below = _SUBXACTS.search(commit[2])
            found.transactions.update(int(word) for word in below[1].split()) if below else None
            gone = _REMOVED.search(commit[2])
            for path in gone[1].split() if gone else ():
                database = int(path.split("/")[-2]) if path.count("/") > 1 else 0
                found.removed[database] = found.removed.get(database, 0) + 1
            continue
        delete = _DELETE.match(line)
        if delete:
            deleted.append((int(delete[1]), (int(delete[2]), int(delete[3]))))
        create = _CREATE.match(line)
        if create:
            # One that was not committed is no table's file.
            found.made.add((int(create[1]), int(create[2])))
    for transaction, place in deleted:
        if transaction in found.transactions:
            found.deleted[place] = found.deleted.get(place, 0) + 1
    return found


def _plain(history: Sequence[tuple[int, str]]) -> list[tuple[int, int]]:
    return [(number, lsn.parse(left)) for number, left in history]


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
