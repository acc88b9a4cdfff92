"""A move by dump and restore, there and back with writes in between; and what breaks it in the window.

The tests go through one evening, in their order: rehearsal, faults that end with the old side serving again, the move,
the return.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from bascule_lab import shell

from tests.faults.conftest import StartPair
from tests.faults.pair import ROOT, SIDES, Pair

from . import odd_databases

HOME = "/var/lib/bascule/accounts_db"
CARRIED = "/var/backups/bascule/accounts_db-carried"
DATA = "/var/lib/postgresql/15/main"
# In front of the real program, for what is started by its name.
DUMP_ENDS_EARLY = """#!/bin/sh
case "$*" in *--encrypt*) head -c 20000 | /usr/bin/age "$@"; echo "no space left" >&2; exit 1;; esac
exec /usr/bin/age "$@"
"""
NOT_RESTORABLE = """
create table app.known (i int); insert into app.known values (1);
create function app.is_known(int) returns bool language sql set search_path = app
    as 'select exists (select from known where i = $1)';
create table app.members (i int check (app.is_known(i))); insert into app.members values (1);
alter function app.is_known(int) reset search_path;
"""
BIT_FLIPS_ON_THE_WAY = """#!/bin/sh
for last; do :; done
/usr/bin/rsync "$@" || exit
case "$last" in *.dump.age) printf X | dd of="$last" bs=1 seek=3000 conv=notrunc status=none;; esac
"""


@pytest.fixture(scope="module")
def pair(start_pair: StartPair) -> Pair:
    """A pair that does not stream: the target's own cluster is empty and closed."""
    started = start_pair(
        "db",
        "restore",
        variables={"postgresql_replication_method": "dump_restore"},
        gates={"dump_window": {"max": 3600, "unit": "s", "max_age": 300}},
    )
    # The one that cannot be restored through a database of another encoding; each of them takes its time.
    odd_databases.make(started, ["mule"])
    started.must("audit", "prepare")
    for side in SIDES:
        shell.run(["podman", "cp", str(ROOT / "python_helpers"), f"{started.host(side)}:/opt/"])
    return started


def python(pair: Pair, side: str, code: str) -> str:
    """Run what modules run at a side."""
    return pair.must_run(side, ["env", "PYTHONPATH=/opt/python_helpers", "python3", "-"], code)


def read(pair: Pair, side: str, name: str) -> dict[str, Any]:
    """What a side has written down."""
    found: dict[str, Any] = json.loads(pair.must_run(side, ["cat", f"{HOME}/{name}"]))
    return found


def write(pair: Pair, side: str, client: str, rows: int = 5) -> None:
    """Write as the application does."""
    pair.sql(
        side,
        f"insert into app.logins select gen_random_uuid(), 1, now(), '{client}' from generate_series(1, {rows})",
    )


def count(pair: Pair, side: str, client: str) -> int:
    return int(pair.sql(side, f"select count(*) from app.logins where client = '{client}'"))


def serves_again(pair: Pair, side: str, other: str) -> None:
    """The side holds its permit, frozen, as a primary; the other one is closed and was never opened."""
    guard = pair.guard(side)
    assert (guard["status"], guard["frozen"], guard["receipt"]) == ("open", True, None)
    assert pair.sql(side, "select pg_is_in_recovery()") == "f"
    assert (pair.guard(other)["status"], pair.guard(other)["opened"]) == ("closed", None)


def kept(pair: Pair, side: str) -> list[str]:
    return pair.must_run(side, ["bash", "-c", f"ls -d {DATA}.bascule-* || true"]).split()


@pytest.mark.long
def test_a_target_that_is_too_small_is_refused_by_the_audit(pair: Pair) -> None:
    small = "/var/lib/postgresql/15"
    pair.must_run("target", ["bash", "-ec", f"mount -t tmpfs -o size=60m small /mnt && cp -a {DATA} /mnt/ "
                             f"&& mount --bind /mnt {small}"])  # fmt: skip
    try:
        refused = pair.verb("audit")
    finally:
        pair.must_run("target", ["bash", "-ec", f"umount {small}; umount /mnt"])
    assert not refused.ok
    assert "bytes free" in refused.stdout
    assert "a whole restored cluster, its dump" in refused.stdout


