"""Says on the terminal where a phase stands: a line per verb and component. The complete output can go to a file."""

from __future__ import annotations

DOCUMENTATION = """
name: bascule_progress
type: stdout
short_description: A line per verb and component, failures in full
description:
  - Prints a line when a component has done a verb, with its time and whether it changed anything.
  - A failure is printed in full, with what was expected, what was found, the state now and the next safe command.
  - The complete output, as the default callback prints it, goes to the file named by the environment variable
    C(BASCULE_PROGRESS_LOG), if it is set.
  - Use it with C(ANSIBLE_STDOUT_CALLBACK=bascule_progress).
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
"""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from ansible import context
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils.display import Display

from bascule.run.display import Progress

# Tasks whose message is meant for the reader.
SPEAKING = frozenset({"bascule_where", "bascule_go", "bascule_judge", "debug"})
_COLOURS = {"good": "green", "changed": "yellow", "bad": "red", "head": "bright blue"}


class LogDisplay:
    """Stands in for Ansible's display and writes to a file; without a file it writes nothing."""

    banner = Display.banner
    _error = Display._error
    _deprecated = Display._deprecated

    def __init__(self, screen: Any, path: str | None) -> None:
        self._screen = screen
        self._errors: set[str] = set()
        self._warns: set[str] = set()
        self._deprecations: set[str] = set()
        self._out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600) if path else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._screen, name)

    def _warning(self, warning: Any) -> None:
        """Warnings are for the reader at the terminal, too."""
        self._screen._warning(warning)
        Display._warning(self, warning)

    def display(self, msg: str, *_: Any, screen_only: bool = False, **__: Any) -> None:
        if self._out is not None and not screen_only:
            os.write(self._out, f"{msg.removesuffix(chr(10))}\n".encode("utf-8", "replace"))


class CallbackModule(Default):
    """The quiet output; what the default callback would have printed goes to the log."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "bascule_progress"

    def __init__(self) -> None:
        super().__init__()
        self._screen = self._display
        self._display = LogDisplay(self._screen, os.environ.get("BASCULE_PROGRESS_LOG"))
        self._progress = Progress(clock=time.monotonic, check_mode=lambda: bool(context.CLIARGS.get("check")))

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._say(self._progress.play(play.get_name().strip()))
        super().v2_playbook_on_play_start(play)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._ended(result)
        super().v2_runner_on_ok(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._say(self._progress.failed(result.host.get_name(), result.task.get_name(), dict(result.result)))
        super().v2_runner_on_failed(result, ignore_errors=ignore_errors)

    def v2_runner_retry(self, result: Any) -> None:
        facts = dict(result.result)
        self._say(self._progress.waiting(result.host.get_name(), facts.get("progress")))
        super().v2_runner_retry(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        facts = dict(result.result)
        self._say(self._progress.failed(result.host.get_name(), result.task.get_name(), facts, reached=False))
        super().v2_runner_on_unreachable(result)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        self._say(self._progress.nobody())
        super().v2_playbook_on_no_hosts_matched()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        bad = sorted(set(stats.failures) | set(stats.dark))
        self._say(self._progress.finished(len(stats.processed), bad))
        super().v2_playbook_on_stats(stats)

    def _ended(self, result: Any) -> None:
        host, task = result.host.get_name(), result.task
        action = str(task.action).rpartition(".")[2]
        if action == "bascule_begin":
            args: Mapping[str, Any] = task.args
            self._progress.begin(host, str(args.get("verb", "")))
        elif action == "bascule_end":
            self._say(self._progress.end(host))
        else:
            self._progress.step(host, bool(result.result.get("changed", False)))
            if action == "bascule_gate":
                self._say(self._progress.gate(host, result.result.get("gate")))
            if action in SPEAKING:
                self._say(self._progress.message(host, result.result.get("msg")))

    def _say(self, lines: list[tuple[str, str]]) -> None:
        for tone, text in lines:
            self._screen.display(text, color=_COLOURS.get(tone))
        # Ansible leaves flushing to the system: a reader of a file would see nothing for minutes.
        sys.stdout.flush()
