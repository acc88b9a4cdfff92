"""Moves between two real servers: nothing lost, one side serves, and whatever is not proved stays closed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import BasculeError, GuardRefused
from bascule.guard.state import Epoch, Word
from bascule.mysql import decisions
from bascule.mysql.io import comparison, fence, probe, side
from bascule.mysql.io.client import Session
from bascule.mysql.io.probe import write
from bascule.mysql.refusals import MysqlError

from .servers import PASSWORD
from .world import Host, World


def count(host: Host, what: str = "shop.t") -> int:
    """Return how many rows a table has."""
    return int(host.running.client.value(f"SELECT COUNT(*) FROM {what}"))


def add(host: Host, number: int) -> None:
    """Write a row as a client would."""
    host.running.client.execute(f"INSERT INTO shop.t VALUES ({number}, 'more')", binlog=True)


def test_forward_and_back_nothing_is_lost_and_events_run_at_one_side(world: World) -> None:
    mtp, tls = world.mtp, world.tls
    world.prepare()
    assert (mtp.side().mode(), tls.side().mode()) == (decisions.OPEN, decisions.CLOSED)
    seen = tls.side().link()
    assert seen["carried"].startswith("tls follows")
    assert (seen["missed"], seen["unseen"], seen["guard"]["status"]) == ("", "", "closed")
    assert {mtp.side().link()[key] for key in ("carried", "missed", "unseen")} == {""}, "it follows nobody, and serves"
    # A second prepare changes nothing.
    assert not tls.side().follow(seed=True, timeout=20)["changed"]
    assert not mtp.side().server.account(PASSWORD)
    add(mtp, 10)

    receipt = world.move(mtp, tls)

    assert receipt["position"]["events"] == '[["shop", "tick"]]'
    assert (mtp.side().mode(), tls.side().mode()) == (decisions.CLOSED, decisions.OPEN)
    assert mtp.loaded
    assert not tls.loaded
    assert mtp.side().fence.drop_in.read_text().endswith("read_only = 1\nevent_scheduler = OFF\n")
    assert not tls.side().fence.drop_in.exists()
    add(tls, 11)
    until = time.monotonic() + 30
    ticked = f"shop.ticks WHERE side = {tls.running.port}"
    while not count(tls, ticked) and time.monotonic() < until:
        time.sleep(0.1)
    assert count(tls, ticked)
    assert mtp.running.client.value("SELECT @@event_scheduler") == "OFF"

    world.move(tls, mtp)

    assert (mtp.side().mode(), tls.side().mode()) == (decisions.OPEN, decisions.CLOSED)
    assert count(mtp) == 4
    assert mtp.side().server.schedule().enabled == (("shop", "tick"),)
    assert tls.running.client.value("SELECT @@event_scheduler") == "OFF"
    add(mtp, 12)
    found = comparison.run(tls.side().server, tls.side().account)
    assert found["differences"] == []
    assert found["rows_compared"] >= 5


@pytest.mark.long
def test_a_thaw_before_the_switch_lets_in_again(world: World) -> None:
    world.prepare()
    mtp = world.mtp
    frozen = mtp.side().freeze()
    assert frozen["changed"]
    assert not mtp.side().freeze()["changed"]
    assert mtp.side().fence.rules.read_text().count("saddr != 127.0.0.1") == 1
    assert mtp.side().thaw()["changed"]
    assert not mtp.side().thaw()["changed"]
    assert mtp.running.client.value("SELECT @@event_scheduler") == "ON"
    add(mtp, 10)


@pytest.mark.long
def test_check_mode_changes_nothing(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    assert mtp.side(check=True).freeze()["changed"]
    receipt = mtp.side(check=True).close(world.next())["receipt"]
    before = mtp.guard()
    tls.side(check=True).open(receipt["epoch"], receipt, before)
    assert mtp.side(check=True).follow(seed=False, timeout=1)["changed"]
    mtp.side(check=True).thaw()
    assert (mtp.side().mode(), tls.side().mode()) == (decisions.OPEN, decisions.CLOSED)
    assert (mtp.guard().status, tls.guard().status) == ("open", "closed")


@pytest.mark.long
def test_clients_are_sent_away_and_what_they_had_begun_is_not_there(world: World) -> None:
    world.prepare()
    mtp = world.mtp
    path = mtp.root / "app.cnf"
    path.write_text(
        f'[client]\nuser=app\npassword=app\nhost=127.0.0.1\nport={mtp.running.port}\nprotocol=tcp\nssl-ca="{mtp.running.ca}"\n'
    )
    client = Session(type(mtp.running.client)(socket="", options=str(path)))
    try:
        client.lines("START TRANSACTION; INSERT INTO shop.t VALUES (50, 'open'); SELECT 1")
        mtp.side().freeze()
        with pytest.raises(MysqlError):
            client.lines("COMMIT")
    finally:
        client.close()
    assert count(mtp) == 2


def test_a_link_that_is_cut_and_a_server_that_is_away_are_told(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    tls.running.client.execute("STOP SLAVE IO_THREAD")
    assert tls.side().link()["missed"].startswith("tls does not follow (IO No, SQL Yes): ")
    tls.running.client.execute("STOP ALL SLAVES", "RESET SLAVE ALL")
    assert tls.side().link()["missed"] == "tls follows 0 servers, not one"
    mtp.running.stop()
    tls.running.stop()
    assert tls.side().link()["missed"].startswith("MariaDB of tls does not answer: ")
    assert mtp.side().link()["unseen"].startswith("MariaDB of mtp does not answer: ")


def test_a_side_that_lags_does_not_open(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    tls.running.client.execute("STOP SLAVE SQL_THREAD")
    add(mtp, 10)
    frozen = mtp.side().freeze()
    with pytest.raises(MysqlError, match="not applied here"):
        tls.side().caught_up(frozen["position"], frozen["known"], 0.3)
    epoch, before = world.next(), mtp.guard()
    receipt = world.close(mtp, epoch)
    with pytest.raises(GuardRefused, match="not applied here"):
        tls.side().open(epoch, receipt, before)
    assert tls.guard().status == "closed"
    assert tls.running.client.value("SELECT @@read_only") == "1"

    # The controller has died between the receipt and the opening: the way back is the same move swapped.
    epoch, before = world.next(), tls.guard()
    back = world.close(tls, epoch)
    mtp.side().open(epoch, back, before)
    mtp.side().thaw()
    assert mtp.side().mode() == decisions.OPEN
    assert count(mtp) == 3
    assert mtp.running.client.value("SELECT @@event_scheduler") == "ON"


def test_an_errant_transaction_is_found_and_nothing_opens(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    tls.running.client.execute("SET SESSION gtid_domain_id = 7", "INSERT INTO shop.t VALUES (99, 'x')", binlog=True)
    frozen = mtp.side().freeze()
    with pytest.raises(MysqlError, match=f"never had: 7-{tls.running.port}-1"):
        tls.side().caught_up(frozen["position"], frozen["known"], 20)
    epoch, before = world.next(), mtp.guard()
    receipt = world.close(mtp, epoch)
    with pytest.raises(GuardRefused, match="never had: 7-"):
        tls.side().open(epoch, receipt, before)
    assert tls.guard().status == "closed"


@pytest.mark.long
def test_without_the_sight_of_a_refusal_nothing_opens(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    mtp.side().freeze()
    epoch, before = world.next(), mtp.guard()
    receipt = world.close(mtp, epoch)
    for answer in (probe.WRITTEN, probe.READ_ONLY, "no proof: silence"):
        tls.answer = answer
        with pytest.raises(GuardRefused, match="not seen closed"):
            tls.side().open(epoch, receipt, before)
    assert tls.guard().status == "closed"


@pytest.mark.long
def test_a_word_opens_nothing_beside_a_side_that_takes_a_write(world: World) -> None:
    world.prepare()
    tls = world.tls
    tls.answer = probe.WRITTEN
    word = Word("mtp", Epoch(1001, "w"), "Nadia", "its machine is off", "now")
    with pytest.raises(MysqlError, match="not to take a write"):
        tls.side().take_over(word)
    tls.answer = "no proof: silence"
    tls.side().take_over(word)
    tls.side().thaw()
    assert tls.side().mode() == decisions.OPEN
    assert tls.running.client.value("SELECT @@event_scheduler") == "ON"
    assert tls.side().server.schedule().enabled == (("shop", "tick"),)


@pytest.mark.long
def test_no_receipt_without_a_position(world: World) -> None:
    mtp = world.mtp
    world.prepare()
    mtp.side().freeze()
    mtp.running.client.execute("RESET MASTER", "SET GLOBAL gtid_slave_pos = ''")
    with pytest.raises(MysqlError, match="its binary log is empty"):
        mtp.side().close(world.next())
    assert mtp.guard().receipt is None


@pytest.mark.long
def test_a_side_that_somebody_fills_is_not_filled_over(world: World) -> None:
    world.tls.running.client.execute("CREATE DATABASE theirs", "CREATE TABLE theirs.t (i INT PRIMARY KEY)")
    with pytest.raises(MysqlError, match="databases theirs"):
        world.prepare()
    assert world.tls.running.client.value("SELECT COUNT(*) FROM theirs.t") == "0"


@pytest.mark.long
def test_a_seed_that_was_killed_is_begun_again(world: World) -> None:
    world.prepare()
    tls = world.tls
    (tls.side().home / "seeded.json").write_text('{"done": false}')
    tls.running.client.execute("STOP ALL SLAVES", "RESET SLAVE ALL", "DROP TABLE shop.t")
    tls.side().follow(seed=True, timeout=60)
    assert count(tls) == 2


@pytest.mark.long
def test_a_freeze_counts_only_where_the_write_passed_before(world: World) -> None:
    world.prepare()
    mtp = world.mtp
    mtp.running.client.execute("DROP PROCEDURE bascule.try_write", binlog=True)
    with pytest.raises(BasculeError, match="does not exist"):
        mtp.side().freeze()
    assert not mtp.guard().frozen
    assert mtp.side().mode() == decisions.OPEN


@pytest.mark.long
def test_a_server_that_comes_up_writable_behind_its_guard_gives_no_receipt_unrefused(world: World) -> None:
    world.prepare()
    mtp = world.mtp
    mtp.side().freeze()
    mtp.running.client.execute("SET GLOBAL read_only = 0", "SET GLOBAL event_scheduler = ON")
    assert mtp.side().mode() == decisions.BETWEEN
    world.close(mtp, world.next())
    assert mtp.running.client.rows("SELECT @@read_only r, @@event_scheduler e") == [{"r": "1", "e": "OFF"}]


@pytest.mark.long
def test_the_probe_tells_a_refusal_from_silence(world: World) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    options = tls.side().account
    assert write(options) == probe.WRITTEN
    mtp.running.client.execute("SET GLOBAL read_only = 1")
    assert write(options) == probe.READ_ONLY
    wrong = Path(options).with_name("wrong.cnf")
    wrong.write_text(Path(options).read_text().replace(PASSWORD, "another"))
    assert write(str(wrong)).startswith("no proof: ERROR 1045")
    # Another server's certificate: whoever answers is not the one that was pinned.
    pinned = Path(options).with_name("pinned.cnf")
    pinned.write_text(Path(options).read_text().replace(tls.side().ca, tls.running.ca))
    assert write(str(pinned)).startswith("no proof: ERROR 2026")
    mtp.running.stop()
    assert write(options) == probe.REFUSED


@pytest.mark.long
def test_no_error_shows_the_password(world: World) -> None:
    world.prepare()
    tls = world.tls
    with pytest.raises(MysqlError) as refused:
        tls.running.client.execute(f"CHANGE MASTER TO MASTER_PASSWORD = '{PASSWORD}', MASTER_HOST = 5 5")
    assert PASSWORD not in refused.value.message()
    assert not [argv for argv in (*world.mtp.commands, *tls.commands) if PASSWORD in " ".join(argv)]


@pytest.mark.long
def test_the_fence_of_a_boot_is_there_before_the_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.prepare()
    mtp, tls = world.mtp, world.tls
    drop_in = tls.side().fence.drop_in
    drop_in.unlink()
    tls.loaded = False

    def of_the_test(component: str, options: Mapping[str, Any]) -> fence.Fence:
        return kept(component, options, tls.run, tls.root)

    kept = fence.Fence
    monkeypatch.setattr(fence, "Fence", of_the_test)
    assert side.fence("orders").startswith("orders: closed")
    assert tls.loaded
    assert drop_in.is_file()
    monkeypatch.setattr(fence, "Fence", kept)
    mtp.side()
    assert "left alone" in side.fence("orders")
