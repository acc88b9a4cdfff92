"""Count what is in a tree without reading a file, and what of it no transfer carries and no manifest compares.

A transfer and a manifest know content, type, mode, owner, times of change, ACLs, extended attributes and hard links.
File systems know more. What is counted here is said by the audit and by the verdict, so that nobody takes "equal" for
more than was compared; and what would make a transfer fail in the evening is found by day.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from dataclasses import dataclass, field
from typing import Any

from ...manifest import printable
from ...transfer import PARTIAL_DIR
from . import attributes
from .walk import IS_DIRECTORY, IS_FILE, walk

_NAMED = 3
# statx(2): what Python does not ask for. Immutable and append-only by their bits there, and what else has a name.
_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _STATX_SIZE = -100, 0x100, 0x200
_STATX = struct.Struct("=IIQIIIHxxQQQQ")
_BLOCKING = (0x10, 0x20)
_FLAGS = {0x4: "compressed", 0x40: "nodump", 0x800: "encrypted", 0x100000: "fs-verity"}
_FLAGGED = sum((*_BLOCKING, *_FLAGS))
# ioctl_xfs_fsgetxattr(2); only directories are opened for it, and projects are given to those.
_FSGETXATTR, _PROJECT_INHERIT = 0x801C581F, 0x200
_FSXATTR = struct.Struct("=IIIII8x")


@dataclass
class Named:
    """How many paths something is true of, and a few of them."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, path: bytes) -> None:
        """Take in a path."""
        self.count += 1
        if len(self.names) < _NAMED:
            self.names.append(printable(path[-200:]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return dict(vars(self))


@dataclass
class Survey:
    """What a walk has counted."""

    entries: int = 0
    files: int = 0
    directories: int = 0
    bytes: int = 0
    # The largest value of an extended attribute, and the largest sum of one entry's names and values.
    largest_xattr: int = 0
    largest_xattrs: int = 0
    # What stops a transfer: paths it cannot write, directories that have the name of its own, files nobody can replace,
    # directories of another device, as a subvolume of btrfs is, which it does not enter.
    too_long: Named = field(default_factory=Named)
    partial: Named = field(default_factory=Named)
    unchangeable: Named = field(default_factory=Named)
    apart: Named = field(default_factory=Named)
    # What stays behind: how many entries have it, by what it is called.
    not_carried: dict[str, int] = field(default_factory=dict)
    # Entries that could not be asked for their flags, as neither the kernel nor the file system tells them.
    flags_unknown: int = 0

    def blocking(self) -> dict[str, dict[str, Any]]:
        """Return what stops a transfer, in plain types."""
        return {name: getattr(self, name).to_dict() for name in ("too_long", "partial", "unchangeable", "apart")}


def survey(root: str, longest: int = 0) -> Survey:
    """Look at everything in a tree; paths of more than `longest` bytes below it (0: the kernel's limit) are counted."""
    found = Survey()
    base = os.fsencode(root)
    buffer = ctypes.create_string_buffer(256)
    statx = ctypes.CDLL(None, use_errno=True).statx
    for path, _, kind in walk(base, None, longest, found.too_long.add, found.apart.add):
        full = os.path.join(base, path)
        found.entries += 1
        try:
            if statx(_AT_FDCWD, full, _AT_SYMLINK_NOFOLLOW, _STATX_SIZE, buffer) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), full)
            _, _, flags, *_, size, _, mask = _STATX.unpack_from(buffer)
            if kind == IS_FILE:
                found.files += 1
                found.bytes += size
            elif kind == IS_DIRECTORY:
                found.directories += 1
                _directory(found, path, full)
            if flags & _FLAGGED:
                _flags(found, path, flags)
            if not mask & _BLOCKING[0]:
                found.flags_unknown += 1
            if names := attributes.listed(full):
                _attributes(found, full, names)
        except (FileNotFoundError, NotADirectoryError):
            # Taken away meanwhile.
            continue
    # Every entry was made at some moment, and a copy is made later.
    found.not_carried["time of birth"] = found.entries
    return found


def xattr_room(path: str, value: int, total: int) -> str:
    """Tell why a file below `path` cannot have a value of this size, or values of this sum; empty when it can.

    Tried with files that never have a name.
    """
    for sizes in ([value], [min(value, total - at) for at in range(0, total, value or 1)]):
        try:
            descriptor = os.open(path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            return f"could not be tried: {os.strerror(error.errno or 0)}"
        try:
            for number, size in enumerate(sizes):
                # Sums were taken with the names.
                name = f"user.bascule-{number:03d}"
                os.setxattr(descriptor, name, os.urandom(max(0, size - (len(name) if len(sizes) > 1 else 0))))
        except OSError as error:
            return f"{max(sizes)} of {sum(sizes)} bytes: {errno.errorcode.get(error.errno or 0, '')} {error.strerror}"
        finally:
            os.close(descriptor)
    return ""


def _directory(found: Survey, path: bytes, full: bytes) -> None:
    if path.rpartition(b"/")[2] == PARTIAL_DIR.encode():
        found.partial.add(path)
    if _has_project(full):
        _count(found, "project id")


def _flags(found: Survey, path: bytes, flags: int) -> None:
    if any(flags & bit for bit in _BLOCKING):
        found.unchangeable.add(path)
    for bit, name in _FLAGS.items():
        if flags & bit:
            _count(found, f"flag {name}")


def _attributes(found: Survey, full: bytes, names: list[str]) -> None:
    total = 0
    for name in names:
        try:
            size = len(attributes.value(full, name))
        except OSError as error:
            # Taken away meanwhile.
            if error.errno != errno.ENODATA:
                raise
            continue
        found.largest_xattr = max(found.largest_xattr, size)
        total += len(os.fsencode(name)) + size
    found.largest_xattrs = max(found.largest_xattrs, total)


def _has_project(full: bytes) -> bool:
    try:
        descriptor = os.open(full, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        answer = fcntl.ioctl(descriptor, _FSGETXATTR, bytes(_FSXATTR.size))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    flags, _, _, project, _ = _FSXATTR.unpack(answer)
    return bool(project or flags & _PROJECT_INHERIT)


def _count(found: Survey, name: str) -> None:
    found.not_carried[name] = found.not_carried.get(name, 0) + 1
