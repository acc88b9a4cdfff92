"""Who holds a lock that is a row of a database: it survives a pooler, and a process that dies. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Seconds for which a lock is held without a word of its holder. No safety rests on it: the
# database itself takes back what a holder does after it has lost the lock.
LEASE = 120


@dataclass(frozen=True)
class Holder:
    """Who holds the lock.

    note: what `presence.lives` reads, and `user`. over: the lease has ended, by the clock of the database.
    """

    token: str
    note: Mapping[str, str]
    since: str
    over: bool

    def __str__(self) -> str:
        who = self.note
        return f"{who.get('user', '?')} on {who.get('host', '?')}, process {who.get('pid', '?')}, since {self.since}"
