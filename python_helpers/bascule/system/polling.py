"""How long to pause between two looks at something that is waited for. Pure."""

from __future__ import annotations

SHORTEST = 0.05
# A look costs something wherever it is taken, so what takes long is looked at less often: this share of it may be lost.
SHARE = 0.05


def pause(waited: float, longest: float) -> float:
    """Return the pause after so many seconds of waiting: at once where users wait a moment, at most `longest`."""
    return min(max(SHORTEST, SHARE * waited), longest)
