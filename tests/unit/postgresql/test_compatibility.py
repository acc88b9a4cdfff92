"""An audit names everything that stands in the way, at once."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.postgresql import compatibility

GIB = 1024**3
OWN = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "default_transaction_read_only": "off",
    "listen_addresses": "*",
    "synchronous_standby_names": "",
}


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
            "max_connections": "100",
            "archive_mode": "off",
            "synchronous_standby_names": "",
            "shared_preload_libraries": "",
        },
        "databases": [
            {
                "name": "courses",
                "provider": "c",
                "collate": "C.UTF-8",
                "ctype": "C.UTF-8",
                "collation_version": None,
                "collation_actual": None,
                "stale_collations": [],
                "collations": {},
                "icu_columns": 0,
                "unlogged_tables": [],
                "unlogged_sequences": [],
                "subscriptions": 0,
                "extensions": {"plpgsql": "1.0"},
            }
        ],
        "extensions_available": {"plpgsql": ["1.0"]},
        "libraries": ["auto_explain"],
        "minor": "15.14",
        "effective": {"max_connections": 100},
        "own_settings": OWN,
        "left_out": [],
        "logical_slots": [],
        "superuser": True,
        "replication_role": None,
        "log_kept_bytes": GIB,
        "control": {"system_id": "7"} if changes.get("side") != "db-tls" else {"system_id": "8"},
        "auto_settings": [],
        "tablespaces": [],
        "prepared_transactions": 0,
        "long_transactions": [],
        "other_standbys": [],
        "foreign_databases": [],
        "free_bytes": 10 * GIB,
        "size_bytes": GIB,
        "clock_offset": 0.4,
        "checksums": True,
        "wal_link": False,
        "misplaced": "",
        "place_wanted": "mount it elsewhere",
        **changes,
    }


def database(**changes: Any) -> list[dict[str, Any]]:
    """Make the databases of a side."""
    return [{**cluster()["databases"][0], **changes}]


def role(**changes: Any) -> dict[str, Any]:
    """Make a replication role as it should be."""
    return {"super": False, "expired": False, "connections": -1, **changes}


def test_nothing_stands_in_the_way() -> None:
    """Two alike clusters fit; the target need not run."""
    target = cluster(side="db-tls", running=False)
    assert compatibility.differences(cluster(), target) == []
    assert compatibility.notes(cluster(), target) == []


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
        (
            {"databases": database(unlogged_tables=[{"name": "app.cache", "bytes": 0}])},
            {},
            "unlogged tables in courses",
        ),
        ({"databases": database(unlogged_tables=[{"name": "app.cache", "bytes": 0}])}, {}, "replicated: app.cache"),
        ({"databases": database(unlogged_sequences=["app.ids"])}, {}, "give values again: app.ids"),
        ({"databases": database(subscriptions=1)}, {}, "1 subscriptions in courses"),
        ({"databases": database(extensions={"postgis": "3.3"})}, {}, "extension postgis 3.3"),
        ({"settings": {**cluster()["settings"], "wal_level": "minimal"}}, {}, "wal_level is minimal"),
        ({"settings": {**cluster()["settings"], "max_wal_senders": "1"}}, {}, "max_wal_senders is 1"),
        ({"settings": {**cluster()["settings"], "listen_addresses": "localhost"}}, {}, "listens on 'localhost'"),
        ({"auto_settings": ["primary_conninfo"]}, {}, "ALTER SYSTEM"),
        ({"auto_settings": ["recovery_min_apply_delay"]}, {}, "recovery_min_apply_delay is set by ALTER SYSTEM"),
        ({"auto_settings": ["restore_command"]}, {}, "restore_command is set by ALTER SYSTEM"),
        ({"auto_settings": ["hba_file"]}, {}, "hba_file is set by ALTER SYSTEM"),
        ({"auto_settings": ["port"]}, {}, "port is set by ALTER SYSTEM"),
        ({"auto_settings": ["synchronous_standby_names"]}, {}, "synchronous_standby_names is set by ALTER SYSTEM"),
        (
            {
                "auto_settings": ["listen_addresses"],
                "own_settings": {**OWN, "listen_addresses": "localhost,198.18.1.10"},
            },
            {},
            "listen_addresses is set by ALTER SYSTEM",
        ),
        ({"own_settings": {}}, {}, "the files of db-mtp set could not be read"),
        ({}, {"own_settings": {}}, "the files of db-tls set could not be read"),
        (
            {"own_settings": {**OWN, "synchronous_commit": "off"}},
            {},
            "synchronous_commit is off in the files of db-mtp",
        ),
        ({}, {"own_settings": {**OWN, "fsync": "off"}}, "fsync is off in the files of db-tls"),
        ({}, {"own_settings": {**OWN, "full_page_writes": "off"}}, "full_page_writes is off in the files of db-tls"),
        (
            {},
            {"own_settings": {**OWN, "default_transaction_read_only": "on"}},
            "default_transaction_read_only is on in the files of db-tls",
        ),
        (
            {},
            {"own_settings": {**OWN, "synchronous_standby_names": "gone"}},
            "synchronous_standby_names is 'gone' in the files of db-tls: after the switch every commit",
        ),
        ({"tablespaces": ["fast"]}, {}, "tablespaces outside the data directory: fast"),
        ({"wal_link": True}, {}, "pg_wal is a symbolic link"),
        ({"misplaced": "/data is a mount point"}, {}, "db-mtp: /data is a mount point; mount it elsewhere"),
        ({"running": False, "misplaced": "/data is a mount point"}, {}, "db-mtp: /data is a mount point"),
        ({}, {"misplaced": "/data is a symbolic link"}, "db-tls: /data is a symbolic link; mount it elsewhere"),
        ({"prepared_transactions": 1}, {}, "1 prepared transactions"),
        ({}, {"foreign_databases": ["16384"]}, "databases of its own: 16384"),
        ({}, {"free_bytes": GIB}, "the target has"),
        ({"free_bytes": 1, "shares_blocks": True}, {}, "db-mtp has 1 bytes free of 107374182 to keep its state aside"),
        ({"clock_offset": 1000.0}, {}, "clocks differ by at least 1000 s"),
        ({"clock_offset": None}, {}, "clocks of both sides have not been compared"),
        ({"free_bytes": 2 * GIB, "log_kept_bytes": 8 * GIB}, {}, "lower postgresql_replication_max_slot_wal_keep_size"),
        ({"log_kept_bytes": -1}, {}, "the slot keeps log without limit"),
        ({"databases": database(icu_columns=1)}, {"icu": "libicuuc.so.76"}, "ICU"),
        ({"databases": database(ctype="fr_FR.UTF-8")}, {}, "locale fr_FR.UTF-8 of database courses"),
        (
            {"databases": database(collation_version="2.31", collation_actual="2.36")},
            {},
            "courses was sorted by collation version 2.31, the source's library has 2.36: REINDEX",
        ),
        ({"databases": database(stale_collations=["fr (recorded 1, library 2)"])}, {}, "collation fr (recorded 1"),
        (
            {"databases": database(collation_version="2.36", collation_actual="2.36")},
            {"control": {"system_id": "7"}, "databases": database(collation_actual="2.41")},
            "collation version of database courses: 2.36 and 2.41",
        ),
        (
            {"databases": database(collations={"fr-x-icu": "153.120"})},
            {"control": {"system_id": "7"}, "databases": database(collations={"fr-x-icu": "153.128"})},
            "collation fr-x-icu of database courses: version 153.120 and 153.128",
        ),
        (
            {"databases": database(extensions={"hstore": "1.8"})},
            {"extensions_available": {"hstore": ["1.4", "1.7"]}},
            "extension hstore 1.8 of courses: the target has 1.4, 1.7",
        ),
        (
            {"settings": {**cluster()["settings"], "shared_preload_libraries": "auto_explain, timescaledb"}},
            {},
            "shared library timescaledb",
        ),
        (
            {"settings": {**cluster()["settings"], "max_connections": "200"}},
            {"control": {"system_id": "7"}},
            "max_connections is 100 at db-tls, 200 at db-mtp: a standby must not have less",
        ),
        ({"superuser": False}, {}, "is no superuser"),
        ({"replication_role": role(super=True)}, {}, "the replication role is a superuser"),
        ({"replication_role": role(expired=True)}, {}, "password has expired"),
        ({"replication_role": role(connections=1)}, {}, "may have 1 connections only"),
        ({"logical_slots": ["reports"]}, {}, "logical replication slots do not survive a switch: reports"),
        ({"running": False}, {}, "db-mtp does not run"),
    ],
)
def test_each_difference_is_named(source: dict[str, Any], target: dict[str, Any], text: str) -> None:
    """One difference, one line."""
    found = compatibility.differences(cluster(**source), cluster(**{"side": "db-tls", **target}))
    assert any(text in line for line in found), found


def test_what_is_set_alike_or_waits_for_nobody_is_fine() -> None:
    """The source's own synchronous standby stays with the source; a note says so."""
    own = {**OWN, "synchronous_standby_names": "reports", "synchronous_commit": "remote_apply"}
    source = cluster(own_settings=own, auto_settings=["listen_addresses", "wal_sender_timeout", "work_mem"])
    assert compatibility.differences(source, cluster(side="db-tls")) == []


