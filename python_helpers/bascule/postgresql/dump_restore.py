"""What is decided when a cluster moves by dump and restore: names, what a record proves, how long it will take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..guard.state import Epoch, GuardState, last_open
from ..system import safety_dump as dumps
from . import compare, safety_dump

# The kinds of final position that a receipt carries: everything is in this dump; or nothing was ever opened here since.
DUMP, UNOPENED = "dump", "unopened"
PROVED, NOT_PROVED = dumps.PROVED, dumps.NOT_PROVED
# A whole cluster restored beside what is there, its dump, and one database decrypted at a time.
TARGET_FACTOR, SOURCE_FACTOR = 3.0, 1.0


def rehearsal(system_id: str) -> str:
    """Return the name of the dump by which a move from this cluster is rehearsed."""
    return f"rehearsal-{system_id}"


def refused(rehearsed: Mapping[str, Any] | None) -> str:
    """Return which dump the last rehearsal has tried and refused: another one has to be taken; or nothing."""
    if not rehearsed or rehearsed.get("state") == PROVED or not rehearsed.get("tried"):
        return ""
    return str(rehearsed.get("manifest") or "")


def final(position: Mapping[str, str]) -> str:
    """Return the name of the dump of a cluster that stands still: while it stands there, its dump stays true."""
    return f"final-{position['system_id']}-{position['timeline']}-{position['checkpoint_lsn'].replace('/', '-')}"


def same_place(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two positions are of one cluster, on one timeline, at one point of its log."""
    return all(str(one.get(key)) == str(other.get(key)) for key in ("system_id", "timeline", "checkpoint_lsn"))


def missing(position: Mapping[str, str], record: Mapping[str, Any] | None, *, system_id: str, end: str) -> str | None:
    """Return None when a restored cluster holds all of a closed side's data, else why that is not known.

    `system_id` and `end` of the log are read from the cluster that would open now.
    """
    if position.get("kind") != DUMP:
        return f"the receipt names no dump: {dict(position)}"
    if not record or record.get("state") != PROVED or not record.get("in_place"):
        return f"no restored dump is in place here: {(record or {}).get('reason') or 'none was restored'}"
    if record["manifest"] != position["dump"]:
        return f"what is in place here was restored from another dump ({record['manifest'][:12]}…)"
    if not same_place(record["position"], position):
        return f"the dump was taken at {record['position']}, the other side closed at {dict(position)}"
    cluster = record["cluster"]
    if system_id != cluster["system_id"]:
        return f"the cluster here is {system_id}, the one that was compared is {cluster['system_id']}"
    if end != cluster["end_lsn"]:
        return (
            f"something was written here since the rows were compared: the log ends at {end}, not {cluster['end_lsn']}"
        )
    return None


def still_whole(position: Mapping[str, str], own: GuardState, now: Mapping[str, str]) -> str | None:
    """Return None when this side may open again with what it has: the other side was never open since.

    The other side names under which epoch it was open last. Whoever opens has all that was there before: the side that
    was opened last has everything, as long as its own data is what it closed with.
    """
    if position.get("kind") != UNOPENED:
        return f"the receipt does not say that its side was never open since: {dict(position)}"
    theirs = Epoch.parse(position["opened"]) if position.get("opened") else None
    mine = last_open(own)
    if mine is None or (theirs is not None and theirs >= mine):
        return f"the other side was open last, under {theirs}; this side under {mine}"
    if own.receipt is not None and own.receipt.epoch > mine and not same_place(own.receipt.position, now):
        return f"this side closed at {dict(own.receipt.position)}, its data is at {dict(now)}"
    return None


def sequence_differs(before: Mapping[str, Any], now: Mapping[str, Any], *, still: bool) -> bool:
    """Whether a restored sequence is wrong: behind, or, when the source stood still, not exactly the same."""
    if still:
        return (int(before["value"]), bool(before["called"])) != (int(now["value"]), bool(now["called"]))
    return safety_dump.behind(before, now)


def forecast(rehearsed: Mapping[str, Any] | None, size_bytes: int) -> float | None:
    """Return the seconds that dump, transfer, restore and comparison will take, from a rehearsal that was proved."""
    if not rehearsed or rehearsed.get("state") != PROVED:
        return None
    seconds = float(rehearsed["taken"]["seconds"]) + float(rehearsed["seconds"])
    then = max(1, int(rehearsed["taken"]["size_bytes"]))
    return round(seconds * max(1.0, size_bytes / then), 1)


def verified(record: Mapping[str, Any] | None, system_id: str) -> dict[str, Any]:
    """Return what was proved about the cluster that serves: every row before it opened, or nothing."""
    ours = (
        record is not None and record.get("state") == PROVED and record.get("cluster", {}).get("system_id") == system_id
    )
    if record is None or not ours:
        reason = "the cluster that serves was not restored from a dump: nothing was switched"
        found = compare.Comparison(not_proved=[reason]).to_dict()
        proof, reason = NOT_PROVED, reason
    else:
        found, proof, reason = dict(record["comparison"]), PROVED, ""
    found.pop("kinds", None)
    return {**found, "differing_rows": {}, "not_named": [], "safety_dump": proof, "safety_dump_reason": reason}


def kibibytes(rate: str) -> int:
    """Read a rate as pg_basebackup takes it (kilobytes, or with M) and return it as rsync takes it; 0 for none."""
    text = rate.strip()
    if not text:
        return 0
    return int(float(text[:-1]) * 1024) if text[-1] in "Mm" else int(float(text.rstrip("Kk")))
