"""Bring a tree's mounts back to what the guard says, at boot, before any service starts: `fence_files COMPONENT`."""

from __future__ import annotations

import sys

from ..errors import BasculeError
from ..files.mounts import CLOSED, FROZEN, PASSIVE, TreeBusy
from ..guard import state as rule
from ..io import files_side
from ..io.files_side import Side


def main(argv: list[str]) -> int:
    """Apply and prove the state; a failure is told by the exit status."""
    try:
        side = files_side.load(argv[0])
        guard = side.guard()
        if guard.status != rule.OPEN:
            done = _shut(side)
        elif guard.frozen:
            done = files_side.apply(side, FROZEN)
        else:
            done = files_side.apply_private(side)
    except BasculeError as error:
        sys.stderr.write(error.message() + "\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in done))
    return 0


def _shut(side: Side) -> list[str]:
    """Close the tree; receiving is switched on again by whoever transfers next, never by a boot.

    Only when the tree is mounted once more while a transfer runs, that one goes on, and nobody else can write.
    """
    try:
        return files_side.apply(side, CLOSED)
    except TreeBusy:
        return files_side.apply(side, PASSIVE)
