"""Global transaction ids of MariaDB: DOMAIN-SERVER-SEQUENCE, and sets of them. Pure.

Within a domain the sequence only grows where gtid_strict_mode is on, which every side must have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .refusals import MysqlError

_ONE = re.compile(r"(\d+)-(\d+)-(\d+)")


class Gtid(NamedTuple):
    """One transaction: where it was written, and its place there."""

    domain: int
    server: int
    sequence: int

    def __str__(self) -> str:
        """Return it as the server writes it."""
        return f"{self.domain}-{self.server}-{self.sequence}"


def parse(text: str) -> list[Gtid]:
    """Read a list as the server shows it, empty or not; raise MysqlError when it is none."""
    found = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        match = _ONE.fullmatch(part)
        if match is None:
            raise MysqlError(expected="GTIDs as DOMAIN-SERVER-SEQUENCE, separated by commas", found=repr(text[:200]))
        found.append(Gtid(*map(int, match.groups())))
    return found


def position(gtids: Iterable[Gtid]) -> dict[int, Gtid]:
    """Return the last transaction of each domain."""
    last: dict[int, Gtid] = {}
    for one in gtids:
        if one.domain not in last or last[one.domain].sequence < one.sequence:
            last[one.domain] = one
    return last


def merge(*texts: str) -> str:
    """Return the position of a server that has all of these: the last transaction of each domain, as text."""
    last = position(one for text in texts for one in parse(text))
    return ",".join(str(last[domain]) for domain in sorted(last))


def behind(have: str, want: str) -> str:
    """Return why a server that has `have` has not reached `want`; nothing when it has.

    An empty position is never reached: two servers that know nothing are not equal.
    """
    wanted, there = position(parse(want)), position(parse(have))
    if not wanted:
        return "the position to reach is empty: nobody knows what the other side has"
    missing = []
    for domain, one in sorted(wanted.items()):
        own = there.get(domain)
        if own is None or own.sequence < one.sequence:
            missing.append(f"{one} (here {own or 'nothing of that domain'})")
        elif own.sequence == one.sequence and own.server != one.server:
            missing.append(f"{one} (here {own}, another transaction in its place)")
    return f"not applied here: {', '.join(missing)}" if missing else ""


def errant(replica: str, primary: str) -> list[Gtid]:
    """Return the last transactions of each domain and server that the replica has and the primary has not.

    Args:
        replica: its gtid_binlog_state and gtid_slave_pos, joined by a comma.
        primary: the same of the primary.
    """
    known: dict[tuple[int, int], int] = {}
    for one in parse(primary):
        known[one.domain, one.server] = max(one.sequence, known.get((one.domain, one.server), 0))
    own: dict[tuple[int, int], int] = {}
    for one in parse(replica):
        own[one.domain, one.server] = max(one.sequence, own.get((one.domain, one.server), 0))
    return [Gtid(*key, sequence) for key, sequence in sorted(own.items()) if sequence > known.get(key, 0)]
