"""A PostgreSQL server in a container of its own, with one table of ordinary rows and a copy of its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
IMAGE = "localhost/bascule-lab:latest"
ROWS, ROWS_FULL = 2_000_000, 10_000_000
ONE, OTHER = "rows_one", "rows_other"
# As the lab's table of its students' progress.
TABLE = """
create table public.rows (
    id uuid primary key, student int not null, course int not null, percent int not null, at timestamptz not null
);
insert into public.rows
select md5('progress' || i)::uuid, 1 + i * 31 % 12000, 1 + i % 120, i * 13 % 101,
       timestamptz '2025-01-01 00:00:00+00' + i * interval '61.5 seconds'
from generate_series(1, {rows}::bigint) as i;
create extension pgcmp;
"""
CONFIG = "shared_buffers = '512MB'\nmax_wal_size = '4GB'\nsynchronous_commit = off\nautovacuum = off\n"


class Server:
    """The container, from `with` to the end of it."""

    def __init__(self, name: str, rows: int) -> None:
        self.name = f"bench-{name}"
        self.rows = rows
        self.cores = len(os.sched_getaffinity(0))
        self._env = dict(os.environ)

    def __enter__(self) -> Server:
        settings = [sys.executable, str(ROOT / "tests/lab/lab.py"), "settings"]
        self._env["CONTAINERS_CONF"] = self._do(settings, timeout=120).split()[-1]
        self._remove()
        try:
            self._podman("run", "--detach", "--name", self.name, "--systemd=always", "--network=none", IMAGE)
            self.run(["systemctl", "is-system-running", "--wait"], check=False)
            self._podman("cp", str(ROOT / "python_helpers"), f"{self.name}:/opt/bench")
            self._podman("cp", str(ROOT / "benchmarks/rows_side.py"), f"{self.name}:/opt/rows_side.py")
            self.run(
                ["bash", "-ec", "pg_dropcluster 15 main; pg_createcluster 15 main --locale C.UTF-8 -- --data-checksums"]
            )
            self.run(["tee", "/etc/postgresql/15/main/conf.d/bench.conf"], CONFIG)
            self.run(["systemctl", "start", "postgresql@15-main"])
            self.sql(f"create database {ONE}")
            self.sql(TABLE.format(rows=self.rows), ONE)
            self.sql("vacuum (freeze, analyze) public.rows; checkpoint", ONE)
            # A copy of the files: every row lies where it lies in the other, as at a standby.
            self.sql(f"create database {OTHER} template {ONE} strategy file_copy")
            self.sql("checkpoint")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def run(self, argv: Sequence[str], stdin: str = "", *, check: bool = True, timeout: float = 1800) -> str:
        """Run a command in the container."""
        command = ["podman", "exec", "-i", "--env", "PYTHONPATH=/opt/bench", self.name, *argv]
        return self._do(command, stdin, check=check, timeout=timeout)

    def sql(self, text: str, database: str = "postgres") -> str:
        """Run SQL as the owner of the cluster."""
        psql = ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database]
        return self.run(psql, text).strip()

    def digest(self, databases: Sequence[str], mode: str, workers: int) -> tuple[float, list[dict[str, Any]]]:
        """Digest the table in each database, all of them at the same time; return how long all of it took."""
        sides = " ".join(
            f"(cd /; python3 /opt/rows_side.py {database} {mode} {workers} >/run/{database}.json) & p{number}=$!;"
            for number, database in enumerate(databases)
        )
        waits = " ".join(f"wait $p{number};" for number in range(len(databases)))
        seconds = self.clock(f"{sides} {waits}")
        found = [json.loads(self.run(["cat", f"/run/{database}.json"])) for database in databases]
        if any(side["status"] != "done" or side["rows"] != self.rows for side in found):
            raise RuntimeError(f"not every row was digested: {found}")
        return seconds, found

    def clock(self, script: str) -> float:
        """Run a script and return how long it took, by the clock in the container."""
        lines = ["cd /", "begun=$EPOCHREALTIME", script, "ended=$EPOCHREALTIME", 'echo "$begun $ended"']
        begun, ended = self.run(["bash", "-ec", "\n".join(lines)]).split()[-2:]
        return float(ended) - float(begun)

    def _podman(self, *argv: str) -> None:
        self._do(["podman", *argv], timeout=300)

    def _remove(self) -> None:
        self._podman("rm", "--force", "--ignore", "--time", "0", self.name)

    def _do(self, argv: Sequence[str], stdin: str = "", *, check: bool = True, timeout: float) -> str:
        done = subprocess.run(
            argv, input=stdin, text=True, capture_output=True, timeout=timeout, check=False, env=self._env
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(argv)[:200]}: {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
        return done.stdout
