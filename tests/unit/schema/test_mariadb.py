"""A real MariaDB: forward, back, refused, and stopped between any two of its statements."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pymysql
import pytest

from bascule.schema.io import mariadb_dump
from bascule.schema.io.mariadb import MariadbStore
from bascule.schema.io.mariadb_client import sent
from bascule.schema.io.runner import NeedsWord, Order
from bascule.schema.store import SchemaError

from .conftest import write
from .maria import DOWN, FILES, UP, World

BOTH = [(1, "users", "applied", 0), (2, "mail", "applied", 0)]
BACK = b"SELECT 1;"


@pytest.fixture
def world(socket: str, tmp_path: Path) -> World:
    return World(socket, tmp_path)


def test_up_and_down_in_production(world: World) -> None:
    assert world.runner.run(UP) == 2
    assert world.applied() == BOTH
    assert world.ask("SELECT name, mail FROM users") == [("A;B", "a;b@example.org"), ("IT'S", "it's@example.org")]
    assert world.ask("SELECT * FROM bascule_migration_lock") == []
    assert world.copies() == []
    assert "tried on the restored copy: up → down → up, with equal catalogues" in world.said
    before = world.state()
    assert world.runner.run(UP) == 0
    assert world.state() == before
    assert world.confirmed("to", 1) == 1
    assert "destroys column users.mail: 2 rows" in world.said
    assert world.applied() == BOTH[:1]
    assert world.runner.run(UP) == 1
    # Now the copy has rows, a view, a trigger and a function of another account's.
    assert world.confirmed("to", 0) == 2
    assert "destroys table users: 2 rows" in world.said
    assert {kind for kind, _ in world.store.catalogue()} == {"database"}
    assert world.runner.run(UP) == 2
    assert world.state()[0] == before[0]


def test_a_file_that_stops_goes_on_at_the_statement_where_it_stopped(world: World) -> None:
    world.runner.run(UP)
    world.careless()
    text = (
        b"CREATE TABLE a (x int); INSERT INTO a VALUES (1); "
        b"ALTER TABLE users ADD UNIQUE (kind); CREATE TABLE b (x int);"
    )
    write(
        world.folder,
        {"003_x.up.sql": text, "003_x.down.sql": b"DROP TABLE b; ALTER TABLE users DROP KEY kind; DROP TABLE a;"},
    )
    with pytest.raises(
        SchemaError, match=r"statement 3 \(ALTER TABLE\); found: error 1062 .*Duplicate entry …"
    ) as failed:
        world.runner.run(UP)
    assert failed.value.state == "ops 003_x.up.sql: 2 of its statements have run; the same command goes on after them"
    assert world.applied()[2] == (3, "x", "running up", 2)
    before = world.state()
    for order in (DOWN, Order("to", 1)):
        with pytest.raises(SchemaError, match="2 of its statements have run; bascule schema ops up goes on with it"):
            world.runner.run(order)
    # What has run must stay as it was; what has not may be mended.
    write(world.folder, {"003_x.up.sql": text.replace(b"VALUES (1)", b"VALUES (2)")})
    with pytest.raises(SchemaError, match=r"the first 2 statements of ops 003_x.up.sql as they have run"):
        world.runner.run(UP)
    assert world.state() == before
    write(world.folder, {"003_x.up.sql": text.replace(b"UNIQUE (kind)", b"KEY (kind)")})
    # The trial of the rest leads back to what was there before the whole file.
    world.service = dataclasses.replace(world.service, production=True)
    assert world.runner.run(UP) == 1
    assert world.applied() == [*BOTH, (3, "x", "applied", 0)]
    assert world.ask("SELECT x FROM a") == [(1,)]
    assert world.ask("SELECT COUNT(*) FROM b") == [(0,)]
    assert world.confirmed("down") == 1
    assert world.applied() == BOTH


def test_a_first_statement_that_fails_leaves_nothing(world: World) -> None:
    world.runner.run(UP)
    world.careless()
    for text, said in (
        (b"DROP TABLE nothing;", "Unknown table"),
        (b"INSERT INTO users (id, name) VALUES (1, 'secret');", "1062"),
    ):
        write(world.folder, {"003_x.up.sql": text, "003_x.down.sql": BACK})
        before = world.state()
        with pytest.raises(SchemaError, match=said) as failed:
            world.runner.run(UP)
        assert failed.value.state == "nothing was changed"
        assert "secret" not in failed.value.message()
        assert world.state() == before


def test_the_copy_finds_it_first(world: World) -> None:
    write(world.folder, {"003_x.up.sql": b"DROP TABLE letters; DROP TABLE nothing;", "003_x.down.sql": BACK})
    with pytest.raises(
        SchemaError, match=r"003_x.up.sql to run on the restored copy; found: .*Unknown table"
    ) as refused:
        world.runner.run(UP)
    assert refused.value.state.startswith("nothing was changed, except: the tables bascule_migration and")
    assert world.applied() == []
    assert not world.copies()
    write(world.folder, {"003_x.up.sql": b"ALTER TABLE users ADD COLUMN x int;", "003_x.down.sql": BACK})
    with pytest.raises(SchemaError, match=r"003_x\.down\.sql to undo .* column users\.x was added"):
        world.runner.run(UP)
    assert not list((world.folder.parent / "backups").iterdir())


REFUSED = {
    "edited": ({"001_users.up.sql": b"CREATE TABLE users (id int);"}, "001_users.up.sql was edited after it was"),
    "twin": ({"002_other.up.sql": BACK, "002_other.down.sql": BACK}, "number 2 is given twice"),
    "hole": ({"004_x.up.sql": BACK, "004_x.down.sql": BACK}, "no file has number 3"),
    "no way back": ({"003_x.up.sql": BACK}, r"003_x.up.sql has no .down.sql"),
    "renamed": ({"x.sql": b""}, "x.sql is not named"),
    "other engine": (
        {"003_x.up.sql": b"-- bascule: engine sqlite\nSELECT 1;", "003_x.down.sql": BACK},
        "is for sqlite, and the service's engine is mariadb",
    ),
    "no transaction": (
        {"003_x.up.sql": b"-- bascule: no-transaction\nSELECT 1;", "003_x.down.sql": BACK},
        "no-transaction is for PostgreSQL",
    ),
    "what nobody could tell": (
        {"003_x.up.sql": b"SELECT 1; CALL something();", "003_x.down.sql": BACK},
        r"003_x.up.sql: statement 2 \(CALL\) begins with CALL",
    ),
    "a way back as well": (
        {"003_x.up.sql": BACK, "003_x.down.sql": b"CREATE TEMPORARY TABLE x (y int);"},
        r"003_x.down.sql: statement 1 \(CREATE TABLE\) is about a temporary table",
    ),
    "a command of the client's": (
        {"003_x.up.sql": b"SELECT 1;\n\\! touch here\n", "003_x.down.sql": BACK},
        r"003_x.up.sql: ERROR at line 2: Unknown command",
    ),
    "no end": ({"003_x.up.sql": b"SELECT 'a;\n", "003_x.down.sql": BACK}, "ends within what ' begins"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_runs(world: World, case: str) -> None:
    world.careless()
    world.runner.run(UP)
    files, said = REFUSED[case]
    write(world.folder, files)
    before = world.state()
    for order in (UP, DOWN):
        with pytest.raises(SchemaError, match=said) as refused:
            world.runner.run(order)
        assert refused.value.state == "nothing was changed"
    assert world.state() == before


def test_no_way_and_no_privilege_change_nothing(world: World) -> None:
    world.service = dataclasses.replace(world.service, connection={**world.way, "user": "stranger"})
    with pytest.raises(SchemaError, match=r"Access denied for user 'stranger'") as refused:
        world.runner.run(UP)
    assert refused.value.state == "nothing was changed"
    world.service = dataclasses.replace(world.service, connection={**world.way, "unix_socket": "/nowhere"})
    with pytest.raises(SchemaError, match=r"Can't connect") as refused:
        world.runner.run(UP)
    assert refused.value.state == "nothing was changed"
    world.server(f"GRANT SELECT ON {world.database}.* TO stranger@localhost")
    world.service = dataclasses.replace(world.service, connection={**world.way, "user": "stranger"})
    with pytest.raises(SchemaError, match=r"CREATE command denied") as refused:
        world.runner.run(UP)
    assert refused.value.state == "nothing was changed"
    assert world.ask("SHOW TABLES") == []


def test_an_account_for_copies_that_would_reach_the_real_database_is_refused(world: World) -> None:
    said = {"unix_socket": world.socket, "user": "root"}
    world.service = dataclasses.replace(world.service, copy=said)
    with pytest.raises(SchemaError, match=f"does not see the database {world.database}") as refused:
        world.runner.run(UP)
    assert "made, empty" in refused.value.state
    assert world.applied() == []
    world.service = dataclasses.replace(world.service, copy={"unix_socket": world.socket, "user": "copies"})
    text = f"ALTER TABLE {world.database}.users ADD COLUMN x int;".encode()
    world.careless()
    world.runner.run(UP)
    world.service = dataclasses.replace(world.service, production=True)
    write(world.folder, {"003_x.up.sql": text, "003_x.down.sql": BACK})
    with pytest.raises(SchemaError, match=r"on the restored copy; found: .*ALTER command denied"):
        world.runner.run(UP)


def test_rows_of_a_table_without_transactions_are_not_touched(world: World) -> None:
    world.careless()
    world.runner.run(UP)
    world.ask("CREATE TABLE old (x int) ENGINE = MyISAM")
    write(world.folder, {"003_x.up.sql": b"INSERT INTO old VALUES (1);", "003_x.down.sql": b"DELETE FROM old;"})
    before = world.state()
    with pytest.raises(SchemaError, match=r"tables of InnoDB, .*found: old is MyISAM") as refused:
        world.runner.run(UP)
    assert refused.value.state == "nothing was changed"
    assert world.state() == before


def test_a_backup_while_somebody_writes_is_no_backup(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.runner.run(UP)
    write(world.folder, {"003_x.up.sql": b"CREATE TABLE x (y int);", "003_x.down.sql": b"DROP TABLE x;"})
    real = mariadb_dump.dump

    def written_to(*words: Any) -> None:
        real(*words)
        world.ask("INSERT INTO users (name) VALUES ('late')")

    monkeypatch.setattr(mariadb_dump, "dump", written_to)
    with pytest.raises(SchemaError, match=r"nobody to write .*changed meanwhile: users") as refused:
        world.runner.run(UP)
    assert refused.value.state == "nothing was changed"
    assert world.applied() == BOTH


def test_what_is_restored_is_compared_row_by_row(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.runner.run(UP)
    write(world.folder, {"003_x.up.sql": b"CREATE TABLE x (y int);", "003_x.down.sql": b"DROP TABLE x;"})
    real = mariadb_dump.dump

    def bent(way: Any, path: Path, label: str) -> None:
        real(way, path, label)
        path.write_bytes(path.read_bytes().replace(b"a;b@example.org", b"a;c@example.org"))

    monkeypatch.setattr(mariadb_dump, "dump", bent)
    with pytest.raises(SchemaError, match=r"the restored copy of .* to be equal; found: rows of users"):
        world.runner.run(UP)
    assert world.applied() == BOTH
    assert not world.copies()


def test_events_stand_in_the_backup_and_run_on_no_copy(world: World) -> None:
    world.careless()
    world.runner.run(UP)
    world.ask("CREATE EVENT often ON SCHEDULE EVERY 1 SECOND DO DELETE FROM letters WHERE id > 1000")
    world.service = dataclasses.replace(world.service, production=True)
    write(world.folder, {"003_x.up.sql": b"CREATE TABLE x (y int);", "003_x.down.sql": b"DROP TABLE x;"})
    assert world.runner.run(UP) == 1
    (kept,) = (world.folder.parent / "backups").iterdir()
    first, _, second = kept.read_bytes().partition(mariadb_dump._BORDER)
    assert b"EVENT" not in first
    assert b"EVENT" in second
    assert b"CREATE TABLE" not in second
    assert kept.stat().st_mode & 0o777 == 0o600


def test_who_is_at_work_is_named_and_a_statement_of_a_dead_run_is_waited_for(world: World) -> None:
    world.careless()
    token = world.store.take({"user": "ada", "host": "elsewhere", "pid": "7"}, None)
    with pytest.raises(SchemaError, match="ada on elsewhere, process 7, since"):
        world.runner.run(UP)
    world.ask("UPDATE bascule_migration_lock SET until = 1")
    way: dict[str, Any] = {"unix_socket": world.socket, "user": "owner", "database": world.database}
    with pymysql.connect(**way) as session, session.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, 0)", (world.store.lock,))
        with pytest.raises(SchemaError, match=r"no statement of another run .* session \d+ of owner@localhost"):
            world.runner.run(UP)
    assert world.runner.run(UP) == 2
    assert "is taken over" in world.said[0]
    world.store.renew(token)
    step, _ = world.runner.look(Order("to", 1)).steps[0]
    before = world.state()
    with pytest.raises(SchemaError, match="another has taken it"):
        world.store.run(step, token, "ada")
    assert world.state() == before


def test_a_session_that_a_pooler_lends_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.careless()
    monkeypatch.setattr(MariadbStore, "_alone", lambda *_: None)
    with pytest.raises(SchemaError, match="one session from the first to the last statement") as refused:
        world.runner.run(UP)
    assert refused.value.state.startswith("ops 001_users.up.sql: 0 of its statements have run")
    assert world.ask("SHOW TABLES LIKE 'users'") == []


def test_dry_run_and_looks_write_nothing(world: World) -> None:
    assert len(world.runner.look(UP).steps) == 2
    assert world.ask("SHOW TABLES") == []
    world.runner.run(Order("to", 1))
    for text in ("CREATE TABLE x (y int)", "INSERT INTO users (name) VALUES ('x')"):
        with pytest.raises(SchemaError, match="READ ONLY"), world.store._reading("be written") as cursor:
            cursor.execute(text)


def test_nothing_secret_stands_in_an_argument_list(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = subprocess.Popen.__init__

    def watched(self: Any, argv: list[str], *words: Any, **options: Any) -> None:
        seen.append(" ".join(argv))
        real(self, argv, *words, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", watched)
    sent.cache_clear()
    world.runner.run(UP)
    assert {line.split()[0] for line in seen} == {"mariadb", "mariadb-dump"}
    assert not any(world.socket in line or "owner" in line or "copies" in line for line in seen)


def stopped(world: World, place: int, order: Order) -> int:
    """Run an order in a process that is killed before its note, commit or statement `place` on the real database."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    statements = {one for data in FILES.values() for one in sent(data)}
    real, left = pymysql.cursors.Cursor.execute, place

    def counted(cursor: Any, query: str, values: Any = None) -> Any:
        nonlocal left
        ours = query == "COMMIT" or query.startswith(
            ("REPLACE INTO bascule_migration ", "DELETE FROM bascule_migration ")
        )
        if world.database in str(cursor.connection.db) and (ours or query in statements):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return real(cursor, query, values)

    type.__setattr__(pymysql.cursors.Cursor, "execute", counted)
    try:
        world.runner.run(order)
        os._exit(0)
    finally:
        os._exit(1)


