"""A real SQLite file: forward, back, refused, killed at each statement."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bascule.run.io import presence
from bascule.schema import sql
from bascule.schema.io.runner import NeedsWord, Order, Runner
from bascule.schema.io.sqlite import SqliteStore
from bascule.schema.planner import Step
from bascule.schema.store import SchemaError

from .conftest import USERS, service, write

BOOKS = {"bascule_migration", "bascule_migration_lock"}
UP, DOWN = Order("up"), Order("down")


class World:
    """One service on one file."""

    def __init__(self, tmp_path: Path, **settings: object) -> None:
        self.path = tmp_path / "data.sqlite"
        sqlite3.connect(self.path).execute("PRAGMA journal_mode = WAL")
        self.folder = write(tmp_path / "files", USERS)
        self.service = service("auth", self.folder, engine=sql.SQLITE, file=str(self.path), **settings)
        self.said: list[str] = []

    @property
    def runner(self) -> Runner:
        return Runner("auth", {"auth": self.service}, self.said.append)

    def ask(self, query: str) -> list[tuple[object, ...]]:
        return sqlite3.connect(self.path).execute(query).fetchall()

    def state(self) -> list[tuple[object, ...]]:
        """Return all that must not change when something is refused."""
        return self.ask("SELECT name, sql FROM sqlite_schema") + (
            self.ask("SELECT * FROM bascule_migration") if self.ask("SELECT 1 FROM sqlite_schema") else []
        )

    def applied(self) -> list[tuple[object, ...]]:
        return self.ask("SELECT number, name, state FROM bascule_migration ORDER BY number")

    def down(self) -> int:
        with pytest.raises(NeedsWord) as needed:
            self.runner.run(DOWN)
        word = needed.value.expected.split()[1].rstrip(",")
        return self.runner.run(Order("down", confirm=word))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_up_is_tried_on_a_proved_copy_and_run_once(world: World, tmp_path: Path) -> None:
    assert world.runner.run(UP) == 2
    assert world.applied() == [(1, "users", "applied"), (2, "mail", "applied")]
    assert world.ask("SELECT name, mail FROM users") == [("a;b", None)]
    assert world.ask("SELECT * FROM bascule_migration_lock") == []
    (backup,) = (tmp_path / "backups").iterdir()
    assert backup.stat().st_mode & 0o777 == 0o600
    # It was taken before, and holds what was there then.
    assert [
        name for (name,) in sqlite3.connect(backup).execute("SELECT name FROM sqlite_schema") if name == "users"
    ] == []
    assert any(line.startswith("tried on the restored copy: up → down → up") for line in world.said)
    before = world.state()
    assert world.runner.run(UP) == 0
    assert world.state() == before


def test_down_shows_what_it_destroys_and_waits_for_a_word_that_names_it(world: World) -> None:
    world.runner.run(UP)
    world.ask("SELECT 1")
    with sqlite3.connect(world.path) as connection:
        connection.execute("INSERT INTO users VALUES (2, 'b', 'b@example.org')")
    before = world.state()
    with pytest.raises(NeedsWord) as needed:
        world.runner.run(DOWN)
    assert "destroys column users.mail: 2 rows" in world.said
    assert world.state() == before
    word = needed.value.expected.split()[1].rstrip(",")
    # The word is this plan's: with another file it is another.
    (world.folder / "002_mail.down.sql").write_bytes(b"DROP INDEX by_mail;\nALTER TABLE users DROP COLUMN mail;\n\n")
    with pytest.raises(NeedsWord):
        world.runner.run(Order("down", confirm=word))
    assert world.state() == before
    assert world.down() == 1
    assert world.applied() == [(1, "users", "applied")]
    assert world.down() == 1
    assert world.ask("SELECT name FROM sqlite_schema WHERE name = 'users'") == []
    assert "destroys table users: 2 rows" in world.said


def test_a_way_up_that_destroys_data_waits_for_a_word_too(world: World) -> None:
    world.runner.run(UP)
    write(world.folder, {"003_x.up.sql": b"DELETE FROM users;", "003_x.down.sql": b"SELECT 1;"})
    with pytest.raises(NeedsWord, match="as this destroys data") as needed:
        world.runner.run(UP)
    assert needed.value.state == "nothing was changed"
    assert "destroys rows of table users: 1 rows" in world.said
    assert world.ask("SELECT count(*) FROM users") == [(1,)]
    assert world.runner.run(Order("up", confirm=needed.value.expected.split()[1].rstrip(","))) == 1
    assert world.ask("SELECT count(*) FROM users") == [(0,)]


def test_an_answer_that_is_lost_is_not_called_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = SqliteStore.run

    def lost(store: SqliteStore, step: Step, token: str, by: str, marks: tuple[str, ...] = ()) -> tuple[str, ...]:
        real(store, step, token, by)
        if store.path == world.path:
            raise SchemaError(expected="an answer", found="none")
        return ()

    monkeypatch.setattr(SqliteStore, "run", lost)
    with pytest.raises(SchemaError) as failed:
        world.runner.run(UP)
    assert failed.value.state == "auth 001_users.up.sql: it ran, and its line is written"


def test_a_way_back_that_does_not_lead_back_is_found_on_the_copy(world: World) -> None:
    (world.folder / "002_mail.down.sql").write_bytes(b"DROP INDEX by_mail;\n")
    before = world.state()
    with pytest.raises(SchemaError, match=r"002_mail\.down\.sql to undo .* column users\.mail was added") as refused:
        world.runner.run(UP)
    made = "except: the tables bascule_migration and bascule_migration_lock were made, empty, in SQLite"
    assert refused.value.state.startswith(f"nothing was changed, {made}")
    # The books were made, and nothing stands in them; the lock is free.
    assert world.applied() == []
    assert before == []
    assert {name for (name,) in world.ask("SELECT tbl_name FROM sqlite_schema")} == BOOKS


BACK = b"SELECT 1;"
REFUSED = {
    "edited": ({"001_users.up.sql": b"CREATE TABLE users (id INTEGER);"}, "001_users.up.sql was edited after it was"),
    "twin": ({"002_other.up.sql": BACK, "002_other.down.sql": BACK}, "number 2 is given twice"),
    "hole": ({"004_x.up.sql": BACK, "004_x.down.sql": BACK}, "no file has number 3"),
    "no way back": ({"003_x.up.sql": BACK}, r"003_x.up.sql has no .down.sql"),
    "renamed": ({"x.sql": b""}, "x.sql is not named"),
    "other engine": (
        {"003_x.up.sql": b"-- bascule: engine postgresql\nSELECT 1;", "003_x.down.sql": BACK},
        "is for postgresql",
    ),
    "ends its transaction": ({"003_x.up.sql": b"SELECT 1; COMMIT;", "003_x.down.sql": BACK}, "has COMMIT"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_runs(world: World, case: str) -> None:
    world.runner.run(UP)
    files, said = REFUSED[case]
    write(world.folder, files)
    before = world.state()
    for order in (UP, DOWN):
        with pytest.raises(SchemaError, match=said) as refused:
            world.runner.run(order)
        assert refused.value.state == "nothing was changed"
    with pytest.raises(SchemaError, match=said):
        world.runner.look()
    assert world.state() == before


def test_an_applied_file_that_is_gone_is_refused(world: World) -> None:
    world.runner.run(UP)
    for path in world.folder.glob("002*"):
        path.unlink()
    with pytest.raises(SchemaError, match="the database has 002_mail, and its folder has no such file"):
        world.runner.run(UP)


def test_the_library_itself_keeps_a_file_within_its_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "findings", lambda *_: [])
    for place, (text, said) in enumerate(
        {
            b"DROP TABLE users; COMMIT; DROP TABLE nothing;": "not authorized",
            b"ATTACH 'other.sqlite' AS other;": "not authorized",
            b"DELETE FROM bascule_migration;": "not authorized",
            b".shell touch here": "syntax error",
            b"DROP TABLE users; SELECT 'no end": "unrecognized token|incomplete",
        }.items()
    ):
        folder = tmp_path / str(place)
        folder.mkdir()
        world = World(folder, production=False)
        world.runner.run(UP)
        write(world.folder, {"003_x.up.sql": text, "003_x.down.sql": b"SELECT 1;"})
        before = world.state()
        with pytest.raises(SchemaError, match=said):
            world.runner.run(UP)
        assert world.state() == before


def test_what_cannot_be_reached_or_written_is_refused(world: World, tmp_path: Path) -> None:
    world.path.unlink()
    for path in tmp_path.glob("data.sqlite-*"):
        path.unlink()
    with pytest.raises(SchemaError, match="unable to open"):
        world.runner.run(UP)
    assert not world.path.exists()
    world.path.write_bytes(b"this is something else entirely, and long enough to be looked at" * 20)
    with pytest.raises(SchemaError, match="file is not a database"):
        world.runner.run(UP)


def test_who_is_at_work_is_named_and_one_that_is_dead_is_not_waited_for(world: World) -> None:
    store = next(iter(world.runner.store.values()))
    store.take({**presence.process(os.getpid()), "user": "ada"}, None)
    with pytest.raises(SchemaError, match=f"ada on .*, process {os.getpid()}, since"):
        world.runner.run(UP)
    child = subprocess.Popen(["sleep", "60"])
    note = {**presence.process(child.pid), "user": "ada"}
    store.take(note, store.books().holder)
    child.kill()
    child.wait()
    assert world.runner.run(UP) == 2
    assert "is taken over; its process is gone" in world.said[0]


def test_whoever_has_lost_the_lock_changes_nothing(world: World) -> None:
    runner = world.runner
    store = runner.store["auth"]
    first = store.take({"user": "first"}, None)
    step, _ = runner.look(UP).steps[0]
    store.take({"user": "second"}, store.books().holder)
    before = world.state()
    with pytest.raises(SchemaError, match="another has taken it"):
        store.run(step, first, "first")
    assert world.state() == before


def killed(world: World, place: int) -> int:
    """Run `up` in a process that is killed before its statement number `place`; return how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    real, left = sqlite3.connect, place

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        def count(_: str) -> None:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

        connection: sqlite3.Connection = real(*arguments, **options)
        connection.set_trace_callback(count)
        return connection

    sqlite3.__dict__["connect"] = traced
    try:
        world.runner.run(UP)
        os._exit(0)
    finally:
        os._exit(1)


def test_killed_before_any_statement_each_file_has_its_line_or_neither_is_there(tmp_path: Path) -> None:
    seen = set()
    for place in range(1, 200):
        folder = tmp_path / str(place)
        folder.mkdir()
        world = World(folder, production=False)
        if (status := killed(world, place)) != -signal.SIGKILL:
            assert status == 0
            break
        names = {str(name) for (name,) in world.ask("SELECT name FROM sqlite_schema")}
        applied = len(world.applied()) if "bascule_migration" in names else 0
        assert (applied >= 1) == ("users" in names), place
        assert (applied == 2) == ("by_mail" in names), place
        seen.add(applied)
        world.runner.run(UP)
        assert world.applied() == [(1, "users", "applied"), (2, "mail", "applied")]
        assert world.ask("SELECT count(*) FROM users") == [(1,)]
    assert seen == {0, 1, 2}
    assert place > 20
