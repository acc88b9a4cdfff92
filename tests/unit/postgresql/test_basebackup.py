"""The base backup: found again, measured, and taken with what both builds have."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError, CommandFailed
from bascule.postgresql import conf
from bascule.postgresql.io.cluster import cluster as cluster_cluster
from bascule.postgresql.io.cluster import peer, settings
from bascule.postgresql.io.standby import basebackup, follow, prepare
from bascule.system.io.process import Result

from .test_files import make_spec


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of the component on a host."""
    for module in (cluster_cluster, basebackup, prepare):
        monkeypatch.setattr(module, "HOME", tmp_path)
    directory = tmp_path / "accounts_db"
    directory.mkdir()
    return directory


@pytest.mark.parametrize(
    ("notes", "active", "outcome"),
    [
        ({"state": "done", "bytes": 5}, False, "done"),
        ({"state": "running"}, True, "running"),
        ({"state": "running"}, False, "it was interrupted"),
        ({"state": "failed", "error": "no route"}, False, "no route"),
        (None, False, "it was interrupted"),
    ],
)
def test_a_base_backup_is_found_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, notes: dict[str, Any] | None, active: bool, outcome: str
) -> None:
    if notes:
        (home / "seed.json").write_text(json.dumps(notes))
    monkeypatch.setattr(basebackup, "units", SimpleNamespace(is_running=lambda name: active))
    if outcome in ("done", "running"):
        assert basebackup.seeding(make_spec())["state"] == outcome
    else:
        with pytest.raises(BasculeError, match=outcome):
            basebackup.seeding(make_spec())


