"""Somebody starts the closed side as a primary, by hand, and writes to it: nothing of that is ever deleted unseen."""

from __future__ import annotations

import json

import pytest

from tests.faults.pair import Pair

UNIT = "postgresql@15-main"
DATA = "/var/lib/postgresql/15/main"
CONFIG = "/etc/postgresql/15/main/conf.d/95-bascule-standby.conf"
EXPORTED = """
for file in /var/backups/bascule/accounts_db-diverged-*/courses.*.csv.age; do
    age --decrypt --identity /var/lib/bascule/age/key.txt "$file"
done
"""


@pytest.fixture(scope="module")
def pair(standing: Pair) -> Pair:
    # What the file before has set to see a dead link soon.
    standing.sql("source", "alter system reset wal_sender_timeout")
    standing.sql("source", "select pg_reload_conf()")
    standing.must("prepare", "sync")
    return standing


def write(pair: Pair, side: str, client: str, number: int) -> None:
    """Write rows that are told apart by their client."""
    row = f"gen_random_uuid(), 1, now(), '{client}'"
    pair.sql(side, f"insert into app.logins select {row} from generate_series(1, {number})")


def refused(pair: Pair, *verbs: str) -> str:
    """Run verbs that have to be refused; nobody else than the source is open."""
    done = pair.verb(*verbs)
    assert not done.ok, done.stdout[-3000:]
    assert [pair.guard(side)["status"] for side in ("source", "target")] == ["open", "closed"]
    return done.stdout


def aside(pair: Pair) -> str:
    """Where the last prepare has put what lay there."""
    return str(json.loads(pair.must_run("target", ["cat", "/var/lib/bascule/accounts_db/seed.json"]))["aside"])


def rows_aside(pair: Pair, client: str) -> str:
    """Start what was put aside, on a port of its own, and look."""
    place = aside(pair)
    script = f"""
cd {place}; rm -f standby.signal
runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl -w -s -D {place} -l /tmp/aside.log start \
    -o "-c config_file=/etc/postgresql/15/main/postgresql.conf -c data_directory={place} -c port=5499 -c ssl=off \
        -c listen_addresses= -c external_pid_file= -c hot_standby=on"
runuser -u postgres -- psql -p 5499 -XAt -d courses -c "select count(*) from app.logins where client = '{client}'"
runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl -w -s -D {place} stop -m immediate
"""
    return pair.must_run("target", ["bash", "-ec", script]).strip()


@pytest.mark.long
def test_a_standby_that_was_never_anything_else_is_replaced(pair: Pair) -> None:
    """It is the other side's: the disk is not filled with copies of it."""
    clusters = ["ls", "/var/lib/postgresql/15"]
    before = pair.must_run("target", clusters)
    pair.must_run("target", ["systemctl", "stop", UNIT])
    pair.sql("source", "select pg_drop_replication_slot('bascule_accounts_db')")
    for size in ("0", None):
        pair.sql("source", f"alter system set wal_keep_size = {size}" if size else "alter system reset wal_keep_size")
        pair.sql("source", "select pg_reload_conf()")
        for _ in range(2):
            write(pair, "source", "filler", 10)
            pair.sql("source", "select pg_switch_wal()")
        pair.sql("source", "checkpoint")
    again = pair.must("prepare", "sync", "check")
    assert "the standby is built again from nothing" in again.stdout
    assert pair.sql("target", "select count(*) from app.logins where client = 'filler'") == "40"
    assert aside(pair) == ""
    assert pair.must_run("target", clusters) == before


