"""What is seen of a server at its host, and whether one side may take the other one's place. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..guard import state as rule
from ..guard.state import GuardState
from . import members

OPEN = "open"
CLOSED = "closed"
# Neither: it is shut in part, or does not run.
BETWEEN = "between"
PRIMARY = "PRIMARY"
SECONDARY = "SECONDARY"


def mode(state: str, electable: bool, fence_stands: bool, faults: Sequence[str]) -> str:
    """Return OPEN, CLOSED or BETWEEN.

    Args:
        state: of the member, as the set has it.
        electable: whether it could be elected.
        fence_stands: whether anything of the fence is there.
        faults: what is missing of the fence.
    """
    if state == PRIMARY and not fence_stands:
        return OPEN
    return CLOSED if state != PRIMARY and not electable and not faults else BETWEEN


def not_reached(own: str, receipt: Mapping[str, str], *, leads: bool) -> str:
    """Return why this side may not open with the other one's receipt; nothing when it has all, and nothing else.

    Args:
        own: what this side has applied, as the server says now.
        receipt: the final position of the other side.
        leads: whether this side was the last that was open; then it may have what the other one never got.
    """
    want = receipt.get("optime", "")
    if members.optime(own) < members.optime(want):
        return f"not applied here: {want}; it stands at {own or 'nothing'}"
    if own != want and not leads:
        return f"here are operations that the other side never had: it ended at {want}, this one stands at {own}"
    return ""


def service_faults(guards: Mapping[str, GuardState], modes: Mapping[str, str]) -> list[str]:
    """Return why it is not one side alone that serves, as its guard says and its host sees; nothing when it is."""
    found = []
    for name, guard in guards.items():
        if guard.status == rule.UNKNOWN:
            found.append(f"{name} was not taken over: ansible-playbook playbooks/20_prepare.yml")
        elif guard.status not in (rule.OPEN, rule.CLOSED):
            found.append(f"the guard of {name} says {guard.status}")
        elif guard.status == rule.OPEN and guard.frozen:
            found.append(f"{name} is frozen: nobody is let in")
        elif modes[name] != guard.status:
            found.append(f"the guard of {name} says {guard.status}, and its server is {modes[name]}")
    if sorted(guard.status for guard in guards.values()) in ([rule.OPEN] * 2, [rule.CLOSED] * 2):
        found.append("the guards of both sides say the same")
    return found


def interrupted(guards: Mapping[str, GuardState], modes: Mapping[str, str]) -> bool:
    """Tell whether a move was interrupted between its freeze and its thaw: nobody is let in, on purpose."""
    return all(
        guard.status != rule.UNKNOWN and (guard.status != rule.OPEN or guard.frozen) and modes[name] != OPEN
        for name, guard in guards.items()
    )


def lag(status: Mapping[str, Any], own: str, peer: str) -> float | None:
    """Return the seconds that this member is behind the one that it follows; None when nobody can say.

    Args:
        status: what replSetGetStatus says here.
        own: this member's name.
        peer: that of the other side's, which has to be the primary.
    """
    rows = {one["name"]: one for one in status.get("members", ())}
    here, there = rows.get(own), rows.get(peer)
    if not here or not there or there["stateStr"] != PRIMARY or here["stateStr"] != SECONDARY:
        return None
    return max(0.0, float((there["optimeDate"] - here["optimeDate"]).total_seconds()))


def link(status: Mapping[str, Any], side: str, own: str, peer: str) -> tuple[str, str]:
    """Return why what is written at the other side does not come to this one, and how it comes; one of them is empty.

    Args:
        status: what replSetGetStatus says at the closed side.
        side: its inventory name.
        own: this member's name.
        peer: that of the other side's.
    """
    rows = {one["name"]: one for one in status.get("members", ())}
    if own not in rows or peer not in rows:
        return f"{side} is no member of one set with {peer}", ""
    behind = lag(status, own, peer)
    if behind is None:
        here, there = rows[own]["stateStr"], rows[peer]
        why = there.get("lastHeartbeatMessage") or there["stateStr"]
        return f"{side} does not follow: it is {here}, {peer} is seen as {why[:200]}", ""
    return "", f"{side} follows, {behind:g} s behind"
