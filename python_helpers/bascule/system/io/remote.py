"""Run a short script on machines side by side, past Ansible's task machinery, which costs half a second a task."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ...errors import BasculeError
from ..ssh import Target
from . import entering


@dataclass(frozen=True)
class Answer:
    """What came back: `output`, or `error` when there is no proof that the script did its work."""

    output: str = ""
    error: str = ""


def run_on(
    targets: Mapping[str, Target], scripts: Mapping[str, str], stdin: Mapping[str, str], timeout: float
) -> dict[str, Answer]:
    """Run each key's script on its target; every key gets an answer."""

    def one(key: str) -> Answer:
        try:
            return _run(targets[key], scripts[key], stdin.get(key, ""), timeout)
        except BasculeError as error:
            return Answer(error=error.found or error.expected)
        except OSError as error:
            return Answer(error=str(error))

    if not targets:
        return {}
    with ThreadPoolExecutor(max_workers=len(targets)) as pool:
        return dict(zip(targets, pool.map(one, targets)))


def _run(where: Target, script: str, given: str, timeout: float) -> Answer:
    deadline = time.monotonic() + timeout + where.slow
    with entering.start(where, script, timeout) as running:
        try:
            output, errors = running.communicate(
                given.encode("utf-8", "surrogateescape"), max(0.1, deadline - time.monotonic())
            )
        except subprocess.TimeoutExpired as error:
            running.kill()
            return Answer(error=f"it was still running and has been killed; {_words(error.stderr) or 'no output'}")
    if running.returncode != 0:
        said = _words(errors) or _words(output)
        return Answer(error=f"exit status {running.returncode}: {said or 'no output'}")
    return Answer(output=output.decode("utf-8", "surrogateescape"))


def _words(said: bytes | None) -> str:
    return " ".join((said or b"").decode("utf-8", "replace").split())[-500:]
