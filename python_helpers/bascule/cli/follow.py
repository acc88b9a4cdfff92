"""Follow a playbook that `bascule` has started: show what it prints, pass its question on, say what it has come to."""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import sys
import termios
import time
from collections.abc import Callable
from typing import Any, Optional

from ..errors import BasculeError, StoreError
from ..run.io import identity
from ..run.io.command import Command
from ..run.io.journal import Journal
from ..run.outcome import WORDS, Status, judge
from .screen import screen

_PAUSE = 0.1
_LONGEST_LINE = 4096
# Looks after the question has come, within which what stands before it has come as well.
_LOOKS = 50
_LEFT = """
The playbook goes on by itself, and {name} shows it again: bascule watch {name}
  Enter  leave it running
  stop   end it, as Ctrl-C ends ansible-playbook. What it has started on the machines goes on, and from the freeze until
         everybody is let in again users wait: then bascule status says what is next
[leave it running] """


class Follower:
    """One terminal that follows."""

    def __init__(self, command: Command, out: Any = None) -> None:
        self._command = command
        self._screen = screen(command, out or sys.stdout)
        self._at_terminal = sys.stdin.isatty()
        self._shown = ""
        # How often the question was seen, and whether it was answered here.
        self._looks = 0
        self._answered = False

    def follow(self) -> Status:
        """Show all from the beginning until the playbook has ended, or until it is left running."""
        try:
            return self._follow()
        except EOFError:
            # The terminal answers no more.
            return self._leave()
        except (OSError, StoreError) as error:
            # It is this one that cannot go on: the playbook has files of its own.
            with contextlib.suppress(OSError):
                self._show(f"\nit cannot be followed from here any more: {error}\n")
                self._leave()
            return Status.RUNNING
        finally:
            self._screen.stop()

    def _follow(self) -> Status:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self._command.output.open("rb") as output:
            while True:
                try:
                    # Before what it has printed is read, so that nothing of that is lost.
                    ended = self._command.ended()
                    self._show(decoder.decode(output.read()))
                    if ended:
                        self._screen.stop()
                        return self._end()
                    self._pass_on_question()
                    self._screen.refresh()
                    time.sleep(_PAUSE)
                except KeyboardInterrupt:
                    if not self._stopped():
                        return self._leave()

    def _show(self, text: str) -> None:
        if text:
            self._screen.show(text)
            self._shown = (self._shown + text)[-65536:]

    def _pass_on_question(self) -> None:
        asked = self._command.told("question")
        if not asked:
            self._looks, self._answered = 0, False
            return
        if self._answered or not self._at_terminal:
            return
        missing = [line for line in asked["lines"] if line not in self._shown]
        self._looks += 1
        if missing and self._looks < _LOOKS:
            return
        self._screen.stop()
        self._show("".join(f"  {line}\n" for line in missing))
        token = asked.get("token")
        given = typed(f"{asked['question']} ", lambda: self._command.told("question").get("token") == token)
        self._answered = True
        if given is None or not self._command.answer(given):
            self._show("\nIt was answered elsewhere, or has ended.\n")

    def _stopped(self) -> bool:
        """Ask what Ctrl-C is for; return whether the playbook is being ended, or has ended."""
        try:
            self._screen.stop()
            if not self._at_terminal:
                return False
            given = typed(_LEFT.format(name=self._command.name), lambda: not self._command.ended())
        except KeyboardInterrupt:
            given = ""
        if given is None:
            return True
        if given.strip() != "stop":
            return False
        # Whoever ends it does not answer its question.
        self._answered = True
        if not self._command.interrupt():
            self._show("It has ended already.\n")
        return True

    def _leave(self) -> Status:
        self._screen.stop()
        self._show(f"\nstill running: bascule watch {self._command.name}\n")
        return Status.RUNNING

    def _end(self) -> Status:
        told = self._command.told("run")
        decision = str(told.get("decision") or "")
        # One that was refused has chosen no run, and users may wait in the latest.
        run = str(told.get("run") or os.path.basename(os.path.realpath(identity.runs_directory() / "latest")))
        try:
            entries = Journal(identity.runs_directory(), run, identity.controller(), decision).read().entries
        except (BasculeError, OSError) as error:
            self._show(f"what it has come to is not known, as the journal here could not be read: {error}\n")
            return Status.PERSON
        status = judge(self._command.outcome(), entries, decision)
        self._show(f"bascule: {self._command.phase}: {WORDS[status]}\n")
        return status


def typed(question: str, is_asked: Callable[[], bool]) -> Optional[str]:
    """Ask at the terminal; what was typed comes back as it was, without the end of its line.

    What was typed before the question was there is thrown away: it was no answer to it. Nothing comes back where it is
    asked no more.

    Raises:
        EOFError: the terminal has ended.
    """
    termios.tcflush(sys.stdin, termios.TCIFLUSH)
    sys.stdout.write(question)
    sys.stdout.flush()
    while not select.select([sys.stdin], [], [], _PAUSE)[0]:
        if not is_asked():
            return None
    # A terminal gives a line at a time.
    line = os.read(sys.stdin.fileno(), _LONGEST_LINE)
    if not line:
        raise EOFError
    return line.decode("utf-8", "surrogateescape").rstrip("\r\n")
