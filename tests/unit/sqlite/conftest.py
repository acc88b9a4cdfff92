"""Guards in a directory of the test, and two sides that are two folders of this host, each with real databases."""

from __future__ import annotations

import inspect
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.guard.io import store
from bascule.sqlite.io.side import Side
from bascule.system.io.process import Result

SCHEMA = """
CREATE TABLE missions (id INTEGER PRIMARY KEY, name TEXT, price REAL, photo BLOB);
CREATE TABLE stays (id INTEGER PRIMARY KEY, mission INTEGER REFERENCES missions (id));
CREATE TABLE keys (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE INDEX by_name ON missions (name);
CREATE VIEW named AS SELECT name FROM missions;
CREATE TRIGGER gone AFTER DELETE ON missions BEGIN DELETE FROM stays WHERE mission = old.id; END;
INSERT INTO missions VALUES (1, 'a', 1.5, x'00ff'), (2, NULL, NULL, NULL), (3, '', -0.0, x'');
INSERT INTO stays VALUES (7, 1);
INSERT INTO keys VALUES ('k', 'v'), ('n', NULL);
PRAGMA user_version = 12;
PRAGMA application_id = 77;
"""
Make = Callable[..., Side]


def made(path: Path, journal: str = "wal") -> Path:
    """Make a database."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.executescript(SCHEMA)
    connection.close()
    return path


def systemd(argv: Any, **_: Any) -> Result:
    """Stand in for systemd: no unit runs."""
    return Result(tuple(argv), 0, "inactive\n", "")


@pytest.fixture(autouse=True)
def guards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Guards in a directory of the test."""
    root = tmp_path / "lib" / "guard"
    monkeypatch.setattr(store, "GUARD_DIRECTORY", root)
    for name in (
        "closing", "opening", "opening_by_word", "reopening", "read", "adopt", "frozen", "settled", "thawing",
        "giving_way",
    ):  # fmt: skip
        monkeypatch.setitem(inspect.unwrap(getattr(store, name)).__kwdefaults__, "root", root)
    monkeypatch.setattr(store.read_any, "__kwdefaults__", {"root": root})
    return root


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a maker of sides; the component's name carries the side, as both are on one host."""

    def side(name: str, status: str = "", drain: float = 5.0, check: bool = False) -> Side:
        if status:
            store.adopt(f"app-{name}", name, status)
        path = tmp_path / name / "app.db"
        path.parent.mkdir(exist_ok=True)
        return Side(
            f"app-{name}", name, {"databases": [str(path)], "units": []}, check=check, runner=systemd, drain=drain
        )

    return side


def fetch(source: str, target: str) -> None:
    """Bring a copy over; rsync between two hosts does it in the Molecule scenario."""
    shutil.copyfile(source, target)
