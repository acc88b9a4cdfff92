"""The identity of this ansible-playbook process and its run, shared by all its workers.

The callback sets both in the main process before the first fork; the workers inherit them with the environment. They
are deliberately not variables of Ansible: extra vars would win over them.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import BasculeError
from ...system.io import storage
from .. import chain, runs

DECISION = "BASCULE_DECISION"
RUN = "BASCULE_RUN"
RUNS = "BASCULE_RUNS"


def begin() -> str:
    """Choose this process's decision id; called once, by the callback."""
    decision = secrets.token_hex(8)
    os.environ[DECISION] = decision
    os.environ[RUNS] = str(Path(os.environ.get(RUNS) or "runs").absolute())
    return decision


def current() -> str:
    """Return the decision id."""
    return _given(DECISION, "a decision id, chosen when the playbook started")


def choose_run(plan_name: str, ask: Callable[[], Sequence[Mapping[str, Any]]] = list) -> tuple[str, str]:
    """Return the run to go on with, and what has to be said about it.

    It is the one named by BASCULE_RUN; else the latest of this plan, or the sites' newest when they know nothing of
    that; else a new one. `ask` returns the start entries that the sites hold, and is asked once a process.
    """
    if given := os.environ.get(RUN):
        return checked_name(given), ""
    choice = runs.choose(plan_name, _latest(), runs.describe(runs.starts(ask())))
    now = datetime.datetime.now(datetime.timezone.utc)
    run = choice.name or f"{now:%Y%m%d-%H%M%S}-{runs.suffix(plan_name)}"
    os.environ[RUN] = checked_name(run)
    return run, choice.said


def current_run() -> str:
    """Return the run id."""
    return checked_name(_given(RUN, "a run id, chosen when the first play started"))


def checked_name(run: str) -> str:
    """Refuse a run id that is no plain file name: it becomes a directory on every journal host."""
    if not runs.valid(run):
        raise BasculeError(expected="a run id of letters, digits, '.', '_' and '-'", found=repr(run))
    return run


def runs_directory() -> Path:
    """Return where the runs lie."""
    return Path(os.environ.get(RUNS) or "runs").absolute()


def controller() -> str:
    """Return this machine's name, as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9_.]", "-", platform.node()) or "controller"


def _latest() -> runs.Run | None:
    """Return the run that `latest` names here, as its start entries show it."""
    link = runs_directory() / "latest"
    if not link.is_symlink() or not link.exists():
        return None
    name = os.path.basename(os.readlink(link))
    lines = (storage.read_text(link / "journal.jsonl") or "").splitlines()
    begun = runs.starts(chain.parse("\n".join(line for line in lines if '"event":"start"' in line)).entries)
    return next((run for run in runs.describe(begun) if run.name == name), None) or runs.describe_name(name)


def audited_here(but: Collection[str]) -> list[runs.Run]:
    """Return the runs of this controller in which nothing but audits was done; without those of these names."""
    found = []
    for path in storage.children(runs_directory()):
        # Beside the runs lies what people put there.
        if path.is_symlink() or path.name in but or not storage.is_directory(path):
            continue
        entries = chain.parse(storage.read_text(path / "journal.jsonl") or "").entries
        if len(chain.kept_here(entries, [])) == len(entries):
            found += runs.describe(runs.starts(entries))
    return found


def _given(name: str, expected: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise BasculeError(
            expected=expected,
            found="none: the callback bascule_journal is not enabled",
            state="nothing was changed",
            next_command="use the project's ansible.cfg (callbacks_enabled = bascule_journal)",
        )
    return value
