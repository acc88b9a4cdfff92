"""What a follower shows at a terminal: the lines of the playbook, and below them a live view where there can be one.

It is plain without a terminal, at a dumb one, and with NO_COLOR: then the lines are all there is. The view decides
nothing: what is wrong with it ends it, and the lines go on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from ..report.live import render
from ..run import board, chain
from ..run.board import Board
from ..run.io import identity
from ..run.io.command import Command
from ..run.preflight import PHASES

# Seconds between two looks at the journal, at least; and how many times as long as a look takes.
_EVERY, _REST = 1.0, 20


class Screen:
    """Plain lines."""

    def __init__(self, out: Any) -> None:
        self._out = out

    def show(self, text: str) -> None:
        """Print what the playbook has printed."""
        self._out.write(text)
        self._out.flush()

    def refresh(self) -> None:
        """Show how far it is now, where that is shown."""

    def stop(self) -> None:
        """Leave the terminal to lines and questions; what is shown next may begin again."""


class LiveScreen(Screen):
    """Lines, and a live view below them; it goes whenever something is asked."""

    def __init__(self, out: Any, boards: Boards) -> None:
        super().__init__(out)
        self._boards: Optional[Boards] = boards
        self._console = Console(file=out)
        self._live: Optional[Live] = None
        # The beginning of a line whose end has not come; whether the terminal stands at the beginning of one.
        self._rest, self._begins = "", True

    def show(self, text: str) -> None:
        """Print it above the view; while there is one, whole lines only."""
        if self._live is None:
            super().show(text)
            self._begins = text.endswith("\n")
            return
        with _uninterrupted():
            self._rest += text
            lines, end, rest = self._rest.rpartition("\n")
            try:
                if end:
                    self._console.print(Text.from_ansi(lines), soft_wrap=True)
                self._rest = rest
            except Exception as error:
                self._give_up(error)

    def refresh(self) -> None:
        """Show how far it is now, below a line that has ended."""
        if self._boards is None or not self._begins:
            return
        with _uninterrupted():
            try:
                found = self._boards.read()
                if found is not None:
                    self._draw(render(found, self._console.width, self._console.height))
            except Exception as error:
                self._give_up(error)

    def stop(self) -> None:
        """Take the view away, and print what has come of a line."""
        with _uninterrupted():
            live, self._live = self._live, None
            rest, self._rest = self._rest, ""
            # What cannot be taken away, as from a terminal that is gone, keeps nothing from being printed.
            with contextlib.suppress(Exception):
                if live is not None:
                    live.stop()
            with contextlib.suppress(OSError):
                if rest:
                    self.show(rest)

    def _draw(self, picture: RenderableType) -> None:
        if self._live is None:
            # A new one each time: nothing is left in it of a view that has ended half-way.
            self._console = Console(file=self._out, highlight=False)
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="crop",
            )
            self._live.start()
            # Whoever kills the follower is left with a cursor.
            self._console.show_cursor(True)
        self._live.update(picture, refresh=True)

    def _give_up(self, error: Exception) -> None:
        """Go on with lines alone."""
        self._boards = None
        self.stop()
        why = " ".join(f"{type(error).__name__}: {error}".split())
        self.show(f"there is no live view from here on, lines go on: {why}\n")


class Boards:
    """How far a command's phase is, by the journal that lies here: what is new in it is read each time."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._offset, self._next = 0, 0.0
        self._entries: list[chain.Entry] = []

    def read(self) -> Optional[Board]:
        """Return it; nothing before it has begun something, and where it was just looked at."""
        began = time.monotonic()
        if began < self._next:
            return None
        found = self._look()
        now = time.monotonic()
        # A journal that takes long to look at is looked at less often: the playbook needs the machine.
        self._next = now + max(_EVERY, _REST * (now - began))
        return found

    def _look(self) -> Optional[Board]:
        told = self._command.told("run")
        if not told.get("run"):
            return None
        path = identity.runs_directory() / identity.checked_name(str(told["run"])) / "journal.jsonl"
        self._entries += [one for one in chain.parse(self._new(path)).entries if one["epoch"] == told.get("decision")]
        said = {str(name): str(text) for name, text in self._command.told("progress").items()}
        return board.read(self._command.phase, self._entries, said, time.time())

    def _new(self, path: Path) -> str:
        """Return the lines that have come since the last time."""
        try:
            with path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return ""
        content = content[: content.rfind(b"\n") + 1]
        self._offset += len(content)
        return content.decode("utf-8", "replace")


def screen(command: Command, out: Any) -> Screen:
    """Return what fits the terminal and the phase."""
    plain = not out.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM", "dumb") in ("", "dumb", "unknown")
    return Screen(out) if plain or command.phase not in PHASES else LiveScreen(out, Boards(command))


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back meanwhile: it comes after that. Half-way, rich would give the terminal back to nobody."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
