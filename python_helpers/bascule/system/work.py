"""How long an operation worked, taken where it runs: the journal sets it against what a step took in all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SECONDS = "work_seconds"


def measured(operation: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do the operation; return its result with the seconds it took."""
    begun = time.monotonic()
    result = operation()
    return {**result, SECONDS: round(time.monotonic() - begun, 3)}


def seconds(result: Any) -> float:
    """Return how long a task's operations worked, those of a loop together; what says nothing has not worked."""
    each = result.get("results") if isinstance(result.get("results"), list) else [result]
    stated = [one.get(SECONDS) for one in each if isinstance(one, dict)]
    return float(sum(one for one in stated if isinstance(one, (int, float)) and not isinstance(one, bool)))
