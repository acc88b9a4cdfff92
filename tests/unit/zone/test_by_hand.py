"""A person changes the records: what to do is said exactly, and only what the server says then counts."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from bascule.dns import by_hand, planner
from bascule.dns.by_hand import NotDone
from bascule.dns.planner import Change

from .test_action import act
from .world import SIDES, ZONE, World

MANUAL: dict[str, Any] = {"update": "manual", "variables": {}}


def change(made: World) -> Change:
    """Return what prepare wants of the first server."""
    found = planner.survey(ZONE, [made.read(host) for host in SIDES])
    return planner.plan_prepare(ZONE, found, *SIDES, 5, 1000)[0]


def test_what_to_do_is_said_as_lines_of_a_zone_file() -> None:
    wanted = change(World())
    first, *records, state = by_hand.instruction(wanted, "example.org").splitlines()
    assert first.startswith("At ns-a (192.0.2.53), in the zone example.org, make these record sets say")
    assert records == [
        "  courses.example.org. 5 A 192.0.2.1",
        "  www.example.org. 5 CNAME entrance-a.example.org.",
    ]
    assert state.startswith('  _bascule.example.org. 0 TXT "{\\"format\\":1,')
    one = replace(wanted, after=(wanted.after[0], wanted.before[1]), state_before=wanted.state_after)
    assert by_hand.instruction(one, "example.org").splitlines()[1:] == records[:1], "what stays is not named"


def test_it_is_waited_for_with_a_line_every_half_minute() -> None:
    """The clock is the test's; a half-made change is not taken for the whole."""
    made, now = World(), [0.0]
    said: list[str] = []
    wanted = change(made)

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] == 40:
            made.servers["ns-a"].state = wanted.state_after
        elif now[0] == 70:
            made.write(replace(wanted, state_before=wanted.state_after))

    by_hand.await_hand(wanted, "example.org", made.read, said.append, 900, sleep, lambda: now[0])
    assert [line.partition(":")[0] for line in said[1:-1]] == ["Waiting since 30 of 900 s", "Waiting since 60 of 900 s"]
    assert "_bascule is not what" in said[1]
    assert "_bascule" not in said[2]
    assert "courses.example.org./A is not 192.0.2.1 (TTL 5)" in said[2]
    assert said[-1] == "ns-a says so."


def test_what_was_not_seen_in_time_is_named() -> None:
    made = World()
    wanted = change(made)
    made.servers["ns-a"].up = False
    with pytest.raises(NotDone, match="ns-a: does not answer"):
        by_hand.await_hand(wanted, "example.org", made.read, lambda _: None, 0)


def test_a_move_by_hand_needs_no_key_and_asks_every_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The person does at once what is said; the same verbs, facts and refusals as with signed updates."""
    said: list[str] = []
    monkeypatch.setattr("ansible.utils.display.Display.display", lambda _, text, **__: said.append(text))
    asked: list[Change] = []
    instruction = by_hand.instruction

    def does(wanted: Change, zone: str) -> str:
        asked.append(wanted)
        return instruction(wanted, zone)

    monkeypatch.setattr(by_hand, "instruction", does)
    assert act("audit", **MANUAL)["wrong"] == []
    assert act("prepare", check=True, **MANUAL)["changed"]
    assert len(said) == len(asked) == 2
    assert said[0].startswith("A person would have to do this. At ns-a")
    assert [server.updates for server in world.servers.values()] == [[], []]
    with pytest.raises(planner.DnsRefused, match="by hand within 0 s"):
        act("prepare", manual_wait=0.0, **MANUAL)

    def does_it(wanted: Change, zone: str) -> str:
        world.write(wanted)
        return instruction(wanted, zone)

    monkeypatch.setattr(by_hand, "instruction", does_it)
    assert act("prepare", manual_wait=0.0, **MANUAL)["active"] == "ns-a"
    assert act("switch", manual_wait=0.0, **MANUAL)["active"] == "ns-b"
    assert not act("switch", manual_wait=0.0, **MANUAL)["changed"]
    assert world.values("ns-b") == {"198.51.100.1", "entrance-b.example.org."}


def test_caches_are_counted_from_when_all_servers_were_seen_to_tell_the_new(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate dns_ttl must not say GO while a cache took the answer of before after the run had begun."""
    clock = [1000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    instruction = by_hand.instruction

    def does_it(wanted: Change, zone: str) -> str:
        clock[0] += 700
        world.write(wanted)
        return instruction(wanted, zone)

    monkeypatch.setattr(by_hand, "instruction", does_it)
    told = act("prepare", **MANUAL)
    assert told["ttl_left"] == 300
    assert told["seen"] == {"example.org": {"lowered_at": 1000, "seen_at": 2400}}
    clock[0] = 2500
    kept = {"seen": told["seen"]}
    assert act("look", captured=kept, **MANUAL)["ttl_left"] == 200
    again = act("prepare", captured=kept, **MANUAL)
    assert (again["changed"], again["seen"], again["ttl_left"]) == (False, told["seen"], 200)
    assert act("look", **MANUAL)["ttl_left"] == 300, "nobody has kept when it was seen"
    other = {"seen": {"example.org": {"lowered_at": 5, "seen_at": 6}}}
    assert act("look", captured=other, **MANUAL)["ttl_left"] == 300, "of another lowering"


def test_a_person_who_is_hours_late_does_not_end_the_wait_of_the_caches_early(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written into the zone says when it was decided, not when it was done."""
    clock = [1000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    instruction, told = by_hand.instruction, []

    def is_told(wanted: Change, zone: str) -> str:
        told.append(wanted)
        return instruction(wanted, zone)

    monkeypatch.setattr(by_hand, "instruction", is_told)
    with pytest.raises(planner.DnsRefused, match="by hand within 0 s"):
        act("prepare", manual_wait=0.0, **MANUAL)
    clock[0] = 20000
    for wanted in told:
        world.write(wanted)
    clock[0] = 20010
    late = act("look", captured={}, **MANUAL)
    assert late["ttl_left"] == 300
    assert [("20_prepare.yml again" in text) for text in late["faults"]] == [True], "else it never ends"
    assert act("look", **MANUAL)["faults"] == []
    seen = act("prepare", **MANUAL)
    assert (seen["changed"], seen["ttl_left"]) == (False, 300)
    clock[0] = 20110
    known = act("look", captured={"seen": seen["seen"]}, **MANUAL)
    assert (known["ttl_left"], known["faults"]) == (200, [])
