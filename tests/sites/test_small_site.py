"""A small site of one's own: guests on LVM-thin's stand-in, nginx, PowerDNS; there and back by the playbooks.

The tests build on one another and run in the order in which they stand. Users write into both guests at each site: what
they wrote has to be there at the next one.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.integration.playbooks import ROOT
from tests.sites.small_site import GUESTS, MACHINES, SmallOperator, SmallSite

pytestmark = pytest.mark.long
# Seconds within which both emulated guests answer.
GUESTS_BOOT = 900.0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallSite]:
    """Six machines; Bordeaux serves."""
    settings = [sys.executable, "tests/lab/lab.py", "settings"]
    subprocess.run(settings, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=60, check=True)
    started = SmallSite(tmp_path_factory.mktemp("small"))
    try:
        yield started.start()
    finally:
        started.stop()


@pytest.fixture(scope="module")
def owner(small: SmallSite) -> Iterator[SmallOperator]:
    """Who moves them."""
    found = SmallOperator(small)
    try:
        yield found
    finally:
        found.close()


def _serves(small: SmallSite, here: str, there: str, ever_moved: bool) -> None:
    """See that one site serves, by both name servers, through its entrance, from its thin volumes; and no other."""
    assert small.address(here) == small.address(there) == [MACHINES[f"gw-{here}"]]
    assert (small.running(here), small.running(there)) == (set(GUESTS), set())
    for guest in GUESTS:
        assert small.get(here, f"/{guest}/healthz") == (200, "ok\n")
        # Who still has the old address is forwarded, as soon as there was a move.
        status, body = small.get(there, f"/{guest}/healthz")
        assert (status, body) == (200, "ok\n") if ever_moved else status == 503
        assert small.served_by_thin(here, guest), small.config(here, guest)
        assert "link_down=1" not in small.config(here, guest)


def _write(small: SmallSite, site: str, word: str) -> list[list[str]]:
    """Write a word into each guest through the entrance of a site; return the words of each."""
    found = [small.get(site, f"/{guest}/note?{word}") for guest in GUESTS]
    assert [status for status, _ in found] == [200] * len(GUESTS)
    return [body.split() for _, body in found]


def test_bordeaux_serves(small: SmallSite, owner: SmallOperator) -> None:
    deadline = time.monotonic() + GUESTS_BOOT
    while not all(small.running("bdx") and small.get("bdx", f"/{guest}/healthz")[0] == 200 for guest in GUESTS):
        assert time.monotonic() < deadline, "the guests do not answer"
        time.sleep(1)
    _serves(small, "bdx", "pau", ever_moved=False)
    assert _write(small, "bdx", "before") == [["before"]] * 2


def test_audit_changes_nothing(owner: SmallOperator) -> None:
    outcome = owner.succeed("audit")
    assert outcome.changed_components == set(), outcome.changed_tasks()
    assert set(outcome.changed) == {"wiki_guest", "shop_guest", "entrance", "names"}


def test_prepare_twice(small: SmallSite, owner: SmallOperator) -> None:
    owner.succeed("prepare")
    again = owner.succeed("prepare")
    assert again.changed_components == set(), again.changed_tasks()
    for guest in GUESTS:
        assert small.served_by_thin("pau", guest), small.config("pau", guest)
        assert "link_down=1" in small.config("pau", guest)
    _serves(small, "bdx", "pau", ever_moved=False)


def test_sync_and_pretest(owner: SmallOperator) -> None:
    owner.succeed("sync")
    owner.succeed("pretest")


def test_forward(small: SmallSite, owner: SmallOperator) -> None:
    assert _write(small, "bdx", "late") == [["before", "late"]] * 2
    owner.succeed("cutover", confirm="pau")
    _serves(small, "pau", "bdx", ever_moved=True)
    assert _write(small, "pau", "there") == [["before", "late", "there"]] * 2
    owner.succeed("verify")


def test_back(small: SmallSite, owner: SmallOperator) -> None:
    owner.succeed("rollback", confirm="bordeaux")
    _serves(small, "bdx", "pau", ever_moved=True)
    assert _write(small, "bdx", "back") == [["before", "late", "there", "back"]] * 2
    owner.succeed("verify")


def test_status_names_the_site_that_serves(owner: SmallOperator) -> None:
    assert "Bordeaux" in owner.succeed("status").output
