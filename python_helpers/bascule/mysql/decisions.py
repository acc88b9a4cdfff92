"""What is seen of a server at its host, and whether one side may take the other one's place. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..guard import state as rule
from ..guard.state import GuardState
from . import gtid

OPEN = "open"
CLOSED = "closed"
# Neither: it is shut in part, or does not run.
BETWEEN = "between"


def mode(read_only: bool, fence_stands: bool, faults: Sequence[str]) -> str:
    """Return OPEN, CLOSED or BETWEEN."""
    if not read_only and not fence_stands:
        return OPEN
    return CLOSED if read_only and not faults else BETWEEN


def not_reached(own: Mapping[str, str], receipt: Mapping[str, str], *, leads: bool) -> str:
    """Return why this side may not open with the other one's receipt; nothing when it has all, and nothing else.

    Args:
        own: position and known of this side, as the server says now.
        receipt: the final position of the other side: gtid and known.
        leads: whether this side was the last that was open; then it may have what the other one never got.
    """
    fault = gtid.behind(own["position"], receipt.get("gtid", ""))
    if fault:
        return fault
    beyond = [] if leads else gtid.errant(own["known"], receipt.get("known", ""))
    if beyond:
        return f"here are transactions that the other side never had: {', '.join(map(str, beyond))}"
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


def link(connections: Sequence[Mapping[str, str]], side: str) -> tuple[str, str]:
    """Return why what is written at the other side does not come to this one, and how it comes; one of them is empty.

    Args:
        connections: what the server of the closed side follows, as SHOW ALL SLAVES STATUS has it.
        side: its inventory name.
    """
    if len(connections) != 1:
        return f"{side} follows {len(connections)} servers, not one", ""
    (one,) = connections
    if one["Slave_IO_Running"] != "Yes" or one["Slave_SQL_Running"] != "Yes":
        why = one["Last_IO_Error"] or one["Last_SQL_Error"] or one.get("Slave_IO_State") or "no reason given"
        threads = f"IO {one['Slave_IO_Running']}, SQL {one['Slave_SQL_Running']}"
        return f"{side} does not follow ({threads}): {why[:200]}", ""
    behind = one["Seconds_Behind_Master"]
    return "", f"{side} follows" + (f", {behind} s behind" if behind else "")


def interrupted(guards: Mapping[str, GuardState], modes: Mapping[str, str]) -> bool:
    """Tell whether a move was interrupted between its freeze and its thaw: nobody is let in, on purpose."""
    return all(
        guard.status != rule.UNKNOWN and (guard.status != rule.OPEN or guard.frozen) and modes[name] != OPEN
        for name, guard in guards.items()
    )


def events_at_both(modes: Mapping[str, str], running: Mapping[str, bool]) -> list[str]:
    """Name a closed side whose event scheduler runs."""
    return [
        f"the event scheduler of {name} runs while it is {modes[name]}: its events run at both sides"
        for name in modes
        if running[name] and modes[name] != OPEN
    ]
