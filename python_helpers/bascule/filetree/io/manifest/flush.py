"""What a side has received is on its disk before anybody relies on it.

A transfer writes into the memory of the receiving kernel, and whoever reads it there finds it equal. A host that loses
its power a moment later has the old tree again, while what both sides agreed on is written down elsewhere.
"""

from __future__ import annotations

import ctypes
import os

from ...transfer import TransferError
from ..fence import side as fence_side
from ..fence.side import Side

_LIBRARY = ctypes.CDLL(None, use_errno=True)


def sync(path: str) -> None:
    """Write a path's whole file system to its disk; a write that has failed since somebody asked is an error."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _LIBRARY.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(descriptor)


def settle(side: Side) -> None:
    """Have everything in the tree on its disk; when that fails, nothing is believed any more that was read from memory.

    The kernel tells a failed write once, and calls the page clean: asked again it says yes.
    """
    try:
        sync(side.tree)
    except OSError as error:
        fence_side.note(side, agreed="", lost=True)
        raise TransferError(
            expected=f"the disk below {side.path} at {side.name} to take what was written",
            found=str(error),
            state="what was written may not be there; nothing was agreed on, nothing was opened",
            next_command="look at that disk first (journalctl --dmesg); the same playbook then reads it whole",
        ) from error


def lost(side: Side) -> bool:
    """Tell whether a write has failed here, and nothing was read from the disk since."""
    return bool(fence_side.facts(side).get("lost"))


def found_again(side: Side) -> None:
    """Note that everything was read from the disk."""
    fence_side.note(side, lost=False)
