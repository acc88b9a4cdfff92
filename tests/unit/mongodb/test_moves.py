"""Moves between two real servers: nothing lost, one side serves, and whatever is not proved stays closed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.guard.state import Word, beyond, next_epoch
from bascule.mongodb import decisions, members
from bascule.mongodb.io import fence, side
from bascule.mongodb.io.server import NOT_WRITABLE, WRITTEN
from bascule.mongodb.refusals import MongoError

from .world import Host, World


def count(host: Host, collection: str = "t", **query: Any) -> int:
    """Return how many documents a collection has, as this side alone has it."""
    return int(host.running.run({"count": collection, "query": query}, "shop")["n"])


def add(host: Host, number: int, collection: str = "t") -> None:
    """Write a document as a client would."""
    answer = host.running.run({"insert": collection, "documents": [{"_id": number, "v": "more"}]}, "shop")
    assert "writeErrors" not in answer


class Writer(threading.Thread):
    """A client that writes at both sides, one number after the other, and remembers what was acknowledged and where."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.done = world, threading.Event()
        self.acknowledged: dict[int, str] = {}

    def run(self) -> None:
        number = 1000
        while not self.done.is_set():
            for host in (self.world.mtp, self.world.tls):
                number += 1
                try:
                    add(host, number, "written")
                except MongoError:
                    continue
                self.acknowledged[number] = host.name


def test_forward_back_and_forward_nothing_is_lost_and_one_side_writes(world: World) -> None:
    mtp, tls = world.mtp, world.tls
    world.prepare()
    assert (mtp.side().mode(), tls.side().mode()) == (decisions.OPEN, decisions.CLOSED)
    writer = Writer(world)
    writer.start()
    try:
        for here, there in ((mtp, tls), (tls, mtp), (mtp, tls)):
            before = len(writer.acknowledged)
            world.move(here, there)
            assert (here.side().mode(), there.side().mode()) == (decisions.CLOSED, decisions.OPEN)
            assert here.loaded
            assert not there.loaded
            while len(writer.acknowledged) == before:
                assert writer.is_alive()
    finally:
        writer.done.set()
        writer.join()
    assert set(writer.acknowledged.values()) == {"mtp", "tls"}
    mtp.side().caught_up(tls.side().server.optime(), 20, exactly=False)
    for host in (mtp, tls):
        found = host.running.run({"find": "written", "batchSize": 100000}, "shop")["cursor"]["firstBatch"]
        assert {one["_id"] for one in found} == set(writer.acknowledged)
    found = mtp.side().compare(20)
    assert found["differences"] == []
    assert found["documents_compared"] >= 2 + len(writer.acknowledged)


def stuck(host: Host, value: bool) -> None:
    """Have a member not apply what it fetches, or go on."""
    mode = "alwaysOn" if value else "off"
    host.running.run({"configureFailPoint": "stopReplProducer", "mode": mode})


