"""Dumps on their way: what arrived whole is used, what did not is refused; units are found again; old dumps go."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError, CommandFailed
from bascule.postgresql.io.dump import fetch
from bascule.postgresql.io.dump import job as dump_job
from bascule.postgresql.io.dump import take as dump_take
from bascule.postgresql.io.dump.fetch import Fetcher
from bascule.postgresql.io.dump.job import BRING, Job, follow

from .test_files import make_spec


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Link:
    """The other side's files, and what the way to here does to them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.there: dict[str, bytes] = {}
        self.spoil: dict[str, bytes] = {}
        self.brought: list[str] = []

    def carry(self, command: Sequence[str], tell: Any) -> str:
        name = Path(command[-1]).name
        assert command[-2].endswith(command[-1]), "the same path at both sides"
        if name not in self.there:
            raise CommandFailed(expected="rsync to carry the file over", found="no such file")
        self.brought.append(name)
        (self.directory / name).write_bytes(self.spoil.pop(name, self.there[name]))
        return ""


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Link:
    monkeypatch.setattr(dump_job, "HOME", tmp_path / "home")
    (tmp_path / "home" / "accounts_db").mkdir(parents=True)
    found = Link(tmp_path / "dump")
    monkeypatch.setattr(fetch, "rsync", SimpleNamespace(carry=found.carry, make_durable=lambda path: None))
    found.there = {"contents.json": b'{"a": 1}', "0.dump.age": b"rows" * 1000}
    return found


def fetcher(link: Link) -> Fetcher:
    return Fetcher(make_spec(), link.directory, Job(make_spec(), BRING, {}), "")


def dumps(link: Link) -> list[dict[str, Any]]:
    content = link.there["0.dump.age"]
    return [{"file": "0.dump.age", "bytes": len(content), "sha256": sha(content)}]


def test_what_arrived_whole_is_not_brought_again(link: Link) -> None:
    manifest = sha(link.there["contents.json"])
    assert fetcher(link).contents(manifest) == {"a": 1}
    assert fetcher(link).dumps(dumps(link)) is True
    assert fetcher(link).contents(manifest) == {"a": 1}
    assert fetcher(link).dumps(dumps(link)) is False
    assert link.brought == ["contents.json", "0.dump.age"]
    assert (link.directory / "0.dump.age").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["contents.json", "0.dump.age"])
def test_what_was_damaged_on_its_way_is_refused_and_brought_whole_the_next_time(link: Link, name: str) -> None:
    link.spoil[name] = b"x" + link.there[name][1:]
    manifest = sha(link.there["contents.json"])

    def bring() -> None:
        fetcher(link).contents(manifest)
        fetcher(link).dumps(dumps(link))

    with pytest.raises(BasculeError, match="changed or damaged on its way") as error:
        bring()
    assert name in error.value.expected
    assert not (link.directory / name).exists()
    bring()
    assert (link.directory / name).read_bytes() == link.there[name]


def test_a_list_of_contents_that_nobody_announced_is_refused(link: Link) -> None:
    with pytest.raises(BasculeError, match="changed or damaged"):
        fetcher(link).contents(sha(b"another"))


def test_a_full_disk_is_said_before_anything_is_brought(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    link.directory.mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=5))
    with pytest.raises(BasculeError, match="4000 bytes free"):
        fetcher(link).dumps(dumps(link))
    assert link.brought == []


class Units:
    """Systemd, as far as a job needs it."""

    AGENT = ("python3", "bascule.pyz")

    def __init__(self) -> None:
        self.running: str | None = None
        self.started: list[list[str]] = []
        self.ends: dict[str, Any] | None = None

    def is_running(self, unit: str) -> bool:
        return self.running == unit

    def start(self, unit: str, argv: Sequence[str]) -> None:
        self.running = unit
        self.started.append(list(argv))

    def stop(self, unit: str) -> bool:
        was, self.running = self.running == unit, None
        return was

    def wait(self, unit: str, seconds: float) -> bool:
        if self.ends is not None:
            job = Job(make_spec(), BRING, {"name": "final-1"})
            job.note(**self.ends)
            self.running = None
        return self.ends is not None

    def last_messages(self, unit: str) -> str:
        return "killed"


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Units:
    found = Units()
    monkeypatch.setattr(dump_job, "HOME", tmp_path)
    (tmp_path / "accounts_db").mkdir()
    monkeypatch.setattr(dump_job, "units", found)
    monkeypatch.setattr(dump_job, "load_spec", lambda component, side: make_spec())
    return found


