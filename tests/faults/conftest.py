"""Pairs of hosts for tests that break things, started for one file at a time and removed whatever happens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.pair import ROOT, Pair

StartPair = Callable[..., Pair]


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to spread the tests of one file: they share their hosts."""
    if config.getoption("dist", "no") not in ("no", "loadfile"):
        raise pytest.UsageError("tests of one file share their hosts: run tests/faults with --dist loadfile")


@pytest.fixture(scope="session")
def machine() -> None:
    """Podman's settings for this machine."""
    subprocess.run(
        [sys.executable, "tests/lab/lab.py", "settings"], cwd=ROOT, stdin=subprocess.DEVNULL, timeout=60, check=True
    )


@pytest.fixture(scope="module")
def start_pair(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartPair]:
    """Start pairs: `start_pair("db", "name", ...)`. They live as long as the tests of the file."""
    started: list[Pair] = []

    def start(kind: str, name: str, **options: Any) -> Pair:
        pair = Pair(kind, name, tmp_path_factory.mktemp(name), **options)
        started.append(pair)
        return pair.start()

    try:
        yield start
    finally:
        for pair in started:
            pair.stop()
