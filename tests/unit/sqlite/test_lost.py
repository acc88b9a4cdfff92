"""A side, or its guard, is lost: what is left opens by a word, and who is back gives way with all that it has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.guard import lost
from bascule.guard.io import store
from bascule.guard.state import GuardState, Receipt, Word, beyond, next_epoch
from bascule.sqlite.decisions import SqliteError
from bascule.sqlite.io.fence import Place
from bascule.sqlite.io.side import Side

from .conftest import Make, fetch, made
from .test_side import database_of, insert, moved, names


def as_seen(side: Side, by: Side) -> GuardState:
    """Return a side's guard as the other one reads it; here their components differ, as both are on one host."""
    guard = side.guard()
    receipt = guard.receipt and replace(guard.receipt, component=by.component)
    return replace(guard, component=by.component, receipt=receipt)


def given_up(survivor: Side, lost_side: Side) -> None:
    """Open a side by a person's word that the other one is lost."""
    epoch = beyond(survivor.guard(), "w")
    survivor.take_over(Word(lost_side.side, epoch, "Nadia", "power cut at the PDU", "now"))


def test_a_side_that_is_left_opens_by_a_word_and_the_lost_one_gives_way_when_it_is_back(make: Make) -> None:
    a, b = make("a", "open"), make("b", "closed")
    made(database_of(a))
    b.fenced()
    with pytest.raises(SqliteError, match="a copy of every database at b"):
        given_up(b, a)
    assert b.guard().status == "closed"
    b.pull([{**one, "path": b.places[0].path} for one in a.publish()["copies"]], fetch)
    insert(a, "never carried")
    given_up(b, a)
    assert (b.mode(), b.guard().status, b.guard().frozen) == ("closed", "open", True)
    b.thaw()
    insert(b, "since")
    # It is back, and serves whoever finds it: nothing goes on before it has closed.
    with pytest.raises(GuardRefused, match="looked through for what it alone has"):
        lost.must_have_given_way(as_seen(a, b), b.guard())
    epoch = next_epoch(a.guard(), as_seen(b, a), "g")
    closed = a.close(str(epoch), as_seen(b, a))
    assert (closed["changed"], a.mode(), a.guard().status) == (True, "closed", "closed")
    with pytest.raises(GuardRefused):
        a.thaw()
    lost.must_have_given_way(as_seen(a, b), b.guard())
    assert store.settled(b.component, "b", as_seen(a, b))[1]
    assert not store.settled(b.component, "b", as_seen(a, b))[1]
    a.pull([{**one, "path": a.places[0].path} for one in b.publish()["copies"]], fetch)
    assert names(a.places[0].kept) == {"k", "n", "never carried"}, "what it alone has is there to be looked through"
    moved(b, a, str(next_epoch(a.guard(), b.guard(), "m")))
    assert (a.mode(), b.mode(), names(database_of(a))) == ("open", "closed", {"k", "n", "since"})


@pytest.mark.parametrize("cut", ["promised", "closed"])
def test_a_giving_way_that_is_killed_is_gone_on_with(make: Make, monkeypatch: pytest.MonkeyPatch, cut: str) -> None:
    a, b = make("a", "open"), make("b", "closed")
    made(database_of(a))
    b.fenced()
    b.pull([{**one, "path": b.places[0].path} for one in a.publish()["copies"]], fetch)
    given_up(b, a)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    step = {"promised": (Place, "shut"), "closed": (Side, "position")}[cut]
    with monkeypatch.context() as patched:
        patched.setattr(*step, killed)
        with pytest.raises(KeyboardInterrupt):
            a.close(str(next_epoch(a.guard(), as_seen(b, a), "g")), as_seen(b, a))
    assert a.guard().status == "closing"
    with pytest.raises(GuardRefused):
        a.thaw()
    a.close(str(next_epoch(a.guard(), as_seen(b, a), "again")), as_seen(b, a))
    assert (a.mode(), a.guard().status) == ("closed", "closed")
    assert store.settled(b.component, "b", as_seen(a, b))[1]


def test_a_side_that_has_lost_its_guard_opens_again_beside_a_closed_one(make: Make, guards: Path) -> None:
    a, b = make("a", "open"), make("b", "closed")
    made(database_of(a))
    b.fenced()
    (guards / "app-a.json").unlink()
    with pytest.raises(GuardRefused):
        a.freeze()
    with pytest.raises(GuardRefused):
        a.thaw()
    before = as_seen(b, a)
    word = Word("a", beyond(b.guard(), "w"), "Nadia", "it is the latest", "now")
    receipt = Receipt.from_dict({**b.close(str(word.epoch))["receipt"], "component": a.component})
    with store.reopening(a.component, "a", word, receipt, before) as opening:
        opening.opened()
    a.thaw()
    assert (a.mode(), a.guard().status, b.mode()) == ("open", "open", "closed")
    b.pull([{**one, "path": b.places[0].path} for one in a.publish()["copies"]], fetch)
    moved(a, b, str(next_epoch(a.guard(), b.guard(), "m")))
    assert (a.mode(), b.mode()) == ("closed", "open")
