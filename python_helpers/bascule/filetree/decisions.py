"""What a verb has to do, from what both sides have promised. Pure: guards come in, a decision goes out."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..errors import BasculeError
from ..guard import lost
from ..guard import state as rule
from ..guard.state import Epoch, GuardState, last_open, leader
from ..guard.todo import NOTHING, Todo

PREPARE = "ansible-playbook playbooks/20_prepare.yml"
CARRY, COMPARE, SWITCH = "carry", "compare", "switch"


class DecisionError(BasculeError):
    """The two sides are in states from which the verb cannot go on."""


@dataclass(frozen=True)
class TreeTodo(Todo):
    """What a verb has to do with a tree; the side that leads, and whether its tree stands still."""

    leader: str = ""
    standing: bool = False


def sync(source: GuardState, target: GuardState) -> TreeTodo:
    """Carry the tree over only from the side that holds the latest data."""
    lost.must_be_known(source, target)
    first = leader(source, target)
    if first is None:
        return TreeTodo(NOTHING, f"{source.component} has not been prepared: neither side was ever open")
    if first == target.side:
        return TreeTodo(NOTHING, f"{target.side} holds the latest data: nothing to carry over to it", first)
    if target.status not in (rule.CLOSED, rule.CLOSING):
        raise DecisionError(
            expected=f"{target.side} to be closed, so that it can receive",
            found=target.describe(),
            state=f"{source.describe()}; nothing was transferred",
            next_command=f"{PREPARE} --limit {source.component}",
        )
    # A side that is opening or closing may have writers; what is left over then is carried over inside the switch.
    standing = source.frozen or source.status == rule.CLOSED
    return TreeTodo(
        CARRY, f"{source.side} holds the latest data" + (" and stands still" if standing else ""), first, standing
    )


def verify(source: GuardState, target: GuardState) -> TreeTodo:
    """Compare from the leading side's point of view."""
    first = leader(source, target)
    if first is None:
        return TreeTodo(NOTHING, f"{source.component} has not been prepared: neither side was ever open")
    leading = source if first == source.side else target
    return TreeTodo(COMPARE, f"{first} leads", first, leading.frozen or leading.status == rule.CLOSED)


def switch(source: GuardState, target: GuardState) -> TreeTodo:
    """Close one side, then open the other, unless that is how it is."""
    lost.must_be_known(source, target)
    first = leader(source, target) or ""
    if target.status == rule.OPEN and source.status == rule.CLOSED:
        return TreeTodo(NOTHING, f"{target.side} is open and {source.side} closed already", first)
    if rule.UNKNOWN in (source.status, target.status):
        raise DecisionError(
            expected="two sides that prepare has taken over",
            found=f"{source.describe()}; {target.describe()}",
            state="nothing was closed or opened",
            next_command=f"{PREPARE} --limit {source.component}",
        )
    return TreeTodo(SWITCH, f"{source.side} is {source.status}, {target.side} is {target.status}", first, True)


def may_lack(facts: Mapping[str, Any], cut_short: bool) -> str:
    """Return what this side's own notes say about how far it is behind a side that nobody can ask any more."""
    at = facts.get("agreed_at")
    if facts.get("agreed") and at:
        when = datetime.datetime.fromtimestamp(int(at), datetime.timezone.utc).isoformat()
        said = f"both trees were proved to be the same at {when} ({facts['agreed']})"
    else:
        said = "it is not known when both trees were the same"
    if cut_short:
        return f"{said}; a transfer was cut short since: some files are newer than others, some may be in parts"
    return f"{said}; a transfer has changed some files since" if facts.get("touched") else said


def reached(own: GuardState, position: dict[str, str]) -> Optional[bool]:
    """Tell whether this side holds the latest data by itself: True when it was open later than the side that closed.

    None: the trees must be compared.
    """
    theirs = position.get("opened", "")
    mine = last_open(own)
    if mine is not None and (not theirs or mine > Epoch.parse(theirs)):
        return True
    return None
