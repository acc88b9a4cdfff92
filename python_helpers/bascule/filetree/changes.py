"""Which names of a tree have changed: the recorder's journal, kept small while it is written, and read back.

Pure. A name is a path below the tree as bytes, `.` for its root. The journal says where something may have happened,
never what: whoever reads it looks at the tree. It may name too much, never too little; where that cannot be promised,
`complete` is False, `why` says it, and only a full scan knows what has changed.

A journal belongs to one generation: one run of the recorder, which has missed nothing since it began. Positions in two
generations cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ..errors import BasculeError

ROOT = b"."
# A name may be there, is gone, is a directory of which all that is below counts as changed as well, or one of which
# names are gone that nobody has kept: what the other side has in it, and this one has not, goes.
CHANGED, GONE, WHOLE, LISTED = b"C", b"G", b"W", b"L"
# No path below the root begins like this: what follows is the number of an inode.
INODE = b"/"
# What a name costs in memory beside its own bytes: the entry of a dictionary, two objects and a tuple.
NAME_COST = 250
# And in the journal: a number of up to fourteen digits, up to three letters, two spaces and the end.
_RECORD = 20
PIECE = 4096
# So many names that are gone from one directory are worth a look at what the other side has in it.
FOLDED = 1000
_BUCKETS = 1 << 16
# What remains when a log is folded must leave so much room that it is not folded again at once.
_ROOM = 0.75


class JournalUnreadable(BasculeError):
    """The recorder's journal does not hold what it should."""


@dataclass(frozen=True)
class Changes:
    """Where something may have happened after `first` and up to `last`.

    `changed` were there, `deleted` were gone when the recorder saw them last. Of the directories in `whole`, which are
    in one of the two as well, everything below counts as changed: they were moved, or replaced by others.
    """

    first: int
    last: int
    changed: frozenset[bytes]
    deleted: frozenset[bytes]
    complete: bool
    why: str
    whole: frozenset[bytes] = frozenset()
    generation: str = ""
    # Files that were changed under a name that is another file by now, or that have several names.
    inodes: frozenset[int] = frozenset()
    # Directories of which names are gone that are not told one by one.
    listed: frozenset[bytes] = frozenset()

    @property
    def names(self) -> frozenset[bytes]:
        """All names."""
        return self.changed | self.deleted

    def touches(self, path: bytes) -> bool:
        """Tell whether a path may have changed: it is named, or lies in a directory that counts as a whole."""
        if not self.complete or path in self.changed or path in self.deleted:
            return True
        return bool(self.whole) and any(above in self.whole for above in parents(path))


def doubt(why: str) -> Changes:
    """Return that nothing is known: everything may have changed."""
    return Changes(0, 0, frozenset(), frozenset(), False, why)


def parents(path: bytes) -> Iterator[bytes]:
    """Yield the directories above a path, the nearest first, the root last."""
    while path != ROOT:
        path = path.rpartition(b"/")[0] or ROOT
        yield path


@dataclass(frozen=True)
class Mark:
    """A point in a generation of a recorder: everything that happened before it has been written down."""

    generation: str
    sequence: int

    def to_text(self) -> str:
        """Return the mark as it stands in a receipt."""
        return f"{self.generation}:{self.sequence}"

    @classmethod
    def from_any(cls, value: Any) -> Optional[Mark]:
        """Read a mark from plain types; None when it is not one."""
        if not isinstance(value, Mapping):
            return None
        generation, sequence = value.get("generation"), value.get("sequence")
        if not isinstance(generation, str) or not generation or not isinstance(sequence, int):
            return None
        return cls(generation, sequence)


