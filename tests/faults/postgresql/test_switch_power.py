"""A host that loses its power in the middle of a switch: held or serving, and the same switch goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cells import Cell
from tests.faults.pair import Pair
from tests.faults.postgresql import switching
from tests.faults.postgresql.switching import Clients, Switch, cases, nothing_lost


@pytest.mark.cell(fault="old host rebooted", step="switch, {step}")
@pytest.mark.parametrize("step", [pytest.param("old.paused", marks=pytest.mark.long), "old.stopped"])
def test_a_power_cut_of_the_old_host_before_its_receipt_is_held_until_the_switch_goes_on(
    pair: Pair, old: str, tmp_path: Path, step: str, cell: Cell
) -> None:
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", step)
        switch.held()
        switch.kill("old-host")
        switch.go()
        assert "no answer" in switch.end()["error"]
        pair.boot(old)
        # Its timer has gone with it, and the fence has not.
        assert switching.statuses(pair, old) == ("closing", "closed")
        assert switching.refused(pair)
        said = Switch(pair, old, tmp_path / "hold").end()
        assert "error" not in said, said
        clients.go_on()
    nothing_lost(clients, pair, [old, switch.new], cell)


@pytest.mark.cell(fault="{victim} host rebooted", step="switch, {step}")
@pytest.mark.parametrize(
    ("step", "victim"),
    cases([("old.receipt", "old"), ("driver.closed", "new"), ("new.promoted", "new")], {("new.promoted", "new")}),
)
def test_a_power_cut_after_the_receipt_is_made_up_for_by_the_same_switch(
    pair: Pair, old: str, tmp_path: Path, step: str, victim: str, cell: Cell
) -> None:
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", step)
        switch.held()
        switch.kill(f"{victim}-host")
        switch.go()
        assert "error" in switch.end()
        pair.boot(old if victim == "old" else switch.new)
        assert switching.statuses(pair, old)[0] == "closed"
        assert switching.refused(pair)
        said = Switch(pair, old, tmp_path / "hold").end()
        assert "error" not in said, said
        clients.go_on()
    nothing_lost(clients, pair, [old, switch.new], cell)
