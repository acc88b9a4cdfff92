"""A side whose guard is gone while the other side has one: nobody can tell what it was, so nothing goes on by guessing.

The guard of a side lives with its guest. It is gone when somebody saved the Notes without its line, when the guest was
destroyed, and when it lives at another node of its cluster now. Such a side may be the one that serves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Optional

from ..errors import GuardRefused
from ..guard import state as guard
from ..guard.state import GuardState
from .config import guard_line
from .guest import Guest

# Returns the last guard of a side that this controller has seen, by the name of its machine.
Copies = Callable[[str], Optional[GuardState]]


def no_copies(_machine: str) -> Optional[GuardState]:
    """Where no copy of a guard was kept."""
    return None


def of(left: GuardState, right: GuardState) -> Optional[tuple[GuardState, GuardState]]:
    """Return the side whose guard is gone, and the other one; None when nothing has to be known about it.

    Where the other side holds its permit, this one is not open: that takes the receipt which ends the permit.
    """
    for gone, other in ((left, right), (right, left)):
        if gone.status == guard.UNKNOWN and other.status not in (guard.UNKNOWN, guard.OPEN):
            return gone, other
    return None


def why(machine: str, exists: bool, elsewhere: str) -> str:
    """Say what is found at a side in the place of a guest with its guard."""
    if exists:
        return f"the guest at {machine} has no guard line of this component and side in its Notes"
    there = f"there is no guest of that number at {machine}"
    return f"{there}: {elsewhere} has it" if elsewhere else there


def refusal(
    gone: GuardState, other: GuardState, exists: bool, elsewhere: str, copies: Copies = no_copies
) -> GuardRefused:
    """Return the refusal to go on, with what is known of the guard that is gone and how it comes back."""
    since = other.receipt.issued_at if other.receipt else "prepare"
    kept = copies(gone.side)
    if kept is None:
        line = (
            "its last line stands in the copies of the journal (entries with the event 'guard') and in the backups of "
            "its config"
        )
    else:
        line = f"its last line that this controller has seen is {guard_line(kept)}"
    if exists:
        step = "put the guard line back at the end of the guest's Notes while no run is under way"
    else:
        step = "bring the guest back to that node and number, or set node in proxmox_guest_sides to where it is"
    last = ""
    if not exists and not elsewhere:
        closed = after(guard.adopt_closed(gone), other)
        last = (
            f"; only if it is lost for good, fenced, and its loss is accepted, create an empty stopped guest of that "
            f"number there with the Notes {guard_line(closed)}, and run the rollback again"
        )
    return GuardRefused(
        expected=f"the guard of the guest at {gone.side}, as {other.describe()}",
        found=why(gone.side, exists, elsewhere),
        state=f"held: nothing was changed; {gone.side} may be the side that serves, and what was written there since "
        f"{since} would be lost by going on without it",
        next_command=f"{step} ({line}), then run the same command again; do not run prepare, and do not choose another "
        f"vmid{last}",
    )


def after(kept: GuardState, other: GuardState) -> GuardState:
    """Return a closed guard that was written down, taken back: no epoch the other side has seen opens it any more."""
    seen = [
        epoch
        for epoch in (
            kept.promised,
            other.promised,
            other.opened,
            other.receipt.epoch if other.receipt else None,
        )
        if epoch is not None
    ]
    return replace(kept, promised=max(seen)) if seen else kept


def must_be_known(guest: Guest, other: Optional[Guest], copies: Copies = no_copies) -> None:
    """Refuse to call `guest` passive when the guard that would tell is gone at one of the two sides."""
    first = guest.config_if_any()
    if other is None:
        if guest.guard(first).status != guard.UNKNOWN:
            return
        raise GuardRefused(
            expected=f"the guard of {guest.component} at {guest.side.machine}, or the other side to tell what it was",
            found=why(guest.side.machine, first is not None, ""),
            state="nothing was changed",
            next_command="ansible-playbook playbooks/status.yml",
        )
    second = other.config_if_any()
    found = of(guest.guard(first), other.guard(second))
    if found is None:
        return
    gone, known = found
    side, config = (guest, first) if gone.side == guest.side.machine else (other, second)
    elsewhere = "" if config is not None else side.elsewhere()
    raise refusal(gone, known, config is not None, elsewhere, copies)
