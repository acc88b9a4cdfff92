"""What a restored safety dump may have otherwise than what was dumped, and what its proof did not look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import compare


def behind(pinned: Mapping[str, Any], restored: Mapping[str, Any]) -> bool:
    """Whether a restored sequence would give a value again that the old side had given."""
    step, before, now = int(pinned["step"]), int(pinned["value"]), int(restored["value"])
    if now == before:
        return bool(pinned["called"]) and not restored["called"]
    # A dump reads sequences as they are when it comes to them: they may be ahead.
    return (now < before) if step > 0 else (now > before)


def left_out(not_compared: Mapping[str, str]) -> dict[str, str]:
    """Return what the proof of a dump did not look at, as a verification says it; a copy's indexes matter to nobody."""
    return {f"{name} of the safety dump": why for name, why in not_compared.items() if name != compare.INDEXES}
