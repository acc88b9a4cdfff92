"""Who leads, and what a switch has to do, from what both sides are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guard import state as rule
from bascule.guard.state import Epoch, GuardState
from bascule.guard.todo import NOTHING
from bascule.postgresql import control, decisions
from bascule.postgresql.decisions import Side


def side(name: str, status: str, **changes: Any) -> Side:
    """Make a side; a running standby unless told otherwise."""
    base = Side(
        name=name,
        guard=GuardState("db", name, status=status),
        prepared=True,
        state=control.IN_RECOVERY,
        timeline=1,
        system_id="7",
        end_lsn="0/100",
        running=True,
        in_recovery=True,
        streaming=False,
    )
    return replace(base, **changes)


PRIMARY: dict[str, Any] = {"state": control.IN_PRODUCTION, "in_recovery": False}
STOPPED: dict[str, Any] = {"state": control.SHUT_DOWN, "running": False, "in_recovery": False}


def test_the_open_side_leads() -> None:
    """While a guard is open, it says who leads."""
    assert decisions.leader(side("a", rule.OPEN, **PRIMARY), side("b", rule.CLOSED)) == "a"
    assert decisions.leader(side("a", rule.CLOSED), side("b", rule.OPEN, **PRIMARY)) == "b"


def test_a_closed_primary_leads_a_standby_that_never_opened() -> None:
    """The controller died between closing and opening, or before the promotion."""
    opening = GuardState("db", "b", promised=Epoch(1, "x"), status=rule.OPENING)
    assert decisions.leader(side("a", rule.CLOSED, **STOPPED), side("b", rule.CLOSED)) == "a"
    assert decisions.leader(side("a", rule.CLOSED, **STOPPED), side("b", rule.OPENING, guard=opening)) == "a"


def test_a_promoted_side_leads_although_its_guard_is_not_open() -> None:
    """The controller died after the promotion."""
    promoted = side("b", rule.OPENING, timeline=2, **PRIMARY)
    assert decisions.leader(side("a", rule.CLOSED, **STOPPED), promoted) == "b"
    stopped = side("b", rule.CLOSED, timeline=2, **STOPPED)
    assert decisions.leader(side("a", rule.CLOSED, **STOPPED), stopped) == "b"


def test_the_longer_log_leads_among_standbys() -> None:
    """Neither is a primary: whoever has more."""
    assert decisions.leader(side("a", rule.CLOSED, end_lsn="0/200"), side("b", rule.CLOSED)) == "a"
    assert decisions.leader(side("a", rule.CLOSED), side("b", rule.CLOSED, timeline=2)) == "b"


def test_a_crashed_primary_still_leads() -> None:
    """Its log may hold what nobody else has."""
    crashed = side("a", rule.CLOSING, state=control.IN_PRODUCTION, running=False, in_recovery=False)
    assert decisions.leader(crashed, side("b", rule.CLOSED)) == "a"


def test_two_primaries_are_an_error() -> None:
    """Bascule does not choose between two histories."""
    with pytest.raises(BasculeError, match="at most one primary"):
        decisions.leader(side("a", rule.CLOSED, **PRIMARY), side("b", rule.OPENING, **PRIMARY))


def test_nothing_is_prepared() -> None:
    """Before prepare nobody leads."""
    unknown: dict[str, Any] = {"prepared": False, "state": "", "end_lsn": ""}
    assert decisions.leader(side("a", rule.UNKNOWN, **unknown), side("b", rule.UNKNOWN, **unknown)) is None
    assert decisions.leader(side("a", rule.OPEN), side("b", rule.UNKNOWN, **unknown)) == "a"


@pytest.mark.parametrize(
    ("source", "to", "action"),
    [
        (side("a", rule.OPEN), side("b", rule.CLOSED), decisions.WHOLE),
        (side("a", rule.CLOSING), side("b", rule.CLOSED), decisions.WHOLE),
        (side("a", rule.CLOSED), side("b", rule.CLOSED), decisions.WHOLE),
        (side("a", rule.CLOSED), side("b", rule.OPENING), decisions.WHOLE),
        (side("a", rule.CLOSED), side("b", rule.OPEN), decisions.FOLLOW),
        (side("a", rule.CLOSED, streaming=True), side("b", rule.OPEN), NOTHING),
        (side("a", rule.UNKNOWN), side("b", rule.UNKNOWN), NOTHING),
        (side("a", rule.UNKNOWN), side("b", rule.OPEN), NOTHING),
    ],
)
def test_what_a_switch_does(source: Side, to: Side, action: str) -> None:
    """Every state a crash can leave has one answer."""
    assert decisions.switch(source, to).action == action


CRASHED: dict[str, Any] = {"state": control.IN_PRODUCTION, "running": False, "in_recovery": False}


@pytest.mark.parametrize(
    ("source", "to", "follows"),
    [
        (side("a", rule.OPEN, **PRIMARY), side("b", rule.CLOSED), True),
        # Nobody sends anything any more: the switch goes on with what is there.
        (side("a", rule.CLOSED, **STOPPED), side("b", rule.CLOSED), False),
        (side("a", rule.CLOSING, **STOPPED), side("b", rule.CLOSED), False),
        (side("a", rule.CLOSED), side("b", rule.CLOSED), False),
        # What died as a primary may have what nobody else has.
        (side("a", rule.CLOSING, **CRASHED), side("b", rule.CLOSED), True),
        (side("a", rule.CLOSING, **PRIMARY), side("b", rule.CLOSED), True),
        (side("a", rule.OPENING, timeline=2, **CRASHED), side("b", rule.CLOSED, **STOPPED), True),
        # Promoted, then started again closed: it stands on a timeline that the other side has yet to hear of.
        (side("a", rule.OPENING, timeline=2), side("b", rule.CLOSED, **STOPPED), True),
        (side("a", rule.OPENING, timeline=2, running=False), side("b", rule.CLOSED, **STOPPED), True),
        (side("a", rule.CLOSED, end_lsn="0/200"), side("b", rule.CLOSED), True),
        # Never over the leader.
        (side("a", rule.CLOSED), side("b", rule.CLOSED, **STOPPED), False),
        (side("a", rule.CLOSED), side("b", rule.OPEN, **PRIMARY), False),
        (side("a", rule.OPEN, prepared=False, **PRIMARY), side("b", rule.CLOSED), False),
    ],
)
def test_what_there_is_to_follow_before_a_switch(source: Side, to: Side, follows: bool) -> None:
    """A side that has stopped for good is waited for by nobody; an interrupted switch has to go on."""
    assert decisions.follows(source, to) is follows


@pytest.mark.parametrize(
    ("source", "to", "why"),
    [
        (side("a", rule.OPEN, **PRIMARY), side("b", rule.CLOSED), ""),
        # Not prepared: there has to be a sample, and there is none.
        (side("a", rule.UNKNOWN), side("b", rule.UNKNOWN), ""),
        (side("a", rule.OPEN), side("b", rule.UNKNOWN), ""),
        (side("a", rule.CLOSED), side("b", rule.UNKNOWN), ""),
        (side("a", rule.CLOSED, streaming=True), side("b", rule.OPEN), ""),
        (side("a", rule.CLOSED), side("b", rule.OPEN), "b is open already"),
        (side("a", rule.CLOSED), side("b", rule.CLOSED), "neither a nor b is open"),
        (side("a", rule.CLOSING), side("b", rule.CLOSED), "neither a nor b is open"),
        (side("a", rule.CLOSED), side("b", rule.OPENING), "neither a nor b is open"),
    ],
)
def test_the_lag_is_asked_for_those_who_are_served(source: Side, to: Side, why: str) -> None:
    """A gate that nobody can pass would keep an interrupted switch from going on."""
    assert (why in decisions.lag_unasked(source, to)) if why else decisions.lag_unasked(source, to) == ""


STREAMS = {"side": "a", "prepared": True, "standby": {"state": "streaming"}}
STANDBY = {"side": "b", "prepared": True, "running": True, "streaming": True}


@pytest.mark.parametrize(
    ("primary", "standby", "why"),
    [
        ({}, {}, ""),
        # The host has booted: nobody has started the closed side again.
        ({"standby": None}, {"running": False, "streaming": False}, "PostgreSQL of b does not run"),
        ({"standby": None}, {"streaming": False}, "the standby at b runs and receives nothing from a"),
        ({"standby": None}, {}, "a knows of no standby that streams (it says nothing)"),
        ({"standby": {"state": "catchup"}}, {}, "(it says catchup)"),
        ({"prepared": False, "standby": None}, {"running": False, "streaming": False}, ""),
        ({"standby": None}, {"prepared": False, "running": False, "streaming": False}, ""),
    ],
)
def test_a_standby_that_says_no_lag_is_named_with_the_reason(
    primary: dict[str, Any], standby: dict[str, Any], why: str
) -> None:
    said = decisions.why_silent({**STREAMS, **primary}, {**STANDBY, **standby})
    assert (why in said) if why else said == ""


@pytest.mark.parametrize("status", [rule.OPEN, rule.CLOSING, rule.OPENING])
def test_a_side_is_never_open_beside_another(status: str) -> None:
    """An open side whose other side is not closed is an error."""
    with pytest.raises(BasculeError, match="to be closed while b is open"):
        decisions.switch(side("a", status), side("b", rule.OPEN))


def test_a_half_prepared_component_is_not_switched() -> None:
    """One side is known, the other is not."""
    with pytest.raises(BasculeError, match="taken over by prepare"):
        decisions.switch(side("a", rule.OPEN), side("b", rule.UNKNOWN))


def test_a_side_from_what_the_module_returned() -> None:
    """A host without a cluster is a side as well."""
    guard = GuardState("db", "a").to_dict()
    found = Side.from_dict({"side": "a", "guard": guard, "prepared": False})
    assert not found.is_primary
    assert found.timeline == 0


def caught(**changes: Any) -> bool:
    """Say whether a standby has caught up that has, but for these changes to what was read of both sides."""
    source = {"standby": {"state": "streaming", "behind": 0}, "slot": {"status": "reserved"}}
    to = {"streaming": True, "equality_running": False}
    return decisions.caught_up(
        {name: changes.get(name, value) for name, value in source.items()},
        {name: changes.get(name, value) for name, value in to.items()},
    )


def test_a_standby_that_has_replayed_all_needs_no_sync() -> None:
    assert caught()


@pytest.mark.parametrize(
    "changes",
    [
        {"standby": {"state": "streaming", "behind": 1}},
        {"standby": {"state": "streaming", "behind": None}},
        {"standby": {"state": "catchup", "behind": 0}},
        {"standby": {}},
        {"standby": None},
        {"slot": {"status": "lost"}},
        {"slot": None},
        {"slot": {}},
        {"streaming": False},
        {"streaming": None},
        {"equality_running": True},
    ],
)
def test_a_standby_about_which_anything_is_in_doubt_is_synced(changes: dict[str, Any]) -> None:
    assert not caught(**changes)


def test_what_does_not_run_has_not_caught_up() -> None:
    assert not decisions.caught_up({}, {})