def went_on(world: World, order: Order) -> None:
    """Give the same order again, once the server has seen that the killed run is gone."""
    deadline = time.monotonic() + 60
    while True:
        try:
            world.runner.run(order)
            return
        except SchemaError as error:
            if "another run to be at work" not in error.expected or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.long)])
def test_killed_anywhere_it_goes_on_and_ends_as_if_it_never_was(socket: str, tmp_path: Path, stride: int) -> None:
    whole = World(socket, tmp_path)
    whole.runner.run(UP)
    wanted = whole.state()[:2]
    seen, place = set(), stride
    while True:
        folder = tmp_path / str(place)
        folder.mkdir()
        world = World(socket, folder)
        if (status := stopped(world, place, UP)) != -signal.SIGKILL:
            assert status == 0
            break
        rows = world.store.books().rows
        seen |= {(row.number, row.state, row.done, bool(row.before)) for row in rows}
        went_on(world, UP)
        assert world.applied() == BOTH
        assert world.state()[:2] == wanted, place
        assert world.copies() == []
        place += stride
    assert place > 40
    if stride == 1:
        # Before and after each definition, between any two statements, and in each of both files.
        assert {(1, "running up", done, False) for done in range(1, 7)} <= seen
        assert {(1, "running up", done, True) for done in range(5)} <= seen
        assert {(2, "running up", done, mark) for done, mark in ((1, True), (1, False), (3, True), (3, False))} <= seen


