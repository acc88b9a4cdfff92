"""Events of fanotify as the kernel hands them out, and what each says about a name. Pure."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import BasculeError
from .changes import CHANGED, GONE, ROOT, WHOLE

MODIFY, ATTRIB, CLOSE_WRITE, OPEN = 0x2, 0x4, 0x8, 0x20
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
Q_OVERFLOW, ONDIR = 0x4000, 0x40000000
# Everything that can make two trees differ. CLOSE_WRITE comes after the last write through a mapping, too: a mapping
# keeps the file open.
WATCHED = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | ONDIR

_VERSION = 3
_EVENT = struct.Struct("=IBBHQii")
_INFO = struct.Struct("=BBH")
_FSID = 8
_HANDLE = struct.Struct("=II")
_FID, _DFID_NAME = 1, 2
# What the kernel calls a file that was opened without a name (d_tmpfile in fs/dcache.c): its inode, in no directory.
_UNNAMED = re.compile(rb"#[0-9]+")


class EventsUnreadable(BasculeError):
    """The kernel speaks another version of fanotify."""


class Event(NamedTuple):
    """Something happened to a name in a directory that the kernel knows by a handle; `.` is the directory itself."""

    mask: int
    directory: bytes
    name: bytes
    pid: int = 0
    # The file itself, where the kernel tells it: it may have other names, of which nothing is told.
    target: bytes = b""

    @property
    def moves_a_directory(self) -> bool:
        """Whether all below a name may be other than it was: a directory came with all it holds, or went."""
        return bool(self.mask & ONDIR and self.mask & (MOVED_FROM | MOVED_TO | DELETE))

    @property
    def moves_paths(self) -> bool:
        """Whether paths that were resolved before it may lead elsewhere now."""
        return bool(self.mask & ONDIR and self.mask & (MOVED_FROM | MOVED_TO))

    @property
    def changes_a_file(self) -> bool:
        """Whether a file is another than it was, under whichever of its names."""
        return bool(self.target and self.mask & (MODIFY | ATTRIB | CLOSE_WRITE) and not self.mask & ONDIR)

    @property
    def may_have_no_name(self) -> bool:
        """Whether the name may be the kernel's own for a file without one; a name that came or went is never."""
        names = CREATE | DELETE | MOVED_FROM | MOVED_TO | ONDIR
        return not self.mask & names and _UNNAMED.fullmatch(self.name) is not None

    def kinds(self) -> tuple[bytes, ...]:
        """Return what the journal notes about the name, in order."""
        gone = self.mask & (DELETE | MOVED_FROM) and not self.mask & (CREATE | MOVED_TO)
        # A directory that came with all it holds, or that went and may be replaced by another of its name.
        whole = (WHOLE,) if self.moves_a_directory else ()
        return (*whole, GONE if gone else CHANGED)


def parse(data: bytes) -> Iterator[Event]:
    """Yield the events of one read; an overflow has neither directory nor name."""
    at = 0
    while at + _EVENT.size <= len(data):
        length, version, _, head, mask, _, pid = _EVENT.unpack_from(data, at)
        if version != _VERSION or length < head:
            raise EventsUnreadable(
                expected=f"events of fanotify in version {_VERSION}", found=f"version {version}, length {length}"
            )
        end, place = at + length, at + head
        directory = name = target = b""
        while place + _INFO.size <= end:
            kind, _, size = _INFO.unpack_from(data, place)
            if kind in (_FID, _DFID_NAME):
                start = place + _INFO.size + _FSID
                count, _ = _HANDLE.unpack_from(data, start)
                stop = start + _HANDLE.size + count
                if kind == _FID:
                    target = data[start:stop]
                else:
                    directory = data[start:stop]
                    name = data[stop : place + size].partition(b"\0")[0]
            if size <= 0:
                break
            place += size
        yield Event(mask, directory, name, pid, target)
        at = end


def path_of(directory: bytes, name: bytes) -> bytes:
    """Return the path of a name in a directory, below the root of the tree."""
    if name in (b"", b"."):
        return directory
    return name if directory == ROOT else directory + b"/" + name
