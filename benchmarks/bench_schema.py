"""500 migrations up, by `bascule schema` and by dbmate: whole programs, from start to end, on an empty database.

dbmate sends each file over one connection of its own driver, in one transaction with its line. Ours does the same by
the engine's own client (on PostgreSQL a psql for each file), and reads all files first. Neither takes a backup or tries
the plan on a copy: the service is declared `production: false`. dbmate holds its lock, as ours does.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg.conninfo import make_conninfo

from .bench_data_batch import server
from .harness import LOWER, Benchmark, Measurement, Settings, alternate

FILES = 500
# What migrations do: a table, then a column of it with its values, then an index.
KINDS = (
    (
        "CREATE TABLE items_{n} (id integer PRIMARY KEY, name text NOT NULL);\n"
        "INSERT INTO items_{n} VALUES (1, 'one; two'), (2, 'three');\n",
        "DROP TABLE items_{n};\n",
    ),
    (
        "ALTER TABLE items_{n} ADD COLUMN mail text;\nUPDATE items_{n} SET mail = name || '@example.org';\n",
        "ALTER TABLE items_{n} DROP COLUMN mail;\n",
    ),
    ("CREATE INDEX items_{n}_by_name ON items_{n} (name);\n", "DROP INDEX items_{n}_by_name;\n"),
)
Ask = Callable[[str], list[tuple[Any, ...]]]


def files(folder: Path) -> tuple[Path, Path]:
    """Write the same migrations as both have them; return the folders: ours and theirs."""
    ours, theirs = folder / "ours", folder / "theirs"
    for one in (ours, theirs):
        one.mkdir()
    for number in range(1, FILES + 1):
        up, down = (text.format(n=(number - 1) // len(KINDS)) for text in KINDS[(number - 1) % len(KINDS)])
        (ours / f"{number:03d}_step.up.sql").write_text(up)
        (ours / f"{number:03d}_step.down.sql").write_text(down)
        (theirs / f"{number:03d}_step.sql").write_text(f"-- migrate:up\n{up}\n-- migrate:down\n{down}")
    return ours, theirs


def timed(argv: list[str]) -> float:
    """Run a program to its end and return its seconds."""
    begun = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    took = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f"{argv[0]} has failed: {(done.stdout + done.stderr)[-2000:]}")
    return took


def compared(
    settings: Settings, said: dict[str, Any], url: str, clear: Callable[[], None], ask: Ask, what: str, table: str
) -> Measurement:
    """Go up with both in turn, each time from nothing; `what` is a query of all that was made."""
    program = shutil.which("dbmate")
    if program is None:
        raise RuntimeError("dbmate is not installed: pip install '.[bench]'")
    folder = settings.scratch
    ours_folder, theirs_folder = files(folder)
    variables = folder / "inventory" / "group_vars"
    variables.mkdir(parents=True)
    service = {**said, "folder": str(ours_folder), "production": False}
    (variables / "all.yml").write_text(yaml.safe_dump({"schema_services": {"items": service}}))
    lock = [] if url.startswith("sqlite") else ["--migration-lock"]
    made: set[str] = set()
    applied: set[int] = set()

    def run(argv: list[str], books: str) -> float:
        clear()
        took = timed(argv)
        made.add(repr(ask(what)))
        applied.add(int(ask(f"SELECT count(*) FROM {books}")[0][0]))
        return took

    def ours() -> float:
        command = [sys.executable, "-m", "bascule.cli.main", "schema", "items", "up"]
        return run([*command, "-i", str(folder / "inventory")], "bascule_migration")

    def theirs() -> float:
        command = [program, "--url", url, "--migrations-dir", str(theirs_folder), "--no-dump-schema", *lock]
        return run([*command, "migrate"], "schema_migrations")

    taken = alternate(ours, theirs, settings.rounds)
    return Measurement(
        taken.ratio,
        {"files": FILES, table: len(ask(what)), **taken.figures("bascule", "dbmate")},
        {"both make the same, every time": len(made) == 1, "every file is in the books": applied == {FILES}},
    )


def postgresql(settings: Settings) -> Measurement:
    """Go up on a server of this host's own programs, which flushes at each commit."""
    with server() as way:

        def ask(text: str, database: str = "items") -> list[tuple[Any, ...]]:
            with psycopg.connect(make_conninfo(**{**way, "dbname": database}), autocommit=True) as connection:
                done = connection.execute(text.encode())
                return done.fetchall() if done.description else []

        def clear() -> None:
            ask("DROP DATABASE IF EXISTS items WITH (FORCE)", "postgres")
            ask("CREATE DATABASE items", "postgres")
            ask("CHECKPOINT", "postgres")

        what = (
            "SELECT table_name, column_name, data_type, (SELECT count(*) FROM pg_indexes WHERE tablename = table_name) "
            "FROM information_schema.columns WHERE table_schema = 'public' AND table_name LIKE 'items%' ORDER BY 1, 2"
        )
        said = {"engine": "postgresql", "connection": {**way, "dbname": "items"}}
        url = f"postgres://postgres@/items?host={way['host']}&port={way['port']}&sslmode=disable"
        return compared(settings, said, url, clear, ask, what, "columns")


def sqlite(settings: Settings) -> Measurement:
    """Go up on a file of the scratch folder."""
    path = settings.scratch / "items.sqlite"

    def ask(text: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return connection.execute(text).fetchall()

    def clear() -> None:
        for one in settings.scratch.glob("items.sqlite*"):
            one.unlink()
        ask("VACUUM")

    what = "SELECT name, sql FROM sqlite_schema WHERE name LIKE 'items%' ORDER BY 1"
    said = {"engine": "sqlite", "file": str(path)}
    return compared(settings, said, f"sqlite:{path}", clear, ask, what, "tables_and_indexes")


BENCHMARKS = [
    Benchmark(
        name=f"schema_{engine}",
        what=f"500 migrations up on {title}",
        against="dbmate: its own driver, one transaction for each file, with its lock" if lock else "dbmate",
        limit=1.2,
        better=LOWER,
        measure=measure,
    )
    for engine, title, lock, measure in (
        ("postgresql", "PostgreSQL", True, postgresql),
        ("sqlite", "SQLite", False, sqlite),
    )
]
