"""What squawk advises, by the real program; without it, or when it fails, that is said and nothing is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bascule.cli.schema import main
from bascule.schema import files
from bascule.schema.io import squawk

from .conftest import write

SERVICE = {
    "001_users.up.sql": b"CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);\n",
    "001_users.down.sql": b"DROP TABLE users;\n",
    "002_mail.up.sql": b"\nCREATE INDEX by_name ON users (name);\n",
    "002_mail.down.sql": b"DROP INDEX by_name;\n",
    "003_alone.up.sql": b"-- bascule: no-transaction\nCREATE INDEX CONCURRENTLY by_id ON users (id);\n",
    "003_alone.down.sql": b"-- bascule: no-transaction\nDROP INDEX CONCURRENTLY by_id;\n",
}


def migrations() -> tuple[files.Migration, ...]:
    found, wrong = files.collect("a", "postgresql", SERVICE)
    assert wrong == ()
    return found


def test_an_index_that_would_block_writes_is_named_with_its_line() -> None:
    (said,) = squawk.advice(migrations())
    assert said.startswith("002_mail.up.sql line 2: ")
    assert said.endswith("(require-concurrent-index-creation)")
    assert squawk.advice(migrations()[2:]) == squawk.advice(()) == []


def test_what_is_not_there_or_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "squawk"
    program.write_text("#!/bin/sh\necho no advice today\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert [line.partition(": it cannot")[0] for line in squawk.advice(migrations())] == [
        "none on 2 files: squawk has failed",
        "none on 1 files: squawk has failed",
    ]
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (said,) = squawk.advice(migrations())
    assert said.startswith("none on 3 files: squawk is not installed")


def test_check_adds_it_to_what_is_not_applied_and_status_does_not(
    database: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = tmp_path / "inventory/group_vars"
    variables.mkdir(parents=True)
    folder = write(tmp_path / "files", SERVICE)
    one = {"engine": "postgresql", "folder": str(folder), "connection": database, "production": False}
    (variables / "all.yml").write_text(json.dumps({"schema_services": {"a": one}}))
    assert main(["a", "check", "-i", str(tmp_path / "inventory")]) == 6
    said = capsys.readouterr().out
    assert "a: 0 of 3 applied" in said
    assert "  advice  002_mail.up.sql line 2: " in said
    assert main(["a", "status", "-i", str(tmp_path / "inventory")]) == 0
    assert "advice" not in capsys.readouterr().out
