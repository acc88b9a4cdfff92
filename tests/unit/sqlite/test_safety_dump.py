"""The safety dump of a switch: the files as they were closed, read back and compared; anything else is not proved."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bascule.guard.io import fence_settings
from bascule.sqlite.io import safety_dump
from bascule.sqlite.io.side import Side
from bascule.system import safety_dump as dumps
from bascule.system.io import age_keys, dump_notes, storage

from .conftest import Make, made, systemd

EPOCH = "2.abcd"


@pytest.fixture
def closed(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Side:
    """A side that a switch has just closed."""
    # In the place of age, which this machine need not have, stands what passes everything on.
    age = tmp_path / "bin/age"
    age.parent.mkdir()
    age.write_text('#!/bin/sh\n[ "$1" = --encrypt ] && exec cat\nexec cat "$4"\n')
    age.chmod(0o755)
    monkeypatch.setenv("PATH", f"{age.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(dump_notes, "DIRECTORY", tmp_path / "backups")
    monkeypatch.setattr(dump_notes, "HOME", tmp_path / "home")
    monkeypatch.setattr(age_keys, "recipients", lambda _: ["age1own"])
    (tmp_path / "home/app-mtp").mkdir(parents=True)
    side = make("mtp", "open")
    made(tmp_path / "mtp/app.db")
    side.freeze(written=False)
    side.close(EPOCH)
    monkeypatch.setattr(fence_settings, "read", lambda *_: {"side": "mtp", "databases": side.options["databases"]})
    return side


def noted(tmp_path: Path) -> dict[str, Any]:
    """Return what it has written down."""
    found: dict[str, Any] = json.loads((tmp_path / "home/app-mtp/safety_dump.json").read_text())
    return found


def test_what_was_closed_is_read_back_and_proved(closed: Side, tmp_path: Path) -> None:
    assert safety_dump.work("app-mtp", EPOCH) == 0
    found = noted(tmp_path)
    assert (found["state"], found["reason"], found["rows_compared"]) == (dumps.PROVED, "", 6)
    assert sorted(path.name for path in (tmp_path / "backups").iterdir()) == [f"app-mtp-safety-{EPOCH}"]
    (dump,) = found["dumps"].values()
    assert Path(dump["path"]).stat().st_mode & 0o077 == 0
    place = Path(closed.places[0].kept)
    assert not place.with_name("restored.sqlite").exists(), "nothing decrypted is left"
    assert safety_dump.state("app-mtp", closed.guard(), systemd)["state"] == dumps.PROVED


def test_without_a_row_nothing_is_proved_and_the_dumps_that_were_stay(
    closed: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backups = tmp_path / "backups"
    for epoch in ("1.a", "1.b"):
        (backups / f"app-mtp-safety-{epoch}").mkdir(parents=True)
    monkeypatch.setattr(safety_dump.SafetyDump, "_read_back", lambda *_: ([], 0))
    safety_dump.work("app-mtp", EPOCH)
    assert (noted(tmp_path)["state"], noted(tmp_path)["reason"]) == (dumps.NOT_PROVED, dumps.NOTHING)
    assert len(list(backups.iterdir())) == 3, "what is not proved supersedes nothing"
    monkeypatch.setattr(safety_dump.SafetyDump, "_read_back", lambda *_: ([], 1))
    safety_dump.work("app-mtp", EPOCH)
    assert sorted(path.name for path in backups.iterdir()) == ["app-mtp-safety-1.b", f"app-mtp-safety-{EPOCH}"]


def test_a_unit_that_cannot_be_noted_stops_no_switch(
    closed: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "write_json", full)
    (said,) = safety_dump.begin("app-mtp", "mtp", EPOCH, systemd)
    assert "did not start" in said
    assert "No space left" in said


def test_a_file_that_was_changed_since_is_not_proved(closed: Side, tmp_path: Path) -> None:
    kept = Path(closed.places[0].kept)
    content = bytearray(kept.read_bytes())
    content[content.index(b"missions") + 1] ^= 1
    kept.write_bytes(content)
    safety_dump.work("app-mtp", EPOCH)
    found = noted(tmp_path)
    assert found["state"] == dumps.NOT_PROVED
    assert found["reason"]


def test_a_copy_that_arrives_later_changes_nothing_of_it(closed: Side, tmp_path: Path) -> None:
    place = closed.places[0]
    other = made(tmp_path / "other.db")
    Path(place.incoming).write_bytes(other.read_bytes()[:-1] + b"x")
    place.take((0, 0), 0o600)
    assert safety_dump.work("app-mtp", EPOCH) == 0
    assert noted(tmp_path)["state"] == dumps.PROVED


def test_without_the_kept_file_nothing_is_proved(closed: Side, tmp_path: Path) -> None:
    os.unlink(closed.places[0].kept)
    assert safety_dump.work("app-mtp", EPOCH) == 1
    assert "No such file" in noted(tmp_path)["reason"]
