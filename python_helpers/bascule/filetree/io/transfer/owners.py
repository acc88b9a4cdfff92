"""Who owns something in a tree, and whether the other side knows all of them: asked before anything is carried.

rsync gives a file whose owner's name does not exist at the other side to whoever has the number there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ... import acl
from ...manifest import ROOT
from ...transfer import NAMES, TransferError
from ..fence.side import Side
from ..manifest import accounts, attributes, walk
from ..manifest.accounts import Accounts

_SHOWN = 20


class Asked(Protocol):
    """Whoever can ask the other side."""

    def unmatched(self, owners: dict[str, list[str]]) -> list[str]:
        """Return which of these owners would be somebody else there, or nobody."""


@dataclass
class Owners:
    """The users and groups of some paths, as the other side is told them; also those that ACLs name."""

    accounts: Accounts
    users: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)

    def add(self, path: bytes) -> None:
        """Take in who owns a path; what is gone meanwhile has no owner."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            info = os.lstat(path)
            self.users.add(self.accounts.users[info.st_uid])
            self.groups.add(self.accounts.groups[info.st_gid])
            for name in attributes.listed(path):
                if name in acl.ATTRIBUTES:
                    self._add_acl(acl.read(attributes.value(path, name)) or [])

    def _add_acl(self, entries: Sequence[acl.Entry]) -> None:
        for entry in entries:
            if entry.tag == acl.USER:
                self.users.add(self.accounts.users[entry.number])
            elif entry.tag == acl.GROUP:
                self.groups.add(self.accounts.groups[entry.number])

    def to_dict(self) -> dict[str, list[str]]:
        """Return plain types."""
        return {"users": sorted(self.users), "groups": sorted(self.groups)}


def of_tree(root: str) -> dict[str, list[str]]:
    """Return who owns something in a tree, by names; walks over all of it."""
    base = os.path.realpath(os.fsencode(root))
    return of_paths(base, (path for path, _, _ in walk.walk(base)))


def of_paths(base: bytes, paths: Iterable[bytes]) -> dict[str, list[str]]:
    """Return who owns these paths below a root, by names."""
    owners = Owners(Accounts(NAMES))
    for path in paths:
        owners.add(base if path == ROOT else os.path.join(base, path))
    return owners.to_dict()


def unmatched(side: Side, told: Mapping[str, Any]) -> list[str]:
    """Return which of the other side's owners would be somebody else at this side, or nobody."""
    return accounts.unmatched(map(str, told.get("users", [])), map(str, told.get("groups", [])), side.name)


def check(side: Side, owners: dict[str, list[str]], there: Asked) -> None:
    """Raise unless everybody who owns something here is the same by name at the other side."""
    found = there.unmatched(owners)
    if found:
        raise TransferError(
            expected=f"every owner in the tree of {side.component} to have the same name at the other side",
            found="; ".join(found[:_SHOWN]) + (f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""),
            state="nothing was carried over",
            next_command="make these users and groups there, under whatever number; then run the same playbook again",
        )