def test_nothing_is_switched_without_a_rehearsal_that_was_proved(pair: Pair) -> None:
    refused = pair.verb("check")
    assert not refused.ok
    assert "gate dump_window to say GO" in refused.stdout


def test_sync_rehearses_the_window_and_leaves_nothing_behind(pair: Pair) -> None:
    before = pair.must_run("target", ["stat", "-c", "%i %Y", DATA])
    pair.must("sync")
    rehearsed = read(pair, "target", "rehearsed.json")
    assert rehearsed["state"] == "proved", rehearsed
    assert rehearsed["comparison"]["rows_compared"] > 1000
    assert "stale" in rehearsed["comparison"]["not_compared"][f"materialized view {odd_databases.STALE}"]
    assert rehearsed["comparison"]["tables"]["courses.odder.child"] == "equal"
    assert rehearsed["comparison"]["tables"]["mule.public.m"] == "equal"
    assert set(rehearsed["steps"]) == {"transfer", "restore", "compare"}
    assert pair.must_run("target", ["stat", "-c", "%i %Y", DATA]) == before
    assert kept(pair, "target") == []
    assert pair.must_run("target", ["ls", CARRIED]).split() == []
    assert pair.guard("source")["status"] == "open"
    assert not pair.guard("source")["frozen"]
    assert "changed=0" in pair.must("prepare", "sync", "check").stdout
    # What the rehearsal did not have is in the dump of the window.
    write(pair, "source", "before the freeze")


@pytest.mark.long
def test_a_rehearsal_that_was_interrupted_goes_on_with_what_it_has(pair: Pair) -> None:
    name = f"rehearsal-{read(pair, 'target', 'rehearsed.json')['position']['system_id']}"
    contents = json.loads(pair.must_run("source", ["cat", f"{CARRIED}/{name}/contents.json"]))
    dumped = contents["databases"]["courses"]["dump"]
    # As if it had been killed after the largest database.
    contents["databases"] = {"courses": contents["databases"]["courses"]}
    contents["done"] = False
    pair.must_run("source", ["tee", f"{CARRIED}/{name}/contents.json"], json.dumps(contents))
    pair.must_run("target", ["rm", f"{HOME}/rehearsed.json"])
    pair.must("sync")
    after = json.loads(pair.must_run("source", ["cat", f"{CARRIED}/{name}/contents.json"]))
    assert after["databases"]["courses"]["dump"] == dumped
    assert "postgres" in after["databases"]
    assert read(pair, "target", "rehearsed.json")["state"] == "proved"


@pytest.mark.long
def test_a_rehearsal_that_was_refused_is_taken_anew_once_its_cause_is_mended(pair: Pair) -> None:
    """A check that only holds with the owner's search path is not restored; no dump of before has its mending."""
    pair.sql("source", NOT_RESTORABLE)
    pair.must_run("source", ["bash", "-c", f"rm -r {CARRIED}/rehearsal-*"])
    pair.must_run("target", ["rm", f"{HOME}/rehearsed.json"])
    refused = pair.verb("sync")
    assert not refused.ok
    assert "run the same playbook again" in refused.stdout
    before = read(pair, "target", "rehearsed.json")
    assert (before["state"], before["tried"]) == ("not_proved", True), before
    assert 'relation "known" does not exist' in before["reason"], before
    pair.sql("source", "alter function app.is_known(int) set search_path = app")
    pair.must("sync")
    after = read(pair, "target", "rehearsed.json")
    assert after["state"] == "proved", after
    assert after["manifest"] != before["manifest"]
    assert after["comparison"]["tables"]["courses.app.members"] == "equal"
    pair.sql("source", "drop table app.members; drop function app.is_known(int); drop table app.known")


