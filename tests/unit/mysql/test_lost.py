"""A side, or its guard, is lost: what is left opens by a word, who is back gives way, nothing is thrown away."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.errors import BasculeError, GuardRefused
from bascule.guard import lost
from bascule.guard.io import store
from bascule.guard.state import Receipt, Word, beyond, next_epoch
from bascule.mysql import decisions
from bascule.mysql.io.server import Server

from .test_moves import add, count
from .world import Host, World


def given_up(survivor: Host, gone: Host) -> None:
    """Open a side by a person's word that the other one is lost, and let clients in."""
    survivor.answer = "no proof: silence"
    epoch = beyond(survivor.guard(), "w")
    survivor.side().take_over(Word(gone.name, epoch, "Nadia", "power cut at the PDU", "now"))
    survivor.side().thaw()


def gives_way(gone: Host, survivor: Host, decision: str = "g") -> dict[str, Any]:
    """Close the side that is back, as the verb does."""
    other = survivor.guard()
    epoch = next_epoch(gone.guard(), other, decision)
    return gone.side().close(str(epoch), other)


def settled(survivor: Host, gone: Host) -> bool:
    """Tell the side that serves that the other one has given way; return whether it did not know."""
    other = gone.guard()
    survivor.side()
    return store.settled("orders", survivor.name, other)[1]


def test_a_side_that_was_given_up_gives_way_when_it_is_back(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    tls.running.client.execute("STOP ALL SLAVES")
    add(mtp, 20)
    given_up(tls, mtp)
    add(tls, 30)
    with pytest.raises(GuardRefused, match="looked through for what it alone has"):
        lost.must_have_given_way(mtp.guard(), tls.guard())
    # It serves whoever finds it, until it gives way.
    assert mtp.side().mode() == decisions.OPEN

    assert gives_way(mtp, tls)["changed"]

    assert (mtp.side().mode(), mtp.guard().status) == (decisions.CLOSED, "closed")
    assert mtp.loaded, "nobody comes in by the network"
    with pytest.raises(GuardRefused):
        mtp.side().thaw()
    assert count(mtp, "shop.t WHERE id = 20") == 1, "what it alone has is there to be looked through"
    assert settled(tls, mtp)
    assert not settled(tls, mtp)
    lost.must_have_given_way(mtp.guard(), tls.guard())
    assert (tls.side().mode(), count(tls, "shop.t WHERE id IN (20, 30)")) == (decisions.OPEN, 1)
    # With what it alone has it is no copy of the other side, and is not taken for one.
    mtp.side().follow(seed=False, timeout=20)
    with pytest.raises(BasculeError):
        mtp.side().caught_up(tls.side().server.position(), tls.side().server.known(), 3)
    with pytest.raises(GuardRefused):
        mtp.side().open("5000.x", {}, tls.guard())


@pytest.mark.long
@pytest.mark.parametrize("cut", ["promised", "closed"])
def test_a_giving_way_that_is_killed_is_gone_on_with(world: World, monkeypatch: pytest.MonkeyPatch, cut: str) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    given_up(tls, mtp)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Server, {"promised": "drain", "closed": "known"}[cut], killed)
        with pytest.raises(KeyboardInterrupt):
            gives_way(mtp, tls)
    assert mtp.guard().status == "closing"
    with pytest.raises(GuardRefused):
        mtp.side().thaw()
    gives_way(mtp, tls, "again")
    assert (mtp.side().mode(), mtp.guard().status) == (decisions.CLOSED, "closed")
    assert settled(tls, mtp)


@pytest.mark.long
def test_a_side_that_has_lost_its_guard_opens_again_beside_a_closed_one(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    (mtp.root / "var/guard/orders.json").unlink()
    for verb in (mtp.side().freeze, mtp.side().thaw):
        with pytest.raises(GuardRefused):
            verb()
    before = tls.guard()
    word = Word("mtp", beyond(before, "w"), "Nadia", "it is the latest", "now")
    receipt = Receipt.from_dict(world.close(tls, str(word.epoch)))
    mtp.side()
    with store.reopening("orders", "mtp", word, receipt, before) as opening:
        opening.opened()
    mtp.side().thaw()
    assert (mtp.side().mode(), tls.side().mode()) == (decisions.OPEN, decisions.CLOSED)
    add(mtp, 40)
    world.epoch = 5000
    world.move(mtp, tls)
    assert (tls.side().mode(), count(tls)) == (decisions.OPEN, 3)
