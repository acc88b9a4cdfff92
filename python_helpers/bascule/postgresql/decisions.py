"""What is to be done, decided from what both sides really are."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import BasculeError
from ..guard import state as rule
from ..guard.state import GuardState
from ..guard.todo import NOTHING, Todo
from . import control, lsn
from .spec import DUMP_RESTORE, STREAMING


@dataclass(frozen=True)
class Side:
    """The truth of one side, as the state module reads it on the host."""

    name: str
    guard: GuardState
    prepared: bool
    state: str
    timeline: int
    system_id: str
    end_lsn: str
    running: bool
    in_recovery: bool
    streaming: bool
    method: str = STREAMING

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Side:
        """Read what the state module returned."""
        control_data = data.get("control") or {}
        return cls(
            name=str(data["side"]),
            guard=GuardState.from_dict(data["guard"]),
            prepared=bool(data["prepared"]),
            state=str(control_data.get("state", "")),
            timeline=int(control_data.get("newest_timeline", 0)),
            system_id=str(control_data.get("system_id", "")),
            end_lsn=str(data.get("end_lsn") or ""),
            running=bool(data.get("running")),
            in_recovery=bool(data.get("in_recovery")),
            streaming=bool(data.get("streaming")),
            method=str(data.get("method") or STREAMING),
        )

    @property
    def is_primary(self) -> bool:
        """Whether it runs as a primary, or crashed as one."""
        return (self.running and not self.in_recovery) or (not self.running and self.state == control.IN_PRODUCTION)


def leader(a: Side, b: Side) -> str | None:
    """Return the side that has the latest data, or None when neither has been taken over.

    The guards name it while one of them is open. After that the database itself tells more than the guards: a side that
    began to open but was never promoted has nothing of its own.
    """
    if rule.gave_up(a.guard, b.guard) or rule.gave_up(b.guard, a.guard):
        return rule.leader(a.guard, b.guard)
    if DUMP_RESTORE in (a.method, b.method):
        # Two clusters with logs of their own: nothing in them says which one is newer.
        return rule.leader(a.guard, b.guard)
    if not (a.prepared and b.prepared):
        return next((side.name for side in (a, b) if side.guard.status == rule.OPEN), None)
    if rule.OPEN in (a.guard.status, b.guard.status):
        return rule.leader(a.guard, b.guard)
    if a.is_primary and b.is_primary:
        raise BasculeError(
            expected="at most one primary",
            found=f"{a.name} and {b.name} both run, or ended, as one",
            state=f"{a.guard.describe()}; {b.guard.describe()}",
            next_command="look at both clusters by hand; Bascule does not choose between two histories",
        )
    for one, other in ((a, b), (b, a)):
        if one.is_primary:
            return one.name
        if one.state == control.SHUT_DOWN and other.state != control.SHUT_DOWN and one.timeline >= other.timeline:
            return one.name
    if a.timeline != b.timeline:
        return a.name if a.timeline > b.timeline else b.name
    if a.end_lsn and b.end_lsn and a.end_lsn != b.end_lsn:
        return a.name if lsn.parse(a.end_lsn) > lsn.parse(b.end_lsn) else b.name
    return rule.leader(a.guard, b.guard)


def may_lack(state: Mapping[str, Any]) -> str:
    """Return where this side's log ends and how old that is, for whom the other side is lost."""
    if not state.get("end_lsn"):
        return "there is no cluster"
    if state.get("running") and not state.get("in_recovery"):
        return f"it runs as a primary, its log ends at {state['end_lsn']}"
    parts = [f"its log is replayed up to {state['end_lsn']}"]
    received = state.get("received_lsn")
    if received and received != state["end_lsn"]:
        parts.append(f"received up to {received}")
    age, now = state.get("replay_age"), state.get("sampled_at")
    if age is not None and now:
        last = datetime.datetime.fromtimestamp(float(now) - float(age), datetime.timezone.utc)
        parts.append(f"its last transaction was committed at {last.isoformat(timespec='seconds')}")
    else:
        parts.append("when its last transaction was committed is not known: it does not run, or has replayed none")
    return ", ".join(parts)


def not_followed(state: Mapping[str, Any], guard: GuardState) -> str:
    """Return why what is written at this side does not come to the other one; nothing where it does, or need not.

    Only an open side that runs as a primary and moves by its log has somebody who follows. Prepare describes a side
    before it takes it over: one that is open and not described has lost that, and nobody is let in to follow.
    """
    leads = guard.status == rule.OPEN and state.get("running") and not state.get("in_recovery")
    if not leads or state.get("method") == DUMP_RESTORE:
        return ""
    if not state.get("prepared"):
        return f"{guard.side} is open and not prepared"
    standby = state.get("standby")
    if not standby:
        return f"no standby streams from {guard.side}"
    return "" if standby.get("state") == "streaming" else f"its standby does not stream: {standby.get('state')}"


def followed(state: Mapping[str, Any], guard: GuardState) -> str:
    """Return how what is written at this side comes to the other one; nothing where it does not, or nobody sees it."""
    standby = state.get("standby") or {}
    if guard.status != rule.OPEN or standby.get("state") != "streaming" or not_followed(state, guard):
        return ""
    lag = standby.get("lag")
    seconds = "" if lag is None else f", {lag:.1f} s"
    return f"its standby streams, {standby['behind']} bytes{seconds} behind"


