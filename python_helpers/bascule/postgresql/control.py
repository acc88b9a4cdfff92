"""What pg_controldata and the timeline history files say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import BasculeError
from . import lsn

IN_PRODUCTION = "in production"
SHUT_DOWN = "shut down"
SHUTTING_DOWN = "shutting down"
SHUT_DOWN_IN_RECOVERY = "shut down in recovery"
IN_RECOVERY = "in archive recovery"
# What a server that stood, or followed, has left.
STANDING = (SHUT_DOWN_IN_RECOVERY, IN_RECOVERY)


@dataclass(frozen=True)
class Control:
    """A data directory's control file."""

    system_id: str
    state: str
    timeline: int
    checkpoint_lsn: str
    redo_lsn: str
    min_recovery_lsn: str
    min_recovery_timeline: int
    checksums: bool
    wal_level: str
    segment_bytes: int
    # The number of the next transaction that would write, the wraparounds before it included.
    next_xid: int = 0

    @property
    def newest_timeline(self) -> int:
        """The newest timeline this data directory has surely reached."""
        return max(self.timeline, self.min_recovery_timeline)

    def position(self) -> dict[str, str]:
        """Return the final position a receipt carries for a stopped server."""
        return {
            "system_id": self.system_id,
            "timeline": str(self.newest_timeline),
            "checkpoint_lsn": self.checkpoint_lsn,
        }


_FIELDS = {
    "system_id": "Database system identifier",
    "state": "Database cluster state",
    "timeline": "Latest checkpoint's TimeLineID",
    "checkpoint_lsn": "Latest checkpoint location",
    "redo_lsn": "Latest checkpoint's REDO location",
    "min_recovery_lsn": "Minimum recovery ending location",
    "min_recovery_timeline": "Min recovery ending loc's timeline",
    "checksums": "Data page checksum version",
    "wal_level": "wal_level setting",
    "segment_bytes": "Bytes per WAL segment",
    "next_xid": "Latest checkpoint's NextXID",
}


def parse(text: str) -> Control:
    """Read pg_controldata's output (messages in English)."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, rest = line.partition(":")
        if colon:
            found[key.strip()] = rest.strip()
    missing = [label for label in _FIELDS.values() if label not in found]
    if missing:
        raise BasculeError(expected="pg_controldata to name " + ", ".join(missing), found="it did not")
    value = {name: found[label] for name, label in _FIELDS.items()}
    try:
        return Control(
            system_id=value["system_id"],
            state=value["state"],
            timeline=int(value["timeline"]),
            checkpoint_lsn=value["checkpoint_lsn"],
            redo_lsn=value["redo_lsn"],
            min_recovery_lsn=value["min_recovery_lsn"],
            min_recovery_timeline=int(value["min_recovery_timeline"]),
            checksums=value["checksums"] != "0",
            wal_level=value["wal_level"],
            segment_bytes=int(value["segment_bytes"]),
            next_xid=_xid(value["next_xid"]),
        )
    except ValueError as error:
        raise BasculeError(expected="numbers in pg_controldata's output", found=str(error)) from error


def _xid(text: str) -> int:
    """Read EPOCH:XID as one number."""
    epoch, _, number = text.rpartition(":")
    return (int(epoch) << 32) + int(number)


def parse_history(text: str) -> list[tuple[int, str]]:
    """Read a timeline history file: (parent timeline, where it was left), oldest first."""
    forks = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].isdigit():
            lsn.parse(words[1])
            forks.append((int(words[0]), words[1]))
    return forks


def fork_of(history: Sequence[tuple[int, str]], timeline: int) -> str | None:
    """Return where `timeline` was left, or None when the history does not contain it."""
    return next((where for parent, where in history if parent == timeline), None)


def holds(
    position: Mapping[str, str], *, system_id: str, timeline: int, reached: str, history: Sequence[tuple[int, str]]
) -> str | None:
    """Return None when a server with these values has everything up to `position`, else the reason why not.

    `reached` is the server's own end of replay or of WAL; `history` is the history of its timeline.
    """
    if position.get("system_id") != system_id:
        return f"its system identifier is {system_id}, not {position.get('system_id')}: it is another cluster"
    try:
        wanted, target = int(position["timeline"]), position["checkpoint_lsn"]
    except (KeyError, ValueError):
        return f"the receipt's position does not name a timeline and a WAL position: {dict(position)}"
    if timeline < wanted:
        return f"it is on timeline {timeline}, the receipt was given on timeline {wanted}"
    end = reached
    if timeline > wanted:
        fork = fork_of(history, wanted)
        if fork is None:
            return f"its timeline {timeline} does not come from timeline {wanted}"
        end = fork
    # A stopped primary names where its shutdown record BEGINS: who has replayed that record is beyond it.
    missing = lsn.parse(end) <= lsn.parse(target) if position.get("kind") != "replay" else False
    if missing or lsn.parse(end) < lsn.parse(target):
        return f"it has {end} on timeline {wanted}, the receipt says {target}"
    return None


def divergent_bytes(end: str, fork: str) -> int:
    """Return how much WAL was written on a timeline beyond the point where its successor left it."""
    return max(0, lsn.parse(end) - lsn.parse(fork))
