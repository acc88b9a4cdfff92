"""From every state that a kill or a failure leaves, what `status` prints as next is accepted in that state."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bascule.errors import GuardRefused
from bascule.guard import lost
from bascule.guard import state as rule
from bascule.guard.state import Epoch, GuardState, Word
from bascule.plugin import standing
from bascule.plugin.standing import Component
from bascule.run import position
from bascule.run.last import Last
from bascule.run.position import Side, Sides

from . import telling

NAMES = ("montpellier", "toulouse")
SOURCE, TARGET = "db-mtp", "db-tls"
PREPARED = (rule.adopt_open(GuardState("db", SOURCE)), rule.adopt_closed(GuardState("db", TARGET)))
Pair = tuple[GuardState, GuardState]
LASTS = [
    Last(),
    *(
        Last(phase, verb, "db", "now", "here", outcome)
        for phase in ("cutover", "rollback")
        for verb in ("freeze", "switch", "thaw")
        for outcome in ("ok", "failed", "not ended")
    ),
]
# Which of source, target, and their journals do not answer.
SILENT = [(), ("source",), ("target",), ("journal",), ("source", "journal"), ("target", "journal")]


def steps(pair: Pair) -> Iterator[Pair]:
    """Return what one durable step of a freeze, a switch, a take-back or a loss makes of the pair."""
    for own, other in ((0, 1), (1, 0)):
        mine, theirs = pair[own], pair[other]
        epoch = rule.next_epoch(*pair, "x")
        word = Word(theirs.side, rule.beyond(mine, "w"), "Nadia", "power cut", "now")
        promised = mine.promised or epoch
        for step in (
            lambda m=mine: rule.freeze(m),
            lambda m=mine: rule.thaw(m),
            lambda m=mine, e=epoch: rule.promise(m, e),
            lambda m=mine, e=promised: rule.closed(m, e, {}, "now")[0],
            lambda m=mine, e=promised: rule.withdraw(m, e, frozen=True),
            lambda m=mine, t=theirs: rule.may_open(m, t.receipt.epoch, t.receipt, True) if t.receipt else m,
            lambda m=mine, e=promised: rule.opened(m, e),
            lambda m=mine, w=word: lost.open_by_word(m, w.epoch, w),
            lambda m=mine, t=theirs, e=epoch: lost.give_way(m, t, e),
            lambda m=mine: GuardState(m.component, m.side),
        ):
            try:
                made = step()
            except GuardRefused:
                continue
            if made != mine:
                yield (made, theirs) if own == 0 else (theirs, made)


def reached() -> list[Pair]:
    """Return the pairs within six steps of a prepared one, each once by what status and the judges look at."""

    def look(pair: Pair) -> object:
        order = sorted({e for s in pair for e in (s.promised, s.opened, s.gave_way, s.word and s.word.epoch) if e})
        rank = {epoch: number for number, epoch in enumerate(order)}
        return [
            (
                s.status,
                s.frozen,
                *(rank.get(e) if e else None for e in (s.promised, s.opened, s.gave_way)),
                bool(s.word),
            )
            for s in pair
        ]

    seen: dict[str, Pair] = {str(look(PREPARED)): PREPARED}
    edge = [PREPARED]
    for _ in range(6):
        edge = [seen.setdefault(str(look(n)), n) for pair in edge for n in steps(pair) if str(look(n)) not in seen]
    return list(seen.values())


PAIRS = reached()


def accepts(command: str, pair: Pair, silent: tuple[str, ...]) -> bool:
    """Return whether a playbook's own judges let this component through."""
    source = Side(SOURCE, "Montpellier", None if "source" in silent else pair[0], "timed out")
    target = Side(TARGET, "Toulouse", None if "target" in silent else pair[1], "timed out")
    journal = "journal" in silent
    for name, left, entered in (("60_cutover", source, target), ("rollback", target, source)):
        if name in command:
            component = Component("db", left, entered, False, False, "")
            if standing.is_alone(component, journal):
                return True
            if standing.obstacle(component, journal):
                return False
            lost.must_be_known(*pair)
            return rule.UNKNOWN not in {s.status for s in pair}
    if "site_back" in command:
        return not set(silent) & {"source", "target"} and any(lost.has_to_give_way(a, b) for a, b in (pair, pair[::-1]))
    if "70_verify" in command or "30_sync" in command:
        lost.must_be_known(*pair)
        return not set(silent) & {"source", "target"}
    return "status" in command or "20_prepare" in command or "10_audit" in command


def test_many_states_are_walked() -> None:
    assert len(PAIRS) > 150
    assert {s.status for pair in PAIRS for s in pair} == set(rule.STATUSES)
    assert any(lost.has_to_give_way(*pair) for pair in PAIRS)


@pytest.mark.parametrize("silent", SILENT, ids=lambda silent: "+".join(silent) or "all answer")
def test_what_status_prints_is_accepted(silent: tuple[str, ...]) -> None:
    for pair, last in itertools.product(PAIRS, LASTS):
        sides = Sides(
            "db",
            Side(SOURCE, "Montpellier", None if "source" in silent else pair[0], "timed out"),
            Side(TARGET, "Toulouse", None if "target" in silent else pair[1], "timed out"),
        )
        if rule.gave_up(*pair) and rule.gave_up(*pair[::-1]):
            # Two histories, each declared to be the one that counts: only a person can go on.
            continue
        stands = position.standing(sides)
        said = telling.following([stands], last, *NAMES, silent="journal" in silent)
        commands = re.findall(r"(?:ansible-playbook )?playbooks/(\w+)\.yml", said)
        assert commands or stands.where in ("both", "guard-lost"), said
        for command in commands:
            assert accepts(command, pair, silent), f"{command} for {stands.words} after {last}: {said}"
        if stands.where in ("source-frozen", "target-frozen", "held") and not silent:
            assert set(commands) & {"60_cutover", "rollback"}, said


@pytest.mark.parametrize(("dead", "where"), [("target", "source-frozen-alone"), ("source", "target-frozen-alone")])
def test_what_status_prints_beside_one_that_is_alone_is_accepted_by_both(dead: str, where: str) -> None:
    """A machine has died in the window, and another component stands anywhere: one command lets users in again."""
    named = 0

    def sides(pair: Pair, silent: tuple[str, ...]) -> Sides:
        source = Side(SOURCE, "Montpellier", None if "source" in silent else pair[0], "timed out")
        return Sides("db", source, Side(TARGET, "Toulouse", None if "target" in silent else pair[1], "timed out"))

    alone = next(pair for pair in PAIRS if position.standing(sides(pair, (dead,))).where == where)
    for pair in PAIRS:
        if rule.gave_up(*pair) and rule.gave_up(*pair[::-1]):
            continue
        both = [position.standing(sides(alone, (dead,))), position.standing(sides(pair, ()))]
        said = telling.following(both, Last("cutover", "switch", "db", "now", "here", "failed"), *NAMES)
        for command in re.findall(r"playbooks/(rollback|60_cutover)\.yml", said):
            named += 1
            assert accepts(command, alone, (dead,)), said
            assert accepts(command, pair, ()), f"{both[1].words}: {said}"
    assert named > 50


def test_no_state_is_called_two_histories_that_one_word_has_made() -> None:
    for pair in PAIRS:
        if not all(s.word for s in pair):
            rule.leader(*(replace(s, status="closed") if s.status == "open" else s for s in pair))
    assert Epoch(1, "x") < rule.beyond(PREPARED[1], "w")
