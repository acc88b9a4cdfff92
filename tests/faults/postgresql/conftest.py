"""A prepared pair for each file whose clients ride through a switch; files that need another one define their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import SIDES, Pair
from tests.faults.postgresql.switching import active, follow, freeze


@pytest.fixture(scope="module")
def pair(start_pair: StartPair, request: pytest.FixtureRequest) -> Pair:
    """A pair whose clients come in through a pooler at each side."""
    clients = [{"database": "courses", "user": "lab_data", "address": "all", "until": "switch"}]
    # A dump after each of many switches would only take the machine away from them; it has tests of its own.
    variables = {"postgresql_replication_pooler_clients": clients, "postgresql_replication_safety_dump": False}
    name = request.path.stem.removeprefix("test_").replace("_", "")
    pair = start_pair("db", name, pooler="install", variables=variables)
    pair.must("prepare")
    return pair


@pytest.fixture
def old(pair: Pair) -> Iterator[str]:
    """The side that is left: the active one, frozen; whatever comes of the test, the other one follows in the end."""
    side = active(pair)
    freeze(pair, side)
    yield side
    follow(pair, SIDES[1 - SIDES.index(active(pair))])
