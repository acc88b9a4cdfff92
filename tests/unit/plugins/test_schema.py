"""The playbooks of schema migrations, in a real ansible-playbook on real SQLite files."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from .test_play import ROOT, World, world

__all__ = ["world"]
FILES = {
    "001_users.up.sql": "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);\nINSERT INTO users VALUES (1, 'b');\n",
    "001_users.down.sql": "DROP TABLE users;\n",
    "002_mail.up.sql": "ALTER TABLE users ADD COLUMN mail TEXT;\n",
    "002_mail.down.sql": "ALTER TABLE users DROP COLUMN mail;\n",
}
SERVICES = """
schema_services:
  auth: {engine: sqlite, folder: files, file: auth.sqlite, backups: backups}
"""


@pytest.fixture
def services(world: World) -> World:
    """A service of the inventory, whose database is empty."""
    world.environment["ANSIBLE_ROLES_PATH"] = f"{world.path}/roles:{ROOT}/roles"
    (world.path / "files").mkdir()
    for name, text in FILES.items():
        (world.path / "files" / name).write_text(text)
    (world.path / "inventory/group_vars/all/services.yml").write_text(SERVICES)
    with closing(sqlite3.connect(world.path / "auth.sqlite")) as made:
        made.execute("PRAGMA user_version = 1")
    return world


def play(world: World, order: str, *arguments: str) -> tuple[int, str]:
    """Run one of the playbooks; return its exit status and its output as one line."""
    rc, output = world.run(playbook=ROOT / f"playbooks/schema_{order}.yml", arguments=arguments)
    return rc, " ".join(output.split())


def columns(world: World) -> list[str]:
    """Return the columns of its only table."""
    with closing(sqlite3.connect(world.path / "auth.sqlite")) as made:
        return [name for (name,) in made.execute("SELECT name FROM pragma_table_info('users')")]


def digest(world: World) -> tuple[str, list[str]]:
    """Return all that must not change: the database, and what lies beside it."""
    found = sorted(str(path.relative_to(world.path)) for path in world.path.rglob("*") if "/.ansible" not in str(path))
    return hashlib.sha256((world.path / "auth.sqlite").read_bytes()).hexdigest(), found


def test_up_and_down_by_playbook(services: World) -> None:
    before = digest(services)
    rc, said = play(services, "up", "--check")
    assert rc == 0, said
    assert "would run auth 001_users.up.sql would run auth 002_mail.up.sql" in said
    assert "changed=1" in said
    assert digest(services) == before

    rc, said = play(services, "up")
    assert rc == 0, said
    assert said.index("restored and compared") < said.index("up → down → up, with equal catalogues")
    assert columns(services) == ["id", "name", "mail"]
    (backup,) = Path(services.path / "backups").iterdir()
    with closing(sqlite3.connect(backup)) as taken:
        assert taken.execute("PRAGMA user_version").fetchone() == (1,)
        assert not taken.execute("SELECT 1 FROM sqlite_schema WHERE name = 'users'").fetchone(), "taken before"
    # It moves no component: no run was begun, and no site was asked for one.
    assert not (services.path / "runs").exists()

    before = digest(services)
    rc, said = play(services, "up")
    assert (rc, "changed=0" in said) == (0, True), said
    rc, said = play(services, "down")
    assert rc == 2
    assert "destroy column users.mail (1 rows); found: no confirmation; state now: nothing was changed" in said
    word = re.search(r"-e schema_migration_confirm=(all/[0-9a-f]{8})", said)
    assert word is not None
    rc, said = play(services, "down", "-e", "schema_migration_confirm=auth/00000000")
    assert (rc, "found: auth/00000000" in said) == (2, True), said
    # No backup of what did not run, no copy, and every file applied.
    assert (digest(services)[1], columns(services)) == (before[1], ["id", "name", "mail"])
    before = digest(services)
    rc, said = play(services, "down", "--check", "-e", f"schema_migration_confirm={word[1]}")
    assert (rc, "would run auth 002_mail.down.sql" in said) == (0, True), said
    assert digest(services) == before

    rc, said = play(services, "down", "-e", f"schema_migration_confirm={word[1]}")
    assert (rc, "changed=1" in said) == (0, True), said
    assert columns(services) == ["id", "name"]
    rc, said = play(services, "status")
    assert (rc, "auth: 1 of 2 applied not applied 002_mail.up.sql" in said) == (0, True), said


def test_what_cannot_be_is_refused_before_anything(services: World) -> None:
    (services.path / "files/002_mail.down.sql").unlink()
    before = digest(services)
    rc, said = play(services, "up")
    assert rc == 2
    assert "auth: 002_mail.up.sql has no .down.sql; state now: nothing was changed" in said
    rc, said = play(services, "to", "-e", "schema_migration_number=1")
    assert rc == 2
    assert "a number and one service for 'to'" in said
    rc, said = play(services, "to", "-e", "schema_migration_service=auth")
    assert rc == 2
    assert "missing required arguments: schema_migration_number" in said
    assert digest(services) == before