@pytest.mark.long
def test_a_dump_that_fails_midway_ends_with_the_old_side_serving(pair: Pair) -> None:
    pair.must_run("source", ["install", "-m", "755", "/dev/stdin", "/usr/local/bin/age"], DUMP_ENDS_EARLY)
    try:
        failed = pair.verb("capture", "freeze", "sync", "switch")
    finally:
        pair.must_run("source", ["rm", "/usr/local/bin/age"])
    assert not failed.ok
    assert "no space left" in failed.stdout
    assert "it serves again" in failed.stdout
    serves_again(pair, "source", "target")
    # Clients are let in by what an operator runs then.
    pair.must("thaw", direction="back")
    assert not pair.guard("source")["frozen"]


@pytest.mark.long
def test_a_bit_that_flips_on_the_way_is_found_before_anything_is_restored(pair: Pair) -> None:
    before = pair.must_run("target", ["stat", "-c", "%i %Y", DATA])
    pair.must_run("target", ["install", "-m", "755", "/dev/stdin", "/usr/local/bin/rsync"], BIT_FLIPS_ON_THE_WAY)
    try:
        failed = pair.verb("freeze", "sync", "switch")
    finally:
        pair.must_run("target", ["rm", "/usr/local/bin/rsync"])
    assert not failed.ok
    assert "it was changed or damaged on its way" in failed.stdout
    assert "it serves again" in failed.stdout
    serves_again(pair, "source", "target")
    assert pair.must_run("target", ["stat", "-c", "%i %Y", DATA]) == before


@pytest.mark.long
def test_a_row_that_is_changed_while_it_is_compared_is_found(pair: Pair) -> None:
    """Somebody at the target gets between the restore and the comparison."""
    script = """
from bascule.postgresql.io.dump.take import Take
from bascule.postgresql.io.switchover import from_dump
from bascule.system.io import storage
side = "HOST"
promised = from_dump.promise("accounts_db", side, "900.test", budget=60)
assert Take("accounts_db", promised["name"]).run() == 0
print(promised["name"], storage.read_json("/var/lib/bascule/accounts_db/dump-take.json")["result"]["manifest"])
"""
    name, manifest = python(pair, "source", script.replace("HOST", pair.host("source"))).split()
    script = f"""
from bascule.postgresql.io.dump.restore import Bring
restore = Bring._restore
def tampered(self, fresh):
    restore(self, fresh)
    with fresh.session("courses") as session:
        oldest = "(SELECT min(id::text)::uuid FROM app.logins)"
        session.execute("UPDATE app.logins SET client = 'another' WHERE id = " + oldest)
Bring._restore = tampered
print(Bring("accounts_db", "{name}", "{manifest}").run())
"""
    assert python(pair, "target", script).strip() == "1"
    error = read(pair, "target", "dump-bring.json")["error"]
    assert "table courses.app.logins differs" in error["found"]
    assert read(pair, "target", "restored.json")["state"] == "not_proved"


@pytest.mark.long
def test_a_row_that_is_changed_after_it_was_compared_keeps_the_target_closed(pair: Pair) -> None:
    script = """
from bascule.postgresql.io.switchover import from_dump
from bascule.system.io import storage
result = storage.read_json("/var/lib/bascule/accounts_db/dump-take.json")["result"]
print(result["name"], result["manifest"])
"""
    name, manifest = python(pair, "source", script).split()
    script = f"""
from bascule.postgresql.io.dump.restore import Bring
print(Bring("accounts_db", "{name}", "{manifest}").run())
"""
    assert python(pair, "target", script).strip() == "0"
    assert read(pair, "target", "restored.json")["state"] == "proved"
    change = (
        f"rm {DATA}/standby.signal; systemctl stop postgresql@15-main; pg_ctlcluster 15 main start;"
        "runuser -u postgres -- psql -qd courses -c \"update app.logins set client = 'another' "
        'where id = (select min(id::text)::uuid from app.logins)";'
        f"pg_ctlcluster 15 main stop; install -m 600 -o postgres /dev/null {DATA}/standby.signal"
    )
    pair.must_run("target", ["bash", "-ec", change])
    script = f"""
import json
from bascule.postgresql.io.switchover import from_dump
from bascule.system.io import storage
result = storage.read_json("/var/lib/bascule/accounts_db/dump-take.json")["result"]
given = from_dump.give("accounts_db", "{pair.host("source")}", "900.test", manifest=result["manifest"],
                            position=result["position"])
print(json.dumps(given["receipt"]))
"""
    receipt = python(pair, "source", script)
    script = f"""
import json
from bascule.errors import BasculeError
from bascule.postgresql.io.switchover import from_dump
try:
    from_dump.open_side("accounts_db", "{pair.host("target")}", "900.test", json.loads('''{receipt}'''), budget=30)
except BasculeError as error:
    print(error.message())
"""
    said = python(pair, "target", script)
    assert "something was written here since the rows were compared" in said
    assert pair.guard("target")["status"] == "closed"
    assert [pair.guard(side)["status"] for side in SIDES] == ["closed", "closed"]


