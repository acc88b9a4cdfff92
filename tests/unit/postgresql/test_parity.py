"""An audit names everything that stands in the way, at once."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.postgresql import parity

GIB = 1024**3


def cluster(**changes: Any) -> dict[str, Any]:
    """Make what an audit finds on a healthy side."""
    return {
        "side": "db-mtp",
        "managers": [],
        "running": True,
        "prepared": False,
        "version_major": "15",
        "libc": "glibc 2.36",
        "icu": "libicuuc.so.72",
        "architecture": "x86_64",
        "locales": ["C", "C.utf8", "POSIX"],
        "address": "198.18.1.10",
        "settings": {
            "wal_level": "replica",
            "max_wal_senders": "10",
            "max_replication_slots": "10",
            "listen_addresses": "*",
        },
        "databases": [
            {
                "name": "courses",
                "provider": "c",
                "collate": "C.UTF-8",
                "unlogged": 0,
                "subscriptions": 0,
                "extensions": {"plpgsql": "1.0"},
            }
        ],
        "extensions_available": ["plpgsql"],
        "auto_settings": [],
        "tablespaces": [],
        "prepared_transactions": 0,
        "long_transactions": 0,
        "other_standbys": [],
        "foreign_databases": [],
        "free_bytes": 10 * GIB,
        "size_bytes": GIB,
        "clock": 1000.0,
        "checksums": True,
        "wal_link": False,
        **changes,
    }


def database(**changes: Any) -> list[dict[str, Any]]:
    """Make the databases of a side."""
    return [{**cluster()["databases"][0], **changes}]


def test_nothing_stands_in_the_way() -> None:
    """Two alike clusters fit; the target need not run."""
    target = cluster(side="db-tls", running=False)
    assert parity.differences(cluster(), target) == []
    assert parity.notes(cluster()) == []


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        ({"managers": ["patroni"]}, {}, "db-mtp is managed by patroni"),
        ({}, {"managers": ["pacemaker"]}, "db-tls is managed by pacemaker"),
        ({}, {"version_major": "16"}, "major version: 15 and 16"),
        ({}, {"libc": "glibc 2.41"}, "glibc 2.36 and glibc 2.41"),
        ({}, {"architecture": "aarch64"}, "architecture"),
        ({"databases": database(provider="i")}, {"icu": "libicuuc.so.76"}, "ICU"),
        ({}, {"locales": ["C"]}, "locale C.UTF-8 of database courses"),
        ({"databases": database(unlogged=2)}, {}, "2 unlogged tables in courses"),
        ({"databases": database(subscriptions=1)}, {}, "1 subscriptions in courses"),
        ({"databases": database(extensions={"postgis": "3.3"})}, {}, "extension postgis 3.3"),
        ({"settings": {**cluster()["settings"], "wal_level": "minimal"}}, {}, "wal_level is minimal"),
        ({"settings": {**cluster()["settings"], "max_wal_senders": "1"}}, {}, "max_wal_senders is 1"),
        ({"settings": {**cluster()["settings"], "listen_addresses": "localhost"}}, {}, "listens on 'localhost'"),
        ({"auto_settings": ["primary_conninfo"]}, {}, "ALTER SYSTEM"),
        ({"tablespaces": ["fast"]}, {}, "tablespaces outside the data directory: fast"),
        ({"wal_link": True}, {}, "pg_wal is a symbolic link"),
        ({"prepared_transactions": 1}, {}, "1 prepared transactions"),
        ({}, {"foreign_databases": ["16384"]}, "databases of its own: 16384"),
        ({}, {"free_bytes": GIB}, "the target has"),
        ({"free_bytes": 1}, {}, "the source has"),
        ({"clock": 2000.0}, {}, "clocks differ by about 1000 s"),
        ({"running": False}, {}, "db-mtp does not run"),
    ],
)
def test_each_difference_is_named(source: dict[str, Any], target: dict[str, Any], text: str) -> None:
    """One difference, one line."""
    found = parity.differences(cluster(**source), cluster(**{"side": "db-tls", **target}))
    assert any(text in line for line in found), found


def test_all_differences_at_once() -> None:
    """Nobody wants to mend them one by one."""
    found = parity.differences(cluster(managers=["patroni"]), cluster(side="db-tls", version_major="16", locales=[]))
    assert len(found) == 3


def test_notes() -> None:
    """Worth knowing, in nobody's way."""
    found = parity.notes(cluster(checksums=False, long_transactions=3, other_standbys=["reports"]))
    assert len(found) == 3
    assert parity.notes(cluster(running=False)) == []
