"""Missions become Bail Mobilité in a real SQLite file: conversion, relations, integrity, kills, undo."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bascule.cli.main import main
from bascule.data.contract import DataError
from bascule.data.io.engine import Engine
from bascule.data.io.undo import Undo

from .conftest import EXAMPLES, engine, undone

STAYS = 1500
TABLES = """
CREATE TABLE missions (id INTEGER PRIMARY KEY, type TEXT NOT NULL CHECK (type IN ('entry', 'exit')),
  address TEXT NOT NULL, tenant_name TEXT NOT NULL, tenant_email TEXT, tenant_phone TEXT, scheduled_on TEXT NOT NULL,
  status TEXT NOT NULL, agent_id INTEGER, checklist TEXT);
CREATE INDEX by_stay ON missions (address, tenant_name, type, scheduled_on);
CREATE TABLE bail_mobilites (id INTEGER PRIMARY KEY, address TEXT NOT NULL, tenant_name TEXT NOT NULL,
  tenant_email TEXT, tenant_phone TEXT, start_date TEXT NOT NULL, end_date TEXT, status TEXT NOT NULL,
  entry_mission_id INTEGER NOT NULL UNIQUE REFERENCES missions, exit_mission_id INTEGER UNIQUE REFERENCES missions);
CREATE TABLE checklists_bm (id INTEGER PRIMARY KEY, bail_mobilite_id INTEGER NOT NULL REFERENCES bail_mobilites,
  kind TEXT NOT NULL, items TEXT NOT NULL);
