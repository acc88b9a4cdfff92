"""A switch that was interrupted: the whole playbook once more, verb for verb, goes on to its end, forward and back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cells import Cell
from tests.faults.pair import Pair
from tests.faults.postgresql.switching import Clients, Switch, active, freeze, nothing_lost, refused, statuses

# The plays of 60_cutover.yml and of rollback.yml.
PLAYS = {
    "forward": ("check", "capture", "freeze", "sync", "switch", "thaw"),
    "back": ("freeze", "sync", "switch", "thaw"),
}
LEAVES = {"forward": "source", "back": "target"}
BOTH = ("forward", "back")
DATA = "/var/lib/postgresql/15/main"


@pytest.fixture
def begin(pair: Pair) -> None:
    """Every test begins with a side that serves and one that follows."""
    side = active(pair)
    pair.must("sync", direction="forward" if side == "source" else "back")


def bring_to(pair: Pair, direction: str) -> str:
    """See that a switch in this direction can be made; return the side it leaves, frozen."""
    old = LEAVES[direction]
    if active(pair) != old:
        pair.must(*PLAYS["back" if direction == "forward" else "forward"], direction=other(direction))
        pair.must("sync", direction=direction)
    freeze(pair, old)
    return old


def timeline(pair: Pair, side: str, data: str) -> int:
    """The newest timeline of a data directory of which no server runs."""
    said = pair.must_run(side, ["/usr/lib/postgresql/15/bin/pg_controldata", "-D", data])
    found = re.findall(r"(?:Latest checkpoint's TimeLineID|Min recovery ending loc's timeline): +([0-9]+)", said)
    return max(int(number) for number in found)


def other(direction: str) -> str:
    """The way back of a way."""
    return BOTH[1 - BOTH.index(direction)]


def is_done(pair: Pair, new: str, direction: str) -> None:
    """The new side serves everyone, and the other one follows it."""
    assert active(pair) == new
    assert not pair.guard(new)["frozen"]
    assert not refused(pair)
    pair.must("sync", direction=other(direction))


@pytest.mark.cell(fault="controller killed and run again, {direction}", step="switch, driver.closed")
@pytest.mark.usefixtures("begin")
@pytest.mark.parametrize("direction", ["forward", pytest.param("back", marks=pytest.mark.long)])
def test_after_the_receipt_the_same_playbook_goes_on(pair: Pair, tmp_path: Path, direction: str, cell: Cell) -> None:
    old = bring_to(pair, direction)
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "driver.closed")
        switch.held()
        switch.kill("driver")
        switch.end()
        assert statuses(pair, old) == ("closed", "closed")
        said = pair.must(*PLAYS[direction], direction=direction)
        if direction == "forward":
            assert "an interrupted switch goes on, whatever the lag" in said.stdout
        clients.go_on()
    nothing_lost(clients, pair, [old, switch.new], cell)
    is_done(pair, switch.new, direction)


@pytest.mark.cell(fault="controller killed and turned back, {direction}", step="switch, driver.closed")
@pytest.mark.long
@pytest.mark.usefixtures("begin")
@pytest.mark.parametrize("direction", BOTH)
def test_after_the_receipt_the_other_playbook_goes_back(pair: Pair, tmp_path: Path, direction: str, cell: Cell) -> None:
    old = bring_to(pair, direction)
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "driver.closed")
        switch.held()
        switch.kill("driver")
        switch.end()
        assert statuses(pair, old) == ("closed", "closed")
        pair.must(*PLAYS[other(direction)], direction=other(direction))
        clients.go_on()
    nothing_lost(clients, pair, [old], cell)
    is_done(pair, old, other(direction))


@pytest.mark.cell(fault="old host rebooted, {direction}", step="switch, {step}")
@pytest.mark.long
@pytest.mark.usefixtures("begin")
@pytest.mark.parametrize("step", ["old.paused", "old.stopped"])
@pytest.mark.parametrize("direction", BOTH)
def test_after_a_power_cut_while_it_closed_the_same_playbook_goes_on(
    pair: Pair, tmp_path: Path, direction: str, step: str, cell: Cell
) -> None:
    """It died as a primary that the other side has yet to hear the end of, or had stopped already."""
    old = bring_to(pair, direction)
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", step)
        switch.held()
        switch.kill("old-host")
        switch.go()
        assert "no answer" in switch.end()["error"]
        pair.boot(old)
        assert statuses(pair, old) == ("closing", "closed")
        pair.must(*PLAYS[direction], direction=direction)
        clients.go_on()
    nothing_lost(clients, pair, [old, switch.new], cell)
    is_done(pair, switch.new, direction)


@pytest.mark.cell(fault="new host rebooted", step="switch, new.opening")
@pytest.mark.long
@pytest.mark.usefixtures("begin")
def test_a_side_that_lost_its_power_while_it_opened_is_followed_and_then_left(
    pair: Pair, tmp_path: Path, cell: Cell
) -> None:
    """It was promoted, and nobody was let in: the rollback starts it again, behind closed doors, for the other side."""
    old = bring_to(pair, "forward")
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "new.promoted")
        switch.held()
        switch.kill("new-host")
        switch.go()
        assert "error" in switch.end()
        pair.boot(switch.new)
        assert statuses(pair, old) == ("closed", "opening")
        pair.must(*PLAYS["back"], direction="back")
        clients.go_on()
    nothing_lost(clients, pair, [old], cell)
    is_done(pair, old, "back")


@pytest.mark.cell(fault="controller killed and run again", step="switch, new.opened")
@pytest.mark.long
@pytest.mark.usefixtures("begin")
def test_a_cutover_whose_controller_died_when_all_was_open_goes_on(pair: Pair, tmp_path: Path, cell: Cell) -> None:
    """The closed side does not follow yet: no gate stands in the way of what makes it follow."""
    old = bring_to(pair, "forward")
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "new.opened")
        switch.held()
        switch.kill("driver")
        switch.end()
        clients.go_on()
        said = pair.must(*PLAYS["forward"], direction="forward")
        assert "the switch makes it follow" in said.stdout
        clients.go_on()
    nothing_lost(clients, pair, [old, switch.new], cell)
    is_done(pair, switch.new, "forward")


@pytest.mark.cell(fault="closed server started by hand", step="switch, driver.closed")
@pytest.mark.long
@pytest.mark.usefixtures("begin")
def test_what_a_return_that_came_to_nothing_has_started_is_kept_before_it_follows(
    pair: Pair, tmp_path: Path, cell: Cell
) -> None:
    """It was started to open again and did not; the cutover goes on, and what it had closed with stays."""
    old = bring_to(pair, "forward")
    with Clients(pair) as clients:
        switch = Switch(pair, old, tmp_path / "hold", "driver.closed")
        switch.held()
        switch.kill("driver")
        switch.end()
        before = timeline(pair, old, DATA)
        pair.must_run(old, ["systemctl", "start", "postgresql@15-main.service"])
        pair.must(*PLAYS["forward"], direction="forward")
        clients.go_on()
    nothing_lost(clients, pair, [old, switch.new], cell)
    is_done(pair, switch.new, "forward")
    kept = json.loads(pair.must_run(old, ["cat", f"/var/lib/bascule/{pair.component}/kept.json"]))
    assert kept["epoch"] == pair.guard(old)["promised"]
    # The copy has nothing of the new side's; the data directory has.
    assert timeline(pair, old, kept["path"]) == before
    assert pair.sql(old, "checkpoint; select received_tli from pg_stat_wal_receiver") == str(before + 1)
