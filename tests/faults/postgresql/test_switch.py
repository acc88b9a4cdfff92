"""A switch that is disturbed before its receipt: the old side serves again, and no acknowledged write is lost."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from bascule_lab import shell

from tests.cells import Cell
from tests.faults.pair import SIDES, Pair
from tests.faults.postgresql import switching
from tests.faults.postgresql.switching import BUDGET, SHORT_BUDGET, Clients, Switch, active, cases, nothing_lost

# Before the receipt: whoever dies, the old side serves again by itself.
BEFORE = [
    ("old.promised", "driver"),
    ("old.paused", "driver"),
    ("old.stopping", "driver"),
    ("old.stopped", "driver"),
    ("old.proved", "driver"),
    ("old.promised", "old-agent"),
    ("old.paused", "old-agent"),
    ("old.stopping", "old-agent"),
    ("old.stopped", "old-agent"),
    ("old.proved", "old-agent"),
    ("old.promised", "old-server"),
    ("old.paused", "old-server"),
    ("old.paused", "new-agent"),
    ("old.paused", "new-server"),
    ("old.proved", "new-agent"),
    ("old.proved", "new-server"),
]
# A victim of each kind, each at another step; an agent that died is made up for by the dead-man.
ALWAYS = {
    ("old.promised", "old-server"),
    ("old.paused", "new-server"),
    ("old.proved", "new-agent"),
    ("old.stopping", "driver"),
    ("old.stopped", "old-agent"),
}

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


@contextlib.contextmanager
def replay_paused(pair: Pair, side: str) -> Iterator[None]:
    """Have a standby receive and not replay."""
    pair.sql(side, "select pg_wal_replay_pause()")
    try:
        yield
    finally:
        pair.sql(side, "select pg_wal_replay_resume()")


def test_an_open_side_is_an_alarm_also_for_a_host_outside_of_the_declared_range(pair: Pair) -> None:
    """Whom no rule names gets "no pg_hba.conf entry" there, with the SQLSTATE of a closed side's refusal."""
    old = active(pair)
    new = SIDES[1 - SIDES.index(old)]
    name = pair.component, pair.host(new)
    stranger = (
        "from bascule.postgresql.io.cluster.probe import knock\n"
        f"print(knock({pair.addresses[old]!r}, 5432, 'stranger', 'courses'))\n"
    )
    assert "28000" in switching.python(pair, new, stranger)
    prove = (
        "from bascule.errors import BasculeError\nfrom bascule.postgresql.io.switchover import freeze, sight\n"
        "from bascule.postgresql.io.cluster.cluster import load_spec\nfrom bascule.guard.io import store\n"
        f"sight.look(load_spec(*{name!r}), store.read(*{name!r}))\n"
        "try:\n"
        f"    print(freeze.prove_from_outside(*{name!r}, ('28000',), 2))\n"
        "except BasculeError as error:\n    print(error)\n"
    )
    assert "found: admitted" in switching.python(pair, new, prove)
    switching.freeze(pair, old)
    proof = switching.python(pair, new, prove)
    assert proof.startswith("28000: "), proof
    assert "was let in at" in proof
    switching.python(
        pair,
        old,
        f"from bascule.postgresql.io.switchover.freeze import thaw\nthaw(*{(pair.component, pair.host(old))!r})\n",
    )


@pytest.mark.cell(fault="none", step="switch")
def test_clients_ride_through_a_switch(pair: Pair, old: str, tmp_path: Path, cell: Cell) -> None:
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold")
        said = switch.end()
        assert said.get("live"), said
        clients.go_on()
    assert clients.errors == []
    nothing_lost(clients, pair, [old, switch.new], cell)
    assert active(pair) == switch.new
    assert len(said["proofs"]) == 4, said["proofs"]


@pytest.mark.cell(fault="{victim} killed", step="switch, {step}")
@pytest.mark.parametrize(("step", "victim"), cases(BEFORE, ALWAYS))
def test_before_the_receipt_the_old_side_serves_again(
    pair: Pair, old: str, tmp_path: Path, step: str, victim: str, cell: Cell
) -> None:
    with Clients(pair) as clients:
        budget = SHORT_BUDGET if victim.endswith("agent") else BUDGET
        switch = Switch(pair, old, tmp_path / "hold", step, budget)
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
    nothing_lost(clients, pair, [old], cell)
    guard = pair.guard(old)
    assert (guard["status"], guard["frozen"]) == ("open", True)
    # The epoch is burnt: this side counts as opened under it.
    assert guard["opened"] == guard["promised"]
    if victim == "new-server":
        pair.must_run(switch.new, ["systemctl", "restart", "postgresql@15-main.service"])


