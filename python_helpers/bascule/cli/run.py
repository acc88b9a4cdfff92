"""Begin a phase by its name and follow it; what its commands have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ..errors import BasculeError
from ..run import arguments
from ..run.arguments import Given
from ..run.io import command as commands
from ..run.io import identity
from ..run.io.command import Command
from ..run.outcome import Status
from ..run.phases import phase
from .follow import Follower
from .start import password, start


def started(name: str, argv: Sequence[str]) -> Status:
    """Begin the phase with these options and follow it; return what it has come to."""
    # A name that is none is refused before anything is asked.
    phase(name)
    given = arguments.read(argv)
    return Follower(begun(name, given, password(given))).follow()


def begun(name: str, given: Given, secret: Optional[str]) -> Command:
    """Begin the phase; return what follows it.

    Raises:
        BasculeError: nothing was begun, as `start` says, or as its folder cannot be kept.
    """
    wanted = phase(name)
    try:
        return start(wanted, given, secret)
    except OSError as error:
        # Its arguments are handed over last, so it has not begun.
        raise unkept(error, f"ansible-playbook {wanted.playbook} …") from error


def unkept(error: OSError, instead: str) -> BasculeError:
    """Return that the folders of commands cannot be kept, and what does without them."""
    return BasculeError(
        expected=f"to read and write below {commands.place()}",
        found=str(error),
        state="nothing was begun",
        next_command=f"{instead}, or name another folder for the runs with {identity.RUNS}",
    )


def taken(words: list[str], option: str) -> str:
    """Take an option of our own, with its value, out of the words."""
    for place, word in enumerate(words):
        if word == option and place + 1 < len(words):
            _, value = words.pop(place), words.pop(place)
            return value
        if word.startswith(f"{option}="):
            return words.pop(place).partition("=")[2]
    return ""
