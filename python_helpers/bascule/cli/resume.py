"""Go on with a run: ask the machines where it stands, and carry out the one command that is next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from ..errors import PlanError
from ..run import arguments
from ..run.order import WINDOWS
from ..run.outcome import Status
from ..run.resume import COMMAND, PERSON, Choice
from .follow import Follower, typed
from .run import begun, taken
from .start import password

_LIMITS = frozenset({"-l", "--limit"})


def main(argv: Sequence[str]) -> Status:
    """Show where the run stands and what is next; do that once it is confirmed.

    A cutover and a rollback ask for the name of the site themselves; before another phase its own name is asked for
    here, or comes with `--yes`. So it is before each where nobody knows whether another controller is at work, or a
    chain of the journal is broken: the site's name was given without that.

    Raises:
        BasculeError: the options are none, or nothing could be begun.
    """
    words = list(argv)
    agreed = taken(words, "--yes")
    if _LIMITS & arguments.names(words):
        raise PlanError(
            expected="no --limit: it is that of the phase that was interrupted, read from the journal",
            found="--limit",
            state="nothing was begun",
            next_command="bascule status, and then bascule run PHASE --limit …",
        )
    given = arguments.read(words)
    secret = password(given)
    look = begun("status", given, secret)
    seen = Follower(look).follow()
    where = look.told("where")
    told, unsure = where.get("next"), " and ".join(where.get("unsure") or ())
    if not isinstance(told, dict):
        return seen
    choice = Choice.from_dict(told)
    if choice.kind != COMMAND:
        print("bascule resume: there is no one command to carry out; nothing was begun")
        # Something is in the way although users may be served.
        return Status.PERSON if choice.kind == PERSON and seen in (Status.DONE, Status.ROLLED_BACK) else seen
    print(f"bascule resume: {choice.line}")
    if unsure:
        print(f"bascule resume: {unsure}: look first, and confirm {choice.phase} by its own name")
    if (unsure or choice.phase not in WINDOWS) and not _is_agreed(choice.phase, agreed):
        print(f"bascule resume: {choice.phase} was not confirmed; nothing was begun")
        return Status.NO_GO
    limit = ("--limit", ",".join(choice.limit)) if choice.limit else ()
    return Follower(begun(choice.phase, replace(given, others=(*given.others, *limit)), secret)).follow()


def _is_agreed(phase: str, agreed: str) -> bool:
    """Say whether exactly this phase was confirmed, before or now."""
    if agreed or not sys.stdin.isatty():
        return agreed == phase
    try:
        return typed(f"Type the name of the phase to begin it ({phase}): ", lambda: True) == phase
    except EOFError:
        return False
