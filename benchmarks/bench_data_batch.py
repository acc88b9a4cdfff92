"""A data migration that a kill neither doubles nor misses, beside a bare loop of psycopg's that knows nothing.

The loop reads by a server-side cursor in one transaction and writes by COPY in another, a commit for each batch, with
the same Python transform. It keeps no cursor, no keys and no digest, and looks for no late rows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from bascule.data import declared
from bascule.data.books import TABLES as BOOKS
from bascule.data.io import load
from bascule.data.io.engine import Engine

from .harness import LOWER, Benchmark, Measurement, Settings, alternate

ROWS, ROWS_FULL = 200_000, 2_000_000
BATCH = 10_000
EXAMPLE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "omnisphere_users.py"
TABLES = """
CREATE TABLE old_users (id integer PRIMARY KEY, email text NOT NULL, first_name text NOT NULL, last_name text NOT NULL,
  status text NOT NULL, created_at timestamp NOT NULL);
CREATE TABLE users (id uuid PRIMARY KEY, legacy_id integer UNIQUE, email text NOT NULL, full_name text NOT NULL,
  active boolean NOT NULL, created_at timestamptz NOT NULL);
INSERT INTO old_users SELECT i, ' User' || i || '@Example.org', 'Ada' || i, 'Lovelace',
  (ARRAY['active', 'inactive', 'banned'])[1 + i % 3], timestamp '2024-01-15 08:00' + i * interval '97 seconds'
FROM generate_series(1, {rows}) AS i;
VACUUM (FREEZE, ANALYZE) old_users;
"""
DIGEST = "SELECT count(*), sum(hashtextextended(users::text, 0)::numeric) FROM users"
COLUMNS = ("id", "legacy_id", "email", "full_name", "active", "created_at")


@contextmanager
def server() -> Iterator[dict[str, str]]:
    """A server of this host's own programs, at a socket of its own; what it writes is flushed at each commit."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin/initdb")).parent
    # The user of the server has to reach it: the scratch folder is its owner's alone.
    folder = Path(tempfile.mkdtemp(prefix="bascule-bench-pg-"))
    user = []
    if not os.getuid():
        shutil.chown(folder, "postgres", "postgres")
        user = ["runuser", "-u", "postgres", "--"]

    def run(program: str, *words: str) -> None:
        subprocess.run([*user, str(programs / program), *words], check=True, cwd="/", stdout=subprocess.DEVNULL)

    data = f"{folder}/data"
    run("initdb", "-D", data, "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c shared_buffers=256MB -c max_wal_size=4GB"
    run("pg_ctl", "start", "-w", "-D", data, "-l", f"{folder}/log", "-o", options)
    try:
        yield {"host": str(folder), "port": "5432", "user": "postgres", "dbname": "postgres"}
    finally:
        run("pg_ctl", "stop", "-m", "immediate", "-D", data)
        shutil.rmtree(folder)


def measure(settings: Settings) -> Measurement:
    """Fill the same empty table from the same old one, in turn."""
    rows = ROWS_FULL if settings.full else ROWS
    with server() as way:

        def sql(text: str) -> list[tuple[Any, ...]]:
            with psycopg.connect(make_conninfo(**way), autocommit=True) as connection:
                for statement in filter(str.strip, text.split(";")):
                    done = connection.execute(statement.encode())
                return done.fetchall() if done.description else []

        sql(TABLES.format(rows=rows))
        said = {"engine": "postgresql", "module": str(EXAMPLE), "connection": way, "rows": [BATCH, BATCH]}
        one = declared.read({"users": said}, "the benchmark")["users"]
        migration = load.migration(one)
        digests: set[tuple[Any, ...]] = set()

        def clear() -> None:
            sql(f"TRUNCATE users; DROP TABLE IF EXISTS {', '.join(BOOKS)}; CHECKPOINT")

        def ours() -> float:
            clear()
            begun = time.monotonic()
            book = Engine(load.store(one, migration), lambda _: None).run()
            took = time.monotonic() - begun
            if (book.state, book.rows) != ("finished", rows):
                raise RuntimeError(f"not every row was done: {book}")
            digests.add(sql(DIGEST)[0])
            return took

        def theirs() -> float:
            clear()
            begun = time.monotonic()
            bare(way, migration.select(), migration.transform)
            took = time.monotonic() - begun
            digests.add(sql(DIGEST)[0])
            return took

        ours(), theirs()
        taken = alternate(ours, theirs, settings.rounds)
        return Measurement(
            taken.ratio,
            {
                "rows": rows,
                "rows_in_a_batch": BATCH,
                **taken.figures("engine", "loop"),
                "rows_per_second": round(rows / taken.our_median),
            },
            {"both write the same rows, every time": len(digests) == 1},
        )


def bare(way: dict[str, str], select: str, transform: Any) -> None:
    """Copy as somebody would who wants nothing but speed."""
    statement = f"COPY users ({', '.join(COLUMNS)}) FROM STDIN"
    with (
        psycopg.connect(make_conninfo(**way)) as reading,
        psycopg.connect(make_conninfo(**way)) as writing,
        reading.cursor("source", row_factory=dict_row) as cursor,
    ):
        cursor.execute(select.encode())
        while rows := cursor.fetchmany(BATCH):
            with writing.cursor() as target, target.copy(statement.encode()) as copy:
                for row in rows:
                    made = transform(row)
                    copy.write_row([made[name] for name in COLUMNS])
            writing.commit()


BENCHMARK = Benchmark(
    name="data_batch",
    what="a data migration that goes on after a kill",
    against="a bare psycopg loop: server-side cursor, COPY in batches, no checkpoints",
    limit=1.3,
    better=LOWER,
    measure=measure,
)
