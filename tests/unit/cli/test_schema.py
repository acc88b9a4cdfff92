"""`bascule schema`: one plan over all services, its exit statuses, and what an inventory has to say."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest

from bascule.cli.main import main

BASE = {"001_base.up.sql": "CREATE TABLE base (x);", "001_base.down.sql": "DROP TABLE base;"}
AUTH = {"001_auth.up.sql": "CREATE TABLE auth (x);", "001_auth.down.sql": "DROP TABLE auth;"}


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Two services; `auth`, which comes first by name, depends on `base`."""
    services: dict[str, dict[str, object]] = {}
    for name, files in {"auth": AUTH, "base": BASE}.items():
        folder = tmp_path / name
        folder.mkdir()
        for file, text in files.items():
            (folder / file).write_text(text)
        sqlite3.connect(tmp_path / f"{name}.sqlite").execute("PRAGMA journal_mode = WAL")
        services[name] = {
            "engine": "sqlite",
            "folder": str(folder),
            "file": str(tmp_path / f"{name}.sqlite"),
            "backups": str(tmp_path / "backups"),
        }
    services["auth"]["depends_on"] = ["base"]
    variables = tmp_path / "inventory" / "group_vars"
    variables.mkdir(parents=True)
    (variables / "all.yml").write_text(json.dumps({"schema_services": services}))
    return tmp_path / "inventory"


def tables(inventory: Path, name: str) -> set[str]:
    with sqlite3.connect(inventory.parent / f"{name}.sqlite") as connection:
        return {found for (found,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def test_all_is_one_plan_in_the_order_of_dependencies(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["-i", str(inventory)]
    assert main(["schema", "all", "check", *ask]) == 6
    assert main(["schema", "all", "up", "--dry-run", *ask]) == 0
    shown = capsys.readouterr().out
    assert shown.index("would run base 001_base.up.sql") < shown.index("would run auth 001_auth.up.sql")
    assert tables(inventory, "auth") == tables(inventory, "base") == set()
    assert main(["schema", "all", "up", *ask]) == 0
    shown = capsys.readouterr().out
    assert shown.index("ran base 001_base.up.sql") < shown.index("ran auth 001_auth.up.sql")
    # Both were tried before either ran.
    assert shown.count("tried on the restored copy") == 1
    assert shown.index("tried on the restored copy") < shown.index("ran base")
    assert main(["schema", "all", "check", *ask]) == 0
    assert main(["schema", "all", "up", *ask]) == 0
    assert "nothing to be done" in capsys.readouterr().out
    assert main(["schema", "all", "down", *ask]) == 6
    word = re.search(r"--confirm (all/\w{8})", capsys.readouterr().err)
    assert word is not None
    assert "auth" in tables(inventory, "auth")
    assert main(["schema", "all", "down", "--confirm", word[1], *ask]) == 0
    shown = capsys.readouterr().out
    assert shown.index("ran auth 001_auth.down.sql") < shown.index("ran base 001_base.down.sql")
    assert main(["schema", "auth", "status", *ask]) == 0
    assert "auth: 0 of 1 applied\n  not applied  001_auth.up.sql" in capsys.readouterr().out


def test_what_one_service_gets_wrong_holds_up_all_before_anything_runs(
    inventory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (inventory.parent / "auth" / "001_auth.down.sql").unlink()
    assert main(["schema", "all", "up", "-i", str(inventory)]) == 2
    assert "auth: 001_auth.up.sql has no .down.sql; state now: nothing was changed" in capsys.readouterr().err
    (inventory.parent / "auth" / "001_auth.down.sql").write_text("DROP TABLE nothing;")
    assert main(["schema", "all", "up", "-i", str(inventory)]) == 2
    assert "auth 001_auth.down.sql to run on the restored copy" in capsys.readouterr().err
    assert "base" not in tables(inventory, "base")
    assert list((inventory.parent / "backups").iterdir()) == []


def test_a_service_waits_for_those_it_depends_on(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["up"], ["up", "--dry-run"], ["to", "1"]):
        assert main(["schema", "auth", *words, "-i", str(inventory)]) == 2
        said = capsys.readouterr().err
        assert "base, which auth depends on, has 0 of 1 files applied; run bascule schema base up first" in said
    assert tables(inventory, "auth") == set()
    assert main(["schema", "base", "up", "-i", str(inventory)]) == 0
    assert main(["schema", "auth", "up", "-i", str(inventory)]) == 0


def test_what_is_asked_wrongly_is_refused(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["all", "to", "1"], ["auth", "to"], ["auth", "up", "3"]):
        with pytest.raises(SystemExit):
            main(["schema", *words, "-i", str(inventory)])
    assert main(["schema", "nobody", "up", "-i", str(inventory)]) == 2
    assert "expected: a service: all, auth, base; found: nobody" in capsys.readouterr().err
    assert main(["schema", "auth", "to", "7", "-i", str(inventory)]) == 2
    assert "no file has number 7; there are 1" in capsys.readouterr().err
    assert main(["schema", "all", "up", "-i", str(inventory.parent)]) == 2
    assert "schema_services in one file of" in capsys.readouterr().err
