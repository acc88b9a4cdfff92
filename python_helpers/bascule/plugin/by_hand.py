"""What the actions share whose module may need a person: say what to do, and call the module again until it sees it.

The module decides, each time anew and under its guard's lock: nothing is locked while a person works, and a decision
that was overtaken meanwhile is refused the next time. Without this action the module fails, and nothing counts as done.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.utils.display import Display

from ..entrance import manual
from ..system import work
from .served import ModuleAction

Values = dict[str, Any]


class ByHandAction(ModuleAction):
    """An action that calls the module of its own name until no person is needed any more."""

    _supports_check_mode = True
    _supports_async = False

    MODULE = ""
    # Seconds between two looks, and between two lines that say the same.
    PAUSE = 3.0
    PROGRESS = 30.0

    def run(self, tmp: Any = None, task_vars: Any = None) -> Values:
        """Run the module; while it names what a person has to do, wait and run it again."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        options = arguments.get("entrance") or {}
        seconds = float(options.get("manual_wait") or 0)
        self._component = str(task_vars["inventory_hostname"])
        word = arguments.get("word")
        if word and options.get("kind") == "manual":
            self.say(manual.lost(manual.place(options), str(word["by"])))
        started = begun = told = time.monotonic()
        asked = shown = ""
        while True:
            result = dict(self._execute_module(self.MODULE, arguments, task_vars=task_vars))
            wanted, found = str(result.get("by_hand") or ""), str(result.get("found") or "")
            now = time.monotonic()
            if not (result.get("failed") and wanted):
                return self._outcome(result, asked, now - started)
            if not asked:
                # The first look is no waiting.
                begun = told = now
            if now - begun >= seconds:
                waited = f"a person was waited for {now - begun:.0f} of {seconds:g} s; {result.get('msg')}"
                return {**result, "msg": waited}
            if wanted != asked:
                self.say(wanted)
            # What a person has done, be it the wrong thing, is said at once.
            if found != shown or now - told >= self.PROGRESS:
                self.say(f"Waiting since {now - begun:.0f} of {seconds:g} s: {found}")
                told = now
            asked, shown = wanted, found
            time.sleep(self.PAUSE)

    def say(self, text: str) -> None:
        """Show a line."""
        Display().display(f"{self._component}: {text}")

    def _outcome(self, result: Values, asked: str, seconds: float) -> Values:
        for text in result.get("would_ask") or []:
            self.say(f"A person would have to do this. {text}")
        if not asked or result.get("failed"):
            return result
        self.say("This was seen.")
        return {**result, "changed": True, "by_hand_seconds": round(seconds, 3), work.SECONDS: round(seconds, 3)}
