"""Start the playbook of a phase, detached from this terminal."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

from ..errors import BasculeError
from ..run.arguments import Given
from ..run.io import command as commands
from ..run.io import beside, presence
from ..run.io.command import Command
from ..run.phases import Phase

PROJECT = Path(__file__).resolve().parents[3]
# What ansible-runner may see, and write down, of the environment.
_SEEN = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "TMPDIR")
# What a pipe holds for sure; see pipe(7).
_LONGEST_PASSWORD = 4096


def password(given: Given) -> Optional[str]:
    """Ask for the password of sudo where -K was given."""
    if not given.asks_become:
        return None
    typed = getpass.getpass("BECOME password: ")
    if len(typed.encode("utf-8", "surrogateescape")) > _LONGEST_PASSWORD:
        raise BasculeError(
            expected=f"a password of at most {_LONGEST_PASSWORD} bytes", found="a longer one", state="nothing was begun"
        )
    return typed


def start(phase: Phase, given: Given, secret: Optional[str]) -> Command:
    """Start the phase's playbook in a session of its own, and return what follows it.

    Args:
        phase: the phase.
        given: the arguments for `ansible-playbook`.
        secret: what was typed for -K; it goes to `ansible-playbook` by a pipe.

    Raises:
        BasculeError: there is no such playbook, or no `ansible-playbook`, or another one is at work that changes something.
    """
    line = [_program(), str(_playbook(phase)), *given.arguments]
    with beside.alone(phase):
        return _begun(phase, line, secret)


def _begun(phase: Phase, line: list[str], secret: Optional[str]) -> Command:
    command = commands.begin(phase.name)
    if sys.stdin.isatty():
        command.may_ask()
    environment = {**os.environ, **configured(), commands.FOLDER: str(command.folder)}
    handed: dict[str, Any] = {"line": line, "environment": environment, "password": secret}
    bare = {name: os.environ[name] for name in _SEEN if name in os.environ}
    with command.output.open("ab") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.supervise", str(command.folder)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**bare, "PYTHONPATH": str(PROJECT / "python_helpers")},
            start_new_session=True,
        )
    command.tell("supervisor", presence.process(running.pid))
    # Where it has ended already, its output says why.
    pipe: Any = running.stdin
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(json.dumps(handed).encode())
    return command


def configured() -> dict[str, str]:
    """Return what the environment needs so that Ansible finds the project's settings, wherever it is started."""
    found = "ANSIBLE_CONFIG" in os.environ or Path("ansible.cfg").exists()
    return {} if found else {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")}


def _program() -> str:
    """Return the `ansible-playbook` that was installed with this program, or the one of the search path."""
    beside = Path(sys.executable).with_name("ansible-playbook")
    found = str(beside) if beside.is_file() else shutil.which("ansible-playbook")
    if not found:
        raise BasculeError(
            expected="ansible-playbook beside this Python, or in PATH", found="none", state="nothing was begun"
        )
    return found


def _playbook(phase: Phase) -> Path:
    path = PROJECT / phase.playbook
    if not path.is_file():
        raise BasculeError(
            expected=f"the project's folder with {phase.playbook} around this program",
            found=f"no {path}",
            state="nothing was begun",
            next_command="install it from a checkout, with pip install -e",
        )
    return path
