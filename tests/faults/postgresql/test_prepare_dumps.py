"""What a switch leaves at the side it closed: a proved dump; a flipped bit that is found; rows nobody else had."""

from __future__ import annotations

import json

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import Pair

from . import odd_databases

pytestmark = pytest.mark.long


HOME = "/var/lib/bascule/accounts_db"
DATA = "/var/lib/postgresql/15/main"
CONFIG = "/etc/postgresql/15/main"


@pytest.fixture(scope="module")
def pair(start_pair: StartPair) -> Pair:
    """A pair after a switch: the target serves, the source follows it and has dumped what it had."""
    started = start_pair("db", "dumps")
    odd_databases.make(started)
    started.must("prepare", "sync", "freeze", "sync", "switch", "thaw", "verify")
    return started


def safety(pair: Pair) -> dict[str, str]:
    """What the source says about its dump."""
    found: dict[str, str] = json.loads(pair.must_run("source", ["cat", f"{HOME}/safety_dump.json"]))
    return found


def test_the_safety_dump_is_proved_by_restoring_it(pair: Pair) -> None:
    verified = pair.fact("verify")
    assert verified["safety_dump"] == "proved", verified["safety_dump_reason"]
    assert int(str(safety(pair)["rows_compared"])) > 1000
    # What a restored copy cannot have alike is no difference, and a view that nobody has refreshed is said to be stale.
    assert (verified["rows_different"], verified["rows_not_proved"], verified["details"]) == (0, 0, [])
    assert set(verified["tables"].values()) == {"equal"}
    told = {name: why for name, why in verified["not_compared"].items() if "odder" in name}
    assert list(told) == [f"materialized view {odd_databases.STALE} of the safety dump"]
    assert "stale" in told[f"materialized view {odd_databases.STALE} of the safety dump"]
    left = pair.must_run("source", ["bash", "-c", "ls -d /var/lib/postgresql/15/*; ls /run/postgresql"])
    assert "scratch" not in left


@pytest.mark.parametrize(
    ("user", "database"),
    [
        # A client whose range holds the probe's host, and the prober, whom nobody declares.
        ("courses", "courses"),
        ("bascule_replication", "postgres"),
    ],
)
def test_a_closed_side_that_lets_somebody_in_again_is_an_alarm(pair: Pair, user: str, database: str) -> None:
    """Only one door is left open, and the probe finds it."""
    rule = f"hostssl {database} {user} all scram-sha-256"
    seen = f"{HOME}/fence-probe.json"
    before = json.loads(pair.must_run("target", ["cat", seen]))
    assert user in {one["user"] for one in before["let_in"]}
    pair.must_run("source", ["sed", "-i", f"1i {rule}", f"{CONFIG}/pg_hba.conf"])
    pair.sql("source", "select pg_reload_conf()", "postgres")
    try:
        pair.until("target", f"tail -n 9 {HOME}/fence-probe.log | grep '\"admitted\"' | grep -q '\"{user}\"'", 30)
        alarm = pair.verb("verify")
    finally:
        pair.must_run("source", ["sed", "-i", "1d", f"{CONFIG}/pg_hba.conf"])
        pair.sql("source", "select pg_reload_conf()", "postgres")
    assert not alarm.ok
    assert " ADMITTED, at 20" in alarm.stdout, alarm.stdout[-3000:]
    after = json.loads(pair.must_run("target", ["cat", seen]))
    assert after["accepted"] > before["accepted"]


def test_the_safety_dump_is_encrypted_and_opens_with_either_sites_key_only(pair: Pair) -> None:
    path = json.loads(pair.must_run("source", ["cat", f"{HOME}/safety_dump.json"]))["dumps"]["globals"]["path"]
    assert "courses" not in pair.must_run(
        "source", ["bash", "-c", f"strings {path} || head -c 99999 {path} | tr -cd a-z"]
    )
    key = "/var/lib/bascule/age/key.txt"
    assert "CREATE ROLE courses" in pair.must_run("source", ["age", "--decrypt", "--identity", key, path])
    pair.must_run("source", ["age-keygen", "-o", "/root/other.txt"])
    assert pair.run("source", ["age", "--decrypt", "--identity", "/root/other.txt", path]).rc != 0
    own = pair.must_run("target", ["age-keygen", "-y", key]).strip()
    assert own in safety(pair)["recipients"]
    assert pair.must_run("source", ["stat", "-c", "%a", path, key]).split() == ["600", "600"]


def test_a_flipped_bit_in_a_dump_is_found_before_anything_is_restored(pair: Pair) -> None:
    script = """
import json, sys
sys.path.insert(0, "/usr/local/lib/bascule/bascule.pyz")
from pathlib import Path
from bascule.errors import BasculeError
from bascule.postgresql.io.dump import pg_dump
notes = json.load(open("/var/lib/bascule/accounts_db/safety_dump.json"))
dump = notes["dumps"]["database courses"]
path = Path(dump["path"])
data = bytearray(path.read_bytes())
data[len(data) // 2] ^= 1
path.write_bytes(data)
try:
    sealed.unseal(dump, Path("/root/plain"), owner="postgres")
except BasculeError as error:
    print(error.message())
print(Path("/root/plain").exists())
"""
    said = pair.must_run("source", ["python3", "-"], script)
    assert "the file has been changed or damaged" in said
    assert said.splitlines()[-1] == "False"


def test_rows_that_only_the_old_side_has_are_exported_and_named_before_it_is_built_again(pair: Pair) -> None:
    """Somebody starts the state that was kept aside by hand, and writes to it."""
    kept = json.loads(pair.must_run("source", ["cat", f"{HOME}/kept.json"]))["path"]
    pair.must_run(
        "source",
        [
            "bash",
            "-ec",
            f"systemctl stop postgresql@15-main; rm -r {DATA}; cp -a {kept} {DATA}; rm -f {DATA}/standby.signal;"
            f"mv {CONFIG}/conf.d/95-bascule-standby.conf /root/; pg_ctlcluster 15 main start",
        ],
    )
    pair.sql(
        "source", "insert into app.logins select gen_random_uuid(), 1, now(), 'by hand' from generate_series(1, 3)"
    )
    pair.sql("source", "delete from app.logins where id = (select min(id::text)::uuid from app.logins)")
    pair.must_run("source", ["pg_ctlcluster", "15", "main", "stop"])

    refused = pair.verb("sync", direction="back")
    assert not refused.ok
    assert "3 rows of courses.app.logins" in refused.stdout
    assert "1 rows deleted from courses.app.logins" in refused.stdout
    assert "20_prepare.yml" in refused.stdout
    exported = pair.must_run(
        "source",
        [
            "bash",
            "-ec",
            "for f in /var/backups/bascule/accounts_db-diverged-*/courses.*.csv.age; do"
            " age --decrypt --identity /var/lib/bascule/age/key.txt $f; done",
        ],
    )
    assert exported.count("by hand") == 3

    again = pair.must("prepare", "sync", direction="back")
    assert "has diverged" in again.stdout
    assert "it goes back to the fork" in again.stdout
    built = json.loads(pair.must_run("source", ["cat", f"{HOME}/seed.json"]))
    assert built["method"] == "pg_rewind", built
    assert pair.sql("source", "select count(*) from app.logins where client = 'by hand'") == "0"
    assert pair.guard("target")["status"] == "open"
