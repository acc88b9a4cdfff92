"""What a comparison must find and name, and what it must never call equal.

The standby is promoted by hand, so that both sides can be changed one by one; the snapshots are taken by the units that
a switch starts, and the verb verify compares them. The source counts as the active side.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import SIDES, Pair

ROLES = {"source": "active", "target": "passive"}
WAIT = {"postgresql_replication_compare_timeout": 240}
PIN = """
import sys
sys.path.insert(0, "/usr/local/lib/bascule/bascule.pyz")
from bascule.postgresql.io.cluster.cluster import load_spec
from bascule.postgresql.io.rows import snapshot
print(snapshot.start_and_wait(load_spec(sys.argv[1]), sys.argv[2], sys.argv[3]))
"""
# A table that somebody holds while it is compared; `{then}` is done before it is let go.
HOLD = """
begin;
lock table odd.documents in access exclusive mode;
\\! touch /tmp/held
\\! while ! test -e /tmp/go; do sleep 0.1; done
{then}
commit;
"""
# An index that no longer has its rows where it looks for them, as after a change of the C library's collations.
DAMAGE = """
create function odd.place(i int) returns int immutable language sql as 'select i';
create table odd.placed (i int);
insert into odd.placed select generate_series(1, 50);
create index placed_by on odd.placed (odd.place(i));
create or replace function odd.place(i int) returns int immutable language sql as 'select i + 1000';
"""
# At the passive side only.
CHANGES = """
update app.progress set percent = percent + 1 where id = (select min(id::text)::uuid from app.progress);
delete from app.logins where id = (select min(id::text)::uuid from app.logins);
insert into odd.no_primary_key values (1, 'thrice');
insert into information_schema.kept values (2);
update odd.numbers set d = '-0' where id = 1;
update odd.numbers set n = 0.3 where id = 7;
update odd.documents set j = '{"b": 1,  "a": [1.0, 1.00, 1e0], "b": 2}' where id = 1;
select lo_put(content, 10, 'x') from odd.attachments where id = 2;
drop index odd.events_by_kind;
select setval('odd.standalone', 4242 + 7000);
grant select on odd.parent to lab_probe;
"""


@pytest.fixture(scope="module")
def two(start_pair: StartPair) -> Pair:
    """Two sides with the same rows, both of which take changes; nothing has been switched."""
    pair = start_pair("db", "equality")
    pair.sql("source", "create index events_by_kind on odd.events_2024 (kind, at)")
    # A schema of the server's own, where every dump leaves out what somebody has made.
    pair.sql("source", "create table information_schema.kept (i int); insert into information_schema.kept values (1)")
    pair.must("prepare", "sync")
    pair.sql("target", "select pg_promote()")
    return pair


def epoch(pair: Pair) -> str:
    """The epoch for which the active side is open."""
    return str(pair.guard("source")["opened"])


def pin(pair: Pair) -> None:
    """Take the snapshots of both sides, as a switch does."""
    for side in SIDES:
        assert pair.must_run(side, ["python3", "-", pair.component, epoch(pair), ROLES[side]], PIN).strip() == "[]"


def mode(pair: Pair, value: str) -> None:
    """Set how both sides compare, as prepare does."""
    edit = f's/"compare_mode": "[a-z]*"/"compare_mode": "{value}"/'
    for side in SIDES:
        pair.must_run(side, ["sed", "-i", edit, f"/var/lib/bascule/{pair.component}/postgresql.json"])


def hold(pair: Pair, then: str = "") -> None:
    """Hold a table at the active side, so that its comparison cannot end."""
    pair.must_run("source", ["rm", "-f", "/tmp/held", "/tmp/go"])
    pair.must_run("source", ["tee", "/tmp/hold.sql"], HOLD.format(then=then))
    psql = "runuser -u postgres -- psql -Xqd courses </tmp/hold.sql"
    pair.must_run("source", ["systemd-run", "--quiet", "--collect", "--unit=holding", "bash", "-c", psql])
    pair.until("source", "test -e /tmp/held")


def let_go(pair: Pair) -> None:
    """Let the table go."""
    pair.must_run("source", ["touch", "/tmp/go"])
    pair.until("source", "! systemctl is-active --quiet holding")


def until_only_the_held_table_is_left(pair: Pair) -> dict[str, Any]:
    """Wait until everything else is digested at the active side; return what is written down by then."""
    path = f"/var/lib/bascule/{pair.component}/equality-{epoch(pair)}.json"
    deadline = time.monotonic() + 120
    while True:
        done = pair.run("source", ["cat", path])
        found: dict[str, Any] = json.loads(done.out) if done.rc == 0 else {}
        tables = found.get("databases", {}).get("courses", {}).get("tables", {})
        left = {name for name, table in tables.items() if table["status"] == "pending"}
        # The state is written once a second: a worker that waits for the lock may not have written its last word.
        if tables and "odd.documents" in left and "app.progress" not in left and "app.logins" not in left:
            assert found["status"] == "running"
            return found
        assert time.monotonic() < deadline, left
        time.sleep(0.3)


def kill(pair: Pair) -> None:
    """Kill the digesting unit at the active side in the middle of its work."""
    unit = f"bascule-{pair.component}-equality.service"
    pair.must_run("source", ["systemctl", "kill", "--signal=KILL", unit])
    pair.until("source", f"! systemctl is-active --quiet {unit}")


@pytest.mark.parametrize("how", [pytest.param("strict", marks=pytest.mark.long), "fast"])
def test_equal_rows_are_proved_every_one(two: Pair, how: str) -> None:
    mode(two, how)
    pin(two)
    done = two.must("verify", extra=WAIT)
    found = two.fact("verify")
    assert (found["mode"], found["rows_different"], found["rows_not_proved"]) == (how, 0, 0), found
    assert found["rows_compared"] > 150_000
    assert set(found["tables"].values()) == {"equal"}
    forms = {"fast": {"binary", "text"}, "strict": {"binary stream", "text stream"}}[how]
    assert set(found["digested"]) <= forms
    assert sum(found["digested"].values()) == len(found["tables"])
    assert "courses.pg_catalog.pg_largeobject" in found["tables"]
    assert found["consistency"]["findings"] == found["consistency"]["skipped"] == []
    assert found["consistency"]["indexes"] > 20
    assert done.ok
    # Checking indexes has left nothing behind, and nothing holds a snapshot any more.
    assert two.sql("source", "select count(*) from pg_extension where extname = 'amcheck'") == "0"
    assert two.sql("source", "select count(*) from pg_namespace where nspname like 'bascule%'") == "0"
    two.until("source", f"! systemctl is-active --quiet bascule-{two.component}-snapshot")


@pytest.mark.long
def test_killed_in_the_middle_it_goes_on_under_the_same_snapshot(two: Pair) -> None:
    hold(two)
    pin(two)
    before = until_only_the_held_table_is_left(two)
    kill(two)
    # Whoever writes meanwhile is not seen: the snapshot is the one of the beginning.
    two.sql("source", "insert into app.logins select gen_random_uuid(), 1, now(), 'later'")
    let_go(two)
    two.must("verify", extra=WAIT)
    found = two.fact("verify")
    assert (found["rows_different"], found["rows_not_proved"]) == (0, 0), found
    two.sql("source", "delete from app.logins where client = 'later'")
    path = f"/var/lib/bascule/{two.component}/equality-{epoch(two)}.json"
    after = json.loads(two.must_run("source", ["cat", path]))
    assert after["resumed"] == 1
    assert after["pinned_at"] == before["pinned_at"]
    name = "app.progress"
    chunks = [side["databases"]["courses"]["tables"][name]["chunks"] for side in (before, after)]
    assert chunks[0] == chunks[1]


def test_without_its_snapshot_the_rest_is_not_proved(two: Pair) -> None:
    hold(two)
    pin(two)
    until_only_the_held_table_is_left(two)
    two.must_run("source", ["systemctl", "stop", f"bascule-{two.component}-snapshot.service"])
    kill(two)
    let_go(two)
    two.must("verify", extra=WAIT)
    found = two.fact("verify")
    assert found["tables"]["courses.odd.documents"] == "not_proved"
    assert found["tables"]["courses.app.progress"] == "equal"
    assert found["rows_not_proved"] > 0
    assert any("odd.documents" in text and "ended from outside" in text for text in found["not_proved"])


@pytest.mark.long
def test_a_table_that_is_truncated_meanwhile_is_not_proved(two: Pair) -> None:
    hold(two, "create table odd.kept as table odd.documents; truncate odd.documents;")
    pin(two)
    until_only_the_held_table_is_left(two)
    let_go(two)
    two.must("verify", extra=WAIT)
    two.sql("source", "insert into odd.documents table odd.kept; drop table odd.kept")
    found = two.fact("verify")
    assert found["tables"]["courses.odd.documents"] == "not_proved"
    assert any("it was truncated" in text for text in found["not_proved"]), found["not_proved"]
    assert found["rows_different"] == 0


@pytest.mark.parametrize("how", ["fast", pytest.param("strict", marks=pytest.mark.long)])
def test_every_difference_is_named(two: Pair, how: str) -> None:
    mode(two, how)
    if two.sql("target", "select to_regclass('odd.placed') is null") == "t":
        for side in SIDES:
            two.sql(side, DAMAGE)
        two.sql("target", CHANGES)
    for side in SIDES:
        two.sql(side, f"create database spare_{how}")
    pin(two)
    done = two.verb("verify", extra=WAIT)
    assert not done.ok
    found = two.fact("verify")
    told = "\n".join(found["details"])
    named = found["differing_rows"]
    assert found["mode"] == how
    (row,) = named["courses.app.progress"].values()
    assert row == {"how": "changed", "columns": ["percent"]}
    (row,) = named["courses.app.logins"].values()
    assert row == {"how": "missing at the passive side", "columns": []}
    (row,) = named["courses.odd.no_primary_key"].values()
    assert row["how"] == "missing at the active side"
    assert sorted(row["columns"] for row in named["courses.odd.numbers"].values()) == [["d"], ["n"]]
    assert named["courses.pg_catalog.pg_largeobject"]
    assert named["courses.information_schema.kept"]
    for text in (
        "index odd.events_by_kind exists at the active side only",
        "sequence courses.odd.standalone is behind",
        "acl odd.TABLE parent exists at the passive side only",
        "index courses.odd.placed_by",
        "lacks matching index tuple",
    ):
        assert text in told, (text, told)
    # Nobody's name, and nobody's row: keys are hashes, columns are names.
    key = next(iter(named["courses.app.progress"]))
    assert len(key) == 12
    assert (
        two.sql("source", f"select count(*) from app.progress where substr(md5(row(id)::text), 1, 12) = '{key}'") == "1"
    )
    assert found["tables"]["courses.app.courses"] == "equal"
    assert found["rows_not_proved"] == 0
    assert "nothing was changed" in done.stdout
    # Nobody answers questions any more, as the snapshots are let go: what differs is said all the same.
    again = two.verb("verify", extra=WAIT)
    assert "table courses.app.progress differs" in again.stdout, again.stdout[-3000:]
    assert [text.split(":")[0] for text in two.fact("verify")["not_named"]] == ["the snapshots are gone"]
    for side in SIDES:
        # Whatever was found, nobody is held back by it.
        two.until(side, f"runuser -u postgres -- psql -Xqc 'drop database spare_{how}'", seconds=60)
