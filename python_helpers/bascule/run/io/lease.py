"""The lease of a lock that is a row: whether its holder is gone, and how it is renewed while a run works."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Protocol

from ...errors import BasculeError
from ..holder import LEASE, Holder
from . import presence


class Renewing(Protocol):
    """What has a lock."""

    def renew(self, token: str) -> None:
        """Put off the end of the lease."""


def gone(holder: Holder) -> bool:
    """Whether a lock's holder is gone: its process is, or where nobody can say that, its lease has ended."""
    try:
        alive: Any = presence.lives(holder.note)[0]
    except (KeyError, ValueError):
        alive = None
    return alive is False or (alive is None and holder.over)


@contextlib.contextmanager
def kept(store: Renewing, token: str) -> Iterator[None]:
    """Renew a lock while a run works."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(LEASE / 4):
            with contextlib.suppress(BasculeError):
                store.renew(token)

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