@pytest.mark.long
def test_from_a_receipt_on_the_way_back_is_the_opening_rule(pair: Pair) -> None:
    """The receipt is given, the target could not open: the old side opens with the other one's word only."""
    pair.must("freeze", "sync", "switch", "thaw", direction="back")
    assert pair.guard("source")["status"] == "open"
    assert pair.guard("target")["receipt"]["position"]["kind"] == "unopened"
    assert count(pair, "source", "before the freeze") == 5
    assert count(pair, "source", "another") == 0


def test_everything_moves_and_is_compared_before_it_is_opened(pair: Pair) -> None:
    """The controller dies while the dump is restored; the next one goes on with that dump."""
    write(pair, "source", "on the last day")
    started = pair.start_verb("capture", "freeze", "sync", "switch")
    pair.until("target", f'grep -q \'"step": "restoring\' {HOME}/dump-bring.json', running=started)
    shell.kill_tree(started)
    taken = read(pair, "source", "dump-take.json")["result"]
    assert pair.guard("source")["status"] == "closing"
    assert pair.guard("target")["status"] == "closed"
    pair.must("capture", "freeze", "sync", "switch", "thaw", "verify")
    assert pair.guard("source")["receipt"]["position"]["dump"] == taken["manifest"]
    assert [pair.guard(side)["status"] for side in SIDES] == ["closed", "open"]
    assert count(pair, "target", "on the last day") == 5
    assert count(pair, "target", "before the freeze") == 5
    verified = pair.fact("verify")
    assert verified["service"]
    assert verified["rows_compared"] > 1000
    assert (verified["rows_different"], verified["not_proved"], verified["details"]) == (0, [], [])
    assert "stale" in verified["not_compared"][f"materialized view {odd_databases.STALE}"]
    # Nobody comes in at the old side, and its own data lies where it lay.
    assert pair.sql("source", "select pg_is_in_recovery()") == "t"
    assert "rejects" in pair.run("source", ["psql", "-h", "127.0.0.1", "-U", "courses", "courses"]).err
    again = pair.must("switch", "thaw")
    assert "changed=0" in again.stdout
    assert "age-encryption.org" in pair.must_run(
        "target", ["bash", "-c", f"head -qc 21 {CARRIED}/final-*/*.age | tr -d '\\0'"]
    )


def test_nothing_that_was_written_since_is_lost_on_the_way_back(pair: Pair) -> None:
    write(pair, "target", "at the new side")
    before = pair.sql("target", "select count(*), sum(hashtext(l::text)) from app.logins l")
    pair.must("freeze", "sync", "switch", "thaw", "verify", direction="back")
    assert [pair.guard(side)["status"] for side in SIDES] == ["open", "closed"]
    assert count(pair, "source", "at the new side") == 5
    assert count(pair, "source", "on the last day") == 5
    assert pair.sql("source", "select count(*), sum(hashtext(l::text)) from app.logins l") == before
    # What the source closed with lies beside it until decommission.
    assert [path for path in kept(pair, "source") if "bascule-kept-" in path]
    write(pair, "source", "at home again")
    assert count(pair, "source", "at home again") == 5
