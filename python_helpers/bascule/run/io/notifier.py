"""Send notices by apprise, in a process of its own that is given up after a time.

Addresses come to it by standard input and leave it for nowhere but their services: what they say of an error may quote
an address, so it is thrown away, and who was not told is known by the role alone.

The process reads a line of JSON for each thing to do, until it is told `bye` or its starter is gone:

- `{"id", "urls", "title", "body"}` is sent at once, side by side with all others.
- the same with `after` (seconds) and `until` (a name) is sent then, unless `{"cancel": name}` comes before.
- the same with `will` is kept, and sent if the starter is gone without a `bye`; `{"withdraw": true}` forgets all these.
  Its body may have NOW in it.
- `{"bye": seconds}`: end as soon as all is sent, or after that time.

It answers with lines `{"id", "said"}`: `begun`, then `sent` or why not.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import selectors
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import CommandFailed
from ...system.io.process import run

# Seconds for all of them, and for the process itself to begin and to end beside that.
PATIENCE, _BESIDE = 30.0, 10.0
BEGUN, SENT = "begun", "sent"
# In a notice that is kept until its starter is gone: when that was seen.
NOW = "{now}"
# Seconds between two looks at whether the starter is there.
_LOOK = 0.5


def send(given: Sequence[Mapping[str, Any]], patience: float = PATIENCE) -> list[str]:
    """Send what `notices.addressed` has returned; return, role by role, what was not sent, and never raise.

    Args:
        given: role, urls, title and body of each.
        patience: seconds after which those that have not answered are given up.
    """
    if not given:
        return []
    lines = [{"id": str(one["role"]), **{key: one[key] for key in ("urls", "title", "body")}} for one in given]
    text = "".join(json.dumps(one) + "\n" for one in [*lines, {"bye": patience}])
    try:
        done = run([sys.executable, "-m", __name__], stdin=text, timeout=patience + _BESIDE)
        answers = said(done.stdout)
    except (CommandFailed, ValueError) as error:
        late = isinstance(error, CommandFailed) and "within" in error.expected
        why = f"no answer within {patience:g} s" if late else "the notifier has failed"
        return [f"{one['id']}: not told for certain: {why}" for one in lines]
    return [why for one in lines if (why := untold(str(one["id"]), answers.get(str(one["id"]), ""), patience))]


def said(text: str) -> dict[str, str]:
    """Return the last answer by id, of the lines that the process has written; a line that is cut short is none."""
    found = {}
    for line in text.splitlines():
        try:
            one = json.loads(line)
            found[str(one["id"])] = str(one["said"])
        except (ValueError, KeyError, TypeError):
            continue
    return found


def untold(name: str, answer: str, patience: float) -> str:
    """Return why somebody was not told, by the last answer about it; nothing where it was sent."""
    if answer == SENT:
        return ""
    if answer in ("", BEGUN):
        return f"{name}: not told for certain: no answer within {patience:g} s"
    return f"{name}: not told: {answer}"


def main() -> int:
    """Do what standard input says."""
    sys.stdout.flush()
    answer = os.dup(1)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        # Libraries below may print or log an address.
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        logging.disable(logging.CRITICAL)
        # What moves the sites comes first.
        os.nice(5)
        Desk(answer, os.getppid()).serve(0)
    # Whoever still waits for a service is given up.
    os._exit(0)


class Desk:
    """Takes lines, sends, and answers."""

    def __init__(self, answer: int, starter: int) -> None:
        self._answer, self._starter = answer, starter
        self._wills: dict[str, Mapping[str, Any]] = {}
        # What is sent later: by name, and when.
        self._later: list[tuple[float, str, Mapping[str, Any]]] = []
        self._threads: list[threading.Thread] = []
        self._writing = threading.Lock()
        self._patience: float | None = None

    def serve(self, lines: int) -> None:
        """Do what the lines of a descriptor say, until its end."""
        rest, open_ = b"", True
        with selectors.DefaultSelector() as selector:
            selector.register(lines, selectors.EVENT_READ)
            while self._patience is None and open_ and os.getppid() == self._starter:
                if selector.select(_LOOK):
                    read = os.read(lines, 1 << 16)
                    open_ = bool(read)
                    *whole, rest = (rest + read).split(b"\n")
                    for line in whole:
                        self._take(line)
                self._send_what_is_due()
        if self._patience is None:
            seen = time.strftime("%H:%M:%S %Z")
            for one in self._wills.values():
                self._send({**one, "body": str(one["body"]).replace(NOW, seen)})
        until = time.monotonic() + (PATIENCE if self._patience is None else self._patience)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _take(self, line: bytes) -> None:
        try:
            one = json.loads(line)
            if "bye" in one:
                self._patience = float(one["bye"])
            elif "cancel" in one:
                self._later = [each for each in self._later if each[1] != one["cancel"]]
            elif "withdraw" in one:
                self._wills.clear()
            elif one.get("will"):
                self._wills[str(one["id"])] = one
            elif "after" in one:
                self._later.append((time.monotonic() + float(one["after"]), str(one["until"]), one))
            else:
                self._send(one)
        except (ValueError, KeyError, TypeError, AttributeError):
            # What cannot be read has no id to answer with.
            return

    def _send_what_is_due(self) -> None:
        now = time.monotonic()
        due = [one for at, _, one in self._later if at <= now]
        self._later = [each for each in self._later if each[0] > now]
        for one in due:
            self._send(one)

    def _send(self, one: Mapping[str, Any]) -> None:
        self._say(one, BEGUN)
        thread = threading.Thread(target=lambda: self._say(one, _sent(one)), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _say(self, one: Mapping[str, Any], what: str) -> None:
        line = json.dumps({"id": str(one["id"]), "said": what}) + "\n"
        try:
            with self._writing:
                os.write(self._answer, line.encode("ascii"))
        except OSError:
            # Nobody is left to hear it.
            return


def _sent(one: Mapping[str, Any]) -> str:
    try:
        apprise = importlib.import_module("apprise")
    except ImportError:
        return "apprise is not installed at the controller: pip install '.[notices]'"
    try:
        service = apprise.Apprise()
        # Each has to be known: one that is dropped silently would look like one that was told.
        if not all(service.add(url) for url in one["urls"]):
            return "an address that apprise does not know"
        return SENT if service.notify(title=one["title"], body=one["body"]) else "a service has refused it"
    except Exception as error:
        return f"an error, {type(error).__name__}"


if __name__ == "__main__":
    sys.exit(main())
