"""OmniSphere's users on a real PostgreSQL: forward, killed, refused, aside, back; and their own sample as the peer."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from bascule.data.books import Book
from bascule.data.contract import DataError
from bascule.data.io.engine import Engine

from .conftest import EXAMPLES, Server, engine, undone

ROWS = 3000
TABLES = """
CREATE TABLE old_users (id integer PRIMARY KEY, email text NOT NULL, first_name text NOT NULL, last_name text NOT NULL,
  status text NOT NULL, created_at timestamp NOT NULL);
CREATE TABLE users (id uuid PRIMARY KEY, legacy_id integer UNIQUE, email text NOT NULL UNIQUE, full_name text NOT NULL,
  active boolean NOT NULL, created_at timestamptz NOT NULL);
INSERT INTO old_users SELECT i, ' User' || i || '@Example.org', 'Ada' || i, 'Love lace',
  (ARRAY['active', 'inactive', 'banned'])[1 + i % 3], timestamp '2024-01-15 08:00' + i * interval '3 hours'
FROM generate_series(1, {rows}) AS i;
CREATE FUNCTION spoil() RETURNS boolean LANGUAGE sql AS 'DELETE FROM old_users RETURNING true';
ANALYZE old_users;
"""
SUMMARY = "SELECT count(*), sum(legacy_id), md5(string_agg(users::text, ',' ORDER BY legacy_id)) FROM users"


class World:
    """The tables in a database of their own."""

    def __init__(self, server: Server, way: dict[str, str], tmp_path: Path) -> None:
        self.server, self.way, self.folder = server, way, tmp_path
        self.said: list[str] = []
        self.module = tmp_path / "users.py"
        self.module.write_bytes((EXAMPLES / "omnisphere_users.py").read_bytes())
        self.ask(TABLES.format(rows=ROWS), fetch=False)

    def ask(self, text: str, *, fetch: bool = True) -> list[tuple[Any, ...]]:
        with psycopg.connect(make_conninfo(**self.way), autocommit=True) as connection:
            done = connection.execute(text.encode())
            return done.fetchall() if fetch and done.description else []

    def engine(self, **settings: Any) -> Engine:
        said: dict[str, Any] = {"rows": [10, 500], "seconds": 0.05, "connection": self.way}
        return engine(self.said, engine="postgresql", module=str(self.module), **{**said, **settings})

    def book(self) -> Book:
        found = self.engine().look()[0]
        assert found is not None
        return found

    def reads(self, text: str, new: str) -> None:
        """Change the module."""
        before = self.module.read_text()
        assert text in before
        self.module.write_text(before.replace(text, new))

    def state(self) -> list[tuple[Any, ...]]:
        """Return what a refusal must not change."""
        found = self.ask("SELECT relname::text FROM pg_class WHERE relkind = 'r' AND oid > 16383 ORDER BY 1")
        digest = "SELECT md5(coalesce(string_agg(x::text, ','), '')) FROM {} x"
        return [(name, self.ask(digest.format(name))) for (name,) in found]


@pytest.fixture
def world(server: Server, database: dict[str, str], tmp_path: Path) -> World:
    return World(server, database, tmp_path)


def test_every_row_comes_over_once_and_goes_back(world: World) -> None:
    dry = world.engine().dry()
    assert (dry.rows, dry.made, dry.aside) == (ROWS, ROWS, {})
    assert world.ask("SELECT to_regclass('bascule_data') IS NULL") == [(True,)]
    book = world.engine().run()
    assert (book.state, book.rows, book.written, book.aside) == ("finished", ROWS, ROWS, 0)
    assert book.total == ROWS
    assert world.engine().validate() == []
    # Noon in a Paris winter is eleven in UTC; in summer it is ten.
    assert world.ask("SELECT (created_at AT TIME ZONE 'UTC')::text FROM users WHERE legacy_id = 1200") == [
        ("2024-06-13 06:00:00",)
    ]
    # A second run does nothing.
    before = world.ask(SUMMARY)
    assert world.engine().run().rows == ROWS
    assert world.ask(SUMMARY) == before
    done = undone(world.engine())
    assert (done.removed, done.carried, done.kept) == (ROWS, 0, [])
    assert world.ask("SELECT count(*) FROM users") == [(0,)]
    # And forward again.
    assert world.engine().run().rows == ROWS
    assert world.ask(SUMMARY) == before


def test_undo_keeps_what_was_written_since(world: World) -> None:
    world.engine().run()
    world.ask("UPDATE users SET email = 'new@example.org', active = false WHERE legacy_id = 3", fetch=False)
    world.ask("INSERT INTO users VALUES (gen_random_uuid(), NULL, 'born@example.org', 'B', true, now())", fetch=False)
    world.ask("DELETE FROM users WHERE legacy_id = 4", fetch=False)
    # Both sides of one row were changed: nobody can decide.
    world.ask("UPDATE users SET full_name = 'new side' WHERE legacy_id = 2999", fetch=False)
    world.ask("UPDATE old_users SET first_name = 'old side' WHERE id = 2999", fetch=False)
    done = undone(world.engine())
    assert (done.removed, done.carried) == (ROWS - 3, 1)
    assert sorted(why for _, _, why in done.kept) == [
        "it differs from what the source gives now, and the source was changed as well",
        "it was new since, and `undo` cannot map it",
    ]
    assert world.ask("SELECT email, status FROM old_users WHERE id = 3") == [("new@example.org", "inactive")]
    assert world.ask("SELECT first_name FROM old_users WHERE id = 2999") == [("old side",)]
    assert world.ask("SELECT email FROM users ORDER BY email") == [("born@example.org",), ("user2999@example.org",)]


def test_rows_that_fail_are_aside_masked_and_retried_alone(world: World) -> None:
    world.ask("UPDATE old_users SET email = 'nobody-secret' WHERE id = 77", fetch=False)
    world.ask("UPDATE old_users SET email = 'user5@example.org' WHERE id = 1500", fetch=False)
    world.ask("UPDATE old_users SET status = 'secret-state' WHERE id = 2000", fetch=False)
    dry = world.engine().dry()
    assert sum(dry.aside.values()) == 2
    book = world.engine().run()
    assert (book.state, book.rows, book.aside) == ("finished", ROWS, 3)
    assert world.ask("SELECT count(*) FROM users") == [(ROWS - 3,)]
    reasons = [why for _, _, why in world.engine().look()[2]]
    assert sorted(why.partition(":")[0] for why in reasons) == ["KeyError", "UniqueViolation", "ValueError"]
    assert not [why for why in reasons if "secret" in why or "user5" in why]
    assert [why for why in reasons if why.endswith(" (users_email_key)")]
    assert world.engine().validate() == ["3 old users are missing", "3 rows are aside"]
    assert world.engine().retry() == (0, 3)
    world.ask("UPDATE old_users SET email = 'found@example.org' WHERE id = 77", fetch=False)
    assert world.engine().retry() == (1, 2)
    assert world.ask("SELECT email FROM users WHERE legacy_id = 77") == [("found@example.org",)]
    assert world.book().aside == 2


def test_rows_below_the_cursor_are_found(world: World) -> None:
    """Writers go on at READ COMMITTED: numbers are taken early and committed late."""
    world.ask("DELETE FROM old_users WHERE id % 10 = 0", fetch=False)
    over = threading.Event()

    def insert() -> None:
        with psycopg.connect(make_conninfo(**world.way), autocommit=True) as connection:
            for number in range(ROWS, 0, -10):
                connection.execute(
                    "INSERT INTO old_users VALUES (%s, %s, 'Late', 'One', 'active', '2024-01-01')",
                    (number, f"late{number}@example.org"),
                )
        over.set()

    writer = threading.Thread(target=insert)
    writer.start()
    world.engine(seconds=0.01).run()
    writer.join()
    assert over.is_set()
    world.engine().run()
    assert world.ask("SELECT count(*), count(DISTINCT legacy_id) FROM users") == [(ROWS, ROWS)]
    assert undone(world.engine()).removed == ROWS


def killed(world: World, kills: int) -> int:
    """Run as a process of its own, killed at random; return how many were killed before they had ended."""
    inventory = world.folder / "inventory" / "group_vars"
    inventory.mkdir(parents=True)
    lines = [f"{key}: {value!r}" for key, value in world.way.items()]
    inventory.joinpath("all.yml").write_text(
        f"data_migrations:\n  moved:\n    engine: postgresql\n    module: {world.module}\n    seconds: 0.02\n"
        f"    rows: [5, 100]\n    connection: {{{', '.join(lines)}}}\n"
    )
    chance, died = random.Random(7), 0
    argv = [sys.executable, "-m", "bascule.cli.main", "data", "moved", "run", "-i", str(inventory.parent)]
    while True:
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            if died < kills:
                begun = number(world)
                while process.poll() is None and number(world) < begun + chance.randint(1, 3):
                    time.sleep(0.001)
                time.sleep(chance.random() * 0.03)
                process.send_signal(signal.SIGKILL)
            _, wrong = process.communicate(timeout=120)
        finally:
            process.kill()
        if process.returncode == 0:
            return died
        assert process.returncode == -signal.SIGKILL, wrong
        died += 1


def number(world: World) -> int:
    if world.ask("SELECT to_regclass('bascule_data') IS NULL") == [(True,)]:
        return 0
    found = world.ask("SELECT number FROM bascule_data")
    return int(found[0][0]) if found else 0


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.long)])
def test_a_kill_neither_doubles_nor_misses_a_row(world: World, kills: int) -> None:
    world.engine().run()
    wanted = world.ask(SUMMARY)
    undone(world.engine())
    if kills > 10:
        world.ask("UPDATE bascule_data SET size = 5", fetch=False)
    # How often depends on how busy the machine is.
    assert killed(world, kills) >= 1
    assert world.ask(SUMMARY) == wanted


def theirs(world: World, *, stop_after: int = 0, others: bool = True) -> None:
    """OmniSphere's sample as it stands: LIMIT and OFFSET without ORDER BY, an offset that is stored nowhere."""
    with psycopg.connect(make_conninfo(**world.way)) as connection:
        batch_size, offset = 1000, 0
        cur = connection.cursor()
        while True:
            cur.execute("SELECT id, email FROM old_users LIMIT %s OFFSET %s", (batch_size, offset))
            users = cur.fetchall()
            if not users:
                return
            cur.executemany("INSERT INTO sample (legacy_id, email) VALUES (%s, %s)", users)
            connection.commit()
            offset += batch_size
            if stop_after and offset >= stop_after:
                return
            if others:
                # Another writes meanwhile, as in production: the row moves to the end of the table.
                world.ask("UPDATE old_users SET last_name = 'x' WHERE id <= 50", fetch=False)


