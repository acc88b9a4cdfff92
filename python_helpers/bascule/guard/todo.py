"""What a verb has to do at a component now, as every kind decides it from what both sides really are. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

NOTHING = "nothing"


@dataclass(frozen=True)
class Todo:
    """What a verb has to do, and why; a kind adds what its own task files need to know.

    action: NOTHING, or what is to be done, in the kind's own words.
    reason: a sentence for the operator, shown also where nothing is to be done.
    """

    action: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, for task files."""
        return asdict(self)
