"""Through a real PgBouncer that lends a server for one transaction: nothing rests on a session, and none is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from bascule.schema import sql
from bascule.schema.io.runner import Order, Runner
from bascule.schema.store import SchemaError

from .conftest import Server, service, write
from .test_postgresql import FILES, INDEX

PORT = "6432"


@pytest.fixture
def pooled(server: Server, database: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None, "PgBouncer is not installed: make packages"
    folder = server.folder / f"pooler-{database['dbname']}"
    folder.mkdir()
    lines = [
        "[databases]",
        f"* = host={server.folder} port=5432",
        "[pgbouncer]",
        f"listen_port = {PORT}",
        f"unix_socket_dir = {folder}",
        "auth_type = trust",
        f"auth_file = {folder}/users",
        "pool_mode = transaction",
        "default_pool_size = 1",
        "reserve_pool_size = 2",
        "reserve_pool_timeout = 1",
    ]
    (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
    (folder / "users").write_text('"owner" ""\n"grace" ""\n')
    if not os.getuid():
        # Also with a umask that leaves others nothing.
        for one in (folder, *folder.iterdir()):
            shutil.chown(one, "postgres", "postgres")
    user = ["runuser", "-u", "postgres", "--"] if not os.getuid() else []
    process = subprocess.Popen(
        [*user, program, "-q", str(folder / "pgbouncer.ini")], cwd="/", stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not (folder / f".s.PGSQL.{PORT}").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield {**database, "host": str(folder), "port": PORT}
    finally:
        process.terminate()
        process.wait()


def test_up_and_the_lock_through_a_pooler(
    server: Server, database: dict[str, str], pooled: dict[str, str], tmp_path: Path
) -> None:
    one = service(
        "auth", write(tmp_path / "files", {**FILES, **INDEX}), engine=sql.POSTGRESQL, connection=pooled, direct=database
    )
    said: list[str] = []
    runner = Runner("auth", {"auth": one}, said.append)
    store = runner.store["auth"]
    token = store.take({"user": "ada", "host": "elsewhere", "pid": "7"}, None)
    # The session that took it is gone, and the server it was lent works for others.
    with psycopg.connect(make_conninfo(**pooled), autocommit=True) as connection:
        connection.execute("SELECT 1")
    with pytest.raises(SchemaError, match="ada on elsewhere, process 7, since"):
        runner.run(Order("up"))
    store.release(token)
    assert runner.run(Order("up")) == 3
    # A file has set the search path of its session: whoever is lent that server next sees nothing of it.
    with psycopg.connect(make_conninfo(**pooled), autocommit=True) as connection:
        for _ in range(3):
            assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)
    assert [row[0] for row in server.sql("SELECT state FROM bascule_migration", database["dbname"])] == ["applied"] * 3
