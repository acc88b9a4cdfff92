"""A site is lost for good, and comes back: the playbooks and what status says, in a real ansible-playbook."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from bascule.guard import lost
from bascule.guard import state as rule
from bascule.guard.state import Epoch, GuardState, Word

from .test_play import ROOT, World, have_moved, never_left, said, verbs_said, world

__all__ = ["world"]
GIVEN = ("-e", "site=Montpellier", "-e", "by=Nadia", "-e", '{"fenced": "power cut at the PDU"}')


def are_held(world: World) -> tuple[GuardState, GuardState]:
    """Let both components be closed for a switch that never ended."""
    never_left(world)
    for name in ("low", "top"):
        epoch = Epoch(1, "d")
        shut, _ = rule.closed(rule.promise(rule.adopt_open(GuardState(name, "a-mtp")), epoch), epoch, {}, "now")
        world.stands("a-mtp", name, shut)
    return shut, rule.adopt_closed(GuardState(name, "a-tls"))


def by_word(state: GuardState) -> GuardState:
    """Open a side without the other one."""
    epoch = rule.beyond(state, "w")
    return rule.opened(lost.open_by_word(state, epoch, Word("a-mtp", epoch, "Nadia", "power cut", "now")), epoch)


def is_back(world: World) -> None:
    """Let the target be open by a word, and the source be back as it was."""
    never_left(world)
    for name in ("low", "top"):
        world.stands("a-tls", name, by_word(rule.adopt_closed(GuardState(name, "a-tls"))))


def status(world: World) -> str:
    """Ask where the run stands."""
    rc, output = world.move("status.yml")
    assert rc == 0, output
    return output


def test_a_lost_site_is_given_up_by_a_persons_word(world: World) -> None:
    are_held(world)
    world.are_down("a-mtp", "j-mtp")
    rc, output = world.move("site_lost.yml", *GIVEN)
    assert rc == 0, output
    assert "montpellier is given up as lost by Nadia, fenced: power cut at the PDU. What may be lost:" in output
    assert re.search(r"low: nobody knows since when", output)
    assert verbs_said(output) == [("low", "take_over"), ("top", "take_over"), ("low", "thaw"), ("top", "thaw")]
    words = [line.split() for line in said(output)]
    assert {(w[2], w[3]) for w in words} == {("a-mtp", "a-tls")}
    assert output.index("What may be lost") < output.index("SITE_LOST: GO")
    given = [e["data"]["lost"] for e in world.entries if e["data"].get("decision") == "GO"]
    assert given == [
        {
            "site": "montpellier",
            "by": "Nadia",
            "fenced": "power cut at the PDU",
            "direction": "forward",
            "hosts": {"low": "a-mtp", "top": "a-mtp"},
        }
    ]
    assert world.copy("j-tls") == world.entries
    assert '\\"about\\": \\"a-mtp\\"' in output
    assert re.search(r'\\"epoch\\": \\"1001\.', output), "above what the lost side may have promised"


def test_words_in_the_inventory_are_nobodys(world: World) -> None:
    are_held(world)
    world.are_down("a-mtp", "j-mtp")
    world.answer_verbs()
    (world.path / "inventory/group_vars/all/go.yml").write_text("{confirm: toulouse, by: Nadia, fenced: power cut}\n")
    for playbook in ("site_lost.yml", "guard_lost.yml"):
        rc, output = world.run(playbook=ROOT / "playbooks" / playbook, arguments=("-e", "site=montpellier"))
        assert rc == 2
        assert "by '', fenced ''" in " ".join(output.split())
        assert verbs_said(output) == []
    rc, output = world.run(playbook=ROOT / "playbooks/site_lost.yml", arguments=GIVEN)
    assert rc == 2
    assert "exactly: toulouse; found: nothing; state now: NO-GO" in " ".join(output.split())
    assert verbs_said(output) == []


def test_what_answers_is_not_given_up(world: World) -> None:
    are_held(world)
    world.are_down("j-mtp")
    rc, output = world.move("site_lost.yml", *GIVEN)
    assert rc == 2
    assert "low: a-mtp answers, it is closed" in output
    assert said(output) == []


def test_nothing_goes_on_where_the_side_that_is_left_does_not_answer(world: World) -> None:
    are_held(world)
    world.are_down("a-mtp", "a-tls")
    rc, output = world.move("site_lost.yml", *GIVEN)
    assert rc == 2
    assert "a-tls, the side that is left, does not answer" in output
    assert said(output) == []


def test_a_site_is_not_given_up_without_who_and_how(world: World) -> None:
    are_held(world)
    world.are_down("a-mtp")
    for given, words in (
        (
            ("-e", "site=montpellier", "-e", "by=Nadia"),
            "how it was made sure that nothing at montpellier accepts writes",
        ),
        (
            (*GIVEN, "-e", "confirm=montpellier"),
            "the name of the site that shall be active after site_lost, exactly: toulouse",
        ),
    ):
        rc, output = world.move("site_lost.yml", *given)
        assert rc == 2, output
        assert words in output
        assert said(output) == []


def test_the_side_that_is_back_is_let_in_by_nothing(world: World) -> None:
    is_back(world)
    output = status(world)
    assert "BACK AFTER IT WAS GIVEN UP: a-mtp open 0 must not serve; a-tls open 1001" in output
    following = "keep users away from the side that is back; ansible-playbook playbooks/site_back.yml -i inventory"
    assert f"Next: {following}\n" in output
    rc, output = world.move("site_back.yml")
    assert rc == 0, output
    assert verbs_said(output) == [("top", "give_way"), ("low", "give_way")]


def test_the_journal_tells_of_the_side_that_is_back_while_the_other_is_silent(world: World) -> None:
    """It holds its permit as far as it knows: it would be let in again as one that is alone."""
    are_held(world)
    world.are_down("a-mtp", "j-mtp")
    rc, output = world.move("site_lost.yml", *GIVEN)
    assert rc == 0, output
    is_back(world)
    for host in ("a-mtp", "j-mtp"):
        (world.hosts / f"{host}.down").unlink()
    for silent in ("a-tls", ""):
        if silent:
            world.are_down(silent)
        else:
            (world.hosts / "a-tls.down").unlink()
        rc, output = world.roll_back()
        assert rc == 2
        assert "low: a-mtp was given up as lost and is back" in output
        assert said(output) == []
        assert "playbooks/site_back.yml" in status(world)
    rc, output = world.move("site_back.yml")
    assert rc == 0, output
    for name in ("low", "top"):
        there = by_word(rule.adopt_closed(GuardState(name, "a-tls")))
        way = rule.next_epoch(rule.adopt_open(GuardState(name, "a-mtp")), there, "b")
        gone = lost.give_way(rule.adopt_open(GuardState(name, "a-mtp")), there, way)
        world.stands("a-mtp", name, rule.closed(gone, way, {}, "now")[0])
    assert "active at Toulouse (a-mtp closed 1002, a-tls open 1001)" in status(world)
    rc, output = world.roll_back()
    assert rc == 0, output
    assert ("low", "switch") in verbs_said(output)


def test_status_names_a_lost_guard(world: World) -> None:
    have_moved(world)
    world.stands("a-tls", "low", GuardState("low", "a-tls"))
    output = status(world)
    assert "THE GUARD OF a-tls IS LOST (a-mtp closed 1, a-tls unknown)" in output
    assert "Next: docs/runbooks/guard_lost.md" in output


def test_no_epoch_is_chosen_for_a_side_that_is_back_or_has_lost_its_guard(world: World) -> None:
    shut, there = are_held(world)
    pairs = ((shut, GuardState("top", "a-tls")), (replace(shut, promised=Epoch(2, "e")), by_word(there)))
    tasks = [
        {"name": "Choose the epoch", "bascule_epoch": {"from_guard": a.to_dict(), "to_guard": b.to_dict()}}
        for a, b in pairs
    ]
    rescue = [{"ansible.builtin.debug": {"msg": "it was refused"}}]
    plays = [
        {"hosts": "components", "gather_facts": False, "tasks": [{"block": [task], "rescue": rescue}]} for task in tasks
    ]
    rc, output = world.run(json.dumps(plays), arguments=("--limit", "top"))
    assert rc == 0, output
    assert output.count("it was refused") == 2
    assert "it may hold what nobody else has" in output
    assert "looked through for what it alone has" in output


def test_who_serves_is_told_once_the_side_that_is_back_has_closed(world: World) -> None:
    here, there = rule.adopt_open(GuardState("top", "a-mtp")), by_word(rule.adopt_closed(GuardState("top", "a-tls")))
    way = rule.next_epoch(here, there, "b")
    closing = lost.give_way(here, there, way)
    gone, _ = rule.closed(closing, way, {}, "now")
    told = lost.settle(there, gone)
    cases = (
        (here, there, "a-mtp back, no one told"),
        (closing, there, "a-mtp back, no one told"),
        (gone, there, "none back, a-tls told of a-mtp"),
        (there, gone, "none back, a-tls told of a-mtp"),
        (gone, told, "none back, no one told"),
        (here, GuardState("top", "a-tls"), "none back, no one told"),
    )
    say = (
        "{{ found.side or 'none' }} back, {{ found.told or 'no one' }} told"
        "{{ ' of ' ~ found.gone_guard.side if found.told else '' }}."
    )
    tasks = [
        task
        for a, b, _ in cases
        for task in (
            {"bascule_gives_way": {"from_guard": a.to_dict(), "to_guard": b.to_dict()}, "register": "found"},
            {"ansible.builtin.debug": {"msg": say}},
        )
    ]
    plays = [{"hosts": "components", "gather_facts": False, "tasks": tasks}]
    rc, output = world.run(json.dumps(plays), arguments=("--limit", "top"))
    assert rc == 0, output
    assert re.findall(r'"msg": "(.* back, .* told.*)\."', output) == [words for *_, words in cases]


def test_a_side_that_may_be_the_latest_does_not_give_way_without_its_guard(world: World) -> None:
    """It was back, gave way, was switched to as ever, and lost its guard; the survivor was never told."""
    there = by_word(rule.adopt_closed(GuardState("top", "a-tls")))
    epoch = rule.next_epoch(there, there, "s")
    shut, _ = rule.closed(rule.promise(there, epoch), epoch, {}, "now")
    guards = {"from_guard": GuardState("top", "a-mtp").to_dict(), "to_guard": shut.to_dict()}
    plays = [{"hosts": "components", "gather_facts": False, "tasks": [{"bascule_gives_way": guards}]}]
    rc, output = world.run(json.dumps(plays), arguments=("--limit", "top"))
    assert rc == 2, output
    assert "the guard of top at a-mtp is lost, and it may hold what nobody else has" in output


def test_a_lost_guard_is_taken_over_by_who_says_which_side_is_the_latest(world: World) -> None:
    have_moved(world)
    tasks = world.path / "roles/toy/tasks"
    rc, _ = world.move("status.yml")
    assert rc == 0
    (tasks / "reopen.yml").write_text((tasks / "thaw.yml").read_text())
    rc, output = world.move("guard_lost.yml", *GIVEN)
    assert rc == 0, output
    words = [line.split() for line in said(output)]
    assert [w[:4] for w in words] == [["low", "reopen", "a-mtp", "a-tls"], ["top", "reopen", "a-mtp", "a-tls"]]
    assert not [e for e in world.entries if "lost" in e["data"]], "no site was given up"
    (word,) = [e["data"]["word"] for e in world.entries if "word" in e["data"]]
    assert word["by"] == "Nadia"
    assert "guard_lost: the word of Nadia about " in (world.path / "runs/latest/report.md").read_text()
