"""Have a person carry out an update: say exactly what to do, and believe nothing but what the server says then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..errors import BasculeError
from .apply import Reader, await_change
from .planner import Change
from .records import state_name
from .state import split_text


class NotDone(BasculeError):
    """What a person was asked to do was not seen in time."""


def instruction(change: Change, zone: str) -> str:
    """Return what a person has to do at one server, each record as a line of a zone file."""
    lines = [f"At {change.host} ({change.address}), in the zone {zone}, make these record sets say, and nothing else:"]
    changed = [after for before, after in zip(change.before, change.after) if before != after]
    lines += [f"  {line}" for rrset in changed for line in rrset.lines()]
    if change.state_before != change.state_after:
        strings = " ".join(
            '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in split_text(change.state_after)
        )
        lines.append(f"  {state_name(zone)} 0 TXT {strings}")
    return "\n".join(lines)


def await_hand(
    change: Change,
    zone: str,
    read: Reader,
    say: Callable[[str], None],
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Say what to do at one server and wait until it says so; every half minute say what is still missing.

    Raises:
        NotDone: `seconds` are over.
    """
    say(instruction(change, zone))

    def not_done(wrong: Sequence[str]) -> NotDone:
        return NotDone(
            expected=f"{change.host} to be changed by hand within {seconds:g} s",
            found="; ".join(wrong),
            state="what is done already stays; the records only point",
            next_command="make the rest of the changes, then run the same playbook again",
        )

    await_change(change, read, say, seconds, not_done, sleep, clock)
