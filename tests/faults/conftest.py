"""Pairs of hosts for tests that break things, started for one file at a time and removed whatever happens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.faults.pair import ROOT, Pair

StartPair = Callable[..., Pair]


# What takes longest begins first, so that both workers end at about the same time.
_FIRST = (
    "tests/molecule/",
    "tests/sites/",
    "tests/faults/guests/",
    "tests/faults/postgresql/test_pooler",
    "tests/faults/postgresql/test_switch",
)
# Files that share one pair, in their order.
_SHARED = {
    "riding": (
        "test_pooler",
        "test_switch",
        "test_switch_after",
        "test_switch_power",
        "test_rerun",
        "test_restore_point",
    ),
    "standing": ("test_prepare", "test_by_hand"),
    "fenced": ("test_fence", "test_delta"),
    "compared": ("test_manifest", "test_state"),
}
_PLACES = {stem: (scope, place) for scope, stems in _SHARED.items() for place, stem in enumerate(stems)}


def scope_of_file(path: str) -> str:
    """Return what names the tests that share hosts with those of a file: the file, or the name of a few."""
    return _PLACES.get(Path(path).stem, (path, 0))[0] if path.startswith("tests/faults/") else path


class ByFile(LoadScopeScheduling):
    """Keeps tests that share their hosts on one worker, those of a file or of a few; all others go where there is room.

    pytest-xdist's own groups are no help: with a pytest that keeps node ids to itself they are silently spread.
    """

    def _split_scope(self, nodeid: str) -> str:
        if not nodeid.startswith(("tests/faults/", "tests/sites/")):
            return nodeid
        return scope_of_file(nodeid.split("::", 1)[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first; tests of one file stay in their order."""
    items.sort(
        key=lambda item: [
            *(not item.nodeid.startswith(first) for first in _FIRST),
            _PLACES.get(item.path.stem, ("", 0))[1],
        ]
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Whatever --dist says."""
    return ByFile(config, log)


@pytest.fixture(scope="session")
def machine() -> None:
    """Podman's settings for this machine."""
    subprocess.run(
        [sys.executable, "tests/lab/lab.py", "settings"], cwd=ROOT, stdin=subprocess.DEVNULL, timeout=60, check=True
    )


def _pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartPair]:
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


@pytest.fixture(scope="module")
def start_pair(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartPair]:
    """Start pairs: `start_pair("db", "name", ...)`. They live as long as the tests of the file."""
    yield from _pairs(tmp_path_factory)


@pytest.fixture(scope="session")
def start_lasting_pair(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartPair]:
    """Start pairs that several files share."""
    yield from _pairs(tmp_path_factory)
