"""A closed side whose restore point is its safety dump: it follows at once, and what it had at the fence is there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.faults.pair import SIDES, Pair
from tests.faults.postgresql.switching import Clients, active, nothing_lost

pytestmark = pytest.mark.long

HOME = "/var/lib/bascule/accounts_db"
DATA = "/var/lib/postgresql/15/main"
STANDBY = "/etc/postgresql/15/main/conf.d/95-bascule-standby.conf"
FORWARD = ("check", "capture", "freeze", "sync", "switch", "thaw")
BACK = ("freeze", "sync", "switch", "thaw")
# A copy of a large database, which does not end while the test lasts.
SLOW_COPY = "#!/bin/sh\ntouch /run/copied\nexec sleep 3600\n"
RECEIVED = """runuser -u postgres -- psql -XAtc "select pg_last_wal_receive_lsn() >= '{end}'" | grep -q t"""
RECIPIENTS = f"{HOME}/recipients.json"


@pytest.fixture(scope="module")
def dumping(riding: Pair) -> Iterator[Pair]:
    """The pair, prepared to keep what a switch closes in the safety dump."""
    riding.write_inventory(postgresql_replication_safety_dump=True, postgresql_replication_restore_point="dump")
    riding.must("prepare")
    yield riding
    riding.write_inventory()
    riding.must("prepare")


@pytest.fixture
def way(dumping: Pair) -> Iterator[tuple[str, str, str, str]]:
    """The side that serves, the other one, and the direction from the one to the other, and back."""
    old = active(dumping)
    there, back = ("forward", "back") if old == "source" else ("back", "forward")
    dumping.must("sync", direction=there)
    yield old, SIDES[1 - SIDES.index(old)], there, back
    for side in SIDES:
        dumping.run(side, ["rm", "-f", "/usr/local/bin/cp", "/run/copied"])


def notes(pair: Pair, side: str, name: str) -> dict[str, str]:
    """What a unit of a side has written down."""
    found: dict[str, str] = json.loads(pair.must_run(side, ["cat", f"{HOME}/{name}.json"]))
    return found


def copies(pair: Pair, side: str) -> str:
    """The copies of its data that a side keeps."""
    return pair.must_run(side, ["bash", "-c", f"ls -d {DATA}.bascule-kept-* || true"])


def streams(pair: Pair, side: str) -> None:
    """Wait until a side follows."""
    pair.until(side, 'grep -q \'"state": "streaming"\' ' + f"{HOME}/follow.json", seconds=60)


def test_it_follows_at_once_where_a_copy_would_cost_the_slot_and_nothing_is_lost_either_way(
    dumping: Pair, way: tuple[str, str, str, str]
) -> None:
    pair, (old, new, there, back) = dumping, way
    before = copies(pair, old)
    pair.must_run(old, ["bash", "-c", "cat >/usr/local/bin/cp; chmod 755 /usr/local/bin/cp"], SLOW_COPY)
    with Clients(pair) as clients:
        pair.must(*FORWARD, direction=there)
        streams(pair, old)
        # More log than a slot keeps: a side that still copies would need a base backup now.
        for setting in ("max_slot_wal_keep_size = '64MB'", "wal_keep_size = 0"):
            pair.sql(new, f"alter system set {setting}")
        pair.sql(new, "select pg_reload_conf()")
        for _ in range(12):
            pair.sql(new, "select pg_logical_emit_message(false, 'test', repeat('x', 10000000)); checkpoint")
            end = pair.sql(new, "select pg_current_wal_lsn()")
            pair.until(old, RECEIVED.format(end=end), seconds=30)
        slot = pair.sql(new, "select active, wal_status from pg_replication_slots where slot_name like 'bascule%'")
        for setting in ("max_slot_wal_keep_size", "wal_keep_size"):
            pair.sql(new, f"alter system reset {setting}")
        pair.sql(new, "select pg_reload_conf()")
        assert slot in ("t|reserved", "t|extended")
        assert notes(pair, old, "follow")["restore_point"] == "dump"
        assert pair.run(old, ["test", "-e", "/run/copied"]).rc != 0
        assert copies(pair, old) == before

        # The dump is that of the fence: with all that the old side has acknowledged, and nothing of the new one's.
        clients.go_on()
        pair.must("verify", direction=there)
        assert pair.fact("verify")["safety_dump"] == "proved"
        directory = f"/var/backups/bascule/accounts_db-safety-{notes(pair, old, 'safety_dump')['epoch']}"
        restore = "/usr/lib/postgresql/15/bin/pg_restore --data-only --table=data_layer --file=-"
        key = "/var/lib/bascule/age/key.txt"
        script = f"for f in {directory}/*.dump.age; do age -d -i {key} $f | {restore}; done"
        dumped = pair.must_run(old, ["bash", "-ec", script])
        acks = list(clients.acks)
        assert {ack.side for ack in acks} == {old, new}
        assert [ack for ack in acks if (str(ack.key) in dumped) is not (ack.side == old)] == []

        # The way back; and a dump that cannot hold the state keeps that side from following.
        pair.must_run(new, ["mv", RECIPIENTS, "/root/"])
        pair.must(*BACK, direction=back)
        pair.until(new, f'grep -q \'"state": "failed"\' {HOME}/follow.json')
        assert "to hold its state at the fence before it follows" in notes(pair, new, "follow")["error"]
        assert pair.sql(new, "select current_setting('primary_conninfo')", "postgres") == ""
        pair.must_run(new, ["mv", "/root/recipients.json", RECIPIENTS])
        pair.must("sync", direction=there)
        assert notes(pair, new, "follow")["restore_point"] == "dump"
        clients.go_on()
    nothing_lost(clients, pair, [old, new, old])


def test_what_somebody_has_started_since_is_copied_before_anything_is_written_over(
    dumping: Pair, way: tuple[str, str, str, str]
) -> None:
    pair, (old, _, there, back) = dumping, way
    pair.must(*FORWARD, "sync", direction=there)
    pair.must("sync", direction=back)
    by_hand = f"systemctl stop postgresql@15-main; rm {DATA}/standby.signal {STANDBY}; pg_ctlcluster 15 main start"
    pair.must_run(old, ["bash", "-ec", by_hand])
    pair.sql(old, "insert into app.logins select gen_random_uuid(), 1, now(), 'by hand' from generate_series(1, 3)")
    refused = pair.verb("sync", direction=back)
    assert not refused.ok
    assert "3 rows of courses.app.logins" in refused.stdout
    follow = notes(pair, old, "follow")
    assert follow["restore_point"] == "copy"
    kept = notes(pair, old, "kept")
    assert kept["epoch"] == pair.guard(old)["promised"]
    assert kept["path"] in copies(pair, old)
    pair.must("prepare", "sync", direction=back)
    assert pair.sql(old, "select count(*) from app.logins where client = 'by hand'") == "0"
    pair.must(*BACK, direction=back)
    pair.must("sync", direction=there)
    assert active(pair) == old
