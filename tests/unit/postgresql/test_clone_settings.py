"""What the servers of a trial are told, and when none is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bascule.postgresql import clone, hba
from bascule.system.io import units
from bascule.system.io.process import Result

from .test_files import make_spec

DB, CLONE, ACCOUNT = "accounts_db", 15463, "bascule_replication"


@pytest.mark.parametrize(
    ("size", "free", "tablespaces", "limit", "why"),
    [
        (100, 110 + (1 << 30), False, 100, ""),
        (100, 109 + (1 << 30), False, 100, "takes 110 bytes and leaves 1073741824 free, of 1073741933"),
        (101, 1 << 40, False, 100, "101 bytes of data are more than"),
        (0, 1 << 40, False, 0, "limit is 0"),
        (100, 1 << 40, True, 100, "has tablespaces"),
    ],
)
def test_a_copy_is_made_within_limits_only(size: int, free: int, tablespaces: bool, limit: int, why: str) -> None:
    found = clone.untried(make_spec(), CLONE, clone.Room(size, size + size // 10, free), limit, tablespaces)
    assert (why in found) if why else found == ""


def test_a_place_whose_socket_would_have_too_long_a_path_is_named() -> None:
    spec = make_spec(data_directory="/srv/" + "x" * 75)
    assert "too long" in clone.untried(spec, CLONE, clone.Room(1, 1, 1 << 40), 9, tablespaces=False)


def test_what_a_cluster_carries_does_not_come_to_life_and_what_is_own_comes_last() -> None:
    text = clone.settings(make_spec(version="17"), CLONE, {"max_connections": "37"}, {"listen_addresses": "10.0.0.9"})
    lines = text.splitlines()
    for line in (
        "archive_mode = 'off'",
        "event_triggers = 'off'",
        "listen_addresses = '10.0.0.9'",
        "max_connections = '37'",
        "max_logical_replication_workers = '0'",
        "port = '15463'",
        "primary_conninfo = ''",
        "primary_slot_name = ''",
        "shared_preload_libraries = ''",
        "synchronous_standby_names = ''",
        "unix_socket_directories = '/var/lib/postgresql/15/main.bascule-clone'".replace("/15/", "/17/"),
    ):
        assert lines.count(line) == 1, line
    assert "event_triggers" not in clone.settings(make_spec(), CLONE, {}, {})


def test_the_rule_of_the_clone_is_the_rule_of_a_return() -> None:
    spec = make_spec()
    closed = hba.block(
        DB, hba.CLOSED, owner="postgres", replication_user=ACCOUNT, peer=spec.peer_address, clients=[]
    ).splitlines()
    assert clone.admits(spec, standby=True).splitlines() == closed[1:3]
    assert clone.admits(spec, standby=False).splitlines() == closed[1:2]


def test_ports_passwords_and_labels() -> None:
    assert clone.port_of(make_spec(), 0) == 25432
    assert clone.port_of(make_spec(port=50000), 0) == 30000
    assert clone.port_of(make_spec(), 7000) == 7000
    assert clone.password_file("*:5432:*:user:a:5432\n", 5432, 25432) == "*:25432:*:user:a:5432\n"
    assert clone.password_file("host:5432:*:user:secret\n", 5432, 25432) == ""
    assert (
        clone.first_segment("START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2\n")
        == "000000010000000000000002"
    )


def test_a_unit_ends_in_time_and_cleans_up_after_itself() -> None:
    told: list[list[str]] = []

    def told_only(argv: Sequence[str], **_: Any) -> Result:
        told.append(list(argv))
        return Result(tuple(argv), 0, "", "")

    units.start("bascule-x-clone", ["/bin/true"], told_only, properties=["RuntimeMaxSec=60"])
    assert told == [
        [
            *("systemd-run", "--quiet", "--collect", "--unit=bascule-x-clone"),
            *("--property=KillMode=mixed", "--property=RuntimeMaxSec=60", "--", "/bin/true"),
        ]
    ]
