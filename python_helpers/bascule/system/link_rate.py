"""What a link carries, judged by what arrived in each interval at the receiver; and the share of it for a transfer."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from ..errors import BasculeError

INTERVAL = 0.1
# The first moments of a stream show buffers, not the link.
SKIP = 0.5
_LEAST = 3


class RateError(BasculeError):
    """A link could not be measured."""


def share(mbit: float, percent: float) -> str:
    """Return a share of a link as rsync takes a limit, KiB in a second; none where the link is not known."""
    if mbit <= 0 or percent <= 0 or percent >= 100:
        return "0"
    return f"{max(1, int(mbit * 1e6 / 8 / 1024 * percent / 100))}k"


def judge(intervals: Sequence[tuple[float, int]]) -> dict[str, Any]:
    """Return the rate in Mbit/s from (seconds, bytes) intervals, without the first moments."""
    elapsed = 0.0
    kept: list[tuple[float, int]] = []
    # The last interval is cut short by the end of the stream.
    for seconds, size in intervals[:-1]:
        elapsed += seconds
        if elapsed > SKIP:
            kept.append((seconds, size))
    total = sum(seconds for seconds, _ in kept)
    if len(kept) < _LEAST or total <= 0:
        raise RateError(
            expected=f"at least {_LEAST} intervals at the receiver",
            found=f"{len(kept)} ({sum(size for _, size in intervals)} bytes in {elapsed:.1f} s)",
            state="the link was not measured",
            next_command="look whether the receiver can be reached over the link, then run the same playbook again",
        )
    each = [size * 8 / seconds / 1e6 for seconds, size in kept if seconds > 0]
    return {
        "mbit": round(sum(size for _, size in kept) * 8 / total / 1e6, 2),
        "median_mbit": round(median(each), 2),
        "lowest_mbit": round(min(each), 2),
        "seconds": round(total, 2),
        "bytes": sum(size for _, size in intervals),
        "intervals": len(kept),
    }
