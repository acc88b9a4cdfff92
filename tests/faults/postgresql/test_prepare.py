"""What goes wrong while the standby is built or follows: it is said, nothing is lost, and the next run goes on."""

from __future__ import annotations

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import Pair


@pytest.fixture(scope="module")
def pair(start_pair: StartPair) -> Pair:
    return start_pair("db", "prepare")


def test_wal_goes_on_after_the_link_was_cut(pair: Pair) -> None:
    pair.must("audit", "prepare", "sync")
    pair.cut()
    try:
        pair.sql(
            "source", "insert into app.logins select gen_random_uuid(), 1, now(), 'cut' from generate_series(1, 50)"
        )
        behind = pair.verb("sync", extra={"postgresql_replication_sync_timeout": 3})
    finally:
        pair.restore()
    assert not behind.ok
    assert "to have replayed" in behind.stdout
    assert pair.guard("source")["status"] == "open"
    pair.must("sync", "check")
    assert pair.sql("target", "select count(*) from app.logins where client = 'cut'") == "50"