"""
DATES = ("2024-02-10", "2024-09-20")
STREETS = ("12 rue des Lices", "3 quai d'Orléans", "27 av. Jean-Jaurès")


def stay(number: int) -> list[tuple[Any, ...]]:
    """Return the missions of one stay: one in three is still open."""
    tenant = (f"{STREETS[number % 3]}, bât. {number}", f"Zoë Nguyên {number}", f"Zoe{number}@Example.FR", "+33 6 12 34")
    items = json.dumps({"clés": number % 4, "état": "bon; 'sec'"})
    done = "done" if number % 3 else "planned"
    rows: list[tuple[Any, ...]] = [
        (2 * number, "entry", *tenant, f"2024-{1 + number % 6:02d}-10", done, 1 + number % 9, items)
    ]
    if number % 3:
        rows.append((2 * number + 1, "exit", *tenant, f"2024-{7 + number % 5:02d}-20", "done", 3, None))
    return rows


class World:
    """One file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path, self.module = folder, folder / "ops.sqlite", folder / "missions.py"
        self.module.write_bytes((EXAMPLES / "missions_bail_mobilite.py").read_bytes())
        self.said: list[str] = []
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(TABLES)
            rows = [row for number in range(1, STAYS + 1) for row in stay(number)]
            connection.executemany(f"INSERT INTO missions VALUES ({', '.join('?' * 10)})", rows)
            connection.commit()
        variables = folder / "inventory" / "group_vars"
        variables.mkdir(parents=True)
        said = {
            "engine": "sqlite",
            "module": str(self.module),
            "file": str(self.path),
            "seconds": 0.02,
            "rows": [5, 60],
        }
        variables.joinpath("all.yml").write_text(json.dumps({"data_migrations": {"moved": said}}))
        self.words = ["-i", str(variables.parent)]

    def engine(self, **settings: Any) -> Engine:
        said: dict[str, Any] = {"rows": [50, 500], "file": str(self.path), "module": str(self.module)}
        return engine(self.said, engine="sqlite", **{**said, **settings})

    def ask(self, text: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(text).fetchall()

    def all(self) -> list[list[tuple[Any, ...]]]:
        return [
            self.ask(f"SELECT * FROM {table} ORDER BY id") for table in ("missions", "bail_mobilites", "checklists_bm")
        ]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_missions_become_stays_and_go_back(world: World) -> None:
    missions = world.all()[0]
    book = world.engine().run()
    assert (book.state, book.rows, book.written, book.aside) == ("finished", STAYS, 2 * STAYS, 0)
    assert world.engine().validate() == []
    assert world.ask("SELECT * FROM bail_mobilites WHERE id = 14") == [
        (14, f"{STREETS[1]}, bât. 7", "Zoë Nguyên 7", "zoe7@example.fr", "+33 6 12 34", *DATES, "completed", 14, 15)
    ]
    assert world.ask("SELECT status, end_date, exit_mission_id FROM bail_mobilites WHERE id = 6") == [
        ("assigned", None, None)
    ]
    assert json.loads(world.ask("SELECT items FROM checklists_bm WHERE id = 14")[0][0])["clés"] == 3
    assert world.ask("PRAGMA foreign_key_check") == world.ask("SELECT 1 WHERE 0")
    assert undone(world.engine()).removed == 2 * STAYS
    assert world.all() == [missions, [], []]


def test_undo_carries_back_what_changed_and_names_what_it_cannot_map(world: World) -> None:
    world.engine().run()
    world.ask("UPDATE bail_mobilites SET tenant_phone = '+33 7', status = 'incident' WHERE id = 8")
    world.ask(
        "INSERT INTO bail_mobilites VALUES (90000, 'a', 'b', NULL, NULL, '2025-01-01', NULL, 'assigned', 3, NULL)"
    )
    # A checklist that was added to a stay that was made: neither may go.
    world.ask("INSERT INTO checklists_bm VALUES (90001, 20, 'incident', '{}')")
    done = undone(world.engine())
    assert world.ask("SELECT tenant_phone, status FROM missions WHERE id = 8") == [("+33 7", "cancelled")]
    assert [(table, key) for table, key, _ in done.kept] == [
        ("bail_mobilites", "20"),
        ("bail_mobilites", "90000"),
        ("checklists_bm", "20"),
        ("checklists_bm", "90001"),
    ]
    assert world.ask("SELECT id FROM bail_mobilites ORDER BY id") == [(20,), (90000,)]
    assert world.ask("SELECT id FROM checklists_bm") == [(20,), (90001,)]


def number(world: World) -> int:
    if not world.ask("SELECT 1 FROM sqlite_schema WHERE name = 'bascule_data'"):
        return 0
    return int(world.ask("SELECT coalesce(max(number), 0) FROM bascule_data")[0][0])


@pytest.mark.parametrize("kills", [6, pytest.param(60, marks=pytest.mark.long)])
def test_a_kill_neither_doubles_nor_misses_a_row(world: World, kills: int) -> None:
    world.engine().run()
    wanted = world.all()
    undone(world.engine())
    argv = [sys.executable, "-m", "bascule.cli.main", "data", "moved", "run", *world.words]
    chance, died = random.Random(11), 0
    while True:
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            if died < kills:
                begun = number(world)
                while process.poll() is None and number(world) < begun + 1:
                    time.sleep(0.001)
                time.sleep(chance.random() * 0.02)
                process.send_signal(signal.SIGKILL)
            _, wrong = process.communicate(timeout=120)
        finally:
            process.kill()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, wrong
        died += 1
    # How often depends on how busy the machine is.
    assert died >= 1
    assert world.all() == wanted


def test_the_command_says_what_it_does(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["data", "moved"]
    assert main([*ask, "status", *world.words]) == 0
    assert "moved: not begun" in capsys.readouterr().out
    assert main([*ask, "pause", *world.words]) == 2
    before = world.path.read_bytes()
    assert main([*ask, "run", "--dry-run", *world.words]) == 0
    assert f"would do {STAYS} rows: {STAYS} become something, 0 would be aside" in capsys.readouterr().out
    assert world.path.read_bytes() == before
    world.ask("UPDATE missions SET checklist = '{secret' WHERE id = 40")
    assert main([*ask, "run", *world.words]) == 6
    assert f"finished: {STAYS} rows done, {2 * STAYS - 2} rows written, 1 aside" in capsys.readouterr().out
    assert main([*ask, "rows", "aside", *world.words]) == 6
    shown = capsys.readouterr().out
    assert "40: JSONDecodeError: " in shown
    assert "secret" not in shown
    assert main([*ask, "validate", *world.words]) == 6
    assert "wrong: 1 entry missions have no bail mobilité" in capsys.readouterr().out
    world.ask("UPDATE missions SET checklist = NULL WHERE id = 40")
    assert main([*ask, "run", "--aside", *world.words]) == 0
    assert main([*ask, "validate", *world.words]) == 0
    assert main([*ask, "undo", *world.words]) == 6
    word = capsys.readouterr().err.split("--confirm ")[1].split(",")[0]
    assert main([*ask, "undo", "--confirm", word, *world.words]) == 0
    assert f"undone: {2 * STAYS - 1} rows taken away" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*ask, "pace", *world.words])


IN_PLACE = """
ENGINE, TABLE, KEY, WRITES = "sqlite", "lines", ("tenant", "number"), {"lines": ("tenant", "number")}
def select(): return "SELECT * FROM lines WHERE cents IS NULL"
def transform(row): return {"tenant": row["tenant"], "number": row["number"], "cents": round(row["euros"] * 100)}
def write(store, made): store.update("lines", made)
def validate(store): return []
def undo(store, rows): return rows
"""


