"""How much log a slot keeps for a side that is away: from the measured rate, how long it may be away, and the disk.

The server's setting is one for all its slots: where there are slots of others, none is set (see `conf.needed`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import restore_point

# What a plan says that leaves the size to what is measured.
AUTO = "auto"
GIB = 1 << 30
# A quiet day says little about the evening of a move.
LEAST = 8 * GIB


def wanted(rate: int, hours: float) -> int:
    """Return how many bytes of log come in that time, with a reserve."""
    return max(LEAST, int(rate * restore_point.RESERVE * hours * 3600))


def sized(size: int, free: int, known: int = 0) -> int:
    """Return the next power of two, but at most half of the free space.

    `known` is what was set before: it does not become less, or each day's rate would be another change.
    """
    found = GIB
    while found < size and 2 * found <= free // 2:
        found *= 2
    return max(found, known)


def render(size: int) -> str:
    """Return a size as the server's setting takes it."""
    return f"{size // GIB}GB" if size % GIB == 0 else f"{size >> 20}MB"


def settled(
    source: Mapping[str, Any], target: Mapping[str, Any], *, copied: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an audit has measured of both sides, with the sizes that prepare will give them.

    `copied`: the target has the source's data already; otherwise its disk has to take that, too.
    """
    rate = restore_point.log_rate(source, target) or 0
    found = []
    for side, coming in ((source, 0), (target, 0 if copied else int(source["size_bytes"]))):
        size = side["log_kept_bytes"]
        if size is None:
            free = max(0, int(side["free_bytes"]) - coming)
            size = sized(wanted(rate, float(side["slot_hours"])), free, int(side["log_known_bytes"]))
        found.append({**side, "log_kept_bytes": size})
    return found[0], found[1]


def notes(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Say how long each side may be away, at the rate that was measured."""
    rate = restore_point.log_rate(source, target)
    found = []
    for side, other in ((source, target), (target, source)):
        size, hours = side.get("log_kept_bytes"), side.get("slot_hours")
        if not rate or not hours or size is None or size < 0:
            continue
        lasts = size / (rate * restore_point.RESERVE) / 3600
        text = f"{side['side']} keeps up to {size} bytes of log for {other['side']}, which may be away for about "
        text += f"{lasts:.1f} hours at twice the measured rate of {rate} bytes/s"
        if lasts < hours:
            text += f": less than the declared {hours:g}, for want of free space or by the declared size"
        found.append(text)
    return found
