"""Which names a transfer by names has to carry, from where something may have happened. Pure.

The trees of both sides were equal at a point, but for `names`. What is looked up is what the source is now.

* A name below something that is no directory (any more) stands for the highest such thing above it.
* A directory that counts as a whole brings everything below it, and what the target has there beside that goes.
* A directory that was only listed brings nothing, and what the target alone has in it goes.
* A file with several names brings all of them, or rsync would break the link at the target.
* Every name brings the directories above it: their times change with their entries.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from ..errors import BasculeError
from .changes import ROOT, Changes, parents

# It belongs to each file system itself, at its root.
LEFT_OUT = (b"lost+found",)


class ScanNeeded(BasculeError):
    """The names alone do not tell enough; the whole tree has to be looked at."""


@dataclass(frozen=True)
class Found:
    """What a path is now."""

    directory: bool
    links: int = 1
    inode: int = 0


# Tells what a path is, without following links; None when there is nothing.
Look = Callable[[bytes], Optional[Found]]
# Yields everything below a directory.
Below = Callable[[bytes], Iterable[bytes]]
# Returns the names that the files with these inodes were known under.
LinksOf = Callable[[frozenset[int]], Mapping[int, Iterable[bytes]]]


@dataclass
class Delta:
    """What to carry: `present` names with what they are, `missing` ones to delete, `swept` and `listed` directories."""

    present: dict[bytes, Found] = field(default_factory=dict)
    missing: set[bytes] = field(default_factory=set)
    swept: set[bytes] = field(default_factory=set)
    listed: set[bytes] = field(default_factory=set)

    @property
    def names(self) -> list[bytes]:
        """All names, parents first."""
        return sorted([*self.present, *self.missing], key=_order)

    @property
    def kept(self) -> list[bytes]:
        """The names that the source has, parents first."""
        return sorted(self.present, key=_order)

    @property
    def linked(self) -> dict[bytes, int]:
        """Names of files that have several, with their inodes."""
        return {name: it.inode for name, it in self.present.items() if not it.directory and it.links > 1}

    @property
    def inodes(self) -> dict[bytes, int]:
        """The inode of each name that is no directory."""
        return {name: it.inode for name, it in self.present.items() if not it.directory}


def plan(changes: Changes, more: Iterable[bytes], look: Look, below: Below, links_of: LinksOf) -> Delta:
    """Return what has to be carried; `more` are names that count as changed as well."""
    delta = Delta()
    seen: dict[bytes, Optional[Found]] = {}

    def at(path: bytes) -> Optional[Found]:
        if path not in seen:
            seen[path] = look(path)
        return seen[path]

    def stands_for(name: bytes) -> bytes:
        """Return the name itself, or the highest thing above it that is no directory."""
        for above in reversed(list(parents(name))):
            it = at(above)
            if it is None or not it.directory:
                return above
        return name

    def add(name: bytes) -> bytes:
        """Take in what stands for a name, and the directories above it; return what was taken in."""
        if is_left_out(name):
            return name
        name = stands_for(name)
        it = at(name)
        if it is None:
            delta.missing.add(name)
        else:
            delta.present[name] = it
        for above in parents(name):
            known = at(above)
            if known is not None:
                delta.present[above] = known
        return name

    # A file that was changed under a name that it has lost: its other names were not told. One that no name is known of
    # has come and gone since both sides were equal, as whatever was there before has been written down with its names.
    others = links_of(changes.inodes) if changes.inodes else {}
    also = {name for names in others.values() for name in names if at(stands_for(name)) is not None}
    for name in sorted(changes.names | set(more) | also, key=_order):
        taken = add(name)
        it = delta.present.get(taken)
        if taken == name and name in changes.whole and it is not None and it.directory and not _swept(delta, name):
            delta.swept.add(name)
            for path in below(name):
                add(path)
        elif taken == name and name in changes.listed and it is not None and it.directory:
            delta.listed.add(name)
    wanted = {it.inode: it.links for it in delta.present.values() if not it.directory and it.links > 1}
    for inode, names in (links_of(frozenset(wanted)) if wanted else {}).items():
        for name in names:
            # What is another file by now has an entry of its own in the journal.
            it = at(name) if stands_for(name) == name else None
            if it is not None and it.inode == inode:
                add(name)
    counted = Counter(delta.linked.values())
    short = [inode for inode, links in wanted.items() if counted[inode] != links]
    if short:
        raise ScanNeeded(
            expected="all names of every file that has several",
            found=f"{len(short)} files of which some names are not known",
            next_command="a transfer that looks at the whole tree follows by itself",
        )
    return delta


def add_unwanted(delta: Delta, there: Iterable[bytes]) -> None:
    """Take in what the target has in the swept directories; what the source does not have goes."""
    for path in sorted(there, key=_order):
        if path in delta.present or is_left_out(path):
            continue
        if not any(above in delta.missing for above in parents(path)):
            delta.missing.add(path)


def add_gone(delta: Delta, there: Iterable[bytes], look: Look) -> None:
    """Take in what the target has in the listed directories; what the source does not have goes."""
    for path in there:
        if path not in delta.present and not is_left_out(path) and look(path) is None:
            delta.missing.add(path)


def is_left_out(path: bytes) -> bool:
    """Tell whether a path belongs to the file system itself."""
    return path.partition(b"/")[0] in LEFT_OUT


def is_inside(path: bytes) -> bool:
    """Tell whether a path stays below the root: relative, no way up, nothing doubled."""
    return path == ROOT or all(part not in (b"", b".", b"..") for part in path.split(b"/"))


def list_for_rsync(names: Sequence[bytes]) -> bytes:
    """Return the names as `--from0 --files-from` reads them; what begins like a comment is a name here.

    The root stays out: rsync would look at everything that lies in it.
    """
    return b"".join(b"./" + name + b"\0" for name in names if name != ROOT)


def fingerprint(values: Sequence[object]) -> str:
    """Return what two sides compare of one path: equal only when everything about it is."""
    return hashlib.sha256(json.dumps(values, separators=(",", ":")).encode("ascii")).hexdigest()[:40]


ABSENT = ""


def unequal(names: Sequence[bytes], own: Sequence[str], theirs: Sequence[str]) -> list[bytes]:
    """Return the names of which both sides do not hold the same."""
    if not len(names) == len(own) == len(theirs):
        raise ScanNeeded(expected=f"{len(names)} answers", found=f"{len(own)} here, {len(theirs)} from the other side")
    return [name for name, one, other in zip(names, own, theirs) if one != other]


def _swept(delta: Delta, name: bytes) -> bool:
    return any(above in delta.swept for above in parents(name))


def _order(path: bytes) -> tuple[bytes, ...]:
    return () if path == ROOT else tuple(path.split(b"/"))
