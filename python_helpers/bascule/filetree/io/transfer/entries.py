"""What a transfer by names needs of a tree: what paths are, which names a file has, what both sides must agree on."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Optional

from ... import acl, delta
from ...changes import ROOT, parents
from ...delta import ABSENT, Found
from ...transfer import NUMBERS
from ..fence import mounts
from ..fence.side import Side
from ..manifest import accounts, content
from ..manifest import attributes as manifest_attributes
from ..manifest.accounts import Accounts

_LARGE = 1 << 18
_MOVING = "it changed while it was read"


class Tree:
    """A tree below a root; nothing in it is followed out of it."""

    def __init__(self, root: str, owners: str = NUMBERS) -> None:
        self._accounts = Accounts(owners)
        self._root = os.fsencode(os.path.realpath(root))
        self._device = os.stat(self._root).st_dev
        self._directories: dict[bytes, bool] = {ROOT: True}

    def full(self, path: bytes) -> bytes:
        """Return where a path lies."""
        return self._root if path == ROOT else self._root + b"/" + path

    def status(self, path: bytes) -> Optional[os.stat_result]:
        """Return the status of a path; None where there is nothing, or something else than directories above it."""
        if not delta.is_inside(path) or not all(self._is_directory(above) for above in reversed(list(parents(path)))):
            return None
        try:
            return os.lstat(self.full(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def look(self, path: bytes) -> Optional[Found]:
        """Return what a path is now."""
        info = self.status(path)
        return None if info is None else Found(stat.S_ISDIR(info.st_mode), info.st_nlink, info.st_ino)

    def below(self, path: bytes) -> Iterator[bytes]:
        """Yield everything below a directory; stays on the file system."""
        waiting = [path]
        while waiting:
            directory = waiting.pop()
            try:
                found = list(os.scandir(self.full(directory)))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for entry in found:
                child = entry.name if directory == ROOT else directory + b"/" + entry.name
                if delta.is_left_out(child):
                    continue
                yield child
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_dev == self._device:
                        waiting.append(child)

    def fingerprints(self, names: Sequence[bytes]) -> list[str]:
        """Return for each name what must be the same on both sides, its content included; empty where there is none."""
        first: dict[int, bytes] = {}
        known: dict[int, str] = {}
        out: list[str] = []
        large: list[tuple[int, list[object], Future[str]]] = []
        with ThreadPoolExecutor(max_workers=2) as pool:
            for name in names:
                info = self.status(name)
                if info is None:
                    out.append(ABSENT)
                    continue
                values = self._values(name, info, first)
                if stat.S_ISREG(info.st_mode):
                    if info.st_nlink > 1 and info.st_ino in known:
                        values.append(known[info.st_ino])
                    elif info.st_size > _LARGE and info.st_nlink == 1:
                        large.append((len(out), values, pool.submit(_content, self.full(name), info)))
                    else:
                        known[info.st_ino] = _content(self.full(name), info)
                        values.append(known[info.st_ino])
                out.append(delta.fingerprint(values))
            for index, values, future in large:
                out[index] = delta.fingerprint([*values, future.result()])
        return out

    def _values(self, name: bytes, info: os.stat_result, first: dict[int, bytes]) -> list[object]:
        full = self.full(name)
        directory = stat.S_ISDIR(info.st_mode)
        owners = [self._accounts.users[info.st_uid], self._accounts.groups[info.st_gid]]
        values: list[object] = [info.st_mode, *owners, info.st_mtime_ns, info.st_rdev]
        if not directory:
            # The names of one file are told by the first of them: all of them are in the list, in the same order.
            mate = first.setdefault(info.st_ino, name) if info.st_nlink > 1 else b""
            values += [info.st_size, info.st_nlink, mate.hex()]
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISLNK(info.st_mode):
                values.append(os.readlink(full).hex())
            for attribute in sorted(manifest_attributes.listed(full)):
                values.append([os.fsencode(attribute).hex(), manifest_attributes.text(full, attribute, self._accounts)])
        return values

    def _is_directory(self, path: bytes) -> bool:
        known = self._directories.get(path)
        if known is None:
            try:
                known = stat.S_ISDIR(os.lstat(self.full(path)).st_mode)
            except (FileNotFoundError, NotADirectoryError):
                known = False
            self._directories[path] = known
        return known


def attributes(root: str, owners: str = NUMBERS) -> dict[str, Any]:
    """Return what the root of a tree is, beside what lies in it."""
    info = os.stat(root)
    here, full = Accounts(owners), os.path.realpath(os.fsencode(root))
    names = manifest_attributes.listed(full)
    return {
        "mode": stat.S_IMODE(info.st_mode),
        "owners": [here.users[info.st_uid], here.groups[info.st_gid]],
        "times": [info.st_atime_ns, info.st_mtime_ns],
        "xattrs": {name: manifest_attributes.text(full, name, here) for name in names},
    }


def give_attributes(root: str, wanted: Mapping[str, Any]) -> None:
    """Make the root of a tree what it is at the other side."""
    user, group = accounts.user_number, accounts.group_number
    xattrs = {str(name): acl.to_numbers(value, user, group) for name, value in wanted["xattrs"].items()}
    os.chown(root, user(wanted["owners"][0]), group(wanted["owners"][1]))
    os.chmod(root, int(wanted["mode"]))
    for name in set(manifest_attributes.listed(os.fsencode(root))) - set(xattrs):
        os.removexattr(root, name)
    for name, value in xattrs.items():
        os.setxattr(root, name, value)
    accessed, modified = wanted["times"]
    os.utime(root, ns=(int(accessed), int(modified)))


def open_for_writing(side: Side) -> list[bytes]:
    """Return the names of files that are open for writing: a write through a mapping is told only when it ends."""
    found = []
    for path in mounts.open_for_writing(side.path):
        for root in (side.path, side.tree):
            if path.startswith(os.fsencode(root) + b"/"):
                found.append(path[len(os.fsencode(root)) + 1 :])
    return [name for name in found if delta.is_inside(name)]


def names_below(root: str, names: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what a tree has below some of its directories."""
    tree = Tree(root)
    for name in names:
        it = tree.look(name)
        if it is not None and it.directory:
            yield from tree.below(name)


