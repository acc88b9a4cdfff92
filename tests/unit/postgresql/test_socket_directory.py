"""A server whose socket is elsewhere, on a real PostgreSQL: everything comes in by it, and by nobody else's."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import CommandFailed
from bascule.postgresql.io.cluster import settings
from bascule.postgresql.io.cluster.psql import Session, SqlError
from bascule.postgresql.io.dump import pg_dump, scratch_cluster
from bascule.postgresql.io.rows.schema import Definitions
from bascule.postgresql.spec import SOCKETS, Spec
from bascule.system.io import sealed
from bascule.system.io.process import run

from .test_files import make_spec

PORT, OTHERS_PORT = 15431, 15432
OWNER, STRANGER = "postgres", "nobody"


def _start(programs: str, folder: Path, account: str, port: int, sockets: Path) -> None:
    folder.mkdir()
    shutil.chown(folder, account, pwd.getpwnam(account).pw_gid)
    made = ["--auth=trust", "--no-sync", f"--username={OWNER}"]
    run([f"{programs}/initdb", f"--pgdata={folder}/data", *made], user=account, cwd="/")
    options = f"-c listen_addresses= -c port={port} -c fsync=off -c unix_socket_directories={sockets}"
    start = [f"{programs}/pg_ctl", "start", "--wait", f"--pgdata={folder}/data", f"--log={folder}/log"]
    run([*start, f"--options={options}"], user=account, cwd="/")


@pytest.fixture(scope="module")
def spec() -> Iterator[Spec]:
    """Two servers with their sockets in one world-writable folder: the cluster's, and one that somebody else runs."""
    found = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
    assert found is not None, "PostgreSQL is not installed: make packages"
    assert os.getuid() == 0, "these tests change accounts: run them as root"
    programs, home = str(found.parent), Path(tempfile.mkdtemp(prefix="bascule-sockets-"))
    home.chmod(0o755)
    sockets = home / "s"
    sockets.mkdir()
    sockets.chmod(0o1777)
    try:
        _start(programs, home / "own", OWNER, PORT, sockets)
        _start(programs, home / "other", STRANGER, OTHERS_PORT, sockets)
        yield make_spec(
            port=PORT,
            version=found.parts[-3],
            data_directory=str(home / "own/data"),
            layout={"programs": programs, "socket_directory": str(sockets)},
        )
    finally:
        for name, account in (("own", OWNER), ("other", STRANGER)):
            stop = [f"{programs}/pg_ctl", "stop", "--mode=immediate", f"--pgdata={home / name}/data"]
            run(stop, user=account, cwd="/", check=False)
        shutil.rmtree(home)


def test_a_session_comes_in_where_the_socket_is(spec: Spec) -> None:
    with Session(spec.port, spec.way_in) as session:
        assert session.value("SELECT current_setting('data_directory')") == spec.data
    with pytest.raises(SqlError, match="No such file"):
        Session(spec.port, make_spec().way_in)
    assert make_spec().way_in == {"PGHOST": SOCKETS, "PGREQUIREPEER": OWNER}


def test_a_socket_of_somebody_else_is_not_trusted(spec: Spec) -> None:
    """In a folder where everybody may put a socket another account listens, and lets everybody in."""
    way = {"PGHOST": spec.socket_directory}
    with Session(OTHERS_PORT, way) as session:
        assert session.value("SELECT 1") == 1
    with pytest.raises(SqlError, match="requirepeer specifies"):
        Session(OTHERS_PORT, spec.way_in)


def test_dumps_and_definitions_come_in_there_too(spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(spec.port, spec.way_in) as session:
        session.execute("CREATE TABLE IF NOT EXISTS public.here (id int PRIMARY KEY)")
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        snapshot = str(session.value("SELECT pg_export_snapshot()"))
        found = Definitions(spec, spec.port).database("postgres", snapshot, 5)
    assert "here" in str(found)
    assert Definitions(spec, spec.port).cluster()
    # In the place of age, which this machine need not have, stands what passes everything on.
    age = tmp_path / "bin/age"
    age.parent.mkdir()
    age.write_text("#!/bin/sh\nexec cat\n")
    age.chmod(0o755)
    monkeypatch.setenv("PATH", f"{age.parent}:{os.environ['PATH']}")
    argv = pg_dump.as_owner(spec, pg_dump.dump_globals(spec))
    sealed.seal(argv, tmp_path / "globals.age", ["age1own"], spec.way_in)
    assert f"ALTER ROLE {OWNER} WITH SUPERUSER" in (tmp_path / "globals.age").read_text()
    stranger = make_spec(port=OTHERS_PORT, layout=dict(spec.layout))
    argv = pg_dump.as_owner(stranger, pg_dump.dump_globals(stranger))
    with pytest.raises(CommandFailed, match="requirepeer specifies"):
        sealed.seal(argv, tmp_path / "x.age", ["age1own"], stranger.way_in)
    with pytest.raises(CommandFailed, match="requirepeer specifies"):
        Definitions(stranger, stranger.port).cluster()


def test_what_is_restored_for_a_moment_has_its_socket_there(spec: Spec, tmp_path: Path) -> None:
    with scratch_cluster.Scratch(spec, ["--auth=trust"]) as scratch:
        plain = tmp_path / "globals.sql"
        plain.write_text("CREATE ROLE nadia;\n")
        pg_dump.restore_globals(spec, plain, scratch.port)
        assert (Path(spec.socket_directory) / f".s.PGSQL.{scratch.port}").exists()
        with scratch.session() as session:
            assert session.value("SELECT count(*) FROM pg_roles WHERE rolname = 'nadia'") == 1


def test_the_running_server_is_asked_where_its_sockets_are(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bascule.postgresql.io.cluster.settings.units.shown", lambda unit, *_: {})

    def sockets(of: Spec) -> list[str]:
        with Session(spec.port, spec.way_in) as session:
            return [line for line in settings.unread_by_server(session, of) if "unix_socket_directories" in line]

    assert sockets(spec) == []
    elsewhere: dict[str, Any] = {**spec.layout, "socket_directory": "/srv/sockets"}
    (found,) = sockets(make_spec(port=PORT, data_directory=spec.data, layout=elsewhere))
    assert f"unix_socket_directories is '{spec.socket_directory}': Bascule comes in by /srv/sockets" in found
    assert f"set postgresql_replication_layouts for db-mtp: {{socket_directory: {spec.socket_directory}}}" in found
