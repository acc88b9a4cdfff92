"""One side's part of a switch, driven line by line: JSON in, JSON out, until the connection ends."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any, Union

from ....errors import BasculeError
from ..cluster.cluster import load_spec
from .deadman import DriverGone, Steps
from .new_primary import Entering
from .old_primary import Leaving

Side = Union[Leaving, Entering]
_BOTH = {"look", "ready", "pause", "finish", "back", "aim"}
COMMANDS = {
    "leave": _BOTH | {"settle", "close", "give_receipt", "point", "resume", "close_thoroughly"},
    "enter": _BOTH | {"arrived", "open", "prove_thoroughly", "open_thoroughly"},
}


class Conversation:
    """The two streams to the driver; what comes in is read by a thread, so that its end is seen at once."""

    def __init__(self) -> None:
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether the driver is gone."""
        return self._ended.is_set()

    def next(self) -> dict[str, Any] | None:
        """Wait for the next command; None at the end, however often it is asked."""
        found = self._lines.get()
        if found is None:
            self._lines.put(None)
        return found

    def say(self, value: Mapping[str, Any]) -> None:
        """Answer; a driver that is gone hears nothing."""
        try:
            sys.stdout.write(json.dumps(value) + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            self._ended.set()

    def hold(self, name: str) -> None:
        """Tests only: stop here until the driver says go."""
        self.say({"at": name})
        if self.next() is None:
            raise DriverGone

    def _read(self) -> None:
        for line in sys.stdin:
            try:
                self._lines.put(dict(json.loads(line)))
            except (TypeError, ValueError):
                break
        self._ended.set()
        self._lines.put(None)


def converse(component: str, side: str, part: str) -> int:
    """Do what the driver asks until it is gone; then leave nothing half done that has no receipt."""
    talk = Conversation()
    steps = Steps(lambda: talk.ended, talk.hold)
    worker: Side | None = None
    try:
        spec = load_spec(component, side)
        worker = Leaving(spec, steps) if part == "leave" else Entering(spec, steps)
        talk.say({"ok": {"pid": os.getpid()}})
        while (command := talk.next()) is not None:
            talk.say({"number": command.pop("number", 0), **_answer(worker, part, command, steps)})
    except BasculeError as error:
        talk.say({"error": error.fields(), "kind": type(error).__name__})
        return 1
    finally:
        if worker is not None:
            worker.end()
    return 0


def _answer(worker: Side, part: str, command: dict[str, Any], steps: Steps) -> dict[str, Any]:
    name = str(command.pop("do", ""))
    steps.hold_at = frozenset(command.pop("hold", ()))
    if name not in COMMANDS[part]:
        return {"error": BasculeError(expected="a command of a switch", found=repr(name)).fields(), "kind": "Error"}
    try:
        return {"ok": getattr(worker, name)(**command)}
    except BasculeError as error:
        return {"error": error.fields(), "kind": type(error).__name__, "holders": getattr(error, "holders", [])}
    except Exception as error:
        # Whatever it is, the driver has to hear of it before this process takes back what it can.
        sys.stderr.write(traceback.format_exc())
        unknown = BasculeError(expected=f"'{name}' to succeed at this side", found=f"{type(error).__name__}: {error}")
        return {"error": unknown.fields(), "kind": type(error).__name__}
