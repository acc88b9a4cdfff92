"""Run rsync and listen to its progress."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence

from ...errors import CommandFailed

_KEEP = 8000


def carry(command: Sequence[str], tell: Callable[[str], None]) -> str:
    """Run the command; hand pieces of its output to `tell`; return the end of the output, or raise with its words."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "C"}
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment
        ) as process:
            if process.stdout is None:
                raise CommandFailed(expected="rsync's output", found="none")
            kept = ""
            while piece := os.read(process.stdout.fileno(), 65536):
                kept = (kept + piece.decode("utf-8", "replace"))[-_KEEP:]
                tell(kept[-400:])
        if process.returncode != 0:
            errors.seek(0)
            words = errors.read().decode("utf-8", "replace").strip()[-1500:]
            raise CommandFailed(
                expected="rsync to carry the file over",
                found=f"exit status {process.returncode}: {words or 'no words'}",
                state="nothing uses what has arrived so far; the next run carries over what is missing",
                next_command="run the same command again",
            )
    return kept


def make_durable(path: str) -> None:
    """Make what was written durable before it is called done."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
