"""Start a script as root on a machine; where sudo asks for a password, answer once, before the script's own input.

The password goes to sudo's standard input, and only after sudo has asked for it: where it does not ask, the script
would read it. A second question means that it was wrong: further answers, or what is meant for the script, would only
lock the account, so a playbook tries a password once.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from ...errors import CommandFailed
from ..ssh import Target, begins, prompt, remote_command
from . import process, storage

# Seconds for the connection and for sudo, which may ask a directory service.
PATIENCE = 30.0
_TAKEN, _REFUSED = "taken", "refused"
_TAIL = 4000
# OpenSSH's exit status for its own errors.
SSH_FAILED = 255


class NotEntered(CommandFailed):
    """A script did not begin.

    status: the exit status of the command, or None where it was ended from here.
    refused: whether sudo did not take the password.
    """

    def __init__(self, expected: str, found: str, *, status: Optional[int] = None, refused: bool = False) -> None:
        super().__init__(
            expected=expected,
            found=found,
            state="nothing was run there" + ("; this playbook does not try the password again" if refused else ""),
            next_command="log in there and type sudo -k true; correct ansible_become_password or what is typed for -K"
            if refused
            else "",
        )
        self.status = status
        self.refused = refused


def start(where: Target, script: str, patience: float = PATIENCE) -> subprocess.Popen[bytes]:
    """Return the process that runs a script as root there, with pipes; its input is the script's own from here on.

    Without a password this does not wait, and what is wrong is seen by the process's end. With one it returns when the
    script has begun.

    Args:
        where: the machine.
        script: what a shell runs there.
        patience: seconds until it must have begun, beside those that the way itself may take longer.

    Raises:
        NotEntered: there is no way; with a password: it was refused, or the script did not begin.
    """
    if where.obstacle:
        raise NotEntered(f"a way to root at {where.host}", where.obstacle)
    if not where.password:
        return _started(remote_command(where, script))
    if storage.read_text(where.note) == _REFUSED:
        raise _refused_before(where)
    token = secrets.token_hex(16)
    running = _started(remote_command(where, script, token))
    try:
        # A machine that does not answer holds up nobody: the lock is taken only when sudo asks.
        with contextlib.ExitStack() as lock:
            _enter(running, where, token, patience, lock)
    except BaseException:
        _end(running)
        raise
    return running


def taken_before(where: Target, note: Path) -> Target:
    """Return the same way, for one who knows that its password was taken; `note` is a new file that says so."""
    storage.write_durably(note, _TAKEN)
    return replace(where, note=str(note))


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    # Nothing is buffered: who reads a pipe may hand it on.
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=process.environment_in_english()
    )


def _enter(
    running: subprocess.Popen[bytes], where: Target, token: str, patience: float, lock: contextlib.ExitStack
) -> None:
    """Answer sudo; return when the script has begun. Nothing that comes after that is read."""
    asks, first_line = prompt(token).encode(), f"{begins(token)}\n".encode()
    deadline = time.monotonic() + patience + where.slow
    errors: Any = running.stderr
    poll = select.poll()
    poll.register(errors, select.POLLIN)
    seen, answered, known = b"", False, None
    while not seen.endswith(first_line):
        if not poll.poll(1000 * max(0.0, deadline - time.monotonic())):
            asked = "sudo was answered" if answered else "sudo did not ask for the password"
            raise NotEntered(
                f"{where.host} to run a script as root in time", f"no answer; {asked}: {_words(seen, where)}"
            )
        byte = os.read(errors.fileno(), 1)
        if not byte:
            _end(running)
            if answered and running.returncode != SSH_FAILED:
                raise _wrong(where, f"sudo ended with exit status {running.returncode}: {_words(seen, where)}", known)
            raise NotEntered(
                f"{where.host} to run a script as root",
                f"exit status {running.returncode}: {_words(seen, where)}",
                status=running.returncode,
            )
        seen = seen[-_TAIL:] + byte
        if seen.endswith(asks):
            if answered:
                found = "sudo asked again: the password is wrong, or sudo wants more than one"
                raise _wrong(where, found, known)
            known = _may_answer(where, patience, lock)
            deadline = time.monotonic() + patience
            answered, seen = True, b""
            with contextlib.suppress(OSError):
                os.write(_input(running), where.password.encode("utf-8", "surrogateescape") + b"\n")
    if answered and known != _TAKEN:
        storage.write_durably(where.note, _TAKEN)


def _may_answer(where: Target, patience: float, lock: contextlib.ExitStack) -> Optional[str]:
    """Return what is known of the password; until it was taken, one after the other, as each would try a wrong one."""
    if storage.read_text(where.note) == _TAKEN:
        return _TAKEN
    lock.enter_context(storage.locked(Path(where.note).with_suffix(".lock"), wait=patience))
    known = storage.read_text(where.note)
    if known == _REFUSED:
        raise _refused_before(where)
    if known == _TAKEN:
        lock.close()
    return known


def _refused_before(where: Target) -> NotEntered:
    return NotEntered(
        f"sudo at {where.host} to take the password once", "it was refused when it was tried before", refused=True
    )


def _wrong(where: Target, found: str, known: Optional[str]) -> NotEntered:
    """Return the refusal; it is noted unless the password was taken before."""
    if known != _TAKEN:
        storage.write_durably(where.note, _REFUSED)
    return NotEntered(f"sudo at {where.host} to take the password once", found, refused=True)


def _words(seen: bytes, where: Target) -> str:
    """Return what was said, in one line, without the password: a machine may repeat what it reads."""
    text = seen.decode("utf-8", "surrogateescape").replace(where.password, "********")
    said = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    return said[-500:] or "no output"


def _input(running: subprocess.Popen[bytes]) -> int:
    pipe: Any = running.stdin
    return int(pipe.fileno())


def _end(running: subprocess.Popen[bytes]) -> None:
    """End a process, first by the end of its input, with which sudo asks no more; close its pipes."""
    with contextlib.suppress(OSError):
        if running.stdin is not None:
            running.stdin.close()
    try:
        running.wait(timeout=2)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()
    for stream in (running.stdout, running.stderr):
        if stream is not None:
            stream.close()
