"""Start the playbook of a phase, detached from this terminal."""

from __future__ import annotations

import configparser
import contextlib
import getpass
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ..errors import BasculeError
from ..run.arguments import Given
from ..run.io import beside, presence
from ..run.io import command as commands
from ..run.io.command import Command
from ..run.phases import Phase
from ..system.io import storage

PROJECT = Path(__file__).resolve().parents[3]
# What ansible-runner may see, and write down, of the environment.
_SEEN = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "TMPDIR")
_JOURNAL = "bascule_journal"
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
        BasculeError: there is no such playbook, or no `ansible-playbook`, the journal is not enabled, or another
            one is at work that changes something.
    """
    line = [program(), str(file(phase.playbook)), *given.arguments]
    _must_journal({**os.environ, **configured()})
    with beside.alone(phase):
        return _begun(phase, line, secret)


def _begun(phase: Phase, line: list[str], secret: Optional[str]) -> Command:
    command = commands.begin(phase.name)
    if sys.stdin.isatty():
        command.may_ask()
    environment = {**os.environ, **configured(), commands.FOLDER: str(command.folder)}
    # It can only be read by setting it.
    mask = os.umask(0o077)
    os.umask(mask)
    handed: dict[str, Any] = {"line": line, "environment": environment, "password": secret, "umask": mask}
    bare = {name: os.environ[name] for name in _SEEN if name in os.environ}
    with command.output.open("ab") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.supervise", str(command.folder)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            # Nothing of the folder that a person stands in is imported, there and in what it starts.
            env={**bare, "PYTHONPATH": str(PROJECT / "python_helpers"), "PYTHONSAFEPATH": "1"},
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


def _must_journal(environment: Mapping[str, str]) -> None:
    """Refuse settings of Ansible that do not enable the journal: without it no verb begins.

    Which ones count is as in Ansible's documentation (Ansible Configuration Settings).
    """
    named = environment.get("ANSIBLE_CONFIG", "")
    path = Path(named or "ansible.cfg").expanduser()
    path = path / "ansible.cfg" if path.is_dir() else path
    enabled = environment.get("ANSIBLE_CALLBACKS_ENABLED", "")
    if not enabled:
        settings = configparser.ConfigParser(inline_comment_prefixes=(";",), interpolation=None)
        try:
            settings.read_string(storage.read_text(path) or "")
        except (configparser.Error, OSError) as error:
            raise _silent(f"{path}, which cannot be read: {' '.join(str(error).split())}") from error
        enabled = settings.get("defaults", "callbacks_enabled", fallback="")
    if _JOURNAL not in {name.strip().rpartition(".")[2] for name in enabled.replace("\n", ",").split(",")}:
        raise _silent(
            f"{'ANSIBLE_CONFIG=' if named else ''}{path.absolute()} with callbacks_enabled = {enabled or '-'}"
        )


def _silent(found: str) -> BasculeError:
    return BasculeError(
        expected=f"settings of Ansible with callbacks_enabled = {_JOURNAL}",
        found=found,
        state="nothing was begun",
        next_command=f"unset ANSIBLE_CONFIG and stand elsewhere, or ANSIBLE_CONFIG={PROJECT / 'ansible.cfg'}",
    )


def program() -> str:
    """Return the `ansible-playbook` that was installed with this program, or the one of the search path."""
    beside = Path(sys.executable).with_name("ansible-playbook")
    found = str(beside) if beside.is_file() else shutil.which("ansible-playbook")
    if not found:
        raise BasculeError(
            expected="ansible-playbook beside this Python, or in PATH", found="none", state="nothing was begun"
        )
    return found


def file(playbook: str) -> Path:
    """Return a playbook of the project's folder, such as `playbooks/deploy.yml`."""
    path = PROJECT / playbook
    if not path.is_file():
        raise BasculeError(
            expected=f"the project's folder with {playbook} around this program",
            found=f"no {path}",
            state="nothing was begun",
            next_command="install it from a checkout, with pip install -e",
        )
    return path
