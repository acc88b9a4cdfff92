"""What a path of a tree has beside its inode: ACLs and extended attributes, as they stand in a manifest."""

from __future__ import annotations

import errno
import os
from typing import Union

from ... import acl
from ...manifest import xattrs_text
from ...transfer import OF_THE_FILE_SYSTEM
from .accounts import Accounts

Where = Union[int, bytes]


def listed(where: Where) -> list[str]:
    """Return the names of extended attributes; none where the file system has no such thing. Follows no link.

    What a file system shows there of its own doings is left out, as no other has it: the same as transfers leave out.
    """
    try:
        found = os.listxattr(where, follow_symlinks=isinstance(where, int))
        return [name for name in found if not name.startswith(OF_THE_FILE_SYSTEM)]
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise


def value(where: Where, name: str) -> bytes:
    """Return the value of an extended attribute; follows no link."""
    return os.getxattr(where, name, follow_symlinks=isinstance(where, int))


def text(where: Where, name: str, accounts: Accounts) -> str:
    """Return the value of an extended attribute as text; the owners that an ACL names are told as the plan has it."""
    raw = value(where, name)
    if accounts.named and name in acl.ATTRIBUTES:
        return acl.to_names(raw, accounts.users, accounts.groups)
    return raw.hex()


def in_line(where: Where, accounts: Accounts) -> tuple[str, str]:
    """Return ACLs and extended attributes as they stand in a line."""
    names = listed(where)
    if not names:
        return "", "[]"
    acls, xattrs = "", []
    for raw in sorted(os.fsencode(name) for name in names):
        name = os.fsdecode(raw)
        if name in acl.ATTRIBUTES:
            acls += f"{name.rpartition('_')[2]}={text(where, name, accounts)};"
        else:
            xattrs.append((raw, value(where, name).hex()))
    return acls, xattrs_text(xattrs)
