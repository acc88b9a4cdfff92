"""What is written for a pooler, and what its console's answers are taken for."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import BasculeError
from bascule.postgresql import pgbouncer
from bascule.postgresql.spec import Spec

from .test_files import make_spec

SECRET = "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy"
NOW = 1_800_000_000.0


def pooler_spec(**changes: object) -> Spec:
    """Make the description of a side with a pooler of Bascule's own."""
    values: dict[str, object] = {
        "address": "198.18.1.10",
        "pooler": "install",
        "pooler_host": "db.mtp.techcorp.test",
        "pooler_peer_host": "db.tls.techcorp.test",
        "pooler_clients": [{"database": "courses", "user": "loader", "address": "198.18.1.0/24", "until": "switch"}],
    }
    return make_spec(**{**values, **changes})


def row(**values: str) -> dict[str, str]:
    """Make a row of the console, of a client or of a server."""
    empty = {"user": "loader", "database": "courses", "state": "active", "addr": "198.18.1.7", "port": "4711"}
    more = {"link": "", "ptr": "", "remote_pid": "0", "request_time": "", "connect_time": "", "application_name": ""}
    return {**empty, **more, **values}


def test_only_the_target_differs_between_the_two_files_of_a_switch() -> None:
    spec = pooler_spec()
    here = pgbouncer.render_databases(spec, "db-mtp").splitlines()[1:]
    there = pgbouncer.render_databases(spec, "db-tls").splitlines()[1:]
    assert here[0] == "courses = host=db.mtp.techcorp.test port=5432"
    assert there[0] == "courses = host=db.tls.techcorp.test port=5432"
    assert here[1:] == there[1:]
    assert [line.split(" ")[0] for line in here[1:]] == ["bascule_knock_db_mtp", "bascule_knock_db_tls"]


@pytest.mark.parametrize("named", ["198.18.2.10", "db.tls.techcorp.test", "db-tls"])
def test_a_server_is_known_by_address_name_and_side(named: str) -> None:
    assert pgbouncer.side_of(pooler_spec(), named, 5432) == "db-tls"


def test_another_server_is_refused() -> None:
    with pytest.raises(BasculeError) as caught:
        pgbouncer.side_of(pooler_spec(), "198.18.3.10", 5432)
    assert "198.18.3.10:5432" in caught.value.expected
    assert "db.mtp.techcorp.test:5432, db.tls.techcorp.test:5432" in caught.value.found
    assert "was not changed" in caught.value.state


def test_names_stand_in_the_units_own_hosts_file() -> None:
    text = pgbouncer.render_hosts(pooler_spec())
    assert "198.18.1.10 db.mtp.techcorp.test\n198.18.2.10 db.tls.techcorp.test\n" in text
    assert "198.18.1.10" not in pgbouncer.render_hosts(pooler_spec(pooler_host="198.18.1.10"))


def test_clients_need_tls_and_a_password_and_only_root_knocks() -> None:
    lines = pgbouncer.render_hba(pooler_spec()).splitlines()
    assert lines[0] == "local bascule_knock_db_mtp,bascule_knock_db_tls root peer"
    assert lines[1] == "local all all reject"
    assert lines[2] == "hostssl courses loader 198.18.1.0/24 scram-sha-256"
    assert lines[3:] == ["host all all 0.0.0.0/0 reject", "host all all ::/0 reject"]


def test_all_addresses_are_those_of_both_protocols() -> None:
    spec = pooler_spec(pooler_clients=[{"database": "courses", "user": "loader", "address": "all"}])
    text = pgbouncer.render_hba(spec)
    assert "hostssl courses loader 0.0.0.0/0 scram-sha-256\nhostssl courses loader ::/0 scram-sha-256\n" in text


def test_tls_is_1_3_and_verified() -> None:
    text = pgbouncer.render_main(pooler_spec())
    for line in (
        "client_tls_sslmode = require",
        "client_tls_protocols = tlsv1.3",
        "server_tls_sslmode = verify-full",
        "server_tls_protocols = tlsv1.3",
        "%include /etc/bascule/pooler/accounts_db/databases.ini",
    ):
        assert line in text.splitlines()


def test_verifiers_are_the_servers_own() -> None:
    text = pgbouncer.render_users(pooler_spec(), {"loader": SECRET})
    assert text == f'"loader" "{SECRET}"\n"root" ""\n'


@pytest.mark.parametrize(
    ("secrets", "found"),
    [
        ({}, "no such role"),
        ({"loader": None}, "none"),
        ({"loader": "md5deadbeef"}, "another kind of password"),
    ],
)
def test_a_role_without_a_verifier_is_refused_without_its_secret(secrets: dict[str, str | None], found: str) -> None:
    with pytest.raises(BasculeError) as caught:
        pgbouncer.render_users(pooler_spec(), secrets)
    assert caught.value.found == found
    assert "deadbeef" not in caught.value.message()
    assert "was not changed" in caught.value.state


def test_servers_see_the_poolers_addresses() -> None:
    clients = [{"database": "courses", "user": "loader", "address": "198.18.1.0/24", "until": "switch"}]
    seen = pgbouncer.seen_by_server(clients, ["198.18.2.10", "198.18.1.10"])
    assert [one["address"] for one in seen] == ["198.18.1.10", "198.18.2.10"]
    assert all(one["until"] == "switch" and one["user"] == "loader" for one in seen)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=30))
