"""Refuse a tree that is a part of a larger file system while somebody could write to it past its fence."""

from __future__ import annotations

from ...mounts import TreeError
from . import past_part
from . import side as fence_side
from .side import Side

_NAMED = 12


def check(side: Side) -> None:
    """Raise, before anybody is kept waiting, when somebody could write to a part of a file system past its fence."""
    if not side.part:
        return
    found = [*fence_side.look(side, deep=True).beyond]
    found += [f"a name outside the tree of {name}" for name in past_part.names_outside(side.path)]
    if found:
        raise TreeError(
            expected=f"a tree at {side.path} on {side.name} that its own mount can close",
            found=f"ways past it: {'; '.join(found[:_NAMED])}"
            + (f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""),
            state=f"{side.path} is {fence_side.look(side).state}; nothing was changed",
            next_command="restart the services named (what they opened before prepare leads past the tree's mount), "
            "take away the other mounts, exports and names, then run the same playbook again",
        )