def test_a_standby_that_is_built_again_is_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What stands there still is the old one: it says nothing about the base backup."""
    (home / "seed.json").write_text(json.dumps({"state": "running"}))
    monkeypatch.setattr(cluster_cluster.Cluster, "has_signal", lambda self: True)
    monkeypatch.setattr(basebackup, "units", SimpleNamespace(is_running=lambda name: True))
    assert basebackup.seeding(make_spec())["state"] == "running"
    monkeypatch.setattr(basebackup, "units", SimpleNamespace(is_running=lambda name: False))
    with pytest.raises(BasculeError, match="it was interrupted"):
        basebackup.seeding(make_spec())


def test_progress_names_rate_and_remaining_time() -> None:
    found = basebackup.progress({"began": 100.0, "total": 1000, "step": "base backup"}, 250, 110.0)
    assert found["bytes_per_second"] == 25
    assert found["remaining_seconds"] == 30
    assert basebackup.progress({}, 0, 110.0)["remaining_seconds"] is None
    assert basebackup.progress({"began": 100.0, "total": 10}, 250, 110.0)["remaining_seconds"] == 0


class Basebackup:
    """Stands in for pg_basebackup: complains as told, once per complaint."""

    def __init__(self, *complaints: str) -> None:
        self.complaints = list(complaints)
        self.asked: list[str] = []

    def __call__(self, argv: list[str], **_: Any) -> Result:
        self.asked.append(next((word.split("=", 1)[1] for word in argv if word.startswith("--compress")), ""))
        if self.complaints:
            raise CommandFailed(expected="success", found=self.complaints.pop(0))
        return Result(tuple(argv), 0, "", "")


@pytest.mark.parametrize(
    ("complaints", "used"),
    [
        ((), "server-zstd"),
        (("ERROR: zstd compression is not supported by this build",), "server-lz4"),
        (("zstd compression is not supported", "this build does not support compression with LZ4"), "server-gzip:1"),
        (("invalid value for option --compress",) * 3, "none"),
    ],
)
def test_the_best_compression_that_both_builds_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, complaints: tuple[str, ...], used: str
) -> None:
    program = Basebackup(*complaints)
    monkeypatch.setattr(basebackup, "run", program)
    assert basebackup._copy(make_spec(), tmp_path / "partial", "20M") == used
    assert len(program.asked) == len(complaints) + 1


def test_a_slot_that_a_dead_link_still_holds_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = Basebackup('ERROR: replication slot "bascule_accounts_db" is active for PID 42')
    monkeypatch.setattr(basebackup, "run", program)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert basebackup._copy(make_spec(), tmp_path / "partial", "") == "server-zstd"


def test_any_other_failure_ends_it_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    partial.mkdir()
    monkeypatch.setattr(basebackup, "run", Basebackup("could not write: No space left on device"))
    with pytest.raises(CommandFailed, match="No space left"):
        basebackup._copy(make_spec(), partial, "")
    assert not partial.exists()


@pytest.mark.parametrize(("oldest", "misses"), [("0000000000000002", True), ("0000000000000001", False), ("", False)])
def test_a_standby_that_needs_older_log_than_there_is(oldest: str, misses: bool) -> None:
    control = SimpleNamespace(checkpoint_lsn="0/1000028", min_recovery_lsn="0/0", segment_bytes=1 << 24)
    cluster: Any = SimpleNamespace(control=lambda: control, postmaster=lambda: None)
    assert prepare.misses_log(cluster, oldest) is misses


def test_log_files_are_numbered_across_the_four_gigabytes() -> None:
    assert prepare.segment_number("00000001000000FF", 1 << 24) + 1 == prepare.segment_number(
        "0000000200000000", 1 << 24
    )


def test_a_standby_with_less_than_its_primary_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "effective", lambda spec: {"max_connections": 50, "max_wal_senders": 10})
    with pytest.raises(BasculeError, match=r"max_connections is 50, not 100, although .*90-bascule\.conf sets it"):
        settings.require(make_spec(), {"max_connections": 100, "max_wal_senders": 10})
    settings.require(make_spec(), {"max_connections": 50})


def test_the_log_is_compressed_with_what_the_build_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(argv: list[str], **_: Any) -> Result:
        if "wal_compression=lz4" in argv:
            raise CommandFailed(expected="success", found="invalid value")
        return Result(tuple(argv), 0, argv[-1].split("=")[1] + "\n", "")

    monkeypatch.setattr(settings, "run", build)
    assert settings.wal_compression(make_spec()) == "pglz"
    assert "wal_compression = 'pglz'" in conf.base(make_spec(), conf.whole(make_spec(), "pglz"), {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            'psql: error: connection to server at "db", port 5432 failed: FATAL:  password authentication failed\n',
            "FATAL:  password authentication failed",
        ),
        ("", "no answer"),
    ],
)
def test_why_the_other_side_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, text: str, reason: str) -> None:
    monkeypatch.setattr(peer, "run", lambda argv, **_: Result(tuple(argv), 2, "", text))
    assert peer.complaint(make_spec()) == reason
    with pytest.raises(BasculeError, match="nothing was copied"):
        peer.identify(make_spec())


@pytest.mark.parametrize(("free", "reason"), [(1 << 20, "only 1048576 bytes free at "), (1 << 30, "")])
def test_a_full_disk_is_named_where_a_log_in_succeeds(monkeypatch: pytest.MonkeyPatch, free: int, reason: str) -> None:
    monkeypatch.setattr(peer, "run", lambda argv, **_: Result(tuple(argv), 0, "7|1|0/100|", ""))
    monkeypatch.setattr(Path, "exists", lambda path: path.name == "pg_wal")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert peer.complaint(make_spec()).startswith(reason)
    assert bool(peer.complaint(make_spec())) == bool(reason)


def test_a_directory_that_is_renamed_while_it_is_measured_counts_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    partial = tmp_path / "main.bascule-seed"
    (partial / "base" / "4").mkdir(parents=True)
    (partial / "base" / "4" / "1259").write_bytes(b"x" * 8192)
    scandir = os.scandir

    def at_its_most_inconvenient(path: Any) -> Any:
        if str(path).endswith("base/4"):
            partial.rename(tmp_path / "main")
        return scandir(path)

    whole = follow.size_of(partial)
    monkeypatch.setattr(os, "scandir", at_its_most_inconvenient)
    assert 0 <= follow.size_of(partial) < whole
    assert not partial.exists()
    assert follow.size_of(partial) == 0


def test_a_directory_that_nobody_may_read_is_not_taken_as_empty(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError):
        follow.size_of(tmp_path)