@pytest.fixture
def in_place(world: World) -> World:
    """Lines whose key is of two columns, and is changed in place."""
    world.module.write_text(IN_PLACE)
    world.ask(
        "CREATE TABLE lines (tenant TEXT NOT NULL, number INTEGER NOT NULL, euros REAL, cents INTEGER, "
        "PRIMARY KEY (tenant, number))"
    )
    rows = ", ".join(f"('{chr(65 + i % 7)}', {i // 7}, {i}.25, NULL)" for i in range(700))
    world.ask(f"INSERT INTO lines VALUES {rows}")
    return world


def test_rows_in_place_with_a_key_of_two_columns(in_place: World) -> None:
    world = in_place
    assert world.engine(rows=[30, 30]).run().rows == 700
    assert world.ask("SELECT count(*), sum(cents) FROM lines") == [(700, sum(i * 100 + 25 for i in range(700)))]
    # One step again alone: what has lost its value gets it again.
    world.ask("UPDATE lines SET cents = NULL WHERE tenant = 'B' AND number < 5")
    assert world.engine().run(again=True).rows == 705
    world.ask("UPDATE lines SET cents = 7 WHERE tenant = 'C' AND number = 1")
    done = undone(world.engine())
    assert done.restored == 699
    assert [why for _, _, why in done.kept] == ["it was changed since, and keeps that"]
    assert world.ask("SELECT tenant, number, cents FROM lines WHERE cents IS NOT NULL") == [("C", 1, 7)]


def test_a_key_that_cannot_be_a_cursor_is_refused(in_place: World) -> None:
    world = in_place
    for text, new, why in (
        ('("tenant", "number"), {', '("euros",), {', "its key (euros) is not unique"),
        ("SELECT * FROM lines", "SELECT tenant, NULL AS number, euros FROM lines", "found: NULL"),
        ("SELECT * FROM lines", "SELECT 'A' AS tenant, 1 AS number, euros, cents FROM lines", "two rows with one key"),
        ("SELECT * FROM lines", "SELECT tenant, euros AS number, euros, cents FROM lines", "found: a float"),
        ('"cents": round', '"number2": round', "no such column: number2"),
    ):
        before = world.ask("SELECT * FROM lines")
        world.module.write_text(IN_PLACE.replace(text, new))
        with pytest.raises(DataError) as error:
            world.engine().run()
        assert why in error.value.message()
        assert error.value.state.startswith("nothing was changed")
        assert world.ask("SELECT * FROM lines") == before


def test_a_key_that_may_be_null_is_refused(in_place: World) -> None:
    in_place.ask("CREATE TABLE holes (tenant TEXT NOT NULL, number INTEGER, cents INTEGER, UNIQUE (tenant, number))")
    in_place.module.write_text(IN_PLACE.replace("lines", "holes"))
    with pytest.raises(DataError, match="holes: number of its key may be NULL"):
        in_place.engine().run()


def test_an_undo_that_is_killed_goes_on(world: World) -> None:
    missions = world.all()[0]
    world.engine(rows=[10, 10]).run()
    world.ask("UPDATE bail_mobilites SET tenant_phone = '+33 7' WHERE id = 600")
    argv = [sys.executable, "-m", "bascule.cli.main", "data", "moved", "undo", *world.words]
    argv += ["--confirm", Undo(world.engine()).word()]
    chance, died = random.Random(17), 0
    while True:
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            if died < 3:
                begun = number(world)
                while process.poll() is None and number(world) > begun - 3:
                    time.sleep(0.001)
                time.sleep(chance.random() * 0.02)
                process.send_signal(signal.SIGKILL)
            _, wrong = process.communicate(timeout=120)
        finally:
            process.kill()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, wrong
        died += 1
    assert died >= 1
    kept, stays, checklists = world.all()
    assert (stays, checklists) == ([], [])
    assert [row[5] for row in kept if row[0] == 600] == ["+33 7"]
    assert [row for row in kept if row[0] not in (600, 601)] == [row for row in missions if row[0] not in (600, 601)]


def test_a_file_that_is_not_there_or_may_not_be_written(world: World) -> None:
    with pytest.raises(DataError, match="unable to open database file"):
        world.engine(file=str(world.folder / "none.sqlite")).run()
    assert not (world.folder / "none.sqlite").exists()
    assert os.listdir(world.folder)
