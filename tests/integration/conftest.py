"""The lab is brought up anew for each file of integration tests and taken down whatever happens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from client.setting import read_setting
from client.watchers import Watchers

from tests.integration.playbooks import ROOT, Controller

LAB = [sys.executable, str(ROOT / "tests" / "lab" / "lab.py")]


@pytest.fixture(scope="module")
def lab() -> Iterator[None]:
    """A fresh lab: everything of an earlier one is removed first."""
    subprocess.run([*LAB, "down"], cwd=ROOT, stdin=subprocess.DEVNULL, timeout=300, check=True)
    try:
        subprocess.run([*LAB, "up"], cwd=ROOT, stdin=subprocess.DEVNULL, timeout=900, check=True)
        yield
    finally:
        subprocess.run([*LAB, "down"], cwd=ROOT, stdin=subprocess.DEVNULL, timeout=300, check=True)


@pytest.fixture(scope="module")
def watchers(tmp_path_factory: pytest.TempPathFactory, lab: None) -> Iterator[Watchers]:
    """A client outside and a prober, at work from the first test that asks for them to the end of all."""
    # Each write is answered by an emulated guest: ten a second, as in the demo, would take a third of a processor.
    started = Watchers(tmp_path_factory.mktemp("clients"), read_setting(), write_interval=0.3)
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, lab: None) -> Controller:
    """The controller that runs the migration."""
    return Controller(tmp_path_factory.mktemp("first"), "integration")


@pytest.fixture
def other(tmp_path: Path, lab: None) -> Controller:
    """A controller that has seen nothing of the run so far."""
    return Controller(tmp_path / "other", "integration")
