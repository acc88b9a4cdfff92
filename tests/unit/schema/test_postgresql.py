"""A real PostgreSQL: forward, back, refused, killed, and a file that cannot run in a transaction."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from bascule.schema import sql
from bascule.schema.io import postgresql
from bascule.schema.io.postgresql import PostgresqlStore
from bascule.schema.io.runner import NeedsWord, Order, Runner
from bascule.schema.store import SchemaError
from bascule.system.io import process

from .conftest import Server, service, write

UP, DOWN = Order("up"), Order("down")
FILES = {
    "001_users.up.sql": b"""
CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL, kind varchar(9) CHECK (kind IN ('a', 'b')));
CREATE VIEW staff AS SELECT id FROM users WHERE kind IN ('a', 'b');
CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT n * 2; END;
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $body$
  BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $body$;
CREATE TRIGGER shout BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION shout();
INSERT INTO users VALUES (1, 'a;b');
GRANT SELECT ON users TO nobody;
""",
    "001_users.down.sql": b"DROP VIEW staff; DROP TABLE users; DROP FUNCTION twice, shout;",
    "002_mail.up.sql": b"SET search_path = nowhere; ALTER TABLE public.users ADD COLUMN mail text;",
    "002_mail.down.sql": b"ALTER TABLE users DROP COLUMN mail;",
}
INDEX = {
    "003_index.up.sql": b"-- bascule: no-transaction\nCREATE INDEX CONCURRENTLY by_name ON users (name);\n",
    "003_index.down.sql": b"-- bascule: no-transaction\nDROP INDEX CONCURRENTLY by_name;\n",
}


class World:
    """One service in one database."""

    def __init__(self, server: Server, way: dict[str, str], tmp_path: Path) -> None:
        self.server, self.way = server, way
        self.folder = write(tmp_path / "files", FILES)
        self.service = service("auth", self.folder, engine=sql.POSTGRESQL, connection=way)
        self.said: list[str] = []

    @property
    def runner(self) -> Runner:
        return Runner("auth", {"auth": self.service}, self.said.append)

    @property
    def store(self) -> PostgresqlStore:
        return PostgresqlStore(self.service)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        return self.server.sql(query, self.way["dbname"])

    def applied(self) -> list[tuple[Any, ...]]:
        return self.ask("SELECT number, name, state FROM bascule_migration ORDER BY number")

    def state(self) -> tuple[Any, ...]:
        content = self.store.content(digests=True)
        return content.catalogue, content.tables, self.store.books().rows

    def careless(self) -> None:
        self.service = dataclasses.replace(self.service, production=False)


@pytest.fixture
def world(server: Server, database: dict[str, str], tmp_path: Path) -> World:
    return World(server, database, tmp_path)


def test_up_and_down_in_production(world: World) -> None:
    write(world.folder, INDEX)
    assert world.runner.run(UP) == 3
    assert world.applied() == [(1, "users", "applied"), (2, "mail", "applied"), (3, "index", "applied")]
    assert world.ask("SELECT name, mail FROM users") == [("A;B", None)]
    assert world.ask("SELECT * FROM bascule_migration_lock") == []
    assert world.server.sql("SELECT 1 FROM pg_database WHERE datname LIKE 'bascule_copy%'") == []
    before = world.state()
    assert world.runner.run(UP) == 0
    with pytest.raises(NeedsWord) as needed:
        world.runner.run(Order("to", 1))
    assert "destroys column public.users.mail: 1 rows" in world.said
    assert world.state() == before
    assert world.runner.run(Order("to", 1, needed.value.expected.split()[1].rstrip(","))) == 2
    assert world.applied() == [(1, "users", "applied")]
    assert ("column", "public.users.mail") not in world.state()[0]


def test_a_schema_of_many_kinds_comes_back_from_a_backup_as_it_was(world: World, server: Server) -> None:
    way = {**world.way, "user": "postgres"}
    world.service = dataclasses.replace(world.service, connection=way, direct=way, copy=way)
    for name in FILES:
        (world.folder / name).unlink()
    world.ask((Path(__file__).parent / "many_kinds.sql").read_text())
    write(world.folder, {"001_x.up.sql": b"CREATE TABLE x (y int);", "001_x.down.sql": b"DROP TABLE x;"})
    assert world.runner.run(UP) == 1
    kinds = {kind for kind, _ in world.store.catalogue()}
    assert kinds >= {
        "policy",
        "trigger",
        "rule",
        "statistics",
        "operator",
        "publication",
        "comment",
        "type",
        "extension",
    }


def test_a_file_that_fails_leaves_nothing_and_the_copy_finds_it_first(world: World) -> None:
    write(
        world.folder,
        {"003_x.up.sql": b"DROP VIEW staff; DROP TABLE users; SELECT 1 / 0;", "003_x.down.sql": b"SELECT 1;"},
    )
    with pytest.raises(SchemaError, match=r"003_x.up.sql to run on the restored copy; found: .*by zero") as refused:
        world.runner.run(UP)
    assert refused.value.state.startswith("nothing was changed, except: the tables bascule_migration and")
    assert world.applied() == []
    world.careless()
    with pytest.raises(SchemaError, match="division by zero") as failed:
        world.runner.run(UP)
    assert (
        failed.value.state == "ran: auth 001_users.up.sql, auth 002_mail.up.sql; auth 003_x.up.sql: it was taken back"
    )
    assert world.ask("SELECT count(*) FROM users") == [(1,)]
    assert len(world.applied()) == 2


def test_a_commit_that_was_overlooked_is_seen_by_the_database(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write(world.folder, {"003_x.up.sql": b"COMMIT; SELECT 1;", "003_x.down.sql": b"SELECT 1;"})
    with pytest.raises(SchemaError, match="line 1 has COMMIT"):
        world.runner.run(UP)
    monkeypatch.setattr(sql, "findings", lambda *_: [])
    with pytest.raises(SchemaError, match="the file has ended its transaction"):
        world.runner.run(UP)
    assert world.applied() == []


def test_dry_run_and_looks_write_nothing(world: World) -> None:
    assert len(world.runner.look(UP).steps) == 2
    assert world.ask("SELECT to_regclass('bascule_migration')") == [(None,)]
    with pytest.raises(SchemaError, match="read-only transaction"), world.store._reading("be written") as connection:
        connection.execute("CREATE TABLE x ()")


def test_no_way_and_no_privilege_change_nothing(world: World, server: Server) -> None:
    world.service = dataclasses.replace(world.service, connection={**world.way, "user": "nobody"}, production=False)
    with pytest.raises(SchemaError, match="permission denied for schema public") as refused:
        world.runner.run(UP)
    assert refused.value.state == "nothing was changed"
    world.service = dataclasses.replace(world.service, connection={**world.way, "port": "5999"})
    with pytest.raises(SchemaError, match=r"fit together; found: .*connection") as refused:
        world.runner.run(UP)
    assert refused.value.state == "nothing was changed"
    assert world.ask("SELECT to_regclass('bascule_migration')") == [(None,)]


def test_a_running_file_holds_the_lock_by_itself(world: World) -> None:
    world.careless()
    store = world.store
    token = store.take({"user": "ada", "host": "here"}, None)
    (step, _), *_ = world.runner.look(UP).steps
    slow = dataclasses.replace(step.migration.up, data=b"SELECT pg_sleep(3600);")
    child = os.fork()
    if not child:
        try:
            store.run(dataclasses.replace(step, migration=dataclasses.replace(step.migration, up=slow)), token, "ada")
        finally:
            os._exit(0)
    running = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)%' AND pid <> pg_backend_pid()"
    try:
        await_rows(world, running)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    # Its psql lives on: whoever finds the dead runner does not go beside it.
    holder = store.books().holder
    assert holder is not None
    assert holder.note["user"] == "ada"
    with pytest.raises(SchemaError, match="a dead run began to have ended; found: backend"):
        store.take({"user": "grace"}, holder)
    world.ask(f"SELECT pg_terminate_backend(pid) FROM ({running}) AS found")
    deadline = time.monotonic() + 60
    while world.ask(running) and time.monotonic() < deadline:
        time.sleep(0.1)
    store.take({"user": "grace"}, holder)
    with pytest.raises(SchemaError, match="the lock was taken over"):
        store.run(step, token, "ada")
    assert world.applied() == []


def await_rows(world: World, query: str) -> None:
    deadline = time.monotonic() + 120
    while not world.ask(query):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.1)


@pytest.mark.parametrize("ended", [False, True])
def test_a_file_without_a_transaction_is_settled_by_the_catalogue(
    world: World, ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.runner.run(UP)
    write(world.folder, INDEX)
    tokens = []
    real = PostgresqlStore.alone

    def cut_off(store: PostgresqlStore, step: Any, token: str) -> None:
        if "bascule_copy" in store.label:
            real(store, step, token)
            return
        tokens.append(token)
        if ended:
            real(store, step, token)
        raise KeyboardInterrupt

    monkeypatch.setattr(PostgresqlStore, "alone", cut_off)
    with pytest.raises(KeyboardInterrupt):
        world.runner.run(UP)
    monkeypatch.undo()
    assert world.applied()[2] == (3, "index", "running up")
    world.ask("CREATE TABLE of_somebody_else ()")
    with pytest.raises(SchemaError, match="it is running up, and the catalogue is another"):
        world.runner.run(UP)
    world.ask("DROP TABLE of_somebody_else")
    assert world.runner.run(UP) == 1
    assert world.applied()[2] == (3, "index", "applied")
    assert world.ask("SELECT count(*) FROM pg_index WHERE indexrelid = 'by_name'::regclass AND indisvalid") == [(1,)]


def test_an_index_that_fails_halfway_is_named_and_gone_on_with(world: World) -> None:
    world.runner.run(UP)
    unique = b"-- bascule: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY by_name ON users (name);\n"
    write(world.folder, {**INDEX, "003_index.up.sql": unique})
    world.careless()
    world.ask("INSERT INTO users VALUES (2, 'same'), (3, 'same')")
    with pytest.raises(SchemaError, match=r"could not create unique index.*has left something in the catalogue"):
        world.runner.run(UP)
    world.ask("DROP INDEX by_name; DELETE FROM users WHERE id = 3")
    assert world.runner.run(UP) == 1


def test_what_a_broken_off_run_still_does_is_not_gone_beside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.runner.run(UP)
    write(world.folder, INDEX)
    world.careless()

    def cut_off(_: PostgresqlStore, __: Any, token: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PostgresqlStore, "alone", cut_off)
    with pytest.raises(KeyboardInterrupt):
        world.runner.run(UP)
    monkeypatch.undo()
    assert world.ask("SELECT 1 FROM bascule_migration_lock") == []
    with psycopg.connect(make_conninfo(**world.way), application_name="bascule schema 0123456789abcdef") as session:
        session.execute("SELECT 1")
        with pytest.raises(SchemaError, match="a dead run began to have ended; found: backend"):
            world.runner.run(UP)
    assert world.runner.run(UP) == 1


def test_a_file_without_a_transaction_does_not_run_without_the_lock(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.runner.run(UP)
    write(world.folder, INDEX)
    world.careless()
    real = PostgresqlStore.alone

    def taken_over(store: PostgresqlStore, step: Any, token: str) -> None:
        world.ask("UPDATE bascule_migration_lock SET token = 'of another'")
        real(store, step, token)

    monkeypatch.setattr(PostgresqlStore, "alone", taken_over)
    with pytest.raises(SchemaError) as failed:
        world.runner.run(UP)
    assert "its line may still say running up" in failed.value.state
    assert world.ask("SELECT to_regclass('by_name')") == [(None,)]


def test_what_a_killed_run_has_left_of_its_copy_is_thrown_away(world: World, tmp_path: Path) -> None:
    token = world.store.take({"user": "ada", "host": "elsewhere"}, None)
    world.ask("UPDATE bascule_migration_lock SET until = now() - interval '1 second'")
    world.server.sql(f"CREATE DATABASE bascule_copy_{token} OWNER owner")
    backups = write(tmp_path / "backups", {f"{token}.part": b"half a dump"})
    assert world.runner.run(UP) == 2
    assert world.server.sql("SELECT 1 FROM pg_database WHERE datname LIKE 'bascule_copy%'") == []
    (kept,) = backups.iterdir()
    assert kept.name.startswith("auth-")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "is taken over" in world.said[0]


def test_neither_statements_nor_values_stand_in_messages(world: World) -> None:
    world.careless()
    text = b"CREATE TABLE x (secret text PRIMARY KEY); INSERT INTO x VALUES ('sentinel'), ('sentinel');"
    write(world.folder, {"003_x.up.sql": text, "003_x.down.sql": b"DROP TABLE x;"})
    with pytest.raises(SchemaError, match="duplicate key") as failed:
        world.runner.run(UP)
    assert "sentinel" not in failed.value.message()


def test_what_a_role_is_called_and_owns_is_part_of_the_fingerprint(world: World) -> None:
    world.runner.run(UP)
    before = world.store.catalogue()
    world.ask("REVOKE SELECT ON users FROM nobody")
    after = world.store.catalogue()
    assert {key for key in {*before, *after} if before.get(key) != after.get(key)} == {("privileges", "public.users")}
    assert not any(name.startswith("public.bascule") for _, name in after)


def test_nothing_secret_stands_in_an_argument_list(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def watched(argv: list[str], **options: Any) -> Any:
        seen.append(argv)
        return process.run(argv, **options)

    monkeypatch.setattr(postgresql, "run", watched)
    world.runner.run(UP)
    words = " ".join(word for argv in seen for word in argv)
    assert {argv[0] for argv in seen} == {"psql", "pg_dump", "pg_restore"}
    assert world.way["host"] not in words
    assert "owner" not in words.replace("--no-owner", "")
    assert psycopg.conninfo.make_conninfo(**world.way) not in words
