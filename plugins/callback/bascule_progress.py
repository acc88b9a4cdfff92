"""Says on the terminal where a phase stands: a line per verb and component. The complete output can go to a file."""

from __future__ import annotations

DOCUMENTATION = """
name: bascule_progress
type: stdout
short_description: A line per verb and component, failures in full
description:
  - Prints a line when a component has done a verb, with its time and whether it changed anything.
  - A failure is printed in full, with what was expected, what was found, the state now and the next safe command.
  - The complete output, as the default callback prints it, goes to C(runs/RUN/output), a file for each playbook, or to
    the file named by the environment variable C(BASCULE_PROGRESS_LOG). A playbook that only asks keeps none.
  - With C(--diff) the differences are printed as well.
  - It is the default of the project. C(ANSIBLE_STDOUT_CALLBACK=default) gives Ansible's own output back.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
"""

import contextlib
import datetime
import os
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

from ansible import context
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils.display import Display

from bascule.errors import BasculeError
from bascule.run.display import Progress
from bascule.run.io import command, identity
from bascule.system.io import storage

# Tasks whose message is meant for the reader.
SPEAKING = frozenset({"bascule_where", "bascule_go", "bascule_judge", "bascule_load_test", "bascule_monitor", "debug"})
_COLOURS = {"good": "green", "changed": "yellow", "bad": "red", "head": "bright blue"}


class LogDisplay:
    """Stands in for Ansible's display and writes to a file; until it knows which one, it keeps what it was given."""

    banner = Display.banner
    _error = Display._error
    _deprecated = Display._deprecated

    def __init__(self, screen: Any, path: str | None) -> None:
        self._screen = screen
        self._errors: set[str] = set()
        self._warns: set[str] = set()
        self._deprecations: set[str] = set()
        self._kept: list[bytes] = []
        self._out: int | None = None
        self.path = ""
        if path:
            self.write_to(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._screen, name)

    def write_to(self, path: str) -> None:
        """Write what was kept, and all that follows, to this file."""
        self._out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.path = path
        for line in self._kept:
            os.write(self._out, line)
        self._kept = []

    def _warning(self, warning: Any) -> None:
        """Warnings are for the reader at the terminal, too."""
        self._screen._warning(warning)
        Display._warning(self, warning)

    def display(self, msg: str, *_: Any, screen_only: bool = False, **__: Any) -> None:
        if screen_only:
            return
        line = f"{msg.removesuffix(chr(10))}\n".encode("utf-8", "replace")
        if self._out is None:
            self._kept.append(line)
        else:
            os.write(self._out, line)


class CallbackModule(Default):
    """The quiet output; what the default callback would have printed goes to the log."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "bascule_progress"

    def __init__(self) -> None:
        super().__init__()
        self._screen = self._display
        self._display = LogDisplay(self._screen, os.environ.get("BASCULE_PROGRESS_LOG"))
        self._book = "playbook"
        # Where `bascule` has started this playbook, its live view shows what takes long.
        self._command = command.current()
        self._said: dict[str, str] = {}
        self._progress = Progress(clock=time.monotonic, check_mode=lambda: bool(context.CLIARGS.get("check")))

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._book = re.sub(r"^\d+_", "", os.path.splitext(os.path.basename(str(playbook._file_name)))[0])
        super().v2_playbook_on_start(playbook)

    def v2_on_file_diff(self, result: Any) -> None:
        super().v2_on_file_diff(result)
        # Who has asked for differences wants to see them.
        log, self._display = self._display, self._screen
        try:
            super().v2_on_file_diff(result)
        finally:
            self._display = log

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._say(self._progress.play(play.get_name().strip()))
        super().v2_playbook_on_play_start(play)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._ended(result)
        super().v2_runner_on_ok(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._speak(result)
        super().v2_runner_item_on_ok(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._keep_in_run(result)
        if not ignore_errors:
            self._say(self._progress.failed(result.host.get_name(), result.task.get_name(), dict(result.result)))
        super().v2_runner_on_failed(result, ignore_errors=ignore_errors)

    def v2_runner_retry(self, result: Any) -> None:
        facts = dict(result.result)
        self._say(self._progress.waiting(result.host.get_name(), facts.get("progress")))
        self._tell(result.host.get_name(), facts.get("progress"))
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
        if self._display.path:
            self._say([("plain", f"details: {os.path.relpath(self._display.path)}")])
        super().v2_playbook_on_stats(stats)

    def _keep_in_run(self, result: Any) -> None:
        """Let the details go to the run's folder as soon as the playbook has begun something that the run tells of."""
        action, args = str(result.task.action), result.task.args
        begins = action == "bascule_go" or (action == "bascule_begin" and args.get("verb") != "state")
        if self._display.path or not begins:
            return
        try:
            folder = identity.runs_directory() / identity.current_run()
            if not storage.is_directory(folder):
                # Nothing was begun: a run that is refused leaves none.
                return
            storage.make_directory(folder / "output", 0o700)
            now = datetime.datetime.now(datetime.timezone.utc)
            self._display.write_to(str(folder / "output" / f"{now:%Y%m%dT%H%M%S}-{self._book}-{os.getpid()}.log"))
        except (BasculeError, OSError) as error:
            self._screen.warning(f"The details of this playbook are kept nowhere: {error}")

    def _ended(self, result: Any) -> None:
        self._keep_in_run(result)
        host, task = result.host.get_name(), result.task
        action = str(task.action).rpartition(".")[2]
        if action == "bascule_begin":
            args: Mapping[str, Any] = task.args
            self._progress.begin(host, str(args.get("verb", "")))
        elif action == "bascule_end":
            self._say(self._progress.end(host))
            self._tell(host, "")
        else:
            self._progress.step(host, bool(result.result.get("changed", False)))
            if action == "bascule_gate":
                self._say(self._progress.gate(host, result.result.get("gate")))
            # Of a loop each item has spoken already, and Ansible's own words for all of them say nothing.
            if "results" not in result.result:
                self._speak(result)

    def _speak(self, result: Any) -> None:
        if str(result.task.action).rpartition(".")[2] in SPEAKING:
            self._say(self._progress.message(result.host.get_name(), result.result.get("msg")))

    def _tell(self, host: str, said: Any) -> None:
        """Tell `bascule` what a component says of how far it is; it decides nothing, so a full disk stops nothing."""
        if self._command is None or not isinstance(said, str) or said == self._said.get(host, ""):
            return
        self._said[host] = said
        with contextlib.suppress(BasculeError, OSError):
            self._command.tell("progress", self._said)

    def _say(self, lines: list[tuple[str, str]]) -> None:
        for tone, text in lines:
            self._screen.display(text, color=_COLOURS.get(tone))
        # Ansible leaves flushing to the system: a reader of a file would see nothing for minutes.
        sys.stdout.flush()
