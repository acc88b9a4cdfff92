"""Who deploys an application: a note on each of its hosts, which says whose process it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .releases import DeployError


def words(note: Mapping[str, Any]) -> str:
    """Return a holder as a person reads it."""
    return (
        f"{note.get('user', '?')} on {note.get('host', '?')}, process {note.get('pid', '?')}, "
        f"since {note.get('since', '?')} ({note.get('what', '?')})"
    )


def refuse_unless_dead(note: Mapping[str, Any], where: str, alive: Optional[bool], why: str) -> None:
    """Raise DeployError unless the holder of a lock is proved dead.

    Args:
        note: the holder's note. where: the host and file of the lock. alive: whether its process lives; nothing where
            that is not known, and why.
    """
    if alive is False:
        return
    raise DeployError(
        expected=f"nobody else at work with the application ({where})",
        found=f"{words(note)}, "
        + ("which is at work" if alive else f"of whom it is not known whether they live: {why}"),
        state="nothing was changed",
        next_command="wait until it has ended"
        if alive
        else f"look at {note.get('host', 'that machine')}; when that process is gone there, remove {where}",
    )
