"""What a transfer replaces or removes at a side that was active once: it is kept, in a directory of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ....system.io import storage
from ...transfer import TransferError
from ..fence import side as fence_side
from ..fence.side import Side
from ..manifest import closing_manifest


def may_replace(side: Side, keep: str) -> None:
    """Refuse to change a passive tree that was active once without a place for what is replaced; seal it before that.

    What it held at its receipt is read before anything else lies there.
    """
    guard = side.guard()
    if guard.opened is not None:
        if not keep:
            raise TransferError(
                expected="a transfer that keeps what it replaces, as this side was active once",
                found="no directory to keep it in",
                state="nothing was received",
            )
        fence_side.note(side, received=str(guard.receipt.epoch) if guard.receipt else "")
    closing_manifest.seal(side)


@contextlib.contextmanager
def numbered(asked: str) -> Iterator[Path]:
    """Give a transfer a directory of its own for what it replaces: what an earlier one kept there is older."""
    directory = Path(asked).parent
    storage.make_directory(directory)
    kept = fence_side.next_number(directory)
    while True:
        try:
            kept.mkdir(mode=0o700)
            break
        except FileExistsError:
            kept = fence_side.next_number(directory)
    storage.sync_directory(directory)
    try:
        yield kept
    finally:
        # It replaced nothing.
        with contextlib.suppress(OSError):
            kept.rmdir()
