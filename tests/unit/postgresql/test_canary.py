"""The canary on a real primary with a real standby: it comes out of the log, or it is said why not."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guard.state import GuardState
from bascule.postgresql.io.cluster import cluster
from bascule.postgresql.io.cluster.psql import Session, SqlError
from bascule.postgresql.io.standby import canary
from bascule.postgresql.spec import Spec
from bascule.system.io.process import run

from .test_files import make_spec

OPEN_PORT, CLOSED_PORT = 15441, 15442
OPEN, CLOSED = "db-tls", "db-mtp"
DB = "accounts_db"


class Pair:
    """Two servers: a primary, and a standby that follows it."""

    def __init__(self, home: Path, programs: Path) -> None:
        self.programs, self.home = str(programs), home
        more = {"version": programs.parts[-2], "layout": {"programs": self.programs, "socket_directory": str(home)}}
        self.specs: dict[str, Spec] = {
            OPEN: make_spec(side=OPEN, port=OPEN_PORT, data_directory=str(home / "open"), **more),
            CLOSED: make_spec(side=CLOSED, port=CLOSED_PORT, data_directory=str(home / "closed"), **more),
        }
        self.guards = {
            OPEN: GuardState(DB, OPEN, status="open"),
            CLOSED: GuardState(DB, CLOSED, status="closed"),
        }

    def do(self, program: str, *words: str) -> None:
        run([f"{self.programs}/{program}", *words], user="postgres", cwd="/")

    def start(self, side: str) -> None:
        spec = self.specs[side]
        options = f"-c listen_addresses= -c port={spec.port} -c fsync=off -c unix_socket_directories={self.home}"
        self.do("pg_ctl", "start", "--wait", f"--pgdata={spec.data}", f"--log={spec.data}.log", f"--options={options}")

    def stop(self, side: str) -> None:
        words = ["stop", "--mode=immediate", f"--pgdata={self.specs[side].data}"]
        run([f"{self.programs}/pg_ctl", *words], user="postgres", cwd="/", check=False)

    def session(self, side: str) -> Session:
        return Session(self.specs[side].port, self.specs[side].way_in)


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    found = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
    assert found is not None, "PostgreSQL is not installed: make packages"
    assert os.getuid() == 0, "these tests change accounts: run them as root"
    home = Path(tempfile.mkdtemp(prefix="bascule-canary-"))
    shutil.chown(home, "postgres", "postgres")
    home.chmod(0o755)
    made = Pair(home, found.parent)
    spec = made.specs[OPEN]
    try:
        made.do("initdb", f"--pgdata={spec.data}", "--auth=trust", "--no-sync", "--username=postgres")
        made.start(OPEN)
        with made.session(OPEN) as session:
            session.execute([f"CREATE ROLE {spec.replication_user} REPLICATION LOGIN", "CREATE ROLE alice LOGIN"])
        way = f"host={home} port={spec.port} user={spec.replication_user} application_name={spec.slot}"
        made.do("pg_basebackup", f"--dbname={way}", f"--pgdata={made.specs[CLOSED].data}", "-R", "--checkpoint=fast")
        made.start(CLOSED)
        yield made
    finally:
        for side in (OPEN, CLOSED):
            made.stop(side)
        shutil.rmtree(home)


@pytest.fixture
def pair(servers: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pair:
    monkeypatch.setattr(cluster, "HOME", tmp_path)
    monkeypatch.setattr(canary, "load_spec", lambda component, side: servers.specs[side])
    monkeypatch.setattr(canary, "store", SimpleNamespace(read=lambda component, side: servers.guards[side]))
    return servers


def test_it_comes_out_at_the_other_side_and_is_one_row_that_nobody_else_reads(pair: Pair) -> None:
    first, second = (canary.write(DB, OPEN, 30) for _ in range(2))
    assert first["mark"] != second["mark"]
    assert 0 < first["seconds"] < 30
    assert canary.is_seen(DB, CLOSED, second["mark"])
    assert not canary.is_seen(DB, CLOSED, first["mark"]), "what is there now is not what was written then"
    assert not canary.is_seen(DB, CLOSED, "' OR true --")
    with pair.session(OPEN) as session:
        assert session.value(f"SELECT count(*) FROM {canary.TABLE}") == 1
        session.execute("SET ROLE alice")
        with pytest.raises(SqlError, match="permission denied for schema bascule"):
            session.value(f"SELECT count(*) FROM {canary.TABLE}")


def test_it_is_taken_away_with_its_schema_and_nothing_of_anybody_else(pair: Pair) -> None:
    canary.write(DB, OPEN, 30)
    with pair.session(OPEN) as session:
        session.execute("CREATE TABLE bascule.of_a_user ()")
        assert canary.remove(session) == ["table bascule.canary"]
        assert session.value("SELECT count(*) FROM pg_class WHERE relname = 'of_a_user'") == 1
        session.execute("DROP TABLE bascule.of_a_user")
        assert canary.remove(session) == []
        session.execute("CREATE TABLE bascule.canary (theirs int)")
        assert canary.remove(session) == [], "a table of that name that is not ours stays"
        session.execute("DROP TABLE bascule.canary")
    canary.write(DB, OPEN, 30)
    with pair.session(OPEN) as session:
        assert canary.remove(session) == ["table bascule.canary"]
        assert session.value("SELECT to_regnamespace('bascule') IS NULL") is True


def test_no_triggers_of_users_see_it_and_a_database_of_publications_is_left_alone(pair: Pair) -> None:
    with pair.session(OPEN) as session:
        session.execute(
            [
                "CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql "
                "AS 'BEGIN RAISE EXCEPTION ''no changes here''; END'",
                "CREATE EVENT TRIGGER no_changes ON ddl_command_start EXECUTE FUNCTION public.refuse()",
            ]
        )
    try:
        assert canary.write(DB, OPEN, 30)["seconds"] is not None
    finally:
        with pair.session(OPEN) as session:
            session.execute(["DROP EVENT TRIGGER no_changes", "CREATE PUBLICATION everything FOR ALL TABLES"])
    with pytest.raises(BasculeError, match="a publication FOR ALL TABLES") as caught:
        canary.write(DB, OPEN, 30)
    assert caught.value.state == "no canary was written or seen"
    with pair.session(OPEN) as session:
        session.execute("DROP PUBLICATION everything")


def test_a_standby_that_replays_nothing_is_no_arrival(pair: Pair) -> None:
    with pair.session(CLOSED) as standby:
        standby.execute("SELECT pg_wal_replay_pause()")
        try:
            written = canary.write(DB, OPEN, 0.5)
            assert written["seconds"] is None
            assert not canary.is_seen(DB, CLOSED, written["mark"])
        finally:
            standby.execute("SELECT pg_wal_replay_resume()")


@pytest.mark.parametrize(
    ("side", "guard", "why"),
    [
        (OPEN, {"status": "open", "frozen": True}, "db-tls to be open to users"),
        (OPEN, {"status": "closed"}, "db-tls to be open to users"),
        (CLOSED, {"status": "open"}, "db-mtp to be closed"),
    ],
)
def test_only_who_is_open_writes_and_only_who_is_closed_looks(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, side: str, guard: dict[str, Any], why: str
) -> None:
    monkeypatch.setitem(pair.guards, side, GuardState(DB, side, **guard))
    with pytest.raises(BasculeError, match=why):
        canary.write(DB, OPEN, 1) if side == OPEN else canary.is_seen(DB, CLOSED, "m")


def test_what_the_server_or_the_host_refuses_is_said(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pair.guards, OPEN, GuardState(DB, OPEN, status="closed"))
    monkeypatch.setattr(canary, "load_spec", lambda component, side: pair.specs[OPEN])
    with pytest.raises(BasculeError, match="a server that replays no log"):
        canary.is_seen(DB, OPEN, "m")
    monkeypatch.setattr(canary, "load_spec", lambda component, side: make_spec(side=side, port=15999))
    monkeypatch.setitem(pair.guards, OPEN, GuardState(DB, OPEN, status="open"))
    with pytest.raises(SqlError, match="15999"):
        canary.write(DB, OPEN, 1)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(OSError, match="psql"):
        canary.write(DB, OPEN, 1)