def test_the_sample_loses_and_doubles_rows_where_we_do_not(world: World) -> None:
    world.ask("CREATE TABLE sample (legacy_id integer, email text)", fetch=False)
    theirs(world)
    rows, distinct = world.ask("SELECT count(*), count(DISTINCT legacy_id) FROM sample")[0]
    assert distinct < ROWS or rows > distinct
    world.ask("TRUNCATE sample", fetch=False)
    theirs(world, stop_after=2000, others=False)
    theirs(world, others=False)
    assert world.ask("SELECT count(*) - count(DISTINCT legacy_id) FROM sample") == [(2000,)]
    world.engine(rows=[100, 100]).run()
    assert world.ask("SELECT count(*), count(DISTINCT legacy_id) FROM users") == [(ROWS, ROWS)]


@pytest.fixture
def other_world(world: World) -> Iterator[World]:
    yield world
    assert not [line for line in world.said if "user" in line]


WRONG = {
    "no KEY": ('KEY = ("id",)', "", "KEY, the columns that tell the rows apart, is not given"),
    "non-unique key": ('KEY = ("id",)', 'KEY = ("status",)', "its key (status) is not unique"),
    "another engine": ('ENGINE = "postgresql"', 'ENGINE = "sqlite"', "the inventory says postgresql"),
    "no table": ('TABLE = "old_users"', 'TABLE = "older"', "there is no table older"),
    "a table not named": ('store.insert("users"', 'store.insert("old_users"', "no rows to the table that is read"),
    "no such column": ("last_name, status", "surname, status", "does not exist"),
    "dice": ('uuid5(SPACE, str(row["id"]))', "__import__('uuid').uuid4()", "another result the second time"),
    "a select that writes": ("FROM old_users", "FROM old_users WHERE spoil()", "in a read-only transaction"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_refused_with_nothing_changed(other_world: World, what: str) -> None:
    text, new, why = WRONG[what]
    before = dict(other_world.state())
    other_world.reads(text, new)
    with pytest.raises(DataError) as error:
        other_world.engine().run()
    assert why in error.value.message()
    assert error.value.state.startswith("nothing was changed")
    assert {name: rows for name, rows in other_world.state() if name in before} == before


def test_who_may_not_and_who_is_silent(world: World) -> None:
    before = world.state()
    for way, why in (
        ({**world.way, "user": "nobody"}, "no privilege to SELECT"),
        ({**world.way, "port": "1"}, "to be read"),
    ):
        with pytest.raises(DataError) as error:
            world.engine(connection=way).run()
        assert why in error.value.message()
    assert world.state() == before


def test_an_edited_module_is_refused_while_a_run_is_half_done(world: World) -> None:
    world.ask("UPDATE old_users SET email = 'no' WHERE id BETWEEN 900 AND 910", fetch=False)
    with pytest.raises(DataError, match="fewer than 5 rows aside") as stopped:
        world.engine(aside=5, rows=[50, 50]).run()
    assert stopped.value.state == "running: 950 rows in 19 batches are done, the next was taken back"
    world.reads('"no mail address"', '"another"')
    before = world.state()
    with pytest.raises(DataError, match="was edited; the run is running after 19 batches"):
        world.engine().run()
    assert world.state() == before


def test_two_runs_at_once_and_the_orders_of_another_terminal(world: World) -> None:
    world.reads("    email = row", "    __import__('time').sleep(0.0005)\n    email = row")
    found: list[Any] = []

    def run() -> None:
        found.append(world.engine(rows=[20, 500], seconds=0.05).run())

    def until(this: Any) -> None:
        ends = time.monotonic() + 60
        while not this(world.engine().look()[0]):
            assert time.monotonic() < ends
            time.sleep(0.01)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda book: book and book.number > 1)
        other = world.engine()
        with pytest.raises(DataError, match=rf"process {os.getpid()}, since"):
            other.run()
        other.order(wanted="pause")
        until(lambda book: book.state == "paused")
        held = world.book()
        time.sleep(0.3)
        assert world.book().number == held.number
        other.order(asked=7)
        other.order(wanted="")
        until(lambda book: book.state == "running" and book.number > held.number + 3)
        other.order(asked=500)
    finally:
        world.engine().order(wanted="")
        thread.join()
    assert found[0].rows == ROWS
    assert {7} <= {row[0] for row in world.ask("SELECT rows FROM bascule_data_batch WHERE number > 1")}
    assert "paused, as was asked for" in world.said


def test_a_limit_pauses_by_itself_and_says_so(world: World) -> None:
    with psycopg.connect(make_conninfo(**{**world.way, "user": "postgres"})) as busy:
        thread = threading.Thread(target=lambda: busy.execute("SELECT pg_sleep(3)"))
        one = world.engine(limits={"active": 0}, connection={**world.way, "user": "postgres"})
        thread.start()
        time.sleep(0.3)
        one.run()
        thread.join()
    assert "waits: active is 1 (limit 0)" in world.said
    assert "goes on" in world.said
    with pytest.raises(DataError, match="limit load cannot be measured here"):
        world.engine(limits={"load": 1}, connection={**world.way, "user": "postgres"}).run()


IN_PLACE = """
ENGINE, TABLE, KEY, WRITES = "postgresql", "points", ("tenant", "number"), {"points": ("tenant", "number")}
def select(): return "SELECT tenant, number, held FROM points WHERE tenant LIKE '%'"
def transform(row): return {**row, "held": row["held"] + 1000}
def write(store, made): store.update("points", made)
def validate(store): return []
def undo(store, rows): return rows
"""


def test_what_others_write_meanwhile_is_neither_lost_nor_overwritten(world: World) -> None:
    """Rows are changed in place while a writer adds to them: through the run, and through its undo."""
    world.module.write_text(IN_PLACE)
    world.ask(
        "CREATE TABLE points (tenant text, number integer, held integer, PRIMARY KEY (tenant, number))", fetch=False
    )
    world.ask("INSERT INTO points SELECT chr(65 + i % 5), i / 5, 0 FROM generate_series(0, 1499) AS i", fetch=False)
    added, over = [0], threading.Event()

    def add() -> None:
        chance = random.Random(3)
        with psycopg.connect(make_conninfo(**world.way), autocommit=True) as connection:
            while not over.is_set():
                key = (chr(65 + chance.randrange(5)), chance.randrange(300))
                connection.execute("UPDATE points SET held = held + 1 WHERE tenant = %s AND number = %s", key)
                added[0] += 1

    writer = threading.Thread(target=add)
    writer.start()
    try:
        world.engine(rows=[20, 60]).run()
    finally:
        over.set()
        writer.join()
    assert added[0] > 0
    assert world.ask("SELECT count(*), sum(held) FROM points") == [(1500, 1500 * 1000 + added[0])]
    changed = world.ask("SELECT tenant, number, held FROM points ORDER BY 1, 2 LIMIT 3")
    world.ask("UPDATE points SET held = held + 5 WHERE tenant = 'A' AND number < 3", fetch=False)
    done = undone(world.engine())
    # What was written since is not overwritten with what was there before.
    assert world.ask("SELECT tenant, number, held FROM points ORDER BY 1, 2 LIMIT 3") == [
        (tenant, number, held + 5) for tenant, number, held in changed
    ]
    assert done.restored + len(done.kept) == 1500
    assert len(done.kept) >= 3
