"""A switch that is disturbed before its receipt: the old side serves again, and no acknowledged write is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import SIDES, Pair
from tests.faults.postgresql import switching
from tests.faults.postgresql.switching import Clients, Switch, active, ids, nothing_lost

# Before the receipt: whoever dies, the old side serves again by itself.
BEFORE = [
    ("old.promised", "driver"),
    ("old.paused", "driver"),
    ("old.stopped", "driver"),
    ("old.promised", "old-agent"),
    ("old.paused", "old-agent"),
    ("old.stopping", "old-agent"),
    ("old.stopped", "old-agent"),
    ("old.proved", "old-agent"),
    ("old.paused", "old-server"),
    ("old.paused", "new-agent"),
    ("old.paused", "new-server"),
]

# Connections from the host itself, which no firewall table stands before; a server that stops waits a minute for each.
SILENT = """
import collections, socket, time
held = collections.deque(maxlen=60)
while True:
    try:
        held.append(socket.create_connection(("127.0.0.1", 5432)))
    except OSError:
        pass
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def pair(start_pair: StartPair) -> Pair:
    return switching.prepared(start_pair, "switch")


@pytest.fixture
def old(pair: Pair) -> Iterator[str]:
    """The side that is left: the active one, frozen, with its standby behind it."""
    yield from switching.left(pair)


def test_clients_ride_through_a_switch(pair: Pair, old: str, tmp_path: Path) -> None:
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold")
        said = switch.end()
        assert said.get("live"), said
        clients.go_on()
    assert clients.errors == []
    nothing_lost(clients, pair, [old, switch.new])
    assert active(pair) == switch.new
    assert len(said["proofs"]) == 4, said["proofs"]


@pytest.mark.parametrize(("step", "victim"), BEFORE, ids=ids(BEFORE))
def test_before_the_receipt_the_old_side_serves_again(
    pair: Pair, old: str, tmp_path: Path, step: str, victim: str
) -> None:
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", step)
        switch.held()
        switch.kill(victim)
        if victim != "driver":
            switch.go()
        said = switch.end()
        assert "error" in said or victim == "driver", said
        pair.until(switch.old, f'grep -q \'"status": "open"\' /var/lib/bascule/guard/{pair.component}.json')
        clients.go_on()
    if not victim.endswith("server"):
        assert clients.errors == []
    nothing_lost(clients, pair, [old])
    guard = pair.guard(old)
    assert (guard["status"], guard["frozen"]) == ("open", True)
    # The epoch is burnt: this side counts as opened under it.
    assert guard["opened"] == guard["promised"]
    if victim == "new-server":
        pair.must_run(switch.new, ["systemctl", "restart", "postgresql@15-main.service"])


def test_a_transaction_that_never_ends_is_named_and_nothing_is_stopped(pair: Pair, old: str, tmp_path: Path) -> None:
    with Clients(pair) as clients, clients.connect(old) as holder:
        holder.autocommit = False
        holder.execute("insert into lab.data_layer values (gen_random_uuid(), now())")
        said = Switch(pair, old, tmp_path / "hold").end()
        clients.go_on()
        holder.rollback()
    assert "lab_data" in said["error"]
    assert "every transaction through the pooler" in said["error"]
    assert f"{pair.component} at {pair.host(old)} is open and frozen" in said["error"]
    assert clients.errors == []
    nothing_lost(clients, pair, [old])


def test_without_a_standby_nothing_is_paused(pair: Pair, old: str, tmp_path: Path) -> None:
    before = pair.guard(old)
    new = SIDES[1 - SIDES.index(old)]
    pair.must_run(new, ["systemctl", "stop", "postgresql@15-main.service"])
    with Clients(pair) as clients:
        said = Switch(pair, old, tmp_path / "hold", budget=2).end()
        clients.go_on()
    assert "to stream and to be nearly caught up" in said["error"]
    assert "nothing was closed" in said["error"]
    assert clients.errors == []
    assert pair.guard(old) == before, "a promise was made"
    pair.must_run(new, ["systemctl", "start", "postgresql@15-main.service"])


def test_clients_that_connect_and_say_nothing_do_not_hold_the_stop_up(pair: Pair, old: str, tmp_path: Path) -> None:
    pair.must_run(old, ["systemd-run", "--unit", "silent-clients", "python3", "-c", SILENT])
    try:
        with Clients(pair) as clients:
            switch = Switch(pair, old, tmp_path / "hold")
            said = switch.end()
            assert said.get("live"), said
            clients.go_on()
    finally:
        pair.must_run(old, ["systemctl", "stop", "silent-clients"])
    assert clients.errors == []
    nothing_lost(clients, pair, [old, switch.new])


def test_a_stop_that_waits_for_a_receiver_nobody_reaches_ends_with_the_old_primary(
    pair: Pair, old: str, tmp_path: Path
) -> None:
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "old.paused")
        switch.held()
        with switching.cut(pair):
            switch.go()
            said = switch.end()
            assert "a clean stop" in said["error"]
            with clients.connect(old) as client:
                client.execute("select 1")
        clients.go_on()
    assert clients.errors == []
    nothing_lost(clients, pair, [old])


def test_an_agent_that_hangs_is_ended_by_the_dead_man(pair: Pair, old: str, tmp_path: Path) -> None:
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "old.stopped")
        switch.held()
        # Nobody lets it go on, and nobody dies.
        clients.go_on()
        assert pair.guard(old)["status"] == "open"
        switch.go()
        assert "error" in switch.end()
    assert clients.errors == []
    nothing_lost(clients, pair, [old])


def test_the_real_switch_survives_the_death_of_its_controller(
    pair: Pair, old: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direction = "forward" if old == "source" else "back"
    hold = tmp_path / "hold"
    hold.mkdir()
    with Clients(pair) as clients:
        with monkeypatch.context() as patch:
            patch.setenv("BASCULE_TEST_SWITCH_HOLD", f"old.stopped:{hold}")
            started = pair.start_verb("switch", direction=direction)
        while not (hold / "old.stopped.reached").exists():
            assert started.poll() is None, started.communicate()[0][-4000:]
        switching.kill_group(started)
        clients.go_on()
        nothing_lost(clients, pair, [old])
        pair.must("freeze", "switch", "thaw", direction=direction)
        clients.go_on()
    assert clients.errors == []
    nothing_lost(clients, pair, [old, SIDES[1 - SIDES.index(old)]])


def test_a_client_that_is_frozen_out_stays_out_while_others_ride(pair: Pair, old: str) -> None:
    password = (pair.work / "secrets/app_password").read_text().strip()
    with Clients(pair) as clients, pytest.raises(psycopg.OperationalError, match="rejects"):
        psycopg.connect(
            host=pair.addresses[old], dbname="courses", user="courses", password=password, sslmode="require"
        )
    assert clients.errors == []
