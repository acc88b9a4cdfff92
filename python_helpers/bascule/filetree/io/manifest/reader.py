"""What a worker does for a manifest: look at paths, read files, and write their lines.

A path is opened once, read, and looked at afterwards: a file whose inode was last touched before the batch began was
not changed while it was read. What was touched later is read a second time, looked at before and after.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import resource
import stat
import time
from collections import OrderedDict
from typing import Optional

from ....errors import BasculeError
from ...batch import GONE, LATER, LINKED, READ_NOW, Batch
from ...manifest import (
    BLAKE3,
    BLAKE3_FROM,
    DIRECTORY,
    FILE,
    LINK,
    RACY_NS,
    ROOT,
    from_line,
    line_head,
    line_tail,
    printable,
    quoted,
    xattrs_text,
)
from . import attributes, content
from .accounts import Accounts
from .walk import IS_FILE

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FIRST_READ = 128 << 10
# A larger file is a question of its own, so that the rest of its batch does not wait for it.
LARGE = 4 << 20
# The kernel's time stamps come from a clock that ticks; and how far the clock may be set while a batch is read.
_TICK_NS = 20_000_000
_LINKED_KEPT = 50_000
# At least so much came from the disk: then the next batch is asked for ahead.
_COLD_BLOCKS = 32
_KINDS = (
    (stat.S_ISREG, FILE),
    (stat.S_ISDIR, DIRECTORY),
    (stat.S_ISLNK, LINK),
    (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "character device"),
    (stat.S_ISBLK, "block device"),
)
# It vanished, or became something else: a link, a fifo, a part of something that is no directory.
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
# How often both clocks are read until nothing has come between.
_CLOCK_READS = 20
# How ACLs begin in a line.
_ACLS = ('"access=', '"default=')
_TYPE = 0o170000
# What the digest and its name take at the end of a line.
_DIGEST_ROOM = len(BLAKE3) + 66
# Names that stand in a JSON string as they are, each in its quotation marks.
_PLAIN_NAMES = re.compile(rb'"[ !#-\[\]-~]*"(?:\n"[ !#-\[\]-~]*")*')
_sha256 = hashlib.sha256


class Unreadable(BasculeError):
    """A path of a tree cannot be looked at: a disk fails, or a right is missing."""


def _clocks() -> tuple[int, int]:
    """Read the wall clock and the steady one at the same moment: a pause in between is not a clock that was set."""
    for _ in range(_CLOCK_READS):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if after - before < _TICK_NS // 8:
            break
    return wall, before


class Reader:
    """Answers batches of one tree; lives in a worker process."""

    def __init__(self, root: bytes, from_disk: bool, accounts: Accounts) -> None:
        self._root = root
        self._accounts = accounts
        self._users, self._groups = accounts.users, accounts.groups
        self._base = -1
        self._device = 0
        self._from_disk = from_disk
        self._cold = from_disk
        self._noatime = getattr(os, "O_NOATIME", 0)
        self._flags = _FLAGS | self._noatime
        self._small = memoryview(bytearray(_FIRST_READ))
        self._first = [self._small]
        self._linked: OrderedDict[tuple[int, int, int, int], tuple[str, int]] = OrderedDict()
        self._stable_ns = 0
        self._now = 0

    def answer(self, question: bytes) -> bytes:
        """Look at one batch."""
        if self._base < 0:
            self._base = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._device = os.fstat(self._base).st_dev
        opening, _, rest = question.partition(b"\0\0")
        number, kinds = opening.decode("ascii").split(" ")
        paths, _, known = rest.partition(b"\0\0")
        names = paths.split(b"\0")
        lines = known.decode("ascii").split("\n") if known else []
        blocks = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
        wall, steady = _clocks()
        batch = self._batch(kinds, names, lines, wall)
        later, since = _clocks()
        if abs((later - wall) - (since - steady)) > _TICK_NS // 2:
            # The clock was set meanwhile: time stamps say nothing, so every file is looked at before and after.
            batch = self._batch(kinds, names, [], 0)
        batch.number = int(number)
        self._cold = self._from_disk or resource.getrusage(resource.RUSAGE_SELF).ru_inblock - blocks > _COLD_BLOCKS
        return batch.pack()

    def _batch(self, kinds: str, names: list[bytes], known: list[str], now: int) -> Batch:
        batch = Batch()
        self._now = now or time.time_ns()
        self._stable_ns = now - _TICK_NS
        opened = self._open_ahead(kinds, names) if self._cold and not known else {}
        texts = _quoted(names)
        try:
            for index, name in enumerate(names):
                old = known[index] if known else ""
                try:
                    line = self._kept(name, old, batch) if old else None
                    if line is None and kinds[index] == IS_FILE:
                        line = self._plain(name, texts[index], opened.get(index, -1), batch)
                        if line is not None:
                            opened.pop(index, None)
                    if line is None:
                        line = self._fresh(index, name, kinds[index], opened.pop(index, -1), batch)
                except OSError as error:
                    raise Unreadable(expected=f"to read {printable(name)}", found=str(error)) from error
                batch.lines.append(line[0])
                batch.seen.append(line[1])
        finally:
            for descriptor in opened.values():
                os.close(descriptor)
        return batch

    def _open_ahead(self, kinds: str, names: list[bytes]) -> dict[int, int]:
        """Open the files of a batch and ask for their content at once, so that the disk always has enough to do."""
        opened = {}
        for index, name in enumerate(names):
            if kinds[index] == IS_FILE:
                descriptor = self._open(name)
                if descriptor >= 0:
                    opened[index] = descriptor
                    self._let_go(descriptor)
                    os.posix_fadvise(descriptor, 0, _FIRST_READ, os.POSIX_FADV_WILLNEED)
        return opened

    def _open(self, name: bytes) -> int:
        """Open what should be a file; -1 when it cannot be opened as one."""
        try:
            try:
                return os.open(name, _FLAGS | self._noatime, dir_fd=self._base)
            except PermissionError:
                # Only the owner and root may keep the access time as it is.
                return os.open(name, _FLAGS, dir_fd=self._base)
        except OSError as error:
            if error.errno in _NO_FILE:
                return -1
            raise

    def _kept(self, name: bytes, old: str, batch: Batch) -> Optional[tuple[str, str]]:
        """Return the line of an earlier manifest when the path still looks exactly as it did."""
        try:
            info = os.lstat(name if name != ROOT else b".", dir_fd=self._base)
        except OSError:
            return None
        text, _, seen = old.partition("\t")
        ctime, inode, read = seen.split(" ")
        if int(ctime) != info.st_ctime_ns or int(inode) != info.st_ino or info.st_ctime_ns + RACY_NS >= int(read):
            return None
        kind = _kind(info)
        head = self._head(name, kind, info)
        if not text.startswith(head) or (kind == FILE and text.endswith('""]')):
            return None
        if kind == FILE and info.st_size >= BLAKE3_FROM and BLAKE3 not in text[-_DIGEST_ROOM:]:
            # By an earlier version, which had one algorithm for all.
            return None
        _count(batch, kind, info)
        linked = kind == FILE and info.st_nlink > 1
        # The file is what it was, but a number in its ACL may be called otherwise by now.
        renamed = self._accounts.named and any(mark in text for mark in _ACLS)
        if linked or renamed:
            before = from_line(old)
            try:
                acl = attributes.in_line(self._full(name), self._accounts)[0] if renamed else before.acl
            except (FileNotFoundError, NotADirectoryError):
                return None
            tail = line_tail(quoted(before.target), before.device, acl, xattrs_text(before.xattrs), before.digest)
            return (f"{LINKED}{info.st_ino}{LINKED}{head}{LINKED}{tail}" if linked else f'{head}"",{tail}'), seen
        return text, seen

    def _plain(self, name: bytes, text: str, descriptor: int, batch: Batch) -> Optional[tuple[str, str]]:
        """Describe what most files are: small, still, with one name and no attributes; None when it is not that.

        A descriptor that is given is closed when this has the answer, and one that was opened here in any case.
        """
        given = descriptor >= 0
        if not given:
            try:
                descriptor = os.open(name, self._flags, dir_fd=self._base)
            except OSError:
                return None
            self._let_go(descriptor)
        found = None
        try:
            size = os.readv(descriptor, self._first)
            info = os.fstat(descriptor)
            mode, inode, device, links, uid, gid, length, _, _, _ = info
            changed = info.st_ctime_ns
            if (
                mode & _TYPE == stat.S_IFREG
                and links == 1
                and size == length < _FIRST_READ
                and device == self._device
                and changed < self._stable_ns
                and not attributes.listed(descriptor)
            ):
                digest = _sha256(self._small[:size]).hexdigest()
                batch.files += 1
                batch.size += size
                batch.read_files += 1
                batch.read_bytes += size
                # As line_head and line_tail have it: a call for each costs as much as the digest.
                head = f'[{text},"{FILE}",{mode & 0o7777},{self._users[uid]},{self._groups[gid]},{size}'
                found = f'{head},{info.st_mtime_ns},1,"","",0,"",[],"{digest}"]', f"{changed} {inode} {self._now}"
            elif given:
                os.lseek(descriptor, 0, os.SEEK_SET)
        except IsADirectoryError:
            # It was a file when its directory was listed.
            pass
        finally:
            if found is not None or not given:
                os.close(descriptor)
        return found

    def _fresh(self, index: int, name: bytes, kind: str, descriptor: int, batch: Batch) -> tuple[str, str]:
        if kind in (IS_FILE, READ_NOW):
            if descriptor < 0:
                descriptor = self._open(name)
                self._let_go(descriptor)
            if descriptor >= 0:
                try:
                    found = self._file(index, name, descriptor, kind == READ_NOW, batch)
                finally:
                    os.close(descriptor)
                if found is not None:
                    return found
        return self._other(name, batch)

    def _file(self, index: int, name: bytes, descriptor: int, now: bool, batch: Batch) -> Optional[tuple[str, str]]:
        try:
            size = 0 if now else os.readv(descriptor, self._first)
        except IsADirectoryError:
            # It was a file when its directory was listed.
            return None
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            return None
        if info.st_dev != self._device:
            return GONE, GONE
        if size == _FIRST_READ and info.st_size > LARGE:
            return LATER, GONE
        digest, read = "", self._now
        linked = info.st_nlink > 1
        key = (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        if linked and key in self._linked:
            digest, read = self._linked[key]
        else:
            still = info.st_size == size < _FIRST_READ and info.st_ctime_ns < self._stable_ns
            if still:
                digest = hashlib.sha256(self._small[:size]).hexdigest()
            else:
                digest, info = self._read(descriptor)
            batch.read_files += 1
            batch.read_bytes += info.st_size
            if not digest:
                batch.moving.append(index)
            elif linked:
                self._linked[key] = (digest, read)
                if len(self._linked) > _LINKED_KEPT:
                    self._linked.popitem(last=False)
        acl, xattrs = attributes.in_line(descriptor, self._accounts)
        _count(batch, FILE, info)
        head = self._head(name, FILE, info)
        tail = line_tail('""', 0, acl, xattrs, digest)
        seen = f"{info.st_ctime_ns} {info.st_ino} {read}"
        if linked:
            return f"{LINKED}{info.st_ino}{LINKED}{head}{LINKED}{tail}", seen
        return f'{head}"",{tail}', seen

    def _read(self, descriptor: int) -> tuple[str, os.stat_result]:
        """Digest a whole file, from the disk where that is wanted; no digest when it changed meanwhile."""
        self._let_go(descriptor)
        return content.digest(descriptor)

    def _let_go(self, descriptor: int) -> None:
        """Have the kernel forget a file's content where it is to be read from the disk."""
        if self._from_disk and descriptor >= 0:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def _other(self, name: bytes, batch: Batch) -> tuple[str, str]:
        """Describe what is not a file, or can only be looked at by name."""
        full = self._full(name)
        try:
            info = os.lstat(full)
            if name == ROOT:
                info = os.stat(full)
            if info.st_dev != self._device:
                return GONE, GONE
            kind = _kind(info)
            if kind == FILE:
                # It was no file when its directory was listed: what it is now, the next run will see.
                batch.moving.append(len(batch.lines))
            acl, xattrs = attributes.in_line(full, self._accounts)
            target = os.readlink(full) if kind == LINK else b""
        except (FileNotFoundError, NotADirectoryError):
            return GONE, GONE
        _count(batch, kind, info)
        device = info.st_rdev if kind.endswith("device") else 0
        text = f'{self._head(name, kind, info)}"",{line_tail(quoted(target), device, acl, xattrs, "")}'
        return text, f"{info.st_ctime_ns} {info.st_ino} {self._now}"

    def _full(self, name: bytes) -> bytes:
        return self._root if name == ROOT else os.path.join(self._root, name)

    def _head(self, name: bytes, kind: str, info: os.stat_result) -> str:
        return line_head(
            quoted(name),
            kind,
            info.st_mode & 0o7777,
            self._users[info.st_uid],
            self._groups[info.st_gid],
            info.st_size if kind in (FILE, LINK) else 0,
            info.st_mtime_ns,
            info.st_nlink if kind != DIRECTORY else 0,
        )


def _quoted(names: list[bytes]) -> list[str]:
    """Return names as JSON strings; most batches have nothing that needs escaping."""
    together = b'"' + b'"\n"'.join(names) + b'"'
    if _PLAIN_NAMES.fullmatch(together):
        return together.decode("ascii").split("\n")
    return [quoted(name) for name in names]


def _kind(info: os.stat_result) -> str:
    return next(name for test, name in _KINDS if test(info.st_mode))


def _count(batch: Batch, kind: str, info: os.stat_result) -> None:
    if kind == FILE:
        batch.files += 1
        batch.size += info.st_size
    elif kind == DIRECTORY:
        batch.directories += 1
