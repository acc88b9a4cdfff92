"""What each verb does from every state two sides can be in, and what an audit finds."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.filetree import audit, decisions
from bascule.filetree.decisions import DecisionError
from bascule.guard.state import ADOPTED, Epoch, GuardState, Word
from bascule.guard.todo import NOTHING
from bascule.system import link_rate
from bascule.system.link_rate import RateError

E1, E2 = Epoch(1, "a"), Epoch(2, "b")


def side(name: str, status: str, **more: Any) -> GuardState:
    return GuardState("c", name, status=status, **more)


OPEN = side("mtp", "open", opened=ADOPTED, promised=ADOPTED)
FROZEN = side("mtp", "open", opened=ADOPTED, promised=ADOPTED, frozen=True)
CLOSED = side("mtp", "closed", opened=ADOPTED, promised=E1)
NEVER = side("tls", "closed")
OPENED = side("tls", "open", opened=E1, promised=E1)
OPENING = side("tls", "opening", promised=E1)


@pytest.mark.parametrize(
    ("source", "target", "act", "standing"),
    [
        (OPEN, NEVER, True, False),
        (FROZEN, NEVER, True, True),
        (CLOSED, NEVER, True, True),
        (side("mtp", "closing", opened=ADOPTED, promised=E1), NEVER, True, False),
        (NEVER, OPEN, False, False),
        (CLOSED, OPENED, False, False),
        (CLOSED, OPENING, False, False),
        (OPENED, CLOSED, True, False),
        (OPENING, CLOSED, True, False),
        (side("mtp", "unknown"), side("tls", "unknown"), False, False),
    ],
)
def test_sync_goes_from_the_latest_data_only(source: GuardState, target: GuardState, act: bool, standing: bool) -> None:
    found = decisions.sync(source, target)
    assert (found.action, found.standing) == (decisions.CARRY if act else NOTHING, standing)
    assert found.reason


def test_sync_never_goes_into_a_side_that_is_not_closed() -> None:
    with pytest.raises(DecisionError, match="so that it can receive"):
        decisions.sync(OPEN, side("tls", "unknown"))


@pytest.mark.parametrize(
    ("source", "target", "act"),
    [
        (CLOSED, OPENED, False),
        (NEVER, OPEN, False),
        (OPEN, NEVER, True),
        (CLOSED, NEVER, True),
        (CLOSED, OPENING, True),
    ],
)
def test_switch_does_nothing_once_it_is_done(source: GuardState, target: GuardState, act: bool) -> None:
    assert decisions.switch(source, target).action == (decisions.SWITCH if act else NOTHING)


def test_switch_wants_two_prepared_sides() -> None:
    with pytest.raises(DecisionError, match="20_prepare"):
        decisions.switch(OPEN, side("tls", "unknown"))


@pytest.mark.parametrize(
    ("source", "target", "leader", "standing"),
    [
        (OPEN, NEVER, "mtp", False),
        (NEVER, FROZEN, "mtp", True),
        (CLOSED, OPENED, "tls", False),
        (CLOSED, NEVER, "mtp", True),
    ],
)
def test_verify_looks_from_the_leading_side(
    source: GuardState, target: GuardState, leader: str, standing: bool
) -> None:
    found = decisions.verify(source, target)
    assert (found.action, found.leader, found.standing) == (decisions.COMPARE, leader, standing)


def test_verify_without_a_leader_has_nothing_to_do() -> None:
    assert decisions.verify(side("mtp", "unknown"), NEVER).action == NOTHING


def test_no_pair_of_states_makes_a_decision_that_contradicts_itself() -> None:
    states = ["open", "closing", "closed", "opening", "unknown"]
    for one, other in product(states, states):
        if one == other == "open":
            continue
        source = side("mtp", one, opened=ADOPTED if one != "unknown" else None, promised=E1)
        target = side("tls", other, promised=E2 if other == "opening" else None, opened=E2 if other == "open" else None)
        try:
            found = decisions.sync(source, target)
        except (DecisionError, GuardRefused):
            continue
        assert found.action == NOTHING or found.leader == "mtp"
        assert found.action == NOTHING or target.status in ("closed", "closing")


def test_reached_by_itself_only_when_it_was_open_later() -> None:
    assert decisions.reached(OPENED, {"opened": "0.adopted"}) is True
    assert decisions.reached(OPENING, {"opened": ""}) is True
    assert decisions.reached(OPEN, {"opened": "1.a"}) is None
    assert decisions.reached(NEVER, {"opened": ""}) is None
    assert decisions.reached(OPENED, {"opened": "1.a"}) is None


def found(**changes: Any) -> dict[str, Any]:
    survey = {
        "bytes": 1000, "entries": 10, "size_bytes": 5000, "free_bytes": 4000, "free_inodes": 100, "acls": True,
        "xattrs": True, "nested_mounts": [], "rsync": "3.2.7", "b3sum": "1.2.0",
    }  # fmt: skip
    mounts = {"state": "active", "root": "/", "kind": "ext4"}
    return {
        "mounts": {**mounts, **{k: v for k, v in changes.items() if k in mounts}},
        "survey": {**survey, **{k: v for k, v in changes.items() if k not in mounts}},
    }


def faults(here: dict[str, Any], there: dict[str, Any], difference: float = 0.0) -> list[str]:
    return audit.faults("mtp", here, "tls", there, room_percent=10, clock_difference=difference, clock_limit=5)


def test_a_tree_that_fits_has_no_faults() -> None:
    assert faults(found(), found()) == []
    assert faults(found(), found(free_bytes=150, bytes=1000, free_inodes=0)) == []


@pytest.mark.parametrize(
    ("there", "text"),
    [
        ({"size_bytes": 1050}, "1100 are needed"),
        ({"free_bytes": 50, "bytes": 20}, "50 bytes free"),
        ({"free_inodes": 2, "entries": 1}, "2 inodes free"),
        ({"acls": False}, "does not keep acls"),
        ({"xattrs": False}, "does not keep xattrs"),
        ({"rsync": ""}, "rsync is not installed on tls"),
        ({"b3sum": ""}, "b3sum is not installed on tls"),
        ({"nested_mounts": ["/srv/x/y"]}, "mounted inside the tree on tls: /srv/x/y"),
        ({"root": "/sub"}, "a part of another file system"),
        ({"state": "absent"}, "no file system of its own"),
        ({"refused_in": ["PermitRootLogin no"]}, "the SSH server of tls would not let root in"),
    ],
)
def test_every_fault_is_named(there: dict[str, Any], text: str) -> None:
    assert any(text in one for one in faults(found(), found(**there)))


def test_what_a_freeze_would_meet_is_told_before_the_evening() -> None:
    assert audit.notes("mtp", found()) == []
    survey = {
        "writers": ["php-fpm (process 7): /srv/x/a"],
        "exports": ["/srv/x to 10.0.0.0/8"],
    }
    open_now, exported = audit.notes("mtp", {"survey": survey})
    assert open_now == (
        "open for writing on mtp at this moment: php-fpm (process 7): /srv/x/a; a freeze fails while that is so"
    )
    assert exported.startswith("mtp exports /srv/x to 10.0.0.0/8 by NFS: what its clients hold open is not seen")
    (long,) = audit.notes("mtp", {"survey": {"writers": ["x" * 9000]}})
    assert len(long) < 400, "one process with many files fills no screen"


def test_what_a_host_lacks_is_named_with_the_command_to_type_there() -> None:
    debian = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'
    assert faults(found(b3sum="", distribution=debian), found(rsync="", b3sum="", distribution=debian)) == [
        "b3sum is not installed on mtp: apt-get install b3sum",
        "rsync and b3sum is not installed on tls: apt-get install rsync b3sum",
    ]


def test_owners_that_the_other_side_lacks_are_a_fault() -> None:
    assert faults(found(), found(unmatched_owners=["user amina does not exist at tls"])) == [
        "user amina does not exist at tls"
    ]


def test_clocks_that_differ_are_a_fault() -> None:
    assert faults(found(), found(), -6.3) == ["the clocks differ by 6.3 s (at most 5 s)"]


def test_the_rate_is_judged_after_the_buffers_at_the_receiver() -> None:
    burst = [(0.1, 10_000_000)] * 5
    steady = [(0.1, 2_500_000)] * 20
    assert link_rate.judge([*burst, *steady, (0.01, 1)])["mbit"] == pytest.approx(200, rel=0.01)
    assert link_rate.judge([*burst, *steady, (0.01, 1)])["lowest_mbit"] == pytest.approx(200, rel=0.01)


@pytest.mark.parametrize("intervals", [[], [(0.1, 5)] * 6, [(0.0, 0)] * 30])
def test_too_little_is_no_measurement(intervals: list[tuple[float, int]]) -> None:
    with pytest.raises(RateError, match="at least 3 intervals"):
        link_rate.judge(intervals)
    assert math.isfinite(link_rate.INTERVAL)


def test_what_may_be_lost_is_said_by_the_notes_of_the_side_that_is_left() -> None:
    agreed = {"agreed": "closed for 3.a", "agreed_at": 1764532800}
    said = decisions.may_lack(agreed, False)
    assert said == "both trees were proved to be the same at 2025-11-30T20:00:00+00:00 (closed for 3.a)"
    assert decisions.may_lack({**agreed, "touched": True}, False) == f"{said}; a transfer has changed some files since"
    assert "cut short since: some files are newer than others" in decisions.may_lack({**agreed, "touched": True}, True)
    for unknown in ({}, {"agreed": "", "agreed_at": 5}, {"agreed": "x"}):
        assert decisions.may_lack(unknown, False) == "it is not known when both trees were the same"


def test_nothing_is_carried_or_switched_for_a_side_that_is_back_and_has_not_closed() -> None:
    epoch = Epoch(1001, "w")
    there = GuardState("c", "tls", epoch, "open", epoch, word=Word("mtp", epoch, "Nadia", "power cut", "now"))
    back = GuardState("c", "mtp", Epoch(5, "a"), "open", Epoch(5, "a"))
    for decide in (decisions.sync, decisions.switch):
        for pair in ((back, there), (there, back)):
            with pytest.raises(GuardRefused, match="looked through for what it alone has"):
                decide(*pair)
