"""What a person sees while the lab works: one line per thing that happened, with the time it took so far."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from rich.console import Console

from bascule_lab.errors import LabError


class Screen:
    """Lines with the seconds since the start; safe to use from threads."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.started = time.monotonic()
        self.lock = threading.Lock()
        self.changes = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def line(self, text: str, style: str = "") -> None:
        with self.lock:
            self.console.print(f"[dim]{self.seconds:6.1f} s[/dim]  {text}", style=style)

    def changed(self, text: str) -> None:
        """Something was made or removed."""
        self.changes += 1
        self.line(text)

    def same(self, text: str) -> None:
        self.line(text, style="dim")

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A spinner on a terminal; nothing in a log."""
        if self.console.is_terminal:
            with self.console.status(text):
                yield
        else:
            yield

    def failure(self, error: LabError) -> None:
        # To standard error and unstyled: this is what a log keeps.
        print(f"\nThe lab stopped: {error}", file=sys.stderr)
        if error.hint:
            print(f"Next: {error.hint}", file=sys.stderr)