def test_a_way_down_that_was_killed_goes_on_down(world: World) -> None:
    world.runner.run(UP)
    with pytest.raises(NeedsWord) as needed:
        world.runner.run(DOWN)
    order = Order("down", confirm=needed.value.expected.split()[1].rstrip(","))
    # After the index was dropped, before that is noted.
    assert stopped(world, 5, order) == -signal.SIGKILL
    assert world.store.books().rows[1].state == "running down"
    with pytest.raises(SchemaError, match="bascule schema ops down goes on with it"):
        went_on(world, UP)
    assert world.confirmed("down") == 1
    assert world.applied() == BOTH[:1]
    assert "goes on after statement 1" in " ".join(world.said)


def test_what_somebody_else_has_changed_meanwhile_is_not_guessed(world: World) -> None:
    world.careless()
    world.runner.run(Order("to", 1))
    # The column is there, its note is not, and no copy had said what was to come.
    assert stopped(world, 8, UP) == -signal.SIGKILL
    with pytest.raises(
        SchemaError, match=r"before statement 2 of 002_mail, or as its copy was after; found: .* another"
    ):
        went_on(world, UP)
    world.ask("ALTER TABLE users DROP COLUMN mail")
    assert world.runner.run(UP) == 1
    assert world.applied() == BOTH
