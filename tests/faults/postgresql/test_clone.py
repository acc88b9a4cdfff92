"""The trial of the way back by a promoted clone, killed and blocked: systemd removes it, and nothing else changes."""

from __future__ import annotations

import json

import pytest

from tests.faults.pair import Pair

UNIT = "bascule-accounts_db-clone.service"
# So that the base backup of the clone is still on its way when the clone is killed.
SLOW = {"postgresql_replication_max_rate": "1M"}
# What a trial must leave as it is. Nobody writes meanwhile, and the log may still go on.
LOOK = r"""
cd /etc/postgresql/15/main
sha256sum /var/lib/bascule/guard/accounts_db.json pg_hba.conf start.conf conf.d/* bascule.pgpass
sha256sum /var/lib/postgresql/15/main/postgresql.auto.conf
head -3 /var/lib/postgresql/15/main/postmaster.pid
ls /var/lib/postgresql/15
nft list ruleset
systemctl list-units --all --plain --no-legend 'bascule-accounts_db-clone*'
ss -Htln 'sport = :25432'
runuser -u postgres -- psql -XAtqd postgres -c "select pg_is_in_recovery(), timeline_id from pg_control_checkpoint()" \
  -c "select slot_name, active, active_pid from pg_replication_slots" -c "select datname from pg_database order by 1" \
  -c "select pid from pg_stat_wal_receiver" -c "select pid, application_name, state from pg_stat_replication"
"""
BLOCKED = """
table inet blocked {
  chain input {
    type filter hook input priority 0
    tcp dport 25432 drop
  }
}
"""

pytestmark = pytest.mark.long


def look(pair: Pair) -> list[str]:
    return [pair.must_run(side, ["bash", "-euc", LOOK]) for side in ("source", "target")]


def tries(pair: Pair) -> list[dict[str, str]]:
    """Return the samples of the way back."""
    text = "".join(path.read_text() for path in (pair.work / "runs").rglob("journal.jsonl"))
    entries = [json.loads(line) for line in text.splitlines() if '"way_back"' in line]
    return [entry["data"] for entry in entries if entry["kind"] == "sample"]


def test_a_trial_that_is_killed_or_blocked_leaves_nothing_and_the_next_one_is_whole(standing: Pair) -> None:
    pair = standing
    pair.must("prepare", "sync")
    before = look(pair)
    running = pair.start_verb("check", extra=SLOW)
    pair.until("source", "pgrep -f '[a]pplication_name=bascule_clone_copy'", running=running)
    pair.must_run("target", ["systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT])
    killed = pair.finish(running)
    assert not killed.ok
    assert "gate way_back to say GO" in killed.stdout
    assert "the trial at bascule-fault-prepare-source to become done" in killed.stdout
    assert look(pair) == before

    pair.must_run("target", ["nft", "-f", "-"], BLOCKED)
    try:
        pair.must("check")
    finally:
        pair.must_run("target", ["nft", "delete table inet blocked"])
    assert tries(pair)[-1]["value"] == "yes"
    assert tries(pair)[-1]["detail"].startswith("tried by log only: port 25432 of ")
    assert look(pair) == before

    pair.must("check")
    whole = tries(pair)[-1]
    assert whole["detail"].startswith("a promoted clone of "), whole
    assert look(pair) == before
    pair.must("check")
    assert tries(pair)[-1]["detail"] == whole["detail"], "what it has shown holds, and none is made again"
