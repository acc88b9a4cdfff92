"""Become `ansible-playbook`: arguments, environment and a password come by standard input, and lie nowhere.

`supervise` starts this through ansible-runner; `start` writes what it reads.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..run.io import presence
from ..run.io.command import Command


def main(argv: Sequence[str]) -> int:
    """Replace this process; return only where nothing was handed over, or it was stopped before."""
    given = sys.stdin.buffer.read()
    if not given:
        print("nothing was handed over: whoever wanted this playbook is gone; nothing was begun", file=sys.stderr)
        return 1
    handed = json.loads(given)
    command = Command(Path(argv[0]))
    command.tell("process", presence.process(os.getpid()))
    if command.stopped():
        print("it was stopped before it began; nothing was begun", file=sys.stderr)
        return 1
    if handed["password"] is None:
        source = os.open(os.devnull, os.O_RDONLY)
    else:
        source, sink = os.pipe()
        # It is shorter than what a pipe holds.
        os.write(sink, handed["password"].encode("utf-8", "surrogateescape"))
        os.close(sink)
    os.dup2(source, 0)
    os.close(source)
    line = handed["line"]
    os.umask(handed["umask"])
    os.execve(line[0], line, handed["environment"])
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
