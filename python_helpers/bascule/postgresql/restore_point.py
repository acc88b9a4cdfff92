"""By what a side that closes keeps its state at the fence: chosen from what was measured, sized, and said beforehand.

- `reflink`: a copy of the data directory that shares its blocks, made before the side follows: at once.
- `copy`: a whole copy, made before the side follows. The new primary keeps log for it meanwhile, no more than
  postgresql_replication_max_slot_wal_keep_size: a copy that takes longer would cost the slot, and the return with it.
- `dump`: the side follows at once; its state is dumped under a snapshot that it has pinned before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..system.safety_dump import proof_room

AUTO, COPY, DUMP = "auto", "copy", "dump"
# What a plan may ask for. A copy shares its blocks wherever the file system can.
WANTED = (AUTO, COPY, DUMP)
REFLINK = "reflink"
# A measured rate is one moment's: the evening of a move may write twice as much.
RESERVE = 2
# What is copied so soon is built again as soon, should its slot be lost.
SHORT = 60.0
_GIB = 1 << 30


@dataclass(frozen=True)
class Choice:
    """The kind, empty where none is possible, with the reasons; how long it takes and how many bytes, as estimated."""

    kind: str
    seconds: float | None = None
    bytes: int = 0
    against: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def choose(closing: Mapping[str, Any], opening: Mapping[str, Any]) -> Choice:
    """Choose for the side that will close; both are what an audit has measured."""
    wanted = str(closing.get("restore_point") or AUTO)
    if wanted == DUMP:
        return _dump(closing, asked=True)
    copy = _copy(closing, opening)
    if copy.kind or wanted == COPY:
        return copy
    dump = _dump(closing, asked=False)
    return dump if dump.kind else Choice("", against=(*copy.against, *dump.against))


def seconds(side: Mapping[str, Any]) -> float | None:
    """Return how long the copy takes; None when that was not measured."""
    if side.get("shares_blocks"):
        return 0.0
    rate = side.get("copy_bytes_per_second")
    return int(side["size_bytes"]) / rate if rate else None


def room(size: int, shares_blocks: bool) -> int:
    """Return how many bytes a copy takes; one that shares its blocks, only what changes until decommission."""
    return size // 10 if shares_blocks else size + size // 10


def log_meanwhile(source: Mapping[str, Any], target: Mapping[str, Any]) -> int | None:
    """Return how many bytes of log the new primary writes while the old one copies, with a reserve."""
    lasts, rate = seconds(source), log_rate(source, target)
    return None if lasts is None or rate is None else int(lasts * rate * RESERVE)


def log_rate(*sides: Mapping[str, Any]) -> int | None:
    """Return how many bytes of log come in a second: the highest of all that was measured."""
    rates = [int(side.get(name) or 0) for side in sides for name in _RATES if name in side]
    return max(rates) if rates else None


_RATES = ("wal_bytes_per_second", "wal_average_bytes_per_second")


def chosen(active: Mapping[str, Any], passive: Mapping[str, Any]) -> dict[str, Any]:
    """Return what capture keeps: the kind for each side, as either may close next, and what is against the first."""
    forward, back = choose(active, passive), choose(passive, active)
    kinds = {str(active["side"]): forward.kind, str(passive["side"]): back.kind}
    return {"kinds": {side: kind for side, kind in kinds.items() if kind}, "against": list(forward.against)}


def differences(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Refuse a move for which the old side could not keep its state, or would lose its way back over it."""
    if "shares_blocks" not in source:
        return []
    return list(choose(source, target).against)


def notes(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Say by what the state at the fence will be kept, and what is given up by it."""
    if "shares_blocks" not in source:
        return []
    choice, side, other = choose(source, target), source["side"], target["side"]
    if not choice.kind:
        return []
    if choice.kind != DUMP:
        # Its safety dump is taken beside the copy, and is no more than that.
        dump = _dump(source, asked=True)
        beside = [*dump.against, *dump.warnings] if source.get("dumps") else []
        if choice.kind == REFLINK:
            return [f"{side} keeps its state at the fence in a copy that shares its blocks: at once", *beside]
        return [
            f"{side} keeps its state at the fence in a whole copy, in about {choice.seconds:.0f} s, before it follows; "
            f"up to {log_meanwhile(source, target)} bytes of log wait for it meanwhile",
            *beside,
        ]
    return [
        f"{side} follows at once and keeps its state at the fence in its safety dump: about {choice.bytes} bytes in "
        f"about {choice.seconds or 0:.0f} s, and at least as long again for its proof; until that has ended {other} "
        "removes no dead rows, and the state at the fence is lost if the server of "
        f"{side} ends or a return begins (a return itself loses no row); to use it, the dump has to be restored",
        *choice.warnings,
    ]


def _copy(closing: Mapping[str, Any], opening: Mapping[str, Any]) -> Choice:
    side, size, lasts = closing["side"], int(closing["size_bytes"]), seconds(closing)
    kind, needed = (REFLINK if closing["shares_blocks"] else COPY), room(size, bool(closing["shares_blocks"]))
    against = []
    if closing["free_bytes"] < needed:
        against.append(f"{side} has {closing['free_bytes']} bytes free of {needed} to keep its state aside in a copy")
    # The slot that has to last is at the side that opens.
    log, kept = log_meanwhile(closing, opening), int(opening["log_kept_bytes"])
    if kept < 0:
        # Whoever keeps log without limit loses no slot; that is refused, or named, elsewhere.
        pass
    elif lasts is None or (log is None and lasts > SHORT):
        against.append(f"how fast {side} can copy its data directory was not measured: see that it can be written")
    elif log is not None and log > kept and lasts > SHORT:
        against.append(
            f"after the switch {side} copies its {size} bytes before it follows, which takes about {lasts:.0f} s: by "
            f"then {log} bytes of log may have come, and its slot keeps {kept}; set "
            f"postgresql_replication_max_slot_wal_keep_size to {-(-log // _GIB)}GB, or have the data on a file system "
            "that shares blocks between copies (XFS with reflink, btrfs)"
        )
    return Choice("" if against else kind, lasts, needed, tuple(against))


def _dump(closing: Mapping[str, Any], *, asked: bool) -> Choice:
    """Weigh the dump; whoever asks for it by name may go without its proof, which verify then says."""
    side, size, rate = closing["side"], int(closing["size_bytes"]), closing.get("dump_bytes_per_second")
    if not closing.get("dumps"):
        return Choice("", against=(f"{side} takes no safety dump in its place: postgresql_replication_safety_dump",))
    if not rate:
        return Choice("", against=(f"how fast {side} can dump its data was not measured: see that it can be read",))
    dumped = min(size, int(size * float(closing["dump_ratio"]) * RESERVE))
    beside, free = int(closing["dumps_free_bytes"]), int(closing["free_bytes"])
    proof = proof_room(size, dumped)
    against, doubts = [], []
    if beside < dumped:
        against.append(f"{side} has {beside} bytes free in {closing['dumps_in']} for a safety dump of up to {dumped}")
    if free < proof + (dumped if closing["dumps_beside"] else 0):
        doubts.append(
            f"{side} has {free} bytes free beside its data; to prove the safety dump by restoring it once takes {proof}"
            + (f", beside the dump of up to {dumped}" if closing["dumps_beside"] else "")
        )
    doubts += [f"database {name} of {side} is in no dump" for name in closing.get("left_out") or []]
    if not asked:
        against += doubts
    return Choice("" if against else DUMP, size / rate, dumped, tuple(against), tuple(doubts))
