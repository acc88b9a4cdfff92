"""The prepared pair of all files whose clients ride through a switch; files that need another one define their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import SIDES, Pair
from tests.faults.postgresql.switching import active, follow, freeze

# So few that a test can lose a slot, and a limit that a real site has too.
_LITTLE_LOG = {
    "postgresql_replication_max_slot_wal_keep_size": "32MB",
    "postgresql_replication_wal_keep_size": "32MB",
}


def pooled(start: StartPair, name: str) -> Pair:
    """Start and prepare a pair whose clients come in through a pooler at each side."""
    clients = [{"database": "courses", "user": "lab_data", "address": "all", "until": "switch"}]
    # A dump after each of many switches would only take the machine away from them; it has tests of its own.
    variables = {"postgresql_replication_pooler_clients": clients, "postgresql_replication_safety_dump": False}
    pair = start("db", name, pooler="install", variables=variables)
    pair.must("prepare")
    return pair


@pytest.fixture(scope="session")
def standing(start_lasting_pair: StartPair) -> Pair:
    """A pair whose source serves and whose target is to follow; not prepared yet."""
    pair = start_lasting_pair("db", "prepare", variables=_LITTLE_LOG)
    # So that it sees soon that a link is dead.
    pair.sql("source", "alter system set wal_sender_timeout = '6s'")
    pair.sql("source", "select pg_reload_conf()")
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
