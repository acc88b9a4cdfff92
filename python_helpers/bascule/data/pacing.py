"""How many rows the next batch has: by the time that the last ones took. Pure.

After GitLab's batched background migrations and gh-ost: a time is aimed at and not a number of rows, within bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass
class Pace:
    """The size of batches.

    seconds: what a batch shall take. low, high: bounds, in rows. asked: a size that a person has set, which stands
    until they take it back. size: of the next batch. part: rows of the next attempt, where a batch was refused.
    """

    seconds: float
    low: int
    high: int
    size: int
    asked: int = 0
    part: Optional[int] = None

    def rows(self) -> int:
        """Return how many rows the next attempt has."""
        most = min(max(self.asked or self.size, 1 if self.asked else self.low), self.high)
        return min(self.part, most) if self.part else most

    def took(self, rows: int, seconds: float) -> None:
        """Learn from a batch: at most half or double, so that one slow batch is no verdict."""
        if self.part:
            # What a refused batch was cut into grows again until the pace is reached.
            self.part = self.part * 2 if self.part * 2 < self.rows_uncut() else None
        elif rows >= self.rows():
            factor = min(2.0, max(0.5, self.seconds / max(seconds, 1e-6)))
            self.size = min(self.high, max(self.low, round(rows * factor)))

    def refused(self, rows: int) -> None:
        """Cut a batch that the database has refused, until the row is alone that is to blame."""
        self.part = max(1, rows // 2)

    def rows_uncut(self) -> int:
        """Return how many rows a batch has where none was refused."""
        return Pace(self.seconds, self.low, self.high, self.size, self.asked).rows()


def exceeded(limits: dict[str, float], measured: dict[str, float]) -> list[str]:
    """Return which limits are passed; what could not be measured is one of them."""
    found = []
    for name, most in limits.items():
        value = measured.get(name)
        if value is None:
            found.append(f"{name} could not be measured (limit {most:g})")
        elif value > most:
            found.append(f"{name} is {value:g} (limit {most:g})")
    return found


def remaining(rows: int, total: Optional[int], seconds: float, how: str) -> str:
    """Return how long a run still takes, as a person may read it; says so where that is not known."""
    if total is None:
        return "remaining time not known: the rows could not be counted in time"
    left = max(0, total - rows)
    about = "" if how == "counted" else "about "
    if not left:
        return f"{about}0 rows left" if how == "counted" else "more rows than were estimated: remaining time not known"
    if not rows or seconds <= 0:
        return f"{about}{left} rows left; remaining time not known before the first batch"
    return f"{about}{left} rows left, about {_span(left * seconds / rows)} at {rows / seconds:.0f} rows/s"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
