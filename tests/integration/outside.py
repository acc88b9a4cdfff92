"""What the client outside has measured: figures of a stretch of time, as a report has them and as a cell has them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from client.evidence import keep_facts, look_up
from client.setting import SiteAddresses
from client.watchers import Watchers

from bascule.report.figures import LegInput, leg_figures
from bascule.report.records import Leg, Lookup, client_account, probe_account
from tests.cells import Figures
from tests.integration.playbooks import Controller
from tests.integration.steps import KILL_DEADLINE_SECONDS


def writes_again(watchers: Watchers, least: int) -> None:
    """Wait until the client outside has had this many writes acknowledged from now on."""
    since = time.time()
    deadline = time.monotonic() + KILL_DEADLINE_SECONDS
    while watchers.user.acked_since(since) < least:
        assert watchers.dead() is None, watchers.dead()
        assert time.monotonic() < deadline, f"no writes any more: {watchers.user.last_problem}"
        time.sleep(0.5)


def measured(controller: Controller, watchers: Watchers, since: float, site: SiteAddresses, aside: Path) -> Any:
    """Look every acknowledged write up at the site that serves; return the figures since a moment, and the look-up."""
    aside.mkdir(parents=True, exist_ok=True)
    until = time.time()
    said = look_up(site, watchers.user_path.parent, aside / "lookup.json")
    return (
        leg_figures(
            LegInput(
                leg=Leg("all", since, until),
                client=client_account(watchers.user_path.read_text().splitlines()),
                probes=probe_account(watchers.prober_path.read_text().splitlines()),
                lookup=Lookup.from_dict(json.loads((aside / "lookup.json").read_text())),
                facts=keep_facts(controller.runs / controller.run_id, "all"),
                phases={},
                carried=frozenset(),
            )
        ),
        said,
    )


def cell_figures(controller: Controller, watchers: Watchers, since: float, site: SiteAddresses, aside: Path) -> Figures:
    """Return what a cell says of itself: measured from the moment before something broke until users write again."""
    writes_again(watchers, 10)
    figures, said = measured(controller, watchers, since, site, aside)
    found = Figures(
        outage_seconds=figures["write_outage_seconds"],
        lost_writes=figures["lost_writes"],
        divergent_writes=figures["divergent_writes"],
        two_writers_seconds=figures["two_writers_seconds"],
    )
    assert (found.lost_writes, found.divergent_writes, found.two_writers_seconds) == (0, 0, 0), (found, said)
    return found