def test_an_alias_needs_no_quotes(side: str) -> None:
    assert re.fullmatch("bascule_knock_[a-z0-9_]+", pgbouncer.alias(side))


def test_a_restart_is_for_what_reload_cannot_change() -> None:
    old = pgbouncer.render_main(pooler_spec())
    assert not pgbouncer.needs_restart(old, pgbouncer.render_main(pooler_spec(pooler_max_clients=9)))
    assert pgbouncer.needs_restart(old, pgbouncer.render_main(pooler_spec(pooler_port=6433)))
    assert pgbouncer.needs_restart(None, old)


def test_csv_with_commas_and_quotes_is_read() -> None:
    assert pgbouncer.rows('name,note\na,"x, ""y"""\n') == [{"name": "a", "note": 'x, "y"'}]
    assert pgbouncer.rows("") == []


def test_holders_are_named_with_what_the_server_knows() -> None:
    clients = [
        row(ptr="c1", link="s1"),
        row(ptr="c2", link="", state="waiting"),
        row(ptr="c3", link="s9", database="other"),
    ]
    servers = [
        row(ptr="s1", remote_pid="77", request_time="2027-01-15 07:59:00 UTC"),
        row(ptr="s2", state="idle"),
        row(ptr="s3", state="login", connect_time="2027-01-15 07:59:58 UTC"),
        row(ptr="s9", database="other"),
    ]
    activity = {77: {"since_seconds": 61.5, "state": "idle in transaction"}}
    found = pgbouncer.holders(clients, servers, ["courses"], activity, NOW)
    assert [(one["client"], one["pid"], one["since_seconds"], one["state"]) for one in found] == [
        ("198.18.1.7:4711", 77, 61.5, "idle in transaction"),
        ("the pooler itself", 0, 2.0, "login"),
    ]
    words = pgbouncer.describe_holders(found)
    assert "loader in courses from 198.18.1.7:4711, idle in transaction for 61.5 s (pid 77)" in words


def test_without_the_server_the_console_says_since_when() -> None:
    servers = [row(ptr="s1", remote_pid="77", request_time="2027-01-15 07:59:00 UTC")]
    found = pgbouncer.holders([row(link="s1")], servers, ["courses"], {}, NOW)
    assert found[0]["since_seconds"] == 60.0
    assert found[0]["state"] == "active"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('pg_hba.conf rejects connection for host "198.18.1.10", user "loader"', "refused"),
        ("server login failed: wrong password type", "admitted"),
        ('password authentication failed for user "loader"', "admitted"),
        ("the database system is shutting down", "unclear"),
        ("server login has been failing, try again later (server_login_retry)", "unclear"),
    ],
)
def test_only_the_servers_refusal_counts_as_one(message: str, kind: str) -> None:
    assert pgbouncer.judge_knock("08P01", message).kind == kind


def audited(**changes: Any) -> dict[str, Any]:
    """Make an audit of a pooler that nothing is wrong with."""
    good = {
        "pool_mode": "transaction",
        "linked": 0,
        "persistent": [],
        "prepared_statements": True,
        "query_wait_timeout": "120",
        "server_login_retry": "0.2",
        "clients_tls": "require",
        "servers_tls": "verify-full",
    }
    return {**good, **changes}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pool_mode": "session", "linked": 3}, "3 do now, and PAUSE may never end; use pool_mode = transaction"),
        (
            {"pool_mode": "session", "persistent": [{"user": "loader", "client": "a:1"}]},
            "loader@a:1; restart them before the switch",
        ),
        ({"prepared_statements": False}, "switch server-side prepare off"),
        ({"query_wait_timeout": "5"}, "set it above the budget"),
        ({"server_login_retry": "15"}, "set it to 0.2"),
        ({"clients_tls": "prefer"}, "set it to require"),
        ({"servers_tls": "require"}, "set it to verify-full"),
    ],
)
def test_what_stands_in_the_way_is_named_with_what_to_do(changes: dict[str, Any], words: str) -> None:
    assert pgbouncer.warnings(audited(), 5) == []
    assert any(words in one for one in pgbouncer.warnings(audited(**changes), 5))


def test_waiting_for_ever_is_above_every_budget() -> None:
    assert pgbouncer.warnings(audited(query_wait_timeout="0"), 5) == []


def test_long_connected_clients_are_persistent() -> None:
    clients = [row(connect_time="2027-01-15 07:00:00 UTC"), row(connect_time="2027-01-15 07:59:59 UTC")]
    assert [one["since_seconds"] for one in pgbouncer.persistent(clients, 60, NOW)] == [3600.0]


def test_an_include_counts_only_as_a_line_of_its_own() -> None:
    assert not pgbouncer.missing_include("/etc/pgbouncer/b.ini", "[databases]\n %include  /etc/pgbouncer/b.ini\n")
    assert pgbouncer.missing_include("/etc/pgbouncer/b.ini", "; %include /etc/pgbouncer/b.ini\n")


def test_an_unknown_kind_of_pooler_is_refused() -> None:
    with pytest.raises(BasculeError) as caught:
        pooler_spec(pooler="odyssey")
    assert "none, install, existing" in caught.value.expected
