"""What a side that closes keeps of its state at the fence, how long that takes, and whether its slot lasts so long.

The new primary keeps log for it meanwhile, up to postgresql_replication_max_slot_wal_keep_size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A measured rate is one moment's: the evening of a move may write twice as much.
RESERVE = 2
# What is copied so soon is built again as soon, should its slot be lost.
SHORT = 60.0
_GIB = 1 << 30


def seconds(side: Mapping[str, Any]) -> float | None:
    """Return how long the copy takes; None when that was not measured."""
    if side.get("shares_blocks"):
        return 0.0
    rate = side.get("copy_bytes_per_second")
    return int(side["size_bytes"]) / rate if rate else None


def room(side: Mapping[str, Any]) -> int:
    """Return how many bytes the kept state takes; one that shares its blocks, only what changes until decommission."""
    size = int(side["size_bytes"])
    return size // 10 if side.get("shares_blocks") else size


def log_meanwhile(source: Mapping[str, Any], target: Mapping[str, Any]) -> int | None:
    """Return how many bytes of log the new primary writes while the old one copies, with a reserve."""
    lasts = seconds(source)
    rates = [int(side.get(name) or 0) for side in (source, target) for name in _RATES if name in side]
    return None if lasts is None or not rates else int(lasts * max(rates) * RESERVE)


_RATES = ("wal_bytes_per_second", "wal_average_bytes_per_second")


def differences(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Refuse a move after which the old side would have lost its way back before it has begun to follow."""
    kept, log = int(source["log_kept_bytes"]), log_meanwhile(source, target)
    if "shares_blocks" not in source or kept < 0:
        return []
    lasts = seconds(source)
    if log is None or lasts is None:
        return [f"how fast {source['side']} can copy its data directory was not measured: see that it can be written"]
    if log <= kept or lasts <= SHORT:
        return []
    return [
        f"after the switch {source['side']} copies its {source['size_bytes']} bytes before it follows, which takes "
        f"about {lasts:.0f} s: by then {log} bytes of log may have come, and its slot keeps {kept}; set "
        f"postgresql_replication_max_slot_wal_keep_size to {-(-log // _GIB)}GB, or have the data on a file system that "
        "shares blocks between copies (XFS with reflink, btrfs)"
    ]


def notes(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Say by what the state at the fence will be kept."""
    if "shares_blocks" not in source:
        return []
    if source["shares_blocks"]:
        return [f"{source['side']} keeps its state at the fence in a copy that shares its blocks: at once"]
    lasts, log = seconds(source), log_meanwhile(source, target)
    if lasts is None or log is None:
        return []
    return [
        f"{source['side']} keeps its state at the fence in a whole copy, in about {lasts:.0f} s, before it follows; "
        f"up to {log} bytes of log wait for it meanwhile"
    ]
