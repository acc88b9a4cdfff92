"""A cluster as its owner has set it up: nothing of it is disturbed by prepare, and what is not read is refused."""

from __future__ import annotations

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import Pair, Ran

pytestmark = pytest.mark.long

CONFIG = "/etc/postgresql/15/main"
STALE = """
systemctl stop postgresql@15-main || true
install -d -o postgres -g postgres /srv/pg /srv/pg/15
mv /var/lib/postgresql/15/main /srv/pg/15/main
cp -a /srv/pg/15/main /var/lib/postgresql/15/main
sed -i "s|^data_directory.*|data_directory = '/srv/pg/15/main'|" /etc/postgresql/15/main/postgresql.conf
"""


@pytest.fixture(scope="module")
def pair(start_pair: StartPair) -> Pair:
    """A source with clients of an older TLS, a client with an md5 password, and a slot that somebody else reads."""
    pair = start_pair("db", "live")
    pair.must_run("source", ["sed", "-i", "s/TLSv1.3/TLSv1.2/", f"{CONFIG}/conf.d/10-lab.conf"])
    pair.must_run("source", ["tee", "-a", f"{CONFIG}/pg_hba.conf"], f"hostssl courses old {pair.subnet} md5\n")
    pair.sql("source", "set password_encryption = 'md5'; create role old login password 'old'")
    pair.sql("source", "grant connect on database courses to old")
    pair.sql("source", "create database extra")
    pair.sql("source", "select pg_create_physical_replication_slot('report', true)")
    pair.sql("source", "select pg_reload_conf()")
    return pair


@pytest.fixture(scope="module")
def elsewhere(pair: Pair) -> Pair:
    """Its target's data lies elsewhere, while a stale cluster lies where the distribution puts it."""
    pair.must_run("target", ["bash", "-ec", STALE])
    return pair


@pytest.fixture(scope="module")
def declared(elsewhere: Pair) -> Pair:
    """And the inventory says so."""
    places = {elsewhere.host("target"): "/srv/pg/15/main"}
    elsewhere.write_inventory(postgresql_replication_data_directories=places)
    return elsewhere


def knock(pair: Pair, user: str, secret: str) -> Ran:
    """Come to the source over TLS 1.2."""
    where = f"host={pair.addresses['source']} dbname=courses user={user} sslmode=verify-full "
    where += "sslrootcert=/etc/lab/tls/ca.crt ssl_max_protocol_version=TLSv1.2 connect_timeout=5"
    sql = "select version from pg_stat_ssl where pid = pg_backend_pid()"
    return pair.run("target", ["bash", "-c", f'PGPASSWORD="{secret}" psql -XAtq "{where}" -c "{sql}"'])


def settings(pair: Pair) -> dict[str, str]:
    """What its clients, standbys and backups meet."""
    tls = ("ssl_min_protocol_version", "ssl_cert_file", "ssl_key_file")
    names = (
        *tls,
        "listen_addresses",
        "max_slot_wal_keep_size",
        "password_encryption",
        "lc_messages",
        "wal_compression",
    )
    return {name: pair.sql("source", f"show {name}") for name in names}


def rules(pair: Pair) -> list[str]:
    """Who is let in at the source, in the order in which the server looks."""
    columns = "type, database, user_name, address, auth_method"
    return pair.sql("source", f"select {columns} from pg_hba_file_rules order by line_number").splitlines()


def test_what_is_not_read_is_refused_by_name(pair: Pair) -> None:
    source, target = pair.host("source"), pair.host("target")
    main = f"{CONFIG}/postgresql.conf"
    pair.must_run("source", ["sed", "-i", "s/^include_dir/#include_dir/", main])
    try:
        included = [pair.verb(verb) for verb in ("audit", "prepare")]
    finally:
        pair.must_run("source", ["sed", "-i", "s/^#include_dir/include_dir/", main])
    pair.must_run("target", ["sed", "-i", "s|^hba_file.*|hba_file = '/etc/postgresql/hba.conf'|", main])
    try:
        placed = [pair.verb(verb) for verb in ("audit", "prepare")]
    finally:
        pair.must_run("target", ["sed", "-i", f"s|^hba_file.*|hba_file = '{CONFIG}/pg_hba.conf'|", main])
    for refused, side, why in (
        (included, source, f"{main} does not read {CONFIG}/conf.d"),
        (placed, target, "hba_file is '/etc/postgresql/hba.conf'"),
    ):
        for done in refused:
            assert not done.ok
            assert why in done.stdout, done.stdout[-3000:]
            assert f"the server of {side}" in done.stdout
            assert "nothing was changed" in done.stdout
    for side in ("source", "target"):
        assert pair.run(side, ["test", "-e", f"{CONFIG}/conf.d/90-bascule.conf"]).rc == 1


def test_data_that_lies_elsewhere_is_refused_until_it_is_declared(elsewhere: Pair) -> None:
    refused = elsewhere.verb("prepare")
    assert not refused.ok
    assert "data_directory is '/srv/pg/15/main'" in refused.stdout, refused.stdout[-3000:]
    assert "postgresql_replication_data_directories" in refused.stdout


def test_nothing_that_clients_and_standbys_meet_is_changed(declared: Pair) -> None:
    pair = declared
    before, told = settings(pair), rules(pair)
    secret = pair.must_run("source", ["cat", "/etc/lab/secrets/app_password"]).strip()
    clients = (("courses", secret), ("old", "old"))
    assert [knock(pair, *who).out.strip() for who in clients] == ["TLSv1.2", "TLSv1.2"]
    pair.must("prepare", "check")
    assert any("other slots at the source (report)" in note for note in pair.fact("audit")["notes"])
    assert pair.sql("target", "show data_directory") == "/srv/pg/15/main"
    assert settings(pair) == before
    assert [knock(pair, *who).out.strip() for who in clients] == ["TLSv1.2", "TLSv1.2"]
    after = rules(pair)
    own = sum("{bascule_replication}" in rule for rule in after)
    hosts = tuple(f"|{address}|scram-sha-256" for address in ("127.0.0.1", pair.addresses["target"]))
    # First comes the account that carries the log and knocks, from the two hosts alone.
    assert 0 < own == sum("{bascule_replication}" in rule and rule.endswith(hosts) for rule in after[:own]), after
    # All others are as they were, in their order; behind them those of the declared clients.
    assert after[own : own + len(told)] == told
    assert {rule.split("|")[2] for rule in after[own + len(told) :]} == {"{courses}", "{lab_probe}"}


def test_a_verify_that_fails_holds_nobody_back_and_the_way_back_leaves_all_as_it_was(declared: Pair) -> None:
    pair = declared
    pair.must("prepare")
    before = settings(pair)
    pair.must("freeze", "sync", "switch", "thaw")
    assert pair.sql("target", "show bascule.side") == pair.host("target")
    probe = f"bascule-{pair.component}-fence-probe.service"
    pair.must_run("target", ["systemctl", "stop", probe])
    failed = pair.verb("verify")
    assert not failed.ok
    assert "to have refused every client" in failed.stdout, failed.stdout[-3000:]
    pair.until("target", "runuser -u postgres -- psql -Xqc 'drop database extra'", seconds=60)
    pair.must("sync", "freeze", "sync", "switch", "thaw", direction="back")
    assert settings(pair) == before
    assert knock(pair, "old", "old").out.strip() == "TLSv1.2"
