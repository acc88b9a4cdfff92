"""Services on real databases: SQLite, and a PostgreSQL cluster and a MariaDB server of this host's own programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from bascule.schema import services

USERS: dict[str, bytes] = {
    "001_users.up.sql": b"""CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO users VALUES (1, 'a;b');
""",
    "001_users.down.sql": b"DROP TABLE users;\n",
    "002_mail.up.sql": b"""-- two statements; one transaction
ALTER TABLE users ADD COLUMN mail TEXT;
CREATE INDEX by_mail ON users (mail);
""",
    "002_mail.down.sql": b"DROP INDEX by_mail;\nALTER TABLE users DROP COLUMN mail;\n",
}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a folder, which is made."""
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def service(name: str, folder: Path, **settings: Any) -> services.Service:
    """Return a service that an inventory would declare so."""
    said = {"folder": str(folder), "backups": str(folder.parent / "backups"), **settings}
    return services.read({name: said}, "the test")[name]


class Server:
    """A PostgreSQL server that listens at a socket of its own, and lets everybody in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.way = {"host": str(folder), "port": "5432", "user": "owner", "dbname": "postgres"}

    def sql(self, text: str, database: str = "postgres", user: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        way = make_conninfo(**{**self.way, "dbname": database, "user": user})
        with psycopg.connect(way, autocommit=True) as connection:
            done = connection.execute(text.encode())
            return done.fetchall() if done.description else []


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    programs = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
    assert programs is not None, "PostgreSQL is not installed: make packages"
    folder = Path(tempfile.mkdtemp(prefix="bascule-pg-"))
    user = []
    if not os.getuid():
        shutil.chown(folder, "postgres", "postgres")
        user = ["runuser", "-u", "postgres", "--"]
    folder.chmod(0o755)
    data = f"{folder}/data"

    def run(program: str, *words: str) -> None:
        subprocess.run([*user, str(programs.parent / program), *words], check=True, cwd="/", stdout=subprocess.DEVNULL)

    run("initdb", "-D", data, "--auth=trust", "--no-sync", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c max_connections=30"
    run("pg_ctl", "start", "-w", "-D", data, "-l", f"{folder}/log", "-o", options)
    try:
        found = Server(folder)
        found.sql("CREATE ROLE owner LOGIN CREATEDB")
        found.sql("CREATE ROLE nobody LOGIN")
        yield found
    finally:
        run("pg_ctl", "stop", "-m", "immediate", "-D", data)
        shutil.rmtree(folder)


@pytest.fixture
def database(server: Server) -> Iterator[dict[str, str]]:
    """A fresh database of the role that runs migrations, and the way to it."""
    name = f"test_{os.urandom(4).hex()}"
    server.sql(f"CREATE DATABASE {name} OWNER owner")
    try:
        yield {**server.way, "dbname": name}
    finally:
        server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def socket() -> Iterator[str]:
    """A MariaDB server of this test's own, at a socket of its own; root comes in without a password."""
    program = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None, "MariaDB is not installed: make packages"
    folder = Path(tempfile.mkdtemp(prefix="bascule-maria-"))
    if not os.getuid():
        shutil.chown(folder, "mysql", "mysql")
    user = ["--user=mysql"] if not os.getuid() else []
    install = ["mariadb-install-db", "--no-defaults", *user, f"--datadir={folder}/data", "--skip-test-db"]
    subprocess.run([*install, "--auth-root-authentication-method=normal"], check=True, stdout=subprocess.DEVNULL)
    options = [
        f"--datadir={folder}/data",
        f"--socket={folder}/socket",
        "--skip-networking",
        "--event-scheduler=ON",
        f"--pid-file={folder}/pid",
    ]
    options += [
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-flush-method=nosync",
        "--skip-sync-frm",
        "--innodb-buffer-pool-size=32M",
        f"--log-error={folder}/log",
    ]
    process = subprocess.Popen([program, "--no-defaults", *user, *options])
    try:
        ends = time.monotonic() + 120
        while not (folder / "socket").exists():
            assert process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.1)
        yield str(folder / "socket")
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)