@pytest.mark.cell(fault="old-server killed or stopped, whichever is first", step="switch, old.stopping")
@pytest.mark.long
def test_a_server_that_is_killed_while_it_stops_serves_again_or_has_stopped(
    pair: Pair, old: str, tmp_path: Path, cell: Cell
) -> None:
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "old.stopping")
        switch.held()
        # Either may come first: the end of the stop, or the kill.
        switch.kill("old-server")
        switch.go()
        said = switch.end()
        serving = [old] if "error" in said else [old, switch.new]
        assert active(pair) == serving[-1]
        clients.go_on()
    nothing_lost(clients, pair, serving, cell)


@pytest.mark.cell(fault="link cut", step="switch, old.proved")
def test_a_link_that_is_cut_after_the_stop_is_no_proof_of_the_fence(
    pair: Pair, old: str, tmp_path: Path, cell: Cell
) -> None:
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "old.proved", SHORT_BUDGET)
        switch.held()
        with switching.cut(pair):
            switch.go()
            said = switch.end()
            # On a busy machine the old side's agent may have used up its own time meanwhile, and gone back by itself.
            assert "silence is no proof" in said["error"] or "an answer from the host agent" in said["error"]
            assert active(pair) == old
        clients.go_on()
    assert clients.errors == []
    nothing_lost(clients, pair, [old], cell)


@pytest.mark.cell(fault="PAUSE never drains", step="switch, old.paused")
@pytest.mark.long
def test_a_transaction_that_never_ends_is_named_and_nothing_is_stopped(
    pair: Pair, old: str, tmp_path: Path, cell: Cell
) -> None:
    with Clients(pair) as clients, clients.connect(old) as holder:
        holder.autocommit = False
        holder.execute("insert into lab.data_layer values (gen_random_uuid(), now())")
        said = Switch(pair, old, tmp_path / "hold", budget=SHORT_BUDGET).end()
        clients.go_on()
        holder.rollback()
    assert "lab_data" in said["error"]
    assert "every transaction through the pooler" in said["error"]
    assert f"{pair.component} at {pair.host(old)} is open and frozen" in said["error"]
    assert clients.errors == []
    nothing_lost(clients, pair, [old], cell)


@pytest.mark.long
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


@pytest.mark.long
def test_a_standby_that_is_far_behind_is_not_waited_for_in_the_pause(pair: Pair, old: str, tmp_path: Path) -> None:
    before = pair.guard(old)
    new = SIDES[1 - SIDES.index(old)]
    with Clients(pair) as clients, replay_paused(pair, new):
        pair.sql(old, "create table lab.bulk as select repeat(md5(i::text), 8) from generate_series(1, 20000) as i")
        said = Switch(pair, old, tmp_path / "hold", budget=2).end()
        clients.go_on()
    pair.sql(old, "drop table lab.bulk")
    assert "to stream and to be nearly caught up" in said["error"]
    assert re.search(r"streaming, \d{7,} bytes behind", said["error"])
    assert "nothing was closed" in said["error"]
    assert clients.errors == []
    assert pair.guard(old) == before, "a promise was made"


def test_a_standby_that_does_not_replay_is_seen_before_anything_is_closed(pair: Pair, old: str, tmp_path: Path) -> None:
    before = pair.guard(old)
    new = SIDES[1 - SIDES.index(old)]
    with Clients(pair) as clients, replay_paused(pair, new):
        # Hardly anything is missing, and it would never come.
        clients.go_on()
        said = Switch(pair, old, tmp_path / "hold", budget=2).end()
        clients.go_on()
    assert "to replay what it has received" in said["error"]
    assert "replay is paused" in said["error"]
    assert "nothing was closed" in said["error"]
    assert clients.errors == []
    assert pair.guard(old) == before, "a promise was made"


@contextlib.contextmanager
def read_for_long(pair: Pair, side: str) -> Iterator[None]:
    """Have somebody at a standby hold the lock of a reader, as a long report or a dump does."""
    reading = "select count(*) from lab.data_layer; select pg_sleep(300)"
    psql = ["runuser", "-u", "postgres", "--", "psql", "-Xq", "-d", "courses", "-c", reading]
    pair.must_run(side, ["systemd-run", "--collect", "--unit", "long-reader", *psql])
    try:
        query = "select 1 from pg_stat_activity where query like '%pg_sleep(300)%' and wait_event = 'PgSleep'"
        pair.until(side, f'test "$(runuser -u postgres -- psql -XAtqc "{query}")" = 1')
        yield
    finally:
        # Its server process would sleep on without it.
        pair.sql(side, "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'")


