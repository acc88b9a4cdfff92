"""A switch that is disturbed after its receipt: the same one once more goes on, and no acknowledged write is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.pair import Pair
from tests.faults.postgresql import switching
from tests.faults.postgresql.switching import Clients, Switch, cases, nothing_lost

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


@pytest.mark.parametrize(("step", "victim"), cases(AFTER, ALWAYS))
def test_after_the_receipt_the_same_switch_goes_on(
    pair: Pair, old: str, tmp_path: Path, step: str, victim: str
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
    nothing_lost(clients, pair, [old, switch.new])


def test_while_the_link_is_cut_nothing_opens_and_silence_is_no_proof(pair: Pair, old: str, tmp_path: Path) -> None:
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
    nothing_lost(clients, pair, [old, switch.new])


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
