"""POSIX ACLs as the kernel tells them, and with the names of users and groups instead of their numbers. Pure.

The extended attributes `system.posix_acl_access` and `system.posix_acl_default` hold, little endian, a version of 32
bits, which is 2, and then for each entry a tag and permissions of 16 bits each and a number of 32 bits (Linux,
include/uapi/linux/posix_acl_xattr.h: struct posix_acl_xattr_header and posix_acl_xattr_entry). The number is somebody's
in the entries of a named user and of a named group only (include/uapi/linux/posix_acl.h: ACL_USER and ACL_GROUP).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple, Optional

ATTRIBUTES = ("system.posix_acl_access", "system.posix_acl_default")
USER, GROUP = 0x02, 0x08
NOBODY = 0xFFFFFFFF
# What was translated begins like this; no hexadecimal number does.
NAMED = "named:"
_VERSION = 2
_HEAD = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")


class Entry(NamedTuple):
    """One entry; in the order of these fields the kernel's own tools keep a list."""

    tag: int
    number: int
    permissions: int


def read(value: bytes) -> Optional[list[Entry]]:
    """Read the value of an attribute; None when it has a form that is not known here."""
    if len(value) < _HEAD.size or _HEAD.unpack_from(value)[0] != _VERSION or (len(value) - _HEAD.size) % _ENTRY.size:
        return None
    return [Entry(tag, number, mode) for tag, mode, number in _ENTRY.iter_unpack(value[_HEAD.size :])]


def write(entries: list[Entry]) -> bytes:
    """Return the value of an attribute that holds these entries."""
    parts = [_ENTRY.pack(one.tag, one.permissions, one.number) for one in sorted(entries)]
    return _HEAD.pack(_VERSION) + b"".join(parts)


def to_names(value: bytes, users: Mapping[int, str], groups: Mapping[int, str]) -> str:
    """Return an ACL as text that is the same wherever the same names have the same permissions.

    `users` and `groups` tell what a number is called. What has a form that is not known here stays as it is.
    """
    entries = read(value)
    if entries is None:
        return value.hex()
    called = {USER: users, GROUP: groups}
    told = [
        (one.tag, called[one.tag][one.number].encode("ascii").hex() if one.tag in called else "", one.permissions)
        for one in entries
    ]
    return NAMED + ",".join(f"{tag:x}.{who}.{permissions:x}" for tag, who, permissions in sorted(told))


def to_numbers(text: str, user: Callable[[str], int], group: Callable[[str], int]) -> bytes:
    """Read what `to_names` wrote; `user` and `group` tell which numbers names have here."""
    if not text.startswith(NAMED):
        return bytes.fromhex(text)
    numbers = {USER: user, GROUP: group}
    entries = []
    for part in filter(None, text[len(NAMED) :].split(",")):
        tag, who, permissions = part.split(".")
        number = numbers[int(tag, 16)](bytes.fromhex(who).decode("ascii")) if who else NOBODY
        entries.append(Entry(int(tag, 16), number, int(permissions, 16)))
    return write(entries)
