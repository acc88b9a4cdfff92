"""Start processes: the only place that does.

Secrets go through `stdin` or a file, never through `argv`; error texts quote argv and the end of stderr only.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...errors import CommandFailed

_TAIL = 2000


@dataclass(frozen=True)
class Result:
    """What a finished command left behind."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str


class Runner(Protocol):
    """Anything that runs a command as `run` does; helpers take one, so that tests can stand in for the world."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        timeout: float = 60,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
    ) -> Result: ...


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float = 60,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    user: str | None = None,
) -> Result:
    """Run `argv` without a shell and return its result.

    Args:
        argv: the program and its arguments.
        stdin: text for its standard input; nothing is inherited.
        timeout: seconds after which it is killed and CommandFailed raised.
        check: raise CommandFailed on an exit status other than 0.
        env: variables added to a copy of the environment in which messages are in English.
        cwd: working directory.
        user: run as this user through runuser (the caller is root).

    Output is decoded as UTF-8 with surrogate escapes, so that odd file names survive a round trip.
    """
    command = [*(["runuser", "-u", user, "--"] if user else []), *argv]
    environment = {**environment_in_english(), **(env or {})}
    given = stdin.encode("utf-8", "surrogateescape") if stdin is not None else b""
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, timeout=timeout, check=False, env=environment, cwd=cwd
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(
            expected=f"'{_quote(command)}' to end within {timeout:g} s",
            found=f"it was still running and has been killed; {_tail(error.stderr or b'')}",
        ) from error
    except OSError as error:
        raise CommandFailed(expected=f"'{_quote(command)}' to start", found=str(error)) from error
    result = Result(
        argv=tuple(command),
        rc=done.returncode,
        stdout=done.stdout.decode("utf-8", "surrogateescape"),
        stderr=done.stderr.decode("utf-8", "surrogateescape"),
    )
    if check and result.rc != 0:
        raise CommandFailed(
            expected=f"'{_quote(command)}' to end with exit status 0",
            found=f"exit status {result.rc}: {_tail(done.stderr or done.stdout)}",
        )
    return result


def environment_in_english() -> dict[str, str]:
    """Return this process's environment, in which messages are in English."""
    return {**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "C"}


def _quote(command: Sequence[str]) -> str:
    return " ".join(command)


def _tail(output: bytes) -> str:
    text = output.decode("utf-8", "replace").strip()
    return text[-_TAIL:] if text else "no output"