@pytest.mark.cell(fault="standby does not replay", step="switch, driver.ready")
@pytest.mark.long
def test_replay_that_a_lock_holds_up_after_the_pause_has_begun_costs_the_attempt_only(
    pair: Pair, old: str, tmp_path: Path, cell: Cell
) -> None:
    """The standby has received the end of the log, and could not open: there is no receipt, the old side serves."""
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "driver.ready")
        switch.held()
        with read_for_long(pair, switch.new):
            pair.sql(old, "begin; lock table lab.data_layer in access exclusive mode; commit")
            switch.go()
            said = switch.end()
            clients.go_on()
        assert active(pair) == old
    assert "to have replayed the end of the log" in said["error"]
    assert "no receipt was given" in said["error"]
    assert "a query may hold it up" in said["error"]
    assert f"{pair.component} at {pair.host(old)} is open and frozen" in said["error"]
    assert clients.errors == []
    nothing_lost(clients, pair, [old], cell)


@pytest.mark.cell(fault="silent connections", step="switch, old.stopping")
@pytest.mark.long
def test_clients_that_connect_and_say_nothing_do_not_hold_the_stop_up(
    pair: Pair, old: str, tmp_path: Path, cell: Cell
) -> None:
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
    nothing_lost(clients, pair, [old, switch.new], cell)


@pytest.mark.cell(fault="link cut for good", step="switch, old.paused")
@pytest.mark.long
def test_a_stop_that_waits_for_a_receiver_nobody_reaches_ends_with_the_old_primary(
    pair: Pair, old: str, tmp_path: Path, cell: Cell
) -> None:
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "old.paused", SHORT_BUDGET)
        switch.held()
        with switching.cut(pair):
            switch.go()
            said = switch.end()
            assert "a clean stop" in said["error"]
            with clients.connect(old) as client:
                client.execute("select 1")
        clients.go_on()
    assert clients.errors == []
    nothing_lost(clients, pair, [old], cell)


@pytest.mark.cell(fault="old-agent hangs", step="switch, old.stopped")
@pytest.mark.long
def test_an_agent_that_hangs_is_ended_by_the_dead_man(pair: Pair, old: str, tmp_path: Path, cell: Cell) -> None:
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "old.stopped", SHORT_BUDGET)
        switch.held()
        # Nobody lets it go on, and nobody dies.
        clients.go_on()
        assert pair.guard(old)["status"] == "open"
        switch.go()
        assert "error" in switch.end()
    assert clients.errors == []
    nothing_lost(clients, pair, [old], cell)


@pytest.mark.cell(fault="old-server does not start again", step="switch, old.stopped")
@pytest.mark.long
def test_a_take_back_whose_server_does_not_start_is_tried_again(
    pair: Pair, old: str, tmp_path: Path, cell: Cell
) -> None:
    unit = f"bascule-{pair.component}-deadman.service"
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "old.stopped", SHORT_BUDGET)
        switch.held()
        # The permit comes back; the server does not.
        pair.must_run(old, ["systemctl", "mask", "--runtime", "postgresql@15-main.service"])
        try:
            switch.kill("old-agent")
            switch.go()
            assert "error" in switch.end()
            pair.until(old, f"test $(systemctl show -P NRestarts {unit}) -ge 1")
            assert switching.statuses(pair, old) == ("open", "closed")
            assert switching.refused(pair)
        finally:
            pair.must_run(old, ["systemctl", "unmask", "--runtime", "postgresql@15-main.service"])
        clients.go_on()
    assert clients.errors == []
    nothing_lost(clients, pair, [old], cell)


@pytest.mark.cell(fault="controller killed and run again", step="switch, old.stopped")
def test_the_real_switch_survives_the_death_of_its_controller(
    pair: Pair, old: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: Cell
) -> None:
    direction = "forward" if old == "source" else "back"
    hold = tmp_path / "hold"
    hold.mkdir()
    with Clients(pair) as clients:
        with monkeypatch.context() as patch:
            patch.setenv("BASCULE_TEST_SWITCH_HOLD", f"old.stopped:{hold}")
            started = pair.start_verb("switch", direction=direction)
        while not (hold / "old.stopped.reached").exists():
            assert started.poll() is None, started.said()[-4000:]
        shell.kill_tree(started)
        clients.go_on()
        nothing_lost(clients, pair, [old])
        pair.must("freeze", "sync", "switch", "thaw", direction=direction)
        clients.go_on()
    assert clients.errors == []
    nothing_lost(clients, pair, [old, SIDES[1 - SIDES.index(old)]], cell)


def test_a_client_that_is_frozen_out_stays_out_while_others_ride(pair: Pair, old: str) -> None:
    password = (pair.work / "secrets/app_password").read_text().strip()
    with Clients(pair) as clients, pytest.raises(psycopg.OperationalError, match="rejects"):
        psycopg.connect(
            host=pair.addresses[old], dbname="courses", user="courses", password=password, sslmode="require"
        )
    assert clients.errors == []
