"""Whether another playbook is at work that changes something: beside it `bascule` begins no second one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import PurePath

from ...errors import BasculeError
from ...system.io import storage
from ..controllers import LOOKING
from ..phases import PHASES, Phase
from . import command, identity, presence

_LOOKING_BOOKS = frozenset(PurePath(PHASES[name].playbook).name for name in LOOKING)


@contextlib.contextmanager
def alone(phase: Phase) -> Iterator[None]:
    """Keep others from beginning a phase here meanwhile; a phase that only looks is held up by nobody.

    Raises:
        BasculeError: another one is at work, or perhaps: who knows that it is not takes its folder away.
    """
    if phase.name in LOOKING:
        yield
        return
    storage.make_directory(command.place())
    with storage.locked(command.place()):
        _refuse_commands()
        _refuse_others(phase)
        yield


def _refuse_commands() -> None:
    for one in command.known():
        if one.phase in LOOKING or one.ended():
            continue
        alive, why = one.at_work()
        if alive:
            raise _refused(
                f"command {one.name} at work", f"bascule watch {one.name}; there Ctrl-C, and then stop, ends it"
            )
        raise _refused(
            f"command {one.name}, and whether it is at work is not known here: {why}",
            f"where it is gone for certain, rm -r {one.folder}",
        )


def _refuse_others(phase: Phase) -> None:
    """Refuse beside one that was begun by `ansible-playbook` itself, in the run that is gone on with."""
    run = os.environ.get(identity.RUN, "") or "latest"
    for note in presence.read(identity.runs_directory() / identity.checked_name(run)):
        if note.alive and note.playbook not in _LOOKING_BOOKS:
            raise _refused(
                f"{note.playbook} at work, process {note.pid} of {note.user}, begun {note.started[:19]}Z",
                f"wait until it has ended (kill -INT {note.pid} ends it), and then bascule status",
            )


def _refused(found: str, next_command: str) -> BasculeError:
    return BasculeError(
        expected="no other playbook at work that changes something",
        found=found,
        state="nothing was begun",
        next_command=next_command,
    )
