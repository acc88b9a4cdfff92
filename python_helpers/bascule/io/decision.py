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
from pathlib import Path

from ..errors import BasculeError

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


def choose_run(plan_name: str) -> str:
    """Return the run to go on with: the one named by BASCULE_RUN, else the latest, else a new one."""
    run = os.environ.get(RUN) or _latest()
    if not run:
        now = datetime.datetime.now(datetime.timezone.utc)
        run = f"{now:%Y%m%d-%H%M%S}-{re.sub(r'[^A-Za-z0-9_.-]', '-', plan_name) or 'run'}"
    os.environ[RUN] = checked_name(run)
    return run


def current_run() -> str:
    """Return the run id."""
    return checked_name(_given(RUN, "a run id, chosen when the first play started"))


def checked_name(run: str) -> str:
    """Refuse a run id that is no plain file name: it becomes a directory on every journal host."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", run):
        raise BasculeError(expected="a run id of letters, digits, '.', '_' and '-'", found=repr(run))
    return run


def runs_directory() -> Path:
    """Return where the runs lie."""
    return Path(os.environ.get(RUNS) or "runs").absolute()


def controller() -> str:
    """Return this machine's name, as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9_.]", "-", platform.node()) or "controller"


def _latest() -> str:
    link = runs_directory() / "latest"
    return os.path.basename(os.readlink(link)) if link.is_symlink() and link.exists() else ""


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
