"""What the actions share that follow a unit on a machine: call the module again and again until the unit has ended.

A lost connection loses nothing, as the unit goes on by itself; the module's first call starts it or finds it.
"""

from __future__ import annotations

import time
from typing import Any, Optional

from ansible.utils.display import Display

from ..system import work
from .served import ModuleAction

Values = dict[str, Any]


class FollowAction(ModuleAction):
    """An action that calls the module of its own name until its unit has ended, and shows how far it is."""

    _supports_check_mode = True
    _supports_async = False

    MODULE = ""
    # Seconds between two calls, where the module does not wait by itself.
    PAUSE = 0.0
    # Seconds between two lines of progress at least; equal lines are not repeated.
    EVERY = 0.0

    def run(self, tmp: Any = None, task_vars: Any = None) -> Values:
        """Start, then look again until it has ended."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        self.begun = time.monotonic()
        self.prepare(arguments)
        shown, shown_at = "", self.begun if self.EVERY else 0.0
        worked, since = 0.0, None
        while True:
            result = dict(self._execute_module(self.MODULE, arguments, task_vars=task_vars))
            if result.get("failed"):
                return result
            if since is None:
                # From its start on, in the first call, the unit works, whether it is asked or not.
                worked, since = work.seconds(result), time.monotonic()
            outcome = self.ended(arguments, result)
            if outcome is not None:
                return {**outcome, work.SECONDS: round(worked + time.monotonic() - since, 3)}
            self.again(arguments, result)
            text = self.progress(result)
            if text and text != shown and time.monotonic() - shown_at >= self.EVERY:
                self.say(self.about(arguments, task_vars), text)
                shown, shown_at = text, time.monotonic()
            time.sleep(self.PAUSE)

    @staticmethod
    def say(about: str, text: str) -> None:
        """Show a line of progress."""
        Display().display(f"{about}: {text}")

    # What each unit has of its own

    def prepare(self, arguments: Values) -> None:
        """Take options out of the arguments that are the action's and not the module's."""

    def about(self, arguments: Values, task_vars: Any) -> str:
        """Return what a line of progress begins with."""
        return str(task_vars["inventory_hostname"])

    def ended(self, arguments: Values, result: Values) -> Optional[Values]:
        """Return the action's result when there is nothing to follow any more."""
        return None if result.get("running") else result

    def again(self, arguments: Values, result: Values) -> None:
        """Change the arguments for the next call: it follows what the first one has started."""

    def progress(self, result: Values) -> str:
        """Return how far it is, for people; empty when that is not known."""
        return str(result.get("progress") or "")