def unseen(state: Mapping[str, Any], guard: GuardState) -> str:
    """Return why this side, open by its guard, was not seen to serve; nothing where it was, or serves nobody.

    Args:
        state: what was read of this side.
        guard: its guard.
    """
    if guard.status != rule.OPEN:
        return ""
    if not state.get("exists"):
        return f"there is no cluster at {guard.side}"
    if state.get("error"):
        return f"PostgreSQL of {guard.side} does not answer: {state['error']}"
    if not state.get("running"):
        return f"PostgreSQL of {guard.side} does not run"
    return f"PostgreSQL of {guard.side} runs as a standby" if state.get("in_recovery") else ""


def follows(source: Side, to: Side) -> bool:
    """Return whether `to` has something to follow before a switch: the open side, or one that a crash has left ahead.

    That is what died as a primary, or stands after it was promoted and nobody was let in. A side that has stopped for
    good sends its log to nobody any more: a switch that was interrupted has nothing to carry over, it has to go on.
    Whether anything is missing is for the opening rule to see.
    """
    if not (source.prepared and to.prepared) or to.guard.status != rule.CLOSED or leader(source, to) != source.name:
        return False
    if source.guard.status == rule.OPEN or source.is_primary:
        return True
    stands = source.in_recovery if source.running else source.state in control.STANDING
    return stands and _ahead(source, to)


def caught_up(source: Mapping[str, Any], to: Mapping[str, Any]) -> bool:
    """Return whether, by what was read of both sides, the standby streams and has replayed all there was to replay.

    Then a sync has nothing to do: the stream carries what is written afterwards, and the switch waits for its end.
    A comparison at the standby may yet keep it from replaying, so beside one it is looked at again.
    """
    standby, slot = source.get("standby") or {}, source.get("slot") or {}
    connected = standby.get("state") == "streaming" and bool(to.get("streaming")) and not to.get("equality_running")
    return connected and standby.get("behind") == 0 and slot.get("status", "lost") != "lost"


def _ahead(source: Side, to: Side) -> bool:
    if source.timeline != to.timeline:
        return source.timeline > to.timeline
    return bool(source.end_lsn and to.end_lsn) and lsn.parse(source.end_lsn) > lsn.parse(to.end_lsn)


def lag_unasked(source: Side, to: Side) -> str:
    """Return why no lag is put to its gate, or nothing when it is.

    The gate protects those whom `source` serves from a long pause. Where it serves nobody any more, a refusal would
    only keep an interrupted switch from going on.
    """
    if source.guard.status == rule.OPEN or rule.UNKNOWN in (source.guard.status, to.guard.status):
        return ""
    if to.guard.status != rule.OPEN:
        return f"neither {source.name} nor {to.name} is open: an interrupted switch goes on, whatever the lag"
    if not source.streaming:
        return f"{to.name} is open already, and {source.name} does not follow it yet: the switch makes it follow"
    return ""


def why_silent(primary: Mapping[str, Any], standby: Mapping[str, Any]) -> str:
    """Return why no lag can be had, by what was read of both sides; nothing when both say that the standby streams.

    Of sides that were not prepared nothing is said here: they have no standby yet.
    """
    seen = primary.get("standby") or {}
    if not (primary.get("prepared") and standby.get("prepared")):
        return ""
    if standby.get("streaming") and seen.get("state") == "streaming":
        return ""
    if not standby.get("running"):
        return (
            f"PostgreSQL of {standby['side']} does not run: once closed it is started by Bascule alone, "
            "so not when its host boots"
        )
    if not standby.get("streaming"):
        return f"the standby at {standby['side']} runs and receives nothing from {primary['side']}"
    return f"{primary['side']} knows of no standby that streams (it says {seen.get('state') or 'nothing'})"


# Let the closed side follow, or the whole of a switch.
FOLLOW, WHOLE = "follow", "switch"


def switch(source: Side, to: Side) -> Todo:
    """Decide what moves the component from `source` to `to`, or that nothing does."""
    if rule.UNKNOWN in (source.guard.status, to.guard.status):
        if to.guard.status == rule.OPEN or (to.guard.status == rule.UNKNOWN and source.guard.status == rule.UNKNOWN):
            return Todo(NOTHING, "the component has not been prepared at both sides, so it was never moved")
        raise BasculeError(
            expected="both sides taken over by prepare",
            found=f"{source.guard.describe()}; {to.guard.describe()}",
            state="nothing was changed",
            next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {to.guard.component}",
        )
    if to.guard.status == rule.OPEN:
        if source.guard.status == rule.CLOSED:
            if source.streaming:
                return Todo(NOTHING, f"{to.name} is open and {source.name} follows it")
            return Todo(FOLLOW, f"{to.name} is open and {source.name} closed, but it does not follow yet")
        raise BasculeError(
            expected=f"{source.name} to be closed while {to.name} is open",
            found=source.guard.describe(),
            state=to.guard.describe(),
            next_command="look at both sides by hand: a guard has been changed by something else",
        )
    return Todo(WHOLE, f"{source.name} is {source.guard.status}, {to.name} is {to.guard.status}")
