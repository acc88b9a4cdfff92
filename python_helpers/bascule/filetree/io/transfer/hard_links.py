"""Which names each file of a tree has, by its inode: what is changed under one of them is changed under all.

A file that gets a second name tells only that name, so those with one name are written down as well. They lie in
buckets by their inode: looking for a few reads little, and nothing has to be sorted or kept in memory.

What is written down holds for one generation of the recorder: of what came after the walk over the tree the recorder
has told every name, and the transfers add these. So a file that is nowhere in it, and under none of the names told, has
come and gone since, and there is nothing to carry. An index of an earlier generation, or of none, says nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from ....system.io import storage
from ...changes import ROOT
from ...delta import ScanNeeded
from ..fence.side import Side
from ..recorder import client
from .entries import Tree

_BUCKETS = 256
_ROOM = 8 << 20
# Another walk over the same tree ends by itself.
_PATIENCE = 86400.0


def index_links(side: Side) -> int:
    """Write down the inode of every name, by walking over the whole tree; return how many names there are.

    Transfers go on meanwhile with the index there is; what they add is in the new one as well.
    """
    fresh = side.home / "links.new"
    with storage.locked(side.home / "links.walk.lock", wait=_PATIENCE):
        mark = client.mark(side.component)
        with _locked(side):
            shutil.rmtree(fresh, ignore_errors=True)
            storage.remove(_added(side))
            storage.make_directory(fresh)
        count = _walk(Tree(side.tree), fresh)
        with _locked(side):
            _put(fresh, storage.read_bytes(_added(side)))
            (fresh / "generation").write_text(mark.generation if mark else "")
            (fresh / "size").write_text(str(_size(fresh)))
            shutil.rmtree(_index(side), ignore_errors=True)
            os.replace(fresh, _index(side))
            storage.remove(_added(side))
    return count


def add_links(side: Side, inodes: Mapping[bytes, int]) -> None:
    """Write down further names; one that has become another file is found out when it is looked at."""
    records = b"".join(b"%d %s\0" % (inode, name) for name, inode in inodes.items())
    with _locked(side):
        if _index(side).is_dir():
            _put(_index(side), records)
        if (side.home / "links.new").is_dir():
            # Whoever walks over the tree may have passed these names already.
            with _added(side).open("ab") as out:
                out.write(b"\0" + records)


def links_grown(side: Side) -> bool:
    """Tell whether what was added is more than what is there, so that writing it all down again saves room."""
    index = _index(side)
    with _locked(side):
        try:
            return _size(index) > 2 * int((index / "size").read_text()) + _ROOM
        except (FileNotFoundError, ValueError):
            return True


def links_known(side: Side, generation: str) -> bool:
    """Tell whether the inodes of all names are written down, for this generation of the recorder."""
    return bool(generation) and storage.read_text(_index(side) / "generation") == generation


def forget(side: Side) -> None:
    """Rely on it no longer: names may be told from now on that no transfer will add."""
    with _locked(side):
        (_index(side) / "generation").unlink(missing_ok=True)


def links_of(side: Side, inodes: frozenset[int]) -> dict[int, list[bytes]]:
    """Return the names written down for these inodes."""
    found: dict[int, list[bytes]] = {}
    with _locked(side):
        if not _index(side).is_dir():
            return found
        for number in {inode % _BUCKETS for inode in inodes}:
            try:
                records = (_index(side) / f"{number:02x}").read_bytes()
            except FileNotFoundError as error:
                raise ScanNeeded(
                    expected="the inode of every name to be written down", found="not all of them are"
                ) from error
            for record in _split(records):
                inode, _, name = record.partition(b" ")
                if int(inode) in inodes:
                    found.setdefault(int(inode), []).append(name)
    return found


def _walk(tree: Tree, fresh: Path) -> int:
    count = 0
    with contextlib.ExitStack() as streams:
        buckets = [streams.enter_context((fresh / f"{number:02x}").open("wb")) for number in range(_BUCKETS)]
        for name in tree.below(ROOT):
            info = tree.status(name)
            if info is not None and not stat.S_ISDIR(info.st_mode):
                buckets[info.st_ino % _BUCKETS].write(b"%d %s\0" % (info.st_ino, name))
                count += 1
    return count


def _put(index: Path, records: bytes) -> None:
    buckets: dict[int, list[bytes]] = {}
    for record in _split(records):
        buckets.setdefault(int(record.partition(b" ")[0]) % _BUCKETS, []).append(record + b"\0")
    for number, some in buckets.items():
        with (index / f"{number:02x}").open("ab") as out:
            # Whoever was killed in the middle of a record does not spoil the next one.
            out.write(b"\0" + b"".join(some))


def _split(records: bytes) -> Iterator[bytes]:
    """Yield the records that are whole."""
    for record in records.split(b"\0")[:-1]:
        if b" " in record:
            yield record


def _locked(side: Side) -> contextlib.AbstractContextManager[None]:
    storage.make_directory(side.home)
    return storage.locked(side.home / "links.lock")


def _index(side: Side) -> Path:
    return side.home / "links"


def _added(side: Side) -> Path:
    return side.home / "links.added"


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())