def test_all_differences_at_once() -> None:
    """Nobody wants to mend them one by one."""
    found = compatibility.differences(
        cluster(managers=["patroni"]), cluster(side="db-tls", version_major="16", locales=[])
    )
    assert len(found) == 3


def test_a_plan_may_put_the_targets_databases_aside() -> None:
    """Then they stand in nobody's way."""
    target = cluster(side="db-tls", foreign_databases=["16384"])
    assert compatibility.differences(cluster(), target, replace=True) == []


def test_a_copy_has_its_databases_from_the_source_and_needs_no_more_room() -> None:
    """What an empty target has to have is not asked of a standby again."""
    target = cluster(side="db-tls", control={"system_id": "7"}, foreign_databases=["16384"], free_bytes=0)
    assert compatibility.differences(cluster(), target) == []


def test_notes() -> None:
    """Worth knowing, in nobody's way."""
    settings = {
        **cluster()["settings"],
        "max_connections": "200",
        "archive_mode": "on",
        "synchronous_standby_names": "reports",
    }
    found = compatibility.notes(
        cluster(
            checksums=False,
            long_transactions=["pid 7 of courses in courses since 900 s"],
            other_standbys=["reports"],
            left_out=["model (a template)"],
            settings=settings,
        ),
        cluster(side="db-tls", minor="15.10"),
    )
    for text in (
        "checksums",
        "pid 7 of courses",
        "other standby",
        "archive",
        "synchronous",
        "15.10",
        "raises it to 200",
        "database model (a template) is copied, but never compared",
    ):
        assert sum(text in line for line in found) == 1, (text, found)
    assert len(found) == 8
    assert compatibility.notes(cluster(running=False), cluster()) == []


def test_a_question_that_took_long_is_not_taken_for_a_wrong_clock() -> None:
    late = {**cluster(), "clock_offset": 13.0, "clock_slack": 14.0}
    assert not [text for text in compatibility.differences(late, cluster(side="db-tls")) if "clock" in text]
    wrong = {**late, "clock_offset": 40.0}
    assert [text for text in compatibility.differences(wrong, cluster(side="db-tls")) if "at least 26 s" in text]


def test_clocks_that_were_hardly_looked_at_are_not_taken_for_equal() -> None:
    slow = {**cluster(), "clock_offset": 100.0, "clock_slack": 101.0}
    found = [text for text in compatibility.differences(slow, cluster(side="db-tls")) if "clock" in text]
    assert found == ["the clocks could not be compared: the questions took up to 101 s; audit again"]
