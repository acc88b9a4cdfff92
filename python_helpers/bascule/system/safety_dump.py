"""What is decided about the dump that each switch leaves of its old side: encrypted, restored once and compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

RUNNING, NONE = "running", "none"
PROVED, NOT_PROVED = "proved", "not_proved"
# Nothing compared is not ok.
NOTHING = "no row was compared: there was none"


def state(notes: Mapping[str, Any], *, old: bool, running: bool, coming: bool) -> dict[str, Any]:
    """Return what is known about the dump of the switch that closed this side; one of an earlier switch is none.

    Args:
        notes: what the unit has written down, or nothing.
        old: whether they are of an earlier switch than the one that closed this side.
        running: whether the unit runs now, looked up after the notes were read.
        coming: whether something runs that will start the unit.
    """
    if not notes or old:
        return {"state": RUNNING if coming else NONE}
    if notes["state"] == RUNNING and not running:
        return {**notes, "state": NOT_PROVED, "reason": "it was cut short"}
    return dict(notes)


def superseded(names: Iterable[str], component: str, keep: int) -> list[str]:
    """Return which safety dumps of a component are older than the newest `keep`; epochs are ordered by their number."""
    prefix = f"{component}-safety-"
    own = [name for name in names if name.startswith(prefix) and name[len(prefix) :].split(".")[0].isdigit()]
    ordered = sorted(own, key=lambda name: (int(name[len(prefix) :].split(".")[0]), name))
    return ordered[: max(0, len(ordered) - keep)]


def proof_room(size: int, dumped: int) -> int:
    """Return how many bytes it takes to restore a dump once beside the data.

    Args:
        size: of the data in bytes; a copy takes a tenth more.
        dumped: bytes of the decrypted dump, where it is written to a file first.
    """
    return size + size // 10 + dumped
