"""Names that a verification has found to differ: nothing that says both sides are equal holds for them any more.

Neither their time stamps nor the recorder tell of them, so they are kept by name at the leading side until a transfer
has compared their content at both sides, or another verification has found nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ..fence import side as fence_side
from ..fence.side import Side


@dataclass(frozen=True)
class Doubt:
    """What one verification has found; no names stand for more than a transfer by names should carry."""

    number: str
    names: Optional[tuple[bytes, ...]]


def standing(side: Side) -> Optional[Doubt]:
    """Return what is in doubt; None when nothing is."""
    known = fence_side.facts(side).get("doubted")
    if not known:
        return None
    names = known["names"]
    return Doubt(str(known["number"]), None if names is None else tuple(bytes.fromhex(name) for name in names))


def begin(side: Side, names: Optional[Sequence[bytes]]) -> None:
    """Note what was found; what an earlier verification found was read anew."""
    number = secrets.token_hex(8)
    fence_side.note(
        side, doubted={"number": number, "names": None if names is None else [name.hex() for name in names]}
    )


def end(side: Side, doubt: Optional[Doubt]) -> None:
    """Note that this was compared and dealt with; what was found meanwhile stands."""
    if doubt is not None:
        fence_side.forget(side, "doubted", lambda known: bool(known) and known["number"] == doubt.number)
