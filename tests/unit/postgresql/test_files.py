"""What is written into the cluster's configuration, and nothing else."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import BasculeError
from bascule.postgresql import conf, hba, scram
from bascule.postgresql.spec import Spec

CLIENT = {"database": "courses", "user": "courses", "address": "198.18.1.0/24"}


def make_spec(**changes: object) -> Spec:
    """Make a description of a side."""
    values: dict[str, object] = {
        "component": "accounts_db",
        "side": "db-mtp",
        "version": "15",
        "cluster": "main",
        "port": 5432,
        "peer_side": "db-tls",
        "peer_name": "db.tls.techcorp.test",
        "peer_address": "198.18.2.10",
        "peer_port": 5432,
        "replication_user": "bascule_replication",
        "clients": [CLIENT],
    }
    return Spec.from_dict({**values, **changes})


def block(mode: str) -> str:
    """Return the managed block."""
    return hba.block("accounts_db", mode, owner="postgres", replication_user="r", peer="198.18.2.10", clients=[CLIENT])


def test_closed_block_rejects_everyone_else() -> None:
    """Closed means that nothing further down the file matters."""
    lines = block(hba.CLOSED).splitlines()
    assert lines[-3].split() == ["local", "all", "all", "reject"]
    assert lines[-2].split() == ["host", "all", "all", "all", "reject"]
    assert "198.18.2.10/32" in lines[2]
    assert not any("courses" in line for line in lines)


def test_open_block_admits_the_declared_clients_over_tls() -> None:
    """Open adds clients and rejects nobody: the rest of the file decides."""
    text = block(hba.OPEN)
    assert "hostssl courses    courses    198.18.1.0/24    scram-sha-256" in text
    for knocks in ("198.18.2.10/32", "127.0.0.1/32"):
        assert f"hostssl postgres        r    {knocks}    scram-sha-256" in text
    assert "reject" not in text
    assert "hostssl postgres" not in block(hba.FROZEN) + block(hba.CLOSED)


@given(
    st.text(alphabet=st.characters(blacklist_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", max_codepoint=255))
)
def test_block_is_replaced_and_taken_out_whole(text: str) -> None:
    """Whatever stood in the file stands there afterwards."""
    text = text.replace("BASCULE", "")
    opened = hba.replace(text, "accounts_db", block(hba.OPEN))
    closed = hba.replace(opened, "accounts_db", block(hba.CLOSED))
    assert hba.mode_of(opened, "accounts_db") == hba.OPEN
    assert hba.mode_of(closed, "accounts_db") == hba.CLOSED
    assert hba.without(closed, "accounts_db") == text


def test_blocks_of_other_components_stay() -> None:
    """A component whose name begins alike is another one."""
    other = hba.block("accounts_db_2", hba.OPEN, owner="p", replication_user="r", peer="::1", clients=[])
    assert hba.without(other, "accounts_db") == other
    assert "::1/128" in other


def test_standby_stands_still_or_follows() -> None:
    """Without a connection a standby gets nothing to replay; with one it verifies whom it follows."""
    spec = make_spec()
    assert "primary_conninfo = ''" in conf.standby(spec, connect=False)
    text = conf.standby(spec, connect=True)
    for word in ("sslmode=verify-full", "channel_binding=require", "ssl_min_protocol_version=TLSv1.3", "passfile="):
        assert word in text
    assert "password=" not in text


def test_base_settings() -> None:
    """TLS 1.3 only, a bounded slot, and nothing smaller than at the primary."""
    text = conf.base(make_spec(), {"max_connections": 300})
    assert "ssl_min_protocol_version = 'TLSv1.3'" in text
    assert "max_slot_wal_keep_size = '8GB'" in text
    assert conf.raised_in(text) == {"max_connections": 300}
    assert conf.raised_in(None) == {}


def test_to_raise() -> None:
    """What is large enough is left alone, what was written before stays written."""
    assert conf.to_raise({}, {}, {"max_connections": 100}) == {"max_connections": 100}
    assert conf.to_raise({}, {"max_connections": 100}, {"max_connections": 100}) == {}
    assert conf.to_raise({"max_connections": 100}, {"max_connections": 100}, {"max_connections": 100}) == {
        "max_connections": 100
    }
    assert conf.to_raise({"max_connections": 100}, {"max_connections": 100}, {"max_connections": 200}) == {
        "max_connections": 200
    }


def test_start_mode() -> None:
    """Comments stay, the mode changes."""
    text = "# how it starts\n\nauto\n"
    assert conf.start_mode(conf.start_conf(text, "manual")) == "manual"
    assert conf.start_conf(text, "manual").startswith("# how it starts\n")
    assert conf.start_mode(None) == "auto"


def test_firewall_lets_only_the_other_server_in() -> None:
    """The table closes the port for everyone but the peer."""
    text = conf.firewall(make_spec())
    assert "ip saddr 198.18.2.10 accept" in text
    assert "reject with tcp reset" in text
    assert "ip6 saddr" in conf.firewall(make_spec(peer_address="fd00::1"))


def test_quote() -> None:
    """A quote cannot end a value."""
    assert conf.quote("a'b\\c") == "'a''b\\\\c'"


def test_spec_refuses_what_it_does_not_know() -> None:
    """Both too little and too much are errors."""
    with pytest.raises(BasculeError, match="surprise"):
        make_spec(surprise=1)
    with pytest.raises(BasculeError, match="database, user and address"):
        make_spec(clients=[{"user": "x"}])
    with pytest.raises(BasculeError, match="whole description"):
        Spec.from_dict({"component": "x"})
    spec = make_spec()
    assert Spec.from_dict(spec.to_dict()) == spec
    assert spec.slot == "bascule_accounts_db"
    assert spec.unit == "postgresql@15-main.service"


def test_scram_verifier_is_what_postgresql_makes() -> None:
    """The example is the one of a real server (salt and password known)."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    made = scram.verifier("pencil", salt, 4096)
    assert made.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    assert scram.matches("pencil", made)
    assert not scram.matches("pencils", made)


@pytest.mark.parametrize("stored", [None, "", "md5abc", "SCRAM-SHA-256$x:y$z:w", "SCRAM-SHA-256$4096:AA==$"])
def test_scram_matches_nothing_else(stored: str | None) -> None:
    """Anything that is no verifier matches no password."""
    assert not scram.matches("pencil", stored)


RIDER = {"database": "courses", "user": "loader", "address": "198.18.1.10", "until": "switch"}


def test_only_those_who_ride_are_admitted_by_a_frozen_side() -> None:
    text = hba.block("c", hba.FROZEN, owner="postgres", replication_user="r", peer="1.2.3.4", clients=[CLIENT, RIDER])
    lines = [line.split() for line in text.splitlines()]
    assert ["hostssl", "courses", "loader", "198.18.1.10/32", "scram-sha-256"] in lines
    assert lines[-2] == ["host", "all", "all", "all", "reject"]
    assert not any("198.18.1.0/24" in line for line in lines)
    assert hba.mode_of(text, "c") == hba.FROZEN


def test_sessions_of_riders_are_told_by_account_database_and_address() -> None:
    everywhere = {**RIDER, "address": "all", "user": "o'neil"}
    assert hba.sessions_that_ride([CLIENT]) == "false"
    assert hba.sessions_that_ride([CLIENT, RIDER, everywhere]) == (
        "(datname = 'courses' AND usename = 'loader' AND client_addr <<= '198.18.1.10/32'::inet) "
        "OR (datname = 'courses' AND usename = 'o''neil')"
    )
