"""Missions become Bail Mobilité on a real MariaDB: conversion, a dry run that cannot write, kills, undo."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pymysql
import pytest

from bascule.data.contract import DataError
from bascule.data.io.engine import Engine

from .conftest import EXAMPLES, engine, undone
from .test_sqlite import IN_PLACE, STAYS, STREETS, TABLES, stay


class World:
    """A database of its own."""

    def __init__(self, socket: str, folder: Path) -> None:
        self.folder, self.socket, self.database = folder, socket, f"test_{os.urandom(4).hex()}"
        self.way = {"unix_socket": socket, "user": "root", "database": self.database}
        self.module, self.said = folder / "missions.py", list[str]()
        text = (EXAMPLES / "missions_bail_mobilite.py").read_text().replace('ENGINE = "sqlite"', 'ENGINE = "mariadb"')
        self.module.write_text(text)
        with self.connected("mysql") as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {self.database} CHARACTER SET utf8mb4")
        with self.connected() as connection, connection.cursor() as cursor:
            for statement in TABLES.split(";")[:-1]:
                for text, new in (
                    ("INTEGER PRIMARY KEY", "integer PRIMARY KEY"),
                    ("scheduled_on TEXT", "scheduled_on date"),
                    ("start_date TEXT", "start_date date"),
                    ("end_date TEXT", "end_date date"),
                    ("REFERENCES missions", "REFERENCES missions(id)"),
                    ("REFERENCES bail_mobilites", "REFERENCES bail_mobilites(id)"),
                    ("TEXT", "varchar(150)"),
                ):
                    statement = statement.replace(text, new)
                cursor.execute(statement)
            rows = [row for number in range(1, STAYS + 1) for row in stay(number)]
            cursor.executemany(f"INSERT INTO missions VALUES ({', '.join(['%s'] * 10)})", rows)

    def connected(self, database: str = "") -> pymysql.Connection[Any]:
        name = database or self.database
        return pymysql.connect(unix_socket=self.socket, user="root", database=name, autocommit=True, charset="utf8mb4")

    def engine(self, **settings: Any) -> Engine:
        said: dict[str, Any] = {"rows": [50, 500], "connection": self.way, "module": str(self.module)}
        return engine(self.said, engine="mariadb", **{**said, **settings})

    def ask(self, text: str) -> list[tuple[Any, ...]]:
        with self.connected() as connection, connection.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall())

    def all(self) -> list[list[tuple[Any, ...]]]:
        return [
            self.ask(f"SELECT * FROM {table} ORDER BY id") for table in ("missions", "bail_mobilites", "checklists_bm")
        ]


@pytest.fixture
def world(socket: str, tmp_path: Path) -> World:
    return World(socket, tmp_path)


def test_missions_become_stays_and_go_back(world: World) -> None:
    missions = world.all()[0]
    assert world.engine().dry().made == STAYS
    book = world.engine().run()
    assert (book.state, book.rows, book.written, book.aside) == ("finished", STAYS, 2 * STAYS, 0)
    assert world.engine().validate() == []
    assert world.ask("SELECT address, start_date + 0, status, exit_mission_id FROM bail_mobilites WHERE id = 14") == [
        (f"{STREETS[1]}, bât. 7", 20240210, "completed", 15)
    ]
    # An accent or a capital is a change, whatever the collation says.
    world.ask("UPDATE bail_mobilites SET tenant_name = upper(tenant_name) WHERE id = 16")
    world.ask("INSERT INTO checklists_bm VALUES (90001, 20, 'incident', '{}')")
    done = undone(world.engine())
    assert done.carried == 1
    assert [(table, key) for table, key, _ in done.kept] == [
        ("bail_mobilites", "20"),
        ("checklists_bm", "20"),
        ("checklists_bm", "90001"),
    ]
    changed = [row for row in world.all()[0] if row not in missions]
    assert [(row[0], row[3]) for row in changed] == [(16, "ZOË NGUYÊN 8"), (17, "ZOË NGUYÊN 8")]


def test_rows_in_place_with_a_key_of_two_columns(world: World) -> None:
    world.module.write_text(IN_PLACE.replace('"sqlite"', '"mariadb"').replace('euros"] * 100', 'euros"] * 100'))
    world.ask(
        "CREATE TABLE lines (tenant varchar(9), number integer, euros decimal(9, 2), cents integer, "
        "PRIMARY KEY (tenant, number))".replace("lines", "`lines`")
    )
    world.module.write_text(world.module.read_text().replace("FROM lines", "FROM `lines`"))
    rows = ", ".join(f"('{chr(65 + i % 7)}', {i // 7}, {i}.25, NULL)" for i in range(700))
    world.ask(f"INSERT INTO `lines` VALUES {rows}")
    assert world.engine(rows=[30, 30]).run().rows == 700
    assert int(world.ask("SELECT sum(cents) FROM `lines`")[0][0]) == sum(i * 100 + 25 for i in range(700))
    world.ask("UPDATE `lines` SET cents = 7 WHERE tenant = 'C' AND number = 1")
    assert undone(world.engine()).restored == 699
    assert world.ask("SELECT tenant, number, cents FROM `lines` WHERE cents IS NOT NULL") == [("C", 1, 7)]
    world.ask("ALTER TABLE `lines` ENGINE = MyISAM")
    with pytest.raises(DataError, match="its engine MyISAM has no transactions"):
        world.engine().run()


@pytest.mark.parametrize("kills", [4, pytest.param(40, marks=pytest.mark.long)])
def test_a_kill_neither_doubles_nor_misses_a_row(world: World, kills: int) -> None:
    world.engine().run()
    wanted = world.all()
    undone(world.engine())
    variables = world.folder / "inventory" / "group_vars"
    variables.mkdir(parents=True)
    said = {"engine": "mariadb", "module": str(world.module), "connection": world.way, "rows": [5, 15], "seconds": 0.02}
    variables.joinpath("all.yml").write_text(json.dumps({"data_migrations": {"moved": said}}))
    argv = [sys.executable, "-m", "bascule.cli.main", "data", "moved", "run", "-i", str(variables.parent)]
    chance, died = random.Random(13), 0
    while True:
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            if died < kills:
                (begun,) = world.ask("SELECT number FROM bascule_data")[0]
                while process.poll() is None and world.ask("SELECT number FROM bascule_data")[0][0] < begun + 1:
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
