"""The lab, two sites on one machine: `bascule lab up|down|status`, from a checkout of the project."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from ..errors import BasculeError
from ..run.outcome import Status
from .start import PROJECT

WORDS = {
    "up": "bring the lab up; a second time changes nothing",
    "down": "remove the lab; keeps the caches",
    "status": "show hosts and services",
}
USAGE = "usage: bascule lab up|down|status [options]\n\n" + "\n".join(
    f"  {word:8} {what} (bascule lab {word} --help)" for word, what in WORDS.items()
)
EPILOG = """
It runs tests/lab/lab.py of the checkout around this program, which has more: faults, images, settings of podman.

exit status: 0 done, of status also that all is well; 1 what is wrong is said; 2 refused; 130 interrupted"""


def main(argv: Sequence[str]) -> int:
    """Give the words to the lab's own program; return its exit status."""
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE + EPILOG)
        return int(Status.DONE)
    if not argv or argv[0] not in WORDS:
        print(USAGE, file=sys.stderr)
        return int(Status.REFUSED)
    program = PROJECT / "tests" / "lab" / "lab.py"
    if not program.is_file():
        error = BasculeError(
            expected="a checkout of the project around this program: the lab is no part of what is installed",
            found=f"no {program}",
            state="nothing was begun",
            next_command="install it from a checkout, with pip install -e",
        )
        print(f"bascule lab: {error.message()}", file=sys.stderr)
        return int(Status.REFUSED)
    running = subprocess.Popen([sys.executable, str(program), *argv])
    while True:
        try:
            return running.wait()
        except KeyboardInterrupt:
            # Ctrl-C goes to both; the lab says what it leaves.
            continue
