"""Hand notices to a process that sends them, without ever waiting for it while users wait.

What it is given goes into a pipe that is never waited for; what has not been sent a while after the playbook's last
word is named, and given up.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from . import notifier

# Seconds after the last word of a playbook; nobody waits for it then but whoever watches the terminal.
LAST_WORD = 15.0


class Sender:
    """The process that sends, and what it was given."""

    def __init__(self, program: str = sys.executable) -> None:
        """Start it; where that cannot be done, nobody is told, and `finish` says so."""
        self._broken = ""
        self._wanted: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                [program, "-m", notifier.__name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # An interrupt at the terminal is not meant for it.
                start_new_session=True,
            )
            if self._process.stdin is not None:
                os.set_blocking(self._process.stdin.fileno(), False)
        except OSError as error:
            self._broken = f"the notifier could not be started: {error.strerror or type(error).__name__}"

    def send(self, name: str, notice: Mapping[str, Any]) -> None:
        """Have a notice sent at once.

        Args:
            name: by which `finish` names it.
            notice: urls, title and body.
        """
        self._wanted.append(name)
        self._put({"id": name, **_content(notice)})

    def send_after(self, seconds: float, until: str, name: str, notice: Mapping[str, Any]) -> None:
        """Have a notice sent after so many seconds, unless what is named `until` is called off before."""
        self._put({"id": name, "after": seconds, "until": until, **_content(notice)})

    def call_off(self, until: str) -> None:
        """Have nothing sent any more that waits for this name."""
        self._put({"cancel": until})

    def leave(self, name: str, notice: Mapping[str, Any]) -> None:
        """Have a notice sent if this process is gone without a last word; it takes the place of one of that name."""
        self._put({"id": name, "will": True, **_content(notice)})

    def withdraw(self) -> None:
        """Have nothing sent any more of what was left."""
        self._put({"withdraw": True})

    def finish(self, patience: float = LAST_WORD) -> tuple[list[str], list[str]]:
        """Wait a while until all is sent; return what was, and what was not, with the reason."""
        self._put({"bye": patience})
        answers = notifier.said(self._answers(time.monotonic() + patience + 2))
        names = [*dict.fromkeys([*self._wanted, *answers])]
        untold = {name: notifier.untold(name, answers.get(name, ""), patience) for name in names}
        if self._broken:
            untold |= {name: f"{name}: not told for certain: {self._broken}" for name in names if name not in answers}
        return [name for name in names if not untold[name]], [why for why in untold.values() if why]

    def _put(self, line: Mapping[str, Any]) -> None:
        """Write a line; one that does not go in at once, as the process takes nothing, ends all further ones."""
        if self._broken or self._process is None or self._process.stdin is None:
            return
        text = (json.dumps(line) + "\n").encode("ascii")
        try:
            # Past the file object, which would keep what did not go in.
            if os.write(self._process.stdin.fileno(), text) != len(text):
                self._broken = "the notifier takes nothing any more"
        except BlockingIOError:
            self._broken = "the notifier takes nothing any more"
        except OSError as error:
            self._broken = f"the notifier has ended: {error.strerror or type(error).__name__}"

    def _answers(self, until: float) -> str:
        """Return what it has answered, when it has ended or its time is over; it is ended then."""
        if self._process is None or self._process.stdout is None:
            return ""
        read = b""
        with selectors.DefaultSelector() as selector, self._process.stdout as stream:
            selector.register(stream, selectors.EVENT_READ)
            while (left := until - time.monotonic()) > 0 and selector.select(left):
                got = os.read(stream.fileno(), 1 << 16)
                if not got:
                    break
                read += got
        self._process.kill()
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._process.wait()
        return read.decode("utf-8", "replace")


def _content(notice: Mapping[str, Any]) -> dict[str, Any]:
    return {key: notice[key] for key in ("urls", "title", "body")}
