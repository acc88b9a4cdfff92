"""Wait, inside the play of a window, until all has come through that a verb rests on."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable

from ..errors import JournalError
from ..run import chain, context, order
from ..run.context import Announced
from ..run.io.journal import Journal
from .action import Scope

# Seconds between two looks at the end of a file on this machine.
_LOOK = 0.02


def wait(journal: Journal, about: Announced, scope: Scope, meanwhile: Callable[[], object]) -> list[chain.Entry]:
    """Wait for what the announced verb rests on; return what this decision's journal then holds, without its steps.

    Each end is told at once. Whoever has to wait does `meanwhile` first, once.

    Raises:
        JournalError: it cannot come any more.
    """
    depends_on = context.dependencies(scope.components, scope.hostvars)
    entries: list[chain.Entry] = []
    waits = False
    for new in journal.follow():
        # Only an end decides; the first look finds what was there before.
        decides = not entries or any(entry["kind"] == "end" for entry in new)
        entries += new
        if decides and not order.awaited(
            about.component, about.verb, entries, scope.in_play, depends_on, about.phase, scope.gone
        ):
            return entries
        _must_have_playbook(about)
        if waits:
            time.sleep(_LOOK)
        else:
            waits = True
            meanwhile()
    raise AssertionError("unreachable")


def _must_have_playbook(about: Announced) -> None:
    """Let nobody wait for a playbook that was killed: this process is one of its tasks."""
    playbook = multiprocessing.parent_process()
    if playbook is not None and os.getppid() != playbook.pid:
        raise JournalError(
            expected="the playbook to run until its tasks have ended",
            found="it was killed",
            state=f"{about.verb} of {about.component} was not started",
            next_command="ansible-playbook playbooks/status.yml",
        )