def test_a_side_that_lags_does_not_open_and_the_other_one_comes_back(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    seen = tls.side().link()
    assert seen["carried"].startswith("tls follows")
    assert (seen["missed"], seen["unseen"], seen["guard"]["status"]) == ("", "", "closed")
    stuck(tls, True)
    add(mtp, 10)
    frozen = mtp.side().freeze()
    with pytest.raises(MongoError, match="is not applied here"):
        tls.side().caught_up(frozen["position"], 0.3, exactly=True)
    epoch, before = world.next(), mtp.guard()
    receipt = world.close(mtp, epoch)
    with pytest.raises(GuardRefused, match="not applied here"):
        tls.side().open(epoch, receipt, before)
    assert tls.guard().status == "closed"
    assert (mtp.side().mode(), tls.side().mode()) == (decisions.CLOSED, decisions.CLOSED)
    # Killed and started again, a closed member is elected by nobody; its fence is nftables' and stays.
    mtp.running.stop()
    mtp.running.start()
    assert mtp.side().server.try_write(0) == NOT_WRITABLE
    assert members.nobody_serves(mtp.side().server.config())

    # The controller has died between the receipt and the opening: the way back is the same move swapped.
    epoch, before = world.next(), tls.guard()
    back = world.close(tls, epoch)
    mtp.side().open(epoch, back, before)
    mtp.side().thaw()
    assert mtp.side().mode() == decisions.OPEN
    assert count(mtp) == 3
    stuck(tls, False)
    tls.side().follow(seed=False, timeout=20)
    tls.side().caught_up(mtp.side().server.optime(), 20, exactly=False)
    assert tls.side().compare(20)["differences"] == []


@pytest.mark.long
def test_a_thaw_before_the_switch_lets_in_again_and_each_step_again_changes_nothing(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    assert not tls.side().prepare()
    assert not mtp.side().prepare()
    assert not tls.side().follow(seed=True, timeout=20)["changed"]
    assert mtp.side().freeze()["changed"]
    assert not mtp.side().freeze()["changed"]
    assert mtp.side().fence.rules.read_text().count("saddr != 127.0.0.1") == 1
    assert mtp.side().thaw()["changed"]
    assert not mtp.side().thaw()["changed"]
    add(mtp, 10)
    receipt = world.move(mtp, tls)
    assert not mtp.side().follow(seed=False, timeout=20)["changed"]
    assert not tls.side().thaw()["changed"]
    assert mtp.side().close(receipt["epoch"])["changed"] is False


@pytest.mark.long
def test_check_mode_changes_nothing(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    version = mtp.side().server.config()["version"]
    assert mtp.side(check=True).freeze()["changed"]
    receipt = mtp.side(check=True).close(world.next())["receipt"]
    before = mtp.guard()
    tls.side(check=True).open(receipt["epoch"], receipt, before)
    mtp.side(check=True).follow(seed=False, timeout=1)
    mtp.side(check=True).thaw()
    assert (mtp.side().mode(), tls.side().mode()) == (decisions.OPEN, decisions.CLOSED)
    assert (mtp.guard().status, tls.guard().status) == ("open", "closed")
    assert mtp.side().server.config()["version"] == version


@pytest.mark.long
def test_a_write_by_force_at_the_closed_side_is_found_and_nothing_opens(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    frozen = mtp.side().freeze()
    tls.side().caught_up(frozen["position"], 20, exactly=True)
    # Root of the closed host gives the set another configuration, writes, and takes it back.
    tls.side().server.take_office(tls.side().own)
    add(tls, 99)
    tls.side().server.leave_office(tls.side().own)
    with pytest.raises(MongoError, match="operations that the other side never had"):
        tls.side().caught_up(frozen["position"], 20, exactly=True)
    epoch, before = world.next(), mtp.guard()
    receipt = world.close(mtp, epoch)
    with pytest.raises(GuardRefused, match="never had"):
        tls.side().open(epoch, receipt, before)
    assert tls.guard().status == "closed"


@pytest.mark.long
def test_without_the_sight_of_a_refusal_nothing_opens(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    mtp.side().freeze()
    epoch, before = world.next(), mtp.guard()
    receipt = world.close(mtp, epoch)
    for answer in (WRITTEN, NOT_WRITABLE, "no proof: silence"):
        tls.answer = answer
        with pytest.raises(GuardRefused, match="not seen closed"):
            tls.side().open(epoch, receipt, before)
    assert tls.guard().status == "closed"


@pytest.mark.long
def test_a_lost_side_is_given_up_by_a_word_and_gives_way_when_it_is_back(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    stuck(tls, True)
    add(mtp, 20)
    mtp.running.stop()
    word = Word("mtp", beyond(tls.guard(), "w"), "Nadia", "its machine is off", "now")
    tls.answer = WRITTEN
    with pytest.raises(MongoError, match="not to take a write"):
        tls.side().take_over(word)
    assert tls.guard().status == "closed"
    tls.answer = "no proof: silence"
    tls.side().take_over(word)
    tls.side().thaw()
    assert tls.side().mode() == decisions.OPEN
    add(tls, 30)
    # It is back, and hears of a set that it is no member of.
    mtp.running.start()
    other = tls.guard()
    epoch = next_epoch(mtp.guard(), other, "g")
    assert mtp.side().close(str(epoch), other)["changed"]
    assert (mtp.side().mode(), mtp.guard().status) == (decisions.CLOSED, "closed")
    assert mtp.loaded
    with pytest.raises(GuardRefused):
        mtp.side().thaw()
    # A member that was left out says nothing of its data; a server of no set does.
    mtp.running.stop()
    mtp.running.start(of_a_set=False)
    assert (count(mtp, _id=20), count(mtp, _id=30)) == (1, 0), "what it alone has is there to be looked through"
    assert (count(tls, _id=20), count(tls, _id=30), tls.side().mode()) == (0, 1, decisions.OPEN)


@pytest.mark.long
def test_the_probe_tells_a_refusal_from_silence(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    probe = tls.side()
    # The real way in, instead of the answer that a host of the test gives.
    options = {**probe.options, "port": mtp.running.port}
    asks = side.Side("catalogue", "tls", options, runner=tls.run, root=tls.root)
    assert side.ask(asks) == WRITTEN
    mtp.side().freeze()
    assert side.ask(asks) == NOT_WRITABLE
    mtp.running.pause(True)
    assert side.ask(asks).startswith("no proof: ")
    mtp.running.pause(False)
    wrong = tls.root / "key"
    wrong.write_text("YW5vdGhlcg==")
    other = side.Side("catalogue", "tls", {**options, "key_file": str(wrong)}, runner=tls.run, root=tls.root)
    assert side.ask(other).startswith("no proof: 18: ")
    mtp.running.stop()
    assert side.ask(asks) == side.REFUSED


@pytest.mark.long
def test_a_link_that_is_cut_and_a_server_that_is_away_are_told(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    mtp.running.stop()
    assert mtp.side().link()["unseen"].startswith("MongoDB of mtp does not answer: ")
    tls.running.stop()
    assert tls.side().link()["missed"].startswith("MongoDB of tls does not answer: ")


@pytest.mark.long
def test_a_freeze_counts_only_where_the_write_passed_before(world: World) -> None:
    world.prepare()
    mtp = world.mtp
    mtp.side().server.leave_office(mtp.side().own)
    with pytest.raises(MongoError, match="which is the active side, to take a write"):
        mtp.side().freeze()
    assert not mtp.guard().frozen
    # A thaw has it serve again: its permit was never given up.
    mtp.side().thaw()
    assert mtp.side().mode() == decisions.OPEN


@pytest.mark.long
def test_the_fence_of_a_boot_is_there_before_the_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    tls.side().fence.rules.unlink()
    tls.loaded = False
    tls.running.stop()

    def of_the_test(component: str, options: Mapping[str, Any]) -> fence.Fence:
        return kept(component, options, tls.run, tls.root)

    kept = fence.Fence
    monkeypatch.setattr(fence, "Fence", of_the_test)
    assert side.fence("catalogue").startswith("catalogue: closed")
    assert tls.loaded
    assert (tls.root / "etc/bascule/mongodb-catalogue.nft").is_file()
    monkeypatch.setattr(fence, "Fence", kept)
    mtp.side()
    assert "left alone" in side.fence("catalogue")


@pytest.mark.long
def test_a_server_that_somebody_has_filled_before_it_is_of_a_set_is_not_called_empty(world: World) -> None:
    tls = world.tls
    assert tls.side().seen()["databases"] == []
    assert tls.side().seen()["optime"] == ""
    tls.running.end()
    tls.running.start(of_a_set=False, writable=True)
    add(tls, 1, "theirs")
    tls.running.end()
    tls.running.start()
    assert tls.side().seen()["databases"] == ["1 collections that it does not name yet"]
    assert world.mtp.side().seen()["databases"] == ["shop"]
