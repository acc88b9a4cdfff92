"""The machines of a site of its own, started once for all tests of a file and removed whatever happens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration.playbooks import ROOT
from tests.sites.site import Operator, Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two servers, a bastion and a client."""
    settings = [sys.executable, "tests/lab/lab.py", "settings"]
    subprocess.run(settings, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=60, check=True)
    started = Site(tmp_path_factory.mktemp("site"))
    try:
        yield started.start()
    finally:
        started.stop()


@pytest.fixture(scope="module")
def operator(site: Site) -> Iterator[Operator]:
    """Who moves them."""
    found = Operator(site)
    try:
        yield found
    finally:
        found.close()
