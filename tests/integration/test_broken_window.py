"""Something breaks between the first freeze and the last thaw: users are served at the source again by one command.

Each time a cutover runs until a verb begins; then a host of the target, the whole target, or the link between the sites
is gone, and comes back only after users are served. What serves the second time is what `status` has printed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bascule_lab import faults, shell
from bascule_lab.topology import SITES
from client.setting import read_setting
from client.watchers import Watchers

from tests.cells import Cell
from tests.integration.outside import cell_figures
from tests.integration.playbooks import Controller
from tests.integration.steps import KILL_DEADLINE_SECONDS, is_active_at, is_served_from, kill_when, next_of

pytestmark = pytest.mark.long
SOURCE, TARGET = SITES


class Fault(NamedTuple):
    """Something that breaks, and how it is mended."""

    name: str
    break_: Callable[[], None]
    mend: Callable[[], None]


FAULTS = (
    Fault("the database's host", lambda: faults.kill("db-tls"), lambda: faults.start("db-tls")),
    Fault("the file server", lambda: faults.kill("files-tls"), lambda: faults.start("files-tls")),
    Fault("the node", lambda: faults.kill("pve-tls"), lambda: faults.start("pve-tls")),
    Fault("the target", lambda: faults.kill_site(TARGET), lambda: faults.start_site(TARGET)),
    Fault("the link", faults.cut_link, faults.restore_link),
)
WORD_NEEDED = ("the target", "switch")


def break_when(controller: Controller, fault: Fault, seen: Callable[[dict[str, Any]], bool]) -> None:
    """Start a cutover, break something when an entry of its journal matches, and let the cutover end by itself."""
    offset = controller.journal().stat().st_size
    process = controller.start("cutover")
    deadline = time.monotonic() + KILL_DEADLINE_SECONDS
    try:
        while not _has(controller, offset, seen):
            assert process.poll() is None, f"it ended before {fault.name} could go: {controller.said('cutover')}"
            assert time.monotonic() < deadline, "it did not come to the moment"
            time.sleep(0.05)
        fault.break_()
        assert process.wait(timeout=KILL_DEADLINE_SECONDS) != 0, f"the cutover came through without {fault.name}"
    finally:
        shell.kill_tree(process)


def _has(controller: Controller, offset: int, seen: Callable[[dict[str, Any]], bool]) -> bool:
    new = controller.journal().read_bytes()[offset:]
    return any(seen(json.loads(line)) for line in new.splitlines() if line.endswith(b"}"))


@pytest.fixture(scope="module")
def ready(first: Controller) -> Controller:
    for phase in ("audit", "prepare", "sync"):
        first.succeed(phase)
    return first


@pytest.mark.cell(fault="{fault} dies", step="{verb}")
@pytest.mark.parametrize(
    ("fault", "verb"),
    # Once an old side has given its receipt, a target that is gone whole is a lost site and takes a person's word.
    [(fault, verb) for fault in FAULTS for verb in ("freeze", "sync", "switch") if (fault.name, verb) != WORD_NEEDED],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_one_command_serves_users_at_the_source_again(
    ready: Controller, watchers: Watchers, fault: Fault, verb: str, tmp_path: Path, cell: Cell
) -> None:
    # The standby has lost its connection with what broke before.
    ready.succeed("sync")
    since = time.time()
    try:
        break_when(ready, fault, lambda e: e["kind"] == "begin" and (e["phase"], e["verb"]) == ("cutover", verb))
        output = ready.succeed("status").output
        assert "playbooks/rollback.yml" in next_of(output), output
        ready.succeed("rollback")
        is_served_from(SOURCE)
    finally:
        fault.mend()
    ready.succeed("rollback")
    is_active_at(ready, SOURCE.title)
    cell.ended("rolled_back", cell_figures(ready, watchers, since, read_setting().source, tmp_path))


@pytest.mark.cell(fault="controller killed, {by} by another", step="{verb}")
@pytest.mark.parametrize(
    ("verb", "by"),
    [
        ("freeze", "turned back"),
        ("switch", "turned back"),
        ("sync", "resumed"),
        ("switch", "resumed"),
        ("thaw", "resumed"),
    ],
)
def test_another_controller_takes_over(
    ready: Controller, other: Controller, watchers: Watchers, verb: str, by: str, tmp_path: Path, cell: Cell
) -> None:
    """The first one is killed as a verb begins; the second has seen nothing of the run."""
    ready.succeed("sync")
    since = time.time()
    kill_when(ready, "cutover", lambda e: e["kind"] == "begin" and (e["phase"], e["verb"]) == ("cutover", verb))
    resumed = by == "resumed"
    other.succeed("cutover" if resumed else "rollback")
    is_active_at(other, TARGET.title if resumed else SOURCE.title)
    setting = read_setting()
    site = setting.target if resumed else setting.source
    cell.ended("completed" if resumed else "rolled_back", cell_figures(other, watchers, since, site, tmp_path))
    if resumed:
        other.succeed("rollback")
        is_active_at(other, SOURCE.title)
