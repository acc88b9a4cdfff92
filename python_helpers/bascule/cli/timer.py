"""Make the timer by which systemd begins a phase again and again: `bascule timer monitor --every 6h [--install]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import BasculeError
from ..run import timers
from ..run.io import identity
from ..system.io import storage
from ..system.io.process import run

# Paths and names, and no secrets.
_KEPT = ("ANSIBLE_CONFIG", "ANSIBLE_VAULT_PASSWORD_FILE", identity.RUNS)


def main(argv: Sequence[str]) -> int:
    """Print the units, or write and start them; the status is 2 where it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="bascule timer", description="Begin a phase again and again, by a timer of systemd."
    )
    parser.add_argument("phase", help=", ".join(timers.PHASES))
    parser.add_argument("--every", default="", help="time from the end of one to the next: 30min, 6h, 1d")
    parser.add_argument("--install", action="store_true", help="write the units for this user, and start the timer")
    options, words = parser.parse_known_args(argv)
    try:
        environment = {name: os.environ[name] for name in _KEPT if os.environ.get(name)}
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        made = timers.units(options.phase, options.every, program, str(Path.cwd()), words, environment)
        if not options.install:
            for name, text in made.items():
                print(f"# ~/.config/systemd/user/{name}\n{text}")
            return 0
        folder = storage.expand_user("~/.config/systemd/user")
        for name, text in made.items():
            storage.write_durably(folder / name, text, 0o644)
        timer = f"bascule-{options.phase}.timer"
        run(["systemctl", "--user", "daemon-reload"], timeout=60)
        run(["systemctl", "--user", "enable", "--now", timer], timeout=60)
        print(f"{timer} runs; systemctl --user list-timers {timer}")
    except (BasculeError, OSError) as error:
        print(f"bascule timer: {error.message() if isinstance(error, BasculeError) else error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