def test_a_unit_that_does_the_same_is_followed_and_another_one_is_ended(units: Units) -> None:
    key = {"name": "final-1"}
    assert follow("accounts_db", "db-tls", BRING, key, begin=True, wait=0)["running"]
    Job(make_spec(), BRING, key).note(step="restoring", progress="1 of 2 databases")
    again = follow("accounts_db", "db-tls", BRING, key, begin=True, wait=0)
    assert (again["running"], again["progress"]) == (True, "restoring 1 of 2 databases")
    assert len(units.started) == 1
    follow("accounts_db", "db-tls", BRING, {"name": "final-2"}, begin=True, wait=0)
    assert [words[-1] for words in units.started] == ["final-1", "final-2"]


def test_the_end_of_a_unit_is_its_result_or_its_error(units: Units) -> None:
    key = {"name": "final-1"}
    units.ends = {"state": "done", "result": {"changed": False, "manifest": "ab"}}
    found = follow("accounts_db", "db-tls", BRING, key, begin=True, wait=0)
    assert (found["changed"], found["result"]["manifest"]) == (False, "ab")
    units.ends = {"state": "failed", "error": {"expected": "room", "found": "none"}}
    with pytest.raises(BasculeError, match="expected: room; found: none"):
        follow("accounts_db", "db-tls", BRING, key, begin=True, wait=0)


def test_a_unit_that_ends_without_a_word_is_no_result(units: Units) -> None:
    units.ends = {}
    with pytest.raises(BasculeError, match="it was ended; killed"):
        follow("accounts_db", "db-tls", BRING, {"name": "final-1"}, begin=True, wait=0)


def test_a_result_of_another_dump_is_not_taken_for_this_ones(units: Units) -> None:
    units.ends = {"state": "done", "result": {"manifest": "ab"}}
    with pytest.raises(BasculeError):
        follow("accounts_db", "db-tls", BRING, {"name": "final-2"}, begin=True, wait=0)


def test_old_dumps_go_and_the_newest_of_a_switch_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_job, "directory", lambda component: tmp_path)
    for number, name in enumerate(["final-1", "final-2", "final-3", "rehearsal-7", "final-4"]):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (number, number))
    dump_job.forget_older("accounts_db", tmp_path / "final-4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final-3", "final-4"]


@pytest.mark.parametrize(("name", "again"), [("rehearsal-7", True), ("final-7-1-0-1", False)])
def test_a_refused_rehearsal_is_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, again: bool
) -> None:
    """Of a cluster that stands still another dump would be the same."""
    monkeypatch.setattr(dump_take, "load_spec", lambda component: make_spec())
    monkeypatch.setattr(dump_take, "directory", lambda component, name: tmp_path)
    position = {"system_id": "7", "timeline": "1", "checkpoint_lsn": "0/1"}
    known: dict[str, Any] = {
        "recipients": ["r"],
        "mode": make_spec().compare_mode,
        "position": position,
        "databases": {},
    }
    known |= {"spent": 1.0, "seconds": 1.0, "done": True, "size_bytes": 1}
    (tmp_path / "contents.json").write_text(json.dumps(known))
    manifest = sha((tmp_path / "contents.json").read_bytes())
    for refused, taken_over in (("", True), ("other", True), (manifest, not again)):
        found = dump_take.Take("accounts_db", name, refused)._finished(["r"], position)
        assert (found is not None) is taken_over
