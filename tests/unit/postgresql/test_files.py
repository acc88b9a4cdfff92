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
OTHERS = "local all postgres peer\nhost all app 10.0.0.0/8 md5\n"


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


def whole(mode: str, rest: str = OTHERS, clients: tuple[dict[str, str], ...] = (CLIENT,)) -> str:
    """Return the file as it has to be."""
    return hba.managed(
        rest, "accounts_db", mode, owner="postgres", replication_user="r", peer="198.18.2.10", clients=clients
    )


def rules(text: str) -> list[str]:
    """Return the lines that are rules."""
    return [" ".join(line.split()) for line in text.splitlines() if line and not line.startswith("#")]


def test_who_came_in_before_comes_in_by_the_same_rule() -> None:
    """Only the other side's replication account is met before what stood there, and declared clients after it."""
    assert rules(whole(hba.OPEN)) == [
        "hostssl replication r 198.18.2.10/32 scram-sha-256",
        "hostssl postgres r 198.18.2.10/32 scram-sha-256",
        "hostssl postgres r 127.0.0.1/32 scram-sha-256",
        *rules(OTHERS),
        "hostssl courses courses 198.18.1.0/24 scram-sha-256",
    ]
    for mode in (hba.FROZEN, hba.CLOSED):
        assert "hostssl postgres" not in whole(mode)
        assert rules(whole(mode))[0] == "local all postgres peer"


def test_a_client_with_an_old_password_has_a_line_that_takes_it() -> None:
    assert rules(whole(hba.OPEN, clients=({**CLIENT, "method": "md5"},)))[-1].endswith(" md5")


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("local all postgres peer\n", True),
        ("local all all peer # everybody\n", True),
        ("host all all all scram-sha-256\nlocal all app md5\nlocal all all trust\n", True),
        ("local all all md5\nlocal all postgres peer\n", False),
        ("local all postgres peer map=admins\n", False),
        ("local courses postgres peer\n", False),
        ("local replication all peer\n", False),
        ("local all +admins md5\nlocal all postgres peer\n", False),
        ("include more.conf\nlocal all postgres peer\n", False),
        ('local all "all\nlocal all postgres peer\n', False),
        ("", False),
    ],
)
def test_the_owners_own_line_is_added_where_nothing_else_lets_it_in(rest: str, said: bool) -> None:
    assert hba.lets_in(rest, "postgres") is said
    first = rules(whole(hba.OPEN, rest))[0]
    assert (first == "local all postgres peer") is not said


@pytest.mark.parametrize(
    ("rest", "count"),
    [
        ("host all all all reject\n", 1),
        ("hostssl courses courses 198.18.1.128 255.255.255.128 reject\n", 1),
        ("host all all 198.18.1.0/24 md5\nhost all all all reject\n", 0),
        ("local all all reject\nhostnossl all all all reject\n", 0),
        ("host all all 198.18.9.0/24 reject\nhost other all all reject\nhost all lab.example.net reject\n", 0),
        ("host all all lab.example.net reject\n", 0),
    ],
)
def test_a_rule_that_rejects_a_declared_client_first_is_named(rest: str, count: int) -> None:
    found = hba.shut_out(rest, [CLIENT])
    assert len(found) == count
    assert all("courses in courses from 198.18.1.0/24" in text for text in found)


@given(
    st.text(alphabet=st.characters(blacklist_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", max_codepoint=255))
)
def test_block_is_replaced_and_taken_out_whole(text: str) -> None:
    """Whatever stood in the file stands there afterwards."""
    text = text.replace("BASCULE", "")
    opened = whole(hba.OPEN, text)
    closed = whole(hba.CLOSED, opened)
    assert hba.mode_of(opened, "accounts_db") == hba.OPEN
    assert hba.mode_of(closed, "accounts_db") == hba.CLOSED
    ended = text if not text or text.endswith("\n") else text + "\n"
    assert hba.without(closed, "accounts_db") == ended


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


def test_a_side_that_served_nobody_gets_all_it_needs_to_serve() -> None:
    """A bounded slot, TLS, and nothing smaller than at the primary; what clients speak is theirs."""
    spec = make_spec(certificate="/etc/tls/host.crt")
    settings = conf.whole(spec)
    text = conf.base(spec, settings, {"max_connections": 300})
    assert "max_slot_wal_keep_size = '8GB'" in text
    assert "ssl_cert_file = '/etc/postgresql/15/main/bascule-tls/host.crt'" in text
    assert "listen_addresses = '*'" in text
    assert "ssl_min_protocol_version" not in text
    assert conf.raised_in(text) == {"max_connections": 300}
    assert conf.raised_in(None) == {}
    assert conf.set_in(text) == {conf.MARK: "db-mtp", **settings, "max_connections": "300"}


@pytest.mark.parametrize(
    ("before", "tls", "slots", "wanted"),
    [
        (
            {"max_slot_wal_keep_size": "-1", "wal_keep_size": "0"},
            False,
            [],
            {"max_slot_wal_keep_size", "wal_keep_size"},
        ),
        ({"max_slot_wal_keep_size": "-1", "wal_keep_size": "0"}, False, ["theirs"], {"wal_keep_size"}),
        ({"max_slot_wal_keep_size": "1024", "wal_keep_size": "4096"}, False, [], {"max_slot_wal_keep_size"}),
        ({"max_slot_wal_keep_size": "99999", "wal_keep_size": "256"}, False, [], set()),
        ({"max_slot_wal_keep_size": "99999", "wal_keep_size": "4096"}, True, ["theirs"], {"ssl"}),
    ],
)
def test_at_a_side_that_serves_only_what_is_lacking_is_set(
    before: dict[str, str], tls: bool, slots: list[str], wanted: set[str]
) -> None:
    """Neither how clients come in, nor what the server listens on, nor less of anything, nor others' slots."""
    assert set(conf.needed(make_spec(), before, tls=tls, other_slots=slots)) == wanted


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("include_dir = 'conf.d'\t# all", ("include_dir", "conf.d")),
        ("include_dir 'conf.d'", ("include_dir", "conf.d")),
        ("include_dir conf.d", ("include_dir", "conf.d")),
        ("  Include_Dir=conf.d", ("include_dir", "conf.d")),
        ("include 'a b.conf'", ("include", "a b.conf")),
        ("include_if_exists='it''s'", ("include_if_exists", "it's")),
        ("#include_dir 'old'", None),
        ("port = 5432", None),
        ("include_path = 'x'", None),
    ],
)
def test_what_a_file_includes(line: str, found: tuple[str, str] | None) -> None:
    assert conf.includes(f"port = 1\n{line}\n") == ([found] if found else [])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 << 30),
        ("256MB", 256 << 20),
        ("256", 256 << 20),
        ("64kB", 64 << 10),
        ("1 TB", 1 << 40),
        ("-1", -(1 << 20)),
    ],
)
def test_sizes_as_postgresql_writes_them(text: str, size: int) -> None:
    assert conf.bytes_of(text) == size


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
