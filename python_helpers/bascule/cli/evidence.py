"""Verify a run's journal from outside: `bascule report --verify [-i INVENTORY] [-e run=RUN] [-K] …`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..errors import BasculeError
from ..plugin import from_outside
from ..run import agreement, arguments
from ..run.io import evidence, identity
from ..run.io.journal import Journal
from ..run.outcome import Status
from .start import password


def verify(argv: Sequence[str]) -> Status:
    """Read every copy of the journal over SFTP and compare them; done only where all agree.

    Raises:
        BasculeError: there is no such run, or no inventory.
    """
    given = arguments.read(argv)
    secret = password(given)
    scope, named = from_outside.read(given.others, secret)
    run = _run(named)
    copies, unread = evidence.read(run, scope.journal_targets())
    here = Journal(identity.runs_directory(), run, identity.controller(), "").read()
    found = agreement.compare(run, here, copies, unread)
    print("\n".join(found.lines))
    return Status.DONE if found.agrees else Status.PERSON


def _run(named: str) -> str:
    """Return the run: the one that was named, or the latest here."""
    latest = identity.runs_directory() / "latest"
    run = named or os.environ.get(identity.RUN, "") or ("latest" if latest.is_symlink() else "")
    if not run:
        raise BasculeError(
            expected=f"a run, or {latest}",
            found="none",
            state="nothing was read",
            next_command="bascule report --verify -e run=RUN",
        )
    return os.path.basename(os.path.realpath(identity.runs_directory() / identity.checked_name(run)))
