"""A switch that is disturbed after its receipt: the same one once more goes on, and no acknowledged write is lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cells import Cell
from tests.faults.pair import Pair
from tests.faults.postgresql import switching
from tests.faults.postgresql.switching import Clients, Switch, active, cases, nothing_lost

# From the receipt on: the same switch once more goes on.
AFTER = [
    ("old.receipt", "driver"),
    ("old.receipt", "old-agent"),
    ("driver.closed", "driver"),
    ("driver.closed", "old-agent"),
    ("new.asked", "new-server"),
    ("new.opening", "driver"),
    ("new.opening", "new-agent"),
    ("new.opening", "new-server"),
    ("new.promoted", "driver"),
    ("new.promoted", "new-agent"),
    ("new.promoted", "new-server"),
    ("new.opened", "driver"),
    ("new.opened", "new-agent"),
    ("new.opened", "new-server"),
]
# `test_rerun.py` kills the driver at "driver.closed", and `test_switch_power.py` cuts the power at "new.promoted".
ALWAYS = {
    ("old.receipt", "old-agent"),
    ("new.opening", "new-agent"),
}


@pytest.mark.cell(fault="{victim} killed", step="switch, {step}")
@pytest.mark.parametrize(("step", "victim"), cases(AFTER, ALWAYS))
def test_after_the_receipt_the_same_switch_goes_on(
    pair: Pair, old: str, tmp_path: Path, step: str, victim: str, cell: Cell
) -> None:
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", step)
        switch.held()
        switch.kill(victim)
        if victim != "driver":
            switch.go()
        switch.end()
        # Its receipt was given: from here on nothing but the opening rule opens the old side.
        assert pair.guard(old)["status"] == "closed"
        if pair.guard(switch.new)["status"] != "open":
            again = Switch(pair, old, tmp_path / "hold")
            said = again.end()
            assert "error" not in said, said
        elif victim == "new-server":
            # It died as the open side: the service manager, or a person, starts it.
            pair.must_run(switch.new, ["systemctl", "restart", "postgresql@15-main.service"])
        clients.go_on()
    nothing_lost(clients, pair, [old, switch.new], cell)


@pytest.mark.cell(fault="link cut between receipt and opening", step="switch, driver.closed")
def test_while_the_link_is_cut_nothing_opens_and_silence_is_no_proof(
    pair: Pair, old: str, tmp_path: Path, cell: Cell
) -> None:
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "driver.closed")
        switch.held()
        switch.kill("driver")
        with switching.cut(pair):
            said = Switch(pair, old, tmp_path / "again", patience=3).end()
            assert "silence is no proof" in said["error"]
            assert "has closed and given its receipt" in said["error"]
            assert switching.statuses(pair, old) == ("closed", "closed")
            assert switching.refused(pair)
        said = Switch(pair, old, tmp_path / "again").end()
        assert "error" not in said, said
        clients.go_on()
    nothing_lost(clients, pair, [old, switch.new], cell)


@pytest.mark.cell(fault="link cut for {seconds} s", step="switch, {step}")
@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        pytest.param(step, seconds, marks=[] if (step, seconds) == ("driver.closed", 5) else [pytest.mark.long])
        for step in ("old.receipt", "driver.closed", "new.opening", "new.opened")
        for seconds in (5, 60)
    ],
)
def test_a_link_that_comes_back_costs_time_only(
    pair: Pair, old: str, tmp_path: Path, step: str, seconds: int, cell: Cell
) -> None:
    """What was proved before the receipt is proved; what was not is asked for until the link is back, or once more."""
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", step)
        switch.held()
        with switching.cut(pair):
            switch.go()
            time.sleep(seconds)
            assert pair.guard(old)["status"] == "closed"
        switch.end()
        if pair.guard(switch.new)["status"] != "open":
            said = Switch(pair, old, tmp_path / "again").end()
            assert "error" not in said, said
        clients.go_on()
    nothing_lost(clients, pair, [old, switch.new], cell)


@pytest.mark.cell(fault="second controller at the same time", step="switch, {step}")
@pytest.mark.parametrize("step", ["old.paused", pytest.param("old.stopped", marks=pytest.mark.long), "driver.closed"])
def test_two_controllers_at_once_open_one_side(pair: Pair, old: str, tmp_path: Path, step: str, cell: Cell) -> None:
    """The second one comes while the first stands in the middle; whoever is overtaken says so and opens nothing."""
    with Clients(pair) as clients:
        first = Switch(pair, old, tmp_path / "hold", step)
        first.held()
        second = Switch(pair, old, tmp_path / "second")
        time.sleep(2)
        first.go()
        said = [first.end(), second.end()]
        if pair.guard(first.new)["status"] != "open":
            again = Switch(pair, active(pair) if step != "driver.closed" else old, tmp_path / "again").end()
            assert "error" not in again, (said, again)
        clients.go_on()
    nothing_lost(clients, pair, [old, first.new], cell)


def test_a_server_that_was_never_told_whom_it_lets_in_is_told_by_the_next_thaw(pair: Pair, old: str) -> None:
    # What is left when whoever opened it dies between the file and the signal.
    name = pair.component, pair.host(old)
    switching.python(
        pair,
        old,
        "from bascule.postgresql.io.cluster.cluster import Cluster, load_spec\n"
        "from bascule.postgresql.io.switchover.freeze import thaw\n"
        f"from bascule.postgresql import hba\nthaw{name!r}\ncluster = Cluster(load_spec{name!r})\n"
        "cluster.admit(hba.CLOSED)\ncluster.prove_refusal(('28000',))\n"
        "cluster.write(cluster.config / 'pg_hba.conf', cluster.hba_text(hba.OPEN))",
    )
    assert switching.refused(pair)
    thaw = "from bascule.postgresql.io.switchover.freeze import thaw\n"
    thaw += f"print([thaw(*{name!r}, check=n == 0)['changed'] for n in range(3)])"
    assert switching.python(pair, old, thaw).strip() == "[True, True, False]"
    assert not switching.refused(pair)