def names_in(root: str, names: Iterable[bytes], partial: bytes) -> Iterator[bytes]:
    """Yield what lies in some directories of a tree, but for what an interrupted transfer left there."""
    tree = Tree(root)
    for name in names:
        it = tree.look(name)
        if it is None or not it.directory:
            continue
        with os.scandir(tree.full(name)) as found:
            for entry in found:
                child = entry.name if name == ROOT else name + b"/" + entry.name
                if entry.name != partial and not delta.is_left_out(child):
                    yield child


def standing(root: str, names: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what there is of these names, none of which lies below another, and everything below them."""
    tree = Tree(root)
    for name in names:
        it = tree.look(name)
        if it is not None:
            yield name
            if it.directory:
                yield from tree.below(name)


def sweep_partial(root: str, names: Iterable[bytes], partial: bytes) -> int:
    """Remove what interrupted transfers left in the directories of these names; the directories keep their times."""
    tree = Tree(root)
    removed = 0
    for directory in {above for name in names for above in (name, *parents(name))}:
        child = partial if directory == ROOT else directory + b"/" + partial
        it = tree.look(child)
        if it is None or not it.directory:
            continue
        above = tree.full(directory)
        before = os.stat(above)
        for entry in os.scandir(tree.full(child)):
            os.unlink(entry.path)
        os.rmdir(tree.full(child))
        os.utime(above, ns=(before.st_atime_ns, before.st_mtime_ns))
        removed += 1
    return removed


def _content(path: bytes, info: os.stat_result) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOATIME)
    except FileNotFoundError:
        return _MOVING
    try:
        found, after = content.digest(descriptor)
    finally:
        os.close(descriptor)
    same = (after.st_size, after.st_mtime_ns, after.st_ctime_ns) == (info.st_size, info.st_mtime_ns, info.st_ctime_ns)
    return found if found and same else _MOVING
