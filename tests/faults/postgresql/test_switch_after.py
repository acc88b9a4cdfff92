"""A switch that is disturbed after its receipt: the same one once more goes on, and no acknowledged write is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import Pair
from tests.faults.postgresql import switching
from tests.faults.postgresql.switching import Clients, Switch, ids, nothing_lost

# From the receipt on: the same switch once more goes on.
AFTER = [
    ("driver.closed", "driver"),
    ("driver.closed", "old-agent"),
    ("new.asked", "new-server"),
    ("new.opening", "new-agent"),
    ("new.opening", "new-server"),
    ("new.promoted", "driver"),
    ("new.promoted", "new-agent"),
    ("new.promoted", "new-server"),
    ("new.opened", "new-server"),
]


@pytest.fixture(scope="module")
def pair(start_pair: StartPair) -> Pair:
    return switching.prepared(start_pair, "switchafter")


@pytest.fixture
def old(pair: Pair) -> Iterator[str]:
    """The side that is left: the active one, frozen, with its standby behind it."""
    yield from switching.left(pair)


@pytest.mark.parametrize(("step", "victim"), AFTER, ids=ids(AFTER))
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
        if pair.guard(switch.new)["status"] != "open":
            again = Switch(pair, old, tmp_path / "hold")
            said = again.end()
            assert "error" not in said, said
        elif victim == "new-server":
            # It died as the open side: the service manager, or a person, starts it.
            pair.must_run(switch.new, ["systemctl", "restart", "postgresql@15-main.service"])
        clients.go_on()
    nothing_lost(clients, pair, [old, switch.new])