@dataclass
class Log:
    """What the recorder keeps: each name once, with the last time it was seen; bounded."""

    limit: int
    sequence: int = 0
    size: int = 0
    forgotten: int = 0
    names: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    # Tells which names of a directory are not there now. The kernel merges that one came and that it went, and does not
    # tell the order.
    missing: Callable[[bytes, list[bytes]], Collection[bytes]] = lambda directory, names: ()

    def note(self, name: bytes, kind: bytes) -> bool:
        """Take in what happened to a name; False when there is no room for it any more."""
        self._put(name, kind)
        if self.size > self.limit:
            self.fold()
            return self.size <= self.limit * _ROOM
        return True

    def fold(self, least: int = FOLDED) -> int:
        """Let directories stand for the many names that are gone from them; return how many names went.

        Names of uploads, locks and the like come and go for as long as nothing is transferred.
        """
        # Counted roughly first: as many directories as names would take as much memory as all that is in the log.
        counts = [0] * _BUCKETS
        for directory, _ in self._loose():
            counts[hash(directory) % _BUCKETS] += 1
        many: dict[bytes, list[bytes]] = {}
        for directory, name in self._loose():
            if counts[hash(directory) % _BUCKETS] >= least:
                many.setdefault(directory, []).append(name)
        folded = 0
        for directory in list(many):
            gone = self._gone_from(directory, many.pop(directory), least)
            for name in gone:
                del self.names[name]
                self.size -= len(name) + NAME_COST
            if gone:
                # After all that is in the log: whoever has read a part of it reads this as well.
                self._put(directory, LISTED)
                folded += len(gone)
        return folded

    def _loose(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield each name that nothing but its being there or gone is told of, behind its directory."""
        for name, (_, kinds) in self.names.items():
            if kinds in (GONE, CHANGED) and not name.startswith(INODE) and name != ROOT:
                yield name.rpartition(b"/")[0] or ROOT, name

    def _gone_from(self, directory: bytes, names: list[bytes], least: int) -> list[bytes]:
        if len(names) < least:
            return []
        changed = [name for name in names if self.names[name][1] == CHANGED]
        missing = self.missing(directory, changed) if changed else ()
        gone = [name for name in names if self.names[name][1] == GONE or name in missing]
        return gone if len(gone) >= least else []

    def _put(self, name: bytes, kind: bytes) -> None:
        self.sequence += 1
        before = self.names.pop(name, None)
        if before is None:
            self.size += len(name) + NAME_COST
        # A directory that has once counted as a whole goes on to do so: the reader may not have been there between.
        self.names[name] = (self.sequence, _merged(before[1] if before else b"", kind))

    def forget(self, upto: int) -> int:
        """Drop what nobody will ask for again; the oldest names stand first."""
        dropped = 0
        for name in list(self.names):
            if self.names[name][0] > upto:
                break
            del self.names[name]
            self.size -= len(name) + NAME_COST
            dropped += 1
        self.forgotten = max(self.forgotten, min(upto, self.sequence))
        return dropped

    @property
    def written_size(self) -> int:
        """What all names take in a journal that has each of them once, or a little more."""
        return self.size - len(self.names) * (NAME_COST - _RECORD)

    def records(self, after: int = 0) -> bytes:
        """Return the names seen after a point as the journal writes them; the newest names stand last."""
        found = []
        for name in reversed(self.names):
            sequence, kinds = self.names[name]
            if sequence <= after:
                break
            found.append(record(sequence, kinds, name))
        return b"".join(reversed(found))

    def pieces(self) -> Iterator[bytes]:
        """Yield all of it, a part at a time."""
        part: list[bytes] = []
        for name, (sequence, kinds) in self.names.items():
            part.append(record(sequence, kinds, name))
            if len(part) >= PIECE:
                yield b"".join(part)
                part.clear()
        yield b"".join(part)


def _merged(before: bytes, kind: bytes) -> bytes:
    there = CHANGED if kind != GONE else GONE
    return there + b"".join(flag for flag in (WHOLE, LISTED) if flag == kind or flag in before)


def record(sequence: int, kinds: bytes, name: bytes) -> bytes:
    """Return one entry of the journal."""
    return b"%d %s %s\0" % (sequence, kinds, name)


def read(journal: Iterable[bytes], generation: str, since: Optional[Mark], last: int, forgotten: int = 0) -> Changes:
    """Read what happened after `since` up to `last`, from the pieces of a journal of this generation, in any cut.

    None for `since` means that there is no point from which on the changes would tell anything. What the recorder was
    told to forget, up to `forgotten`, is not in the journal any more.
    """
    if since is None:
        return doubt("no earlier state is known that both sides shared")
    if since.generation != generation:
        return doubt("the recorder has been restarted since both sides were the same")
    if since.sequence < forgotten:
        return doubt(f"the recorder was told to forget what came before {forgotten}, {since.sequence} among it")
    if since.sequence > last:
        return doubt(f"the recorder stands at {last}, before the {since.sequence} that was seen earlier")
    found: dict[bytes, bytes] = {}
    inodes: set[int] = set()
    whole: set[bytes] = set()
    listed: set[bytes] = set()
    for sequence, kinds, name in entries(journal):
        if sequence > since.sequence and name.startswith(INODE):
            inodes.add(int(name[len(INODE) :]))
        elif sequence > since.sequence:
            found[name] = kinds[:1]
            if WHOLE in kinds:
                whole.add(name)
            if LISTED in kinds:
                listed.add(name)
    return Changes(
        since.sequence,
        last,
        frozenset(name for name, kind in found.items() if kind == CHANGED),
        frozenset(name for name, kind in found.items() if kind == GONE),
        True,
        "",
        frozenset(whole),
        generation,
        frozenset(inodes),
        frozenset(listed),
    )


def entries(journal: Iterable[bytes]) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the entries of a journal whose pieces may end anywhere; half an entry at the end was never written."""
    rest = b""
    for piece in journal:
        *whole, rest = (rest + piece).split(b"\0")
        for text in whole:
            number, _, tail = text.partition(b" ")
            kinds, space, name = tail.partition(b" ")
            if not (number.isdigit() and space and name and kinds and kinds[:1] in (CHANGED, GONE)):
                raise JournalUnreadable(
                    expected="an entry of the recorder's journal",
                    found=repr(text[:100]),
                    next_command="restart the recorder; the next transfer compares everything",
                )
            yield int(number), kinds, name
