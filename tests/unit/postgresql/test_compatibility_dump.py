"""What stands in the way of a dump and its restore, and what only stands in the way of a copy of the files."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.postgresql import compatibility, compatibility_dump

from .test_compatibility import GIB, OWN, cluster, database

SPEC: dict[str, Any] = {"method": "dump_restore", "pooler": "none", "clients": [], "peer_clients": []}


def differences(source: dict[str, Any], target: dict[str, Any], **spec: Any) -> list[str]:
    return compatibility_dump.differences(
        cluster(**source), cluster(side="db-tls", running=False, **target), {**SPEC, **spec}
    )


@pytest.mark.parametrize(
    "target",
    [{"libc": "glibc 2.41"}, {"architecture": "aarch64"}, {"icu": "libicuuc.so.76"}],
)
def test_what_only_a_copy_of_the_files_would_break_on_is_noted(target: dict[str, Any]) -> None:
    source = {"databases": database(provider="i")}
    assert compatibility.differences(cluster(**source), cluster(side="db-tls", running=False, **target))
    assert differences(source, target) == []
    assert "indexes are built anew" in " ".join(
        compatibility_dump.notes(cluster(**source), cluster(side="db-tls", running=False, **target))
    )


def test_the_log_need_not_be_fit_for_a_standby() -> None:
    small = {**cluster()["settings"], "max_wal_senders": "0", "wal_level": "minimal"}
    assert differences({"settings": small, "log_kept_bytes": -1}, {}) == []


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        ({"managers": ["patroni"]}, {}, "db-mtp is managed by patroni"),
        ({}, {"version_major": "16"}, "there would be no way back"),
        ({"version_major": "16"}, {}, "there would be no way back"),
        ({}, {"locales": ["C"]}, "locale C.UTF-8 of database courses"),
        (
            {"databases": database(unlogged_tables=[{"name": "app.cache", "bytes": 0}])},
            {},
            "unlogged tables in courses",
        ),
        ({"databases": database(unlogged_tables=[{"name": "app.cache", "bytes": 0}])}, {}, "replicated: app.cache"),
        ({"databases": database(unlogged_sequences=["app.ids"])}, {}, "give values again: app.ids"),
        ({"databases": database(extensions={"postgis": "3.3"})}, {}, "extension postgis 3.3"),
        ({"left_out": ["model (a template)"]}, {}, "database model (a template) would be in no dump: ALTER DATABASE"),
        ({"superuser": False}, {}, "cannot dump everything"),
        ({"prepared_transactions": 1}, {}, "1 prepared transactions"),
        ({"logical_slots": ["sub"]}, {}, "logical replication slots are in no dump: sub"),
        ({"misplaced": "/data is a mount point"}, {}, "db-mtp: /data is a mount point; mount it elsewhere"),
        ({}, {"misplaced": "/data is a symbolic link"}, "db-tls: /data is a symbolic link"),
        ({}, {"own_settings": {**OWN, "synchronous_standby_names": "gone"}}, "every commit there would wait"),
        ({}, {"own_settings": {**OWN, "fsync": "off"}}, "fsync is off in the files of db-tls"),
        ({"tablespaces": ["fast"]}, {}, "tablespaces outside the data directory: fast"),
        ({"settings": {**cluster()["settings"], "shared_preload_libraries": "timescaledb"}}, {}, "timescaledb"),
        ({}, {"free_bytes": 2 * GIB}, "db-tls has"),
        ({"free_bytes": GIB // 2}, {}, "db-mtp has"),
        ({}, {"foreign_databases": ["16384"]}, "databases of its own: 16384"),
        ({}, {"clock_offset": None}, "clocks"),
        ({"running": False}, {}, "db-mtp does not run"),
    ],
)
def test_what_a_restore_needs_stays_a_gate(source: dict[str, Any], target: dict[str, Any], text: str) -> None:
    assert any(text in line for line in differences(source, target)), differences(source, target)


def test_nobody_waits_in_a_pooler_for_as_long_as_a_restore_takes() -> None:
    assert "postgresql_replication_pooler" in differences({}, {}, pooler="install")[0]
    rider = {"database": "courses", "user": "app", "address": "all", "until": "switch"}
    assert "app" in differences({}, {}, peer_clients=[rider])[0]


def test_what_was_restored_here_before_is_ours() -> None:
    assert differences({}, {"foreign_databases": ["16384"], "guard": {"status": "closed"}}) == []