@pytest.mark.long
def test_a_promoted_side_is_not_built_anew_before_its_rows_are_exported(pair: Pair) -> None:
    """Its timeline is greater than that of the side that serves."""
    pair.sql("target", "select pg_promote()")
    write(pair, "target", "promoted", 3)
    pair.sql("target", "select lo_from_bytea(0, 'promoted')")
    write(pair, "source", "serving", 5)

    said = refused(pair, "prepare")
    assert "it runs as a primary" in said
    assert f"systemctl stop {UNIT}" in said
    assert "30_sync.yml" in said
    assert pair.sql("target", "select count(*) from app.logins where client = 'promoted'") == "3"

    pair.must_run("target", ["systemctl", "stop", UNIT])
    assert "it ended as a primary" in refused(pair, "prepare")

    said = refused(pair, "sync")
    assert "3 rows of courses.app.logins" in said
    assert "1 rows of courses.pg_catalog.pg_largeobject," in said
    exported = pair.must_run("target", ["bash", "-ec", EXPORTED])
    assert exported.count("promoted") == 3
    assert "serving" not in exported
    assert pair.sql("target", "select count(*) from app.logins where client = 'promoted'") == "3"

    again = pair.must("prepare", "sync", "check")
    assert "it goes back to the fork" in again.stdout
    assert aside(pair) in again.stdout
    built = json.loads(pair.must_run("target", ["cat", "/var/lib/bascule/accounts_db/seed.json"]))
    assert built["method"] == "pg_rewind", built
    assert pair.sql("target", "select count(*) from app.logins where client = 'promoted'") == "0"
    assert pair.sql("target", "select count(*) from app.logins where client = 'serving'") == "5"
    assert rows_aside(pair, "promoted") == "3"


@pytest.mark.long
def test_a_side_that_wrote_on_in_the_same_timeline_is_seen_by_its_log(pair: Pair) -> None:
    """Started without its standby.signal: no timeline tells, and the other side's log is longer."""
    script = f"systemctl stop {UNIT}; rm {DATA}/standby.signal; mv {CONFIG} /root/; systemctl start {UNIT}"
    pair.must_run("target", ["bash", "-ec", script])
    write(pair, "target", "alone", 4)
    pair.must_run("target", ["systemctl", "stop", UNIT])
    write(pair, "source", "meanwhile", 2000)
    timelines = [
        pair.must_run(
            side, ["bash", "-c", f"/usr/lib/postgresql/15/bin/pg_controldata -D {DATA} | grep 'Latest.*TimeLineID'"]
        ).split()[-1]
        for side in ("source", "target")
    ]
    assert timelines[0] == timelines[1]

    assert "it ended as a primary" in refused(pair, "prepare")
    said = refused(pair, "sync")
    assert "4 rows of courses.app.logins" in said
    exported = pair.must_run("target", ["bash", "-ec", EXPORTED])
    assert exported.count("alone") == 4
    assert "meanwhile" not in exported

    pair.must("prepare", "sync", "check")
    built = json.loads(pair.must_run("target", ["cat", "/var/lib/bascule/accounts_db/seed.json"]))
    assert "it saw no fork" in built["not_rewound"]
    assert pair.sql("target", "select count(*) from app.logins where client = 'meanwhile'") == "2000"
    assert rows_aside(pair, "alone") == "4"


@pytest.mark.long
def test_who_cannot_be_compared_does_not_follow(pair: Pair) -> None:
    """The link is cut while a closed side stands still: it goes on standing, and follows when it was compared."""
    pair.must("freeze", "sync", "switch", "thaw")
    pair.must("sync", direction="back")
    standing = "select current_setting('primary_conninfo')"
    psql = f'[ -z "$(runuser -u postgres -- psql -XAtc "{standing}")" ]'
    pair.must_run("source", ["systemctl", "stop", UNIT])
    pair.must_run("source", ["bash", "-ec", f"rm {DATA}/standby.signal; rm {CONFIG}"])
    pair.cut()
    try:
        behind = pair.verb("sync", direction="back", extra={"postgresql_replication_sync_timeout": 8})
        pair.until("source", f"{psql} && grep -q 'looking for what' /var/lib/bascule/accounts_db/follow.json")
        assert pair.sql("source", standing, "postgres") == ""
    finally:
        pair.restore()
    assert not behind.ok
    pair.must("sync", "check", direction="back")
    assert pair.sql("source", standing, "postgres") != ""
    assert pair.sql("source", "select pg_is_in_recovery()") == "t"
