"""Make the timer by which systemd begins a phase again and again: `bascule timer monitor --every 6h [--install]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import BasculeError, PlanError
from ..run import timers
from ..run.io import identity
from ..system.io import storage
from ..system.io.process import run
from .start import PROJECT, configured

# Paths and names, and no secrets.
_KEPT = ("ANSIBLE_CONFIG", "ANSIBLE_INVENTORY", "ANSIBLE_VAULT_PASSWORD_FILE", identity.RUNS)


def main(argv: Sequence[str]) -> int:
    """Print the units, or write and start them; the status is 2 where it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="bascule timer", description="Begin a phase again and again, by a timer of systemd.", allow_abbrev=False
    )
    parser.add_argument("phase", help=", ".join(timers.PHASES))
    parser.add_argument("--every", default="", help="time from the end of one to the next: 30min, 6h, 1d")
    parser.add_argument("--install", action="store_true", help="write the units for this user, and start the timer")
    options, words = parser.parse_known_args(argv)
    try:
        words = list(timers.checked(words))
        environment = {**{name: os.environ[name] for name in _KEPT if os.environ.get(name)}, **configured()}
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        here = str(Path.cwd())
        made = timers.units(options.phase, options.every, program, str(PROJECT), here, words, environment)
        if not options.install:
            for name, text in made.items():
                print(f"# ~/.config/systemd/user/{name}\n{text}")
            return 0
        _must_be_theirs()
        folder = storage.expand_user("~/.config/systemd/user")
        for name, text in made.items():
            if (before := _command(storage.read_text(folder / name))) not in ("", _command(text)):
                print(f"it takes the place of {before}")
            storage.write_durably(folder / name, text, 0o644)
        timer = f"bascule-{options.phase}.timer"
        run(["systemctl", "--user", "daemon-reload"], timeout=60)
        run(["systemctl", "--user", "enable", "--now", timer], timeout=60)
        print(f"{timer} runs; systemctl --user list-timers {timer}")
    except (BasculeError, OSError) as error:
        print(f"bascule timer: {error.message() if isinstance(error, BasculeError) else error}", file=sys.stderr)
        return 2
    return 0


def _must_be_theirs() -> None:
    """Refuse another user than the one whose runs these are: what both write, one of them could not go on with."""
    runs = identity.runs_directory()
    if runs.exists() and (owner := runs.stat().st_uid) != os.geteuid():
        raise PlanError(
            expected=f"the user whose runs these are, number {owner} ({runs})",
            found=f"user number {os.geteuid()}",
            state="no timer was made",
            next_command=f"become that user, without sudo, and give the command again; or name a folder with "
            f"{identity.RUNS}",
        )


def _command(unit: str | None) -> str:
    """Return what a unit runs; nothing where it runs nothing, or is none."""
    return next((line for line in (unit or "").splitlines() if line.startswith("ExecStart=")), "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
