"""What each way to move a guest would cost the window: bytes over the link and seconds, and which way is recommended.

Rates of a node are assumptions; the link's rate, the archive's size and the changed bytes are those measured last, or
the plan's, and the result says which are not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from . import decisions

MEBI = 1 << 20
# Bytes per second that a node reads, archives, restores and verifies: cautious for today's disks.
RATES: Mapping[str, float] = {"read": 300 * MEBI, "vzdump": 150 * MEBI, "restore": 200 * MEBI, "verify": 400 * MEBI}
# Seconds that every move takes, whatever its size: to shut down, to close and open, to start.
FIXED: Mapping[str, float] = {"shutdown": 10, "switch": 3, "start": 20}
# Of what is used: how small it gets in an archive, and how much changes between prepare and the window.
COMPRESSED = 0.6
CHANGED = 0.02
# Of a plain archive: what its own headers cost a refresh, as every one of them is another in the next archive.
HEADERS = 0.005


@dataclass(frozen=True)
class Measured:
    """What is known about a guest and its link; None was never measured."""

    size: int
    used: int
    rate: float
    archive: Optional[int] = None
    changed: Optional[int] = None
    refreshed: Optional[int] = None
    # So many bytes lie where only their content tells whether they were written: they are read once more to archive.
    on_devices: int = 0


def plain_archive(size: int) -> int:
    """Return how large an archive of disks of this size gets at most when it is not compressed."""
    return size + size // 1024 + MEBI


def refresh(known: Measured) -> dict[str, float]:
    """Return what it costs to bring the copy of a warm guest up to date, before the window: bytes and seconds."""
    sent = known.refreshed if known.refreshed is not None else int(known.used * (CHANGED + HEADERS))
    seconds = (
        known.used / RATES["vzdump"]
        # rsync reads the archive restored last, then the new one at the other side.
        + 2 * known.used / RATES["read"]
        + sent / known.rate
        + known.used / RATES["verify"]
        + known.used / RATES["restore"]
    )
    return {"bytes": sent, "seconds": round(seconds, 1)}


def fence_archive(size: int) -> float:
    """Return the seconds that a return takes to archive disks of this size as they were at their fence, once."""
    return round(size / RATES["vzdump"], 1)


def forecast(known: Measured) -> dict[str, dict[str, float]]:
    """Return bytes over the link and seconds in the window, for each way."""
    archive = known.archive if known.archive is not None else int(known.used * COMPRESSED)
    changed = known.changed if known.changed is not None else int(known.used * CHANGED)
    fixed = sum(FIXED.values())
    compared = known.size / RATES["read"]
    seconds = {
        decisions.ARCHIVE: fixed
        + known.used / RATES["vzdump"]
        + archive / known.rate
        + archive / RATES["verify"]
        + known.used / RATES["restore"]
        + known.on_devices / RATES["read"]
        + compared,
        # rsync reads both disks whole, one after the other; then both are digested at the same time.
        decisions.DELTA: fixed + 2 * compared + changed / known.rate + compared,
        decisions.WARM: FIXED["shutdown"] + FIXED["switch"],
        decisions.REMOTE: fixed + known.size / known.rate + compared,
    }
    sent = {decisions.ARCHIVE: archive, decisions.DELTA: changed, decisions.WARM: 0, decisions.REMOTE: known.size}
    return {way: {"bytes": sent[way], "seconds": round(seconds[way], 1)} for way in decisions.WAYS}


def recommend(expected: Mapping[str, Mapping[str, float]], stateless: bool, in_blocks: bool = True) -> str:
    """Return the way that costs the window least; the classic one when it costs no more than changed blocks.

    Changed blocks are not carried of every format of a disk.

    `remote_migrate` is never recommended: Proxmox calls it experimental, and whether clusters reach each other is asked
    only where it is chosen.
    """
    if stateless:
        return decisions.WARM
    if not in_blocks:
        return decisions.ARCHIVE
    archive, delta = (expected[way]["seconds"] for way in (decisions.ARCHIVE, decisions.DELTA))
    return decisions.ARCHIVE if archive <= delta else decisions.DELTA


def measured(
    size: int, used: int, given: Mapping[str, Any], on_devices: int = 0, own_layout: bool = False
) -> tuple[Measured, list[str]]:
    """Read what was measured before (`rate` in bytes per second; `archive`, `changed`, `refreshed`), and name what is
    assumed. The copy of a container is restored into a file system of its own (`own_layout`): until changed blocks
    were carried once, all of them are others.
    """
    assumed = []
    rate = float(given.get("rate") or 0)
    if not rate:
        rate = float(given.get("planned") or 0) or 12.5 * MEBI
        assumed.append("link rate: the plan's, no transfer of this guest was measured yet")
    archive, changed = given.get("archive"), given.get("changed")
    if archive is None:
        assumed.append(f"archive: {COMPRESSED:.0%} of what is used")
    if changed is None and own_layout:
        changed = used
        assumed.append("changed blocks: all that is used, as the copy was restored into a file system of its own")
    elif changed is None:
        assumed.append(f"changed blocks: {CHANGED:.0%} of what is used")
    archive, changed, refreshed = (
        None if value is None else int(value) for value in (archive, changed, given.get("refreshed"))
    )
    return Measured(size, used, rate, archive, changed, refreshed, on_devices), assumed
