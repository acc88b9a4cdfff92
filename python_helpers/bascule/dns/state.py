"""The state of a switch of names, kept in the zone itself as one TXT record.

A name server has no place for a guard, so the guard's states of both sides travel in the zone: the update that changes
the records names the exact TXT record it was decided from as its prerequisite and replaces it at the same moment. A
decision that was overtaken is refused by the server. A provider takes several steps instead: the first one writes a
state that is `pending`, so that whoever finds the records halfway knows what they were on the way to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import GuardRefused
from ..guard import state as guard

_FORMAT = 1
_CHUNK = 255
# Providers differ in how they take these in a text.
_AWKWARD = "%'\\;"


@dataclass(frozen=True)
class ZoneState:
    """Both sides' guards, the times to live that the records had at first, and when they were lowered.

    pending: the verb whose change of the records has begun at a provider and was not seen to end.
    """

    sides: Mapping[str, guard.GuardState]
    ttls: Mapping[str, int] = field(default_factory=dict)
    lowered_at: int | None = None
    pending: str = ""

    def active(self) -> str | None:
        """Return the side that the records point to."""
        first, second = (self.sides[name] for name in sorted(self.sides))
        return guard.leader(first, second)

    def rank(self) -> guard.Epoch:
        """Return the highest epoch under which a side was opened: the newest of two states has the higher one."""
        return max((s.opened for s in self.sides.values() if s.opened), default=guard.ADOPTED)


def adopt(component: str, source: str, target: str) -> ZoneState:
    """Take over a zone that points to the source."""
    return ZoneState(
        {
            source: guard.adopt_open(guard.GuardState(component, source)),
            target: guard.adopt_closed(guard.GuardState(component, target)),
        }
    )


def move(state: ZoneState, source: str, target: str, epoch: guard.Epoch, now: str) -> ZoneState:
    """Close one side and open the other by the opening rule, in one step: the update carries both at once."""
    promised = guard.promise(state.sides[source], epoch)
    shut, receipt = guard.closed(promised, epoch, {}, now)
    opening = guard.may_open(state.sides[target], epoch, receipt, True)
    return replace(state, sides={source: shut, target: guard.opened(opening, epoch)})


def to_text(state: ZoneState) -> str:
    """Write the state as short, canonical JSON."""
    return json.dumps(
        {
            "format": _FORMAT,
            "sides": {name: side.to_dict() for name, side in state.sides.items()},
            "ttls": dict(state.ttls),
            "lowered_at": state.lowered_at,
            **({"pending": state.pending} if state.pending else {}),
        },
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )


def quoteless(text: str) -> str:
    """Write the JSON of a state without a double quote, backslash or semicolon."""
    for character in _AWKWARD:
        text = text.replace(character, f"%{ord(character):02X}")
    return text.replace('"', "'")


def quoted(text: str) -> str:
    """Return the JSON that `quoteless` was given; JSON as it is."""
    if not text.startswith("{'"):
        return text
    text = text.replace("'", '"')
    for character in reversed(_AWKWARD):
        text = text.replace(f"%{ord(character):02X}", character)
    return text


def from_text(text: str, component: str, sides: Sequence[str]) -> ZoneState:
    """Read what `to_text` wrote, in either spelling; a state of something else is refused, never guessed."""
    try:
        data: Any = json.loads(quoted(text))
        if data["format"] != _FORMAT:
            raise ValueError(f"format {data['format']!r}")
        states = {str(name): guard.GuardState.from_dict(value) for name, value in data["sides"].items()}
        ttls = {str(key): int(value) for key, value in data["ttls"].items()}
        lowered = None if data["lowered_at"] is None else int(data["lowered_at"])
        pending = str(data.get("pending", ""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GuardRefused(
            expected=f"the state of a switch, format {_FORMAT}, in the zone's TXT record _bascule",
            found=f"{text[:80]!r}: {error}",
            state="no record was changed",
            next_command="look at the record by hand; Bascule never guesses a state it cannot read",
        ) from error
    foreign = [s.describe() for s in states.values() if s.component != component]
    if sorted(states) != sorted(sides) or foreign:
        raise GuardRefused(
            expected=f"the state of {component} for {' and '.join(sorted(sides))}",
            found=f"a state for {' and '.join(sorted(states))}{': ' if foreign else ''}{'; '.join(foreign)}",
            state="no record was changed",
            next_command="look at which run uses this zone, as one zone serves one component. Where components were "
            "made one: end the other's move, remove this TXT record _bascule at every server, and run 20_prepare.yml",
        )
    return ZoneState(states, ttls, lowered, pending)


def split_text(text: str) -> list[str]:
    """Split into the strings of a TXT record, 255 bytes at most each."""
    if not text.isascii():
        raise ValueError("the state is written in ASCII")
    return [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
