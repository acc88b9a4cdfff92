"""The prepared pair of all files whose clients ride through a switch; files that need another one define their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import SIDES, Pair
from tests.faults.postgresql.switching import active, follow, freeze


def pooled(start: StartPair, name: str) -> Pair:
    """Start and prepare a pair whose clients come in through a pooler at each side."""
    clients = [{"database": "courses", "user": "lab_data", "address": "all", "until": "switch"}]
    # A dump after each of many switches would only take the machine away from them; it has tests of its own.
    variables = {"postgresql_replication_pooler_clients": clients, "postgresql_replication_safety_dump": False}
    pair = start("db", name, pooler="install", variables=variables)
    pair.must("prepare")
    return pair


@pytest.fixture(scope="session")
def riding(start_lasting_pair: StartPair) -> Pair:
    """The pair of all disturbed switches; each test finds out which side is active."""
    return pooled(start_lasting_pair, "switch")


@pytest.fixture
def pair(riding: Pair) -> Pair:
    """What it is called by the tests."""
    return riding


@pytest.fixture
def old(pair: Pair) -> Iterator[str]:
    """The side that is left: the active one, frozen; whatever comes of the test, the other one follows in the end."""
    side = active(pair)
    freeze(pair, side)
    yield side
    follow(pair, SIDES[1 - SIDES.index(active(pair))])
