"""What the demo shows: lines as things end, and below them one line that lives."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

HEARTBEAT_SECONDS = 20.0


class Screen:
    """Prints to the terminal; where there is none, a line now and then says that the demo lives."""

    def __init__(self, console: Console | None = None) -> None:
        # A file has no width: wide enough for the summary's table.
        self.console = console or Console(highlight=False, width=None if sys.stdout.isatty() else 120)
        self.doing = ""
        self.counters: Callable[[], str] = str
        self._since = time.monotonic()

    def begin(self, doing: str) -> None:
        """A step begins; the living line shows it with its time."""
        self.doing = doing
        self._since = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._since

    def say(self, text: RenderableType, style: str | None = None) -> None:
        self.console.print(text, style=style, soft_wrap=isinstance(text, str))

    def heading(self, text: str) -> None:
        self.console.print()
        self.console.print(Text(text, style="bold"), soft_wrap=True)

    def relay(self, line: str) -> None:
        """Print a line of another program as it coloured it."""
        self.console.print(Text.from_ansi(line), soft_wrap=True)

    def status(self) -> str:
        minutes, seconds = divmod(int(self.elapsed), 60)
        counters = self.counters()
        return f"{self.doing} {minutes}:{seconds:02}" + (f" | {counters}" if counters else "")

    @contextlib.contextmanager
    def living(self) -> Iterator[None]:
        """Keep the last line alive."""
        if self.console.is_terminal:
            spinner = Spinner("dots")

            def draw() -> RenderableType:
                line = Text(self.status(), style="cyan", no_wrap=True, overflow="ellipsis")
                spinner.update(text=line)
                return spinner

            with Live(get_renderable=draw, console=self.console, refresh_per_second=4, transient=True):
                yield
            return
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(HEARTBEAT_SECONDS):
                self.console.print(f"  ... {self.status()}")

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)
