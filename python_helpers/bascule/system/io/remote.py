"""Run a short script on machines side by side, past Ansible's task machinery, which costs half a second a task."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ...errors import CommandFailed
from ..ssh import Target, remote_command
from . import process


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
            done = process.run(
                remote_command(targets[key], scripts[key]), stdin=stdin.get(key, ""), timeout=timeout, check=False
            )
        except CommandFailed as error:
            return Answer(error=error.found or error.expected)
        if done.rc != 0:
            reason = " ".join((done.stderr or done.stdout).split())[-500:]
            return Answer(error=f"exit status {done.rc}: {reason or 'no output'}")
        return Answer(output=done.stdout)

    if not targets:
        return {}
    with ThreadPoolExecutor(max_workers=len(targets)) as pool:
        return dict(zip(targets, pool.map(one, targets)))
