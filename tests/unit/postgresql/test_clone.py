"""A clone of a real standby is promoted and followed from the other side, over TLS; nothing real is touched by it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.agent import commands
from bascule.errors import BasculeError
from bascule.guard.state import GuardState
from bascule.postgresql import clone, conf
from bascule.postgresql.io.clone import copying, place, trial
from bascule.postgresql.io.cluster.cluster import Cluster
from bascule.postgresql.io.cluster.psql import Session
from bascule.postgresql.spec import Spec
from bascule.system.io import units
from bascule.system.io.process import run

from .test_files import make_spec

OPEN, CLOSED, DB = "db-tls", "db-mtp", "accounts_db"
PORTS = {OPEN: 15461, CLOSED: 15462}
CLONE = 15463
NAME, ACCOUNT, SECRET = "db.mtp.test", "bascule_replication", "of this test only"


class Units:
    """Stands in for systemd, which is not here: a process for a unit, and after its end what the unit says."""

    def __init__(self) -> None:
        self.running: dict[str, tuple[Any, list[str]]] = {}
        self.started: list[list[str]] = []

    def start(self, unit: str, argv: Sequence[str], *, properties: Sequence[str]) -> None:
        assert not self.is_running(unit)
        self.started.append(list(argv))
        after = next(one for one in properties if one.startswith("ExecStopPost=")).split()[2:]
        words = list(argv[len(units.AGENT) :])
        process = multiprocessing.get_context("fork").Process(target=commands.run, args=(words[0], words[1:]))
        process.start()
        self.running[unit] = (process, after)

    def is_running(self, unit: str) -> bool:
        if unit not in self.running:
            return False
        process, after = self.running[unit]
        if process.is_alive():
            return True
        process.join()
        del self.running[unit]
        commands.run(after[0], after[1:])
        return False

    def stop(self, unit: str) -> bool:
        if not self.is_running(unit):
            return False
        self.running[unit][0].terminate()
        self.running[unit][0].join()
        return not self.is_running(unit)

    def last_messages(self, unit: str) -> str:
        return ""


class Sides:
    """Two servers: a primary that serves, and its standby, which lets nobody in; with what prepare writes for both."""

    def __init__(self, home: Path, programs: Path) -> None:
        self.programs, self.home = programs, home
        self.specs: dict[str, Spec] = {}
        for side, other in ((OPEN, CLOSED), (CLOSED, OPEN)):
            config = home / f"{side}-config"
            (config / "bascule-tls").mkdir(parents=True)
            self.specs[side] = make_spec(
                side=side,
                peer_side=other,
                version=programs.parts[-2],
                port=PORTS[side],
                peer_port=PORTS[other],
                peer_name=NAME,
                peer_address="127.0.0.1",
                address="127.0.0.1",
                replication_user=ACCOUNT,
                data_directory=str(home / side),
                layout={
                    "programs": str(programs),
                    "socket_directory": str(home),
                    "config_file": str(config / "postgresql.conf"),
                },
            )
        self.units = Units()

    def do(self, program: str, *words: str) -> None:
        run([f"{self.programs}/{program}", *words], user="postgres", cwd="/")

    def configure(self, side: str, extra: Sequence[str] = ()) -> None:
        spec = self.specs[side]
        tls = Path(conf.tls_path(spec, ""))
        for name, made in (("host.crt", "cert"), ("ca.crt", "cert"), ("host.key", "key")):
            shutil.copy(self.home / f"{made}.pem", tls / name)
        entry = f"*:{spec.peer_port}:*:{ACCOUNT}:{SECRET}\n"
        Path(conf.passfile(spec)).write_text(entry)
        Path(spec.config, "pg_hba.conf").write_text("local all all peer\nlocal replication all peer\n")
        lines = [
            "listen_addresses = ''",
            f"port = {spec.port}",
            f"unix_socket_directories = '{self.home}'",
            f"hba_file = '{spec.config}/pg_hba.conf'",
            "ssl = on",
            f"ssl_cert_file = '{tls}/host.crt'",
            f"ssl_key_file = '{tls}/host.key'",
            "fsync = off",
            # What of the cluster's own must not come to life in a copy.
            f"archive_command = 'cp %p {self.home}/archive/%f'",
            "archive_mode = always",
            "max_connections = 37",
            *extra,
        ]
        Path(spec.config_file).write_text("\n".join(lines) + "\n")
        run(["chown", "-R", "postgres:postgres", spec.config])
        run(["chmod", "-R", "u=rwX,go=", spec.config])

    def start(self, side: str) -> None:
        spec = self.specs[side]
        words = ["--wait", f"--pgdata={spec.data}", f"--log={spec.data}.log"]
        self.do("pg_ctl", "start", *words, f"--options=-c config_file={spec.config_file}")

    def session(self, side: str) -> Session:
        return Session(PORTS[side], self.specs[side].way_in)


@pytest.fixture(scope="module")
def servers() -> Iterator[Sides]:
    found = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
    assert found is not None, "PostgreSQL is not installed: make packages"
    assert os.getuid() == 0, "these tests change accounts: run them as root"
    home = Path(tempfile.mkdtemp(prefix="bascule-clone-"))
    (home / "archive").mkdir()
    for path in (home, home / "archive"):
        path.chmod(0o755)
        shutil.chown(path, "postgres", "postgres")
    sides = Sides(home, found.parent)
    try:
        run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "30", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"),
                *("-keyout", f"{home}/key.pem", "-out", f"{home}/cert.pem"),
            ]
        )
        sides.configure(OPEN)
        own, other = sides.specs[OPEN], sides.specs[CLOSED]
        sides.do("initdb", f"--pgdata={own.data}", "--auth=peer", "--no-sync", "--username=postgres")
        sides.start(OPEN)
        with sides.session(OPEN) as session:
            session.execute(
                [
                    f"CREATE ROLE {ACCOUNT} REPLICATION LOGIN PASSWORD '{SECRET}'",
                    f"SELECT pg_create_physical_replication_slot('{other.slot}', true)",
                    "CREATE TABLE public.kept AS SELECT generate_series(1, 5000) AS n",
                    # Whoever promotes a copy of this would take changes away from its publisher.
                    "CREATE SUBSCRIPTION of_others CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION p"
                    " WITH (connect = false)",
                    "ALTER SYSTEM SET archive_timeout = '17s'",
                ]
            )
        way = f"host={home} port={own.port} user=postgres"
        sides.do("pg_basebackup", f"--dbname={way}", f"--pgdata={other.data}", "--checkpoint=fast")
        sides.configure(CLOSED, [f"primary_conninfo = '{way}'", f"primary_slot_name = '{other.slot}'"])
        Path(other.data, "standby.signal").touch()
        sides.start(CLOSED)
        yield sides
    finally:
        for side in (OPEN, CLOSED):
            words = ["stop", "--mode=immediate", f"--pgdata={sides.specs[side].data}"]
            run([f"{found.parent}/pg_ctl", *words], user="postgres", cwd="/", check=False)
            place.remove(sides.specs[side])
        shutil.rmtree(home)


@pytest.fixture
def sides(servers: Sides, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sides]:
    """The sides before a move; guards lie in files, so that a unit sees what changes."""
    servers.units = Units()
    guards = {OPEN: GuardState(DB, OPEN, status="open"), CLOSED: GuardState(DB, CLOSED, status="closed")}

    def read(component: str, side: str) -> GuardState:
        return GuardState(DB, side, status="open") if (tmp_path / "another").exists() else guards[side]

    for side in (OPEN, CLOSED):
        (tmp_path / side / DB).mkdir(parents=True)
    monkeypatch.setattr(trial, "store", SimpleNamespace(read=read))
    monkeypatch.setattr(trial, "units", servers.units)
    monkeypatch.setattr(servers.units, "AGENT", units.AGENT, raising=False)
    monkeypatch.setattr(trial, "HOME", tmp_path)
    yield servers
    for side in (OPEN, CLOSED):
        on(servers, monkeypatch, side)
        trial.end(DB, side)


def on(sides: Sides, monkeypatch: pytest.MonkeyPatch, side: str) -> None:
    """Be on the host of a side."""
    monkeypatch.setattr(trial, "load_spec", lambda component, _="": sides.specs[side])
    monkeypatch.setattr(trial, "UNIT", f"clone-{side}")
    monkeypatch.setattr(trial, "NOTES", f"{side}.json")


def seen(sides: Sides) -> dict[str, Any]:
    """Return what a trial must leave as it is: of both servers, of their files, and of what lies beside them."""
    found: dict[str, Any] = {"beside": sorted(path.name for path in sides.home.iterdir())}
    for side, spec in sides.specs.items():
        files = [path for path in Path(spec.config).rglob("*") if path.is_file()]
        files += [Path(spec.data, name) for name in ("postgresql.auto.conf", "postmaster.pid", "postmaster.opts")]
        found[f"files of {side}"] = {
            str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode, path.stat().st_ino)
            for path in files
        }
        found[f"signals of {side}"] = sorted(path.name for path in Path(spec.data).glob("*.signal"))
        with sides.session(side) as session:
            found[f"server of {side}"] = session.query(
                "SELECT pg_postmaster_start_time()::text AS began, pg_is_in_recovery() AS standby, "
                "(SELECT timeline_id FROM pg_control_checkpoint()) AS timeline, "
                "(SELECT jsonb_agg(datname ORDER BY datname) FROM pg_database) AS databases, "
                "(SELECT jsonb_agg(slot_name || slot_type || active::text) FROM pg_replication_slots) AS slots, "
                "(SELECT jsonb_agg(pid || application_name) FROM pg_stat_replication) AS followers, "
                "(SELECT pid FROM pg_stat_wal_receiver) AS follows, (SELECT count(*) FROM public.kept) AS rows"
            )
    return found


def led(sides: Sides, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> dict[str, Any]:
    on(sides, monkeypatch, CLOSED)
    return trial.lead(DB, CLOSED, **{"port": CLONE, "limit": "4GB", "timeout": 120, **changes})


def followed(sides: Sides, monkeypatch: pytest.MonkeyPatch, begun: dict[str, Any], **changes: Any) -> dict[str, Any]:
    on(sides, monkeypatch, OPEN)
    given = {"port": CLONE, "size": begun["bytes"], "mark": begun["mark"], "limit": "4GB", "rate": "", "timeout": 120}
    return trial.follow(DB, OPEN, **{**given, **changes})


def ended(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found = []
    for side in (OPEN, CLOSED):
        on(sides, monkeypatch, side)
        found.append(trial.end(DB, side))
    return found


def refused(sides: Sides, **words: str) -> str:
    """Return what is answered to somebody who wants in at the clone."""
    given = {"host": "127.0.0.1", "port": str(CLONE), "dbname": "postgres", "user": "postgres", **words}
    way = " ".join(f"{name}={value}" for name, value in given.items())
    done = run(
        ["psql", "-X", "-w", "-d", way, "-c", "SELECT 1"], env={"PGPASSWORD": SECRET}, check=False, user="postgres"
    )
    assert done.rc != 0, done.stdout
    return done.stderr


def test_the_row_of_a_promoted_clone_comes_out_at_the_source_and_nothing_else_has_changed(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seen(sides)
    begun = led(sides, monkeypatch)
    assert begun["tried"] is True
    assert begun["port"] == CLONE
    assert begun["bytes"] > 20 << 20
    made = place.Place(sides.specs[CLOSED], CLONE)
    assert made.path.stat().st_mode & 0o777 == 0o700
    # Whoever is no standby of the other side's stays outside, with the right password as well.
    assert "no pg_hba.conf entry" in refused(sides)
    assert "no pg_hba.conf entry" in refused(sides, user=ACCOUNT)
    assert "no encryption" in refused(sides, user=ACCOUNT, replication="true", sslmode="disable")
    with made.session() as session:
        assert session.query("SELECT 1 AS one FROM pg_stat_wal_receiver") == []
        assert session.value("SELECT current_setting('archive_mode')") == "off"
        assert session.value("SELECT current_setting('max_connections')") == "37"
        assert session.value("SELECT count(*) FROM pg_replication_slots") == 0
        assert session.value("SELECT current_setting('archive_timeout')") == "0", "ALTER SYSTEM is not read"
    found = followed(sides, monkeypatch, begun)
    assert found["tried"] is True
    assert found["timeline"] == 2
    assert found["copied"] > 0
    assert found["streamed"] > 0
    spec = sides.specs[OPEN]
    assert trial.known(spec, 1) == {name: value for name, value in found.items() if name != "tried"}
    assert trial.known(spec, 0) is None
    assert trial.known(replace(spec, peer_address="127.0.0.2"), 1) is None
    with monkeypatch.context() as later:
        # After a switch and its return this side is on a timeline that the clone's is not the next of.
        later.setattr(Cluster, "control", lambda self: SimpleNamespace(newest_timeline=2))
        assert trial.known(spec, 1) is None
    with made.session() as session:
        assert session.value("SELECT pg_is_in_recovery()") is False
        assert session.value("SELECT count(*) FROM public.kept") == 5000
        assert session.value("SELECT subenabled FROM pg_subscription") is not None
        kinds = {str(row["kind"]) for row in session.query("SELECT backend_type AS kind FROM pg_stat_activity")}
    assert not {kind for kind in kinds if "logical" in kind or "archiver" in kind or "autovacuum" in kind}, kinds
    assert [one["said"] for one in ended(sides, monkeypatch)] == ["", ""]
    assert [one["changed"] for one in ended(sides, monkeypatch)] == [False, False]
    assert seen(sides) == before
    assert not list((sides.home / "archive").glob("00000002*")), "a clone archives nothing"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", CLONE), timeout=5)


def impatient(monkeypatch: pytest.MonkeyPatch, *things: str) -> None:
    """Have a trial wait for these no longer than a second."""
    until = trial._until

    def briefly(made: Any, deadline: float, goes_on: Any, what: str, is_so: Any) -> None:
        until(made, time.monotonic() + 1 if what.startswith(things) else deadline, goes_on, what, is_so)

    monkeypatch.setattr(trial, "_until", briefly)


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_up() -> bool:
    try:
        socket.create_connection(("127.0.0.1", CLONE), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_after_a_kill_of_its_unit_the_next_trial_removes_what_is_left_and_begins_anew(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seen(sides)
    led(sides, monkeypatch)
    # As when the host's systemd could do nothing any more: the server goes on without its unit, and nobody cleans up.
    process, _ = sides.units.running.pop(sides.specs[CLOSED].unit_name(trial.UNIT))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert is_up()
    begun = led(sides, monkeypatch)
    assert followed(sides, monkeypatch, begun)["timeline"] == 2
    # And as systemd does when the unit is killed: what it runs after the end is enough.
    on(sides, monkeypatch, CLOSED)
    os.kill(sides.units.running[sides.specs[CLOSED].unit_name(trial.UNIT)][0].pid, signal.SIGKILL)
    wait_for(lambda: not sides.units.is_running(sides.specs[CLOSED].unit_name(trial.UNIT)))
    assert not is_up()
    assert not Path(clone.place_of(sides.specs[CLOSED])).exists()
    ended(sides, monkeypatch)
    assert seen(sides) == before


def test_a_clone_that_nobody_follows_or_beside_which_a_move_begins_ends_by_itself(
    sides: Sides, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unit = f"bascule-{DB}-clone-{CLOSED}"
    with monkeypatch.context() as patched:
        impatient(patched, "somebody who follows")
        led(sides, patched)
    on(sides, monkeypatch, CLOSED)
    wait_for(lambda: not sides.units.is_running(unit))
    assert "somebody who follows in the trial at db-mtp, within" in trial.end(DB, CLOSED)["said"]
    led(sides, monkeypatch)
    (tmp_path / "another").touch()
    wait_for(lambda: not sides.units.is_running(unit))
    assert not Path(clone.place_of(sides.specs[CLOSED])).exists()
    assert "db-mtp to stay as it was when the trial began" in trial.end(DB, CLOSED)["said"]
    with pytest.raises(BasculeError, match="db-mtp to be closed, and not frozen"):
        led(sides, monkeypatch)


def test_a_return_that_would_not_be_let_in_is_told_why(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    before = seen(sides)
    begun = led(sides, monkeypatch)
    text = clone.password_file
    monkeypatch.setattr(clone, "password_file", lambda *words: text(*words).replace(SECRET, "another"))
    with pytest.raises(BasculeError, match="password authentication failed") as caught:
        followed(sides, monkeypatch, begun)
    assert caught.value.state.startswith("nothing was changed, users are served")
    monkeypatch.setattr(clone, "password_file", text)
    impatient(monkeypatch, "the row")
    with pytest.raises(BasculeError, match="not the row of the clone at db-mtp in the trial at db-tls, within"):
        followed(sides, monkeypatch, begun, mark="of another")
    ended(sides, monkeypatch)
    assert seen(sides) == before


def test_what_is_not_tried_is_said_by_name_and_leaves_nothing(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    assert led(sides, monkeypatch, limit="0") == {"tried": False, "reason": "postgresql_replication_clone_limit is 0"}
    assert "more than postgresql_replication_clone_limit (1048576)" in led(sides, monkeypatch, limit="1MB")["reason"]
    with socket.create_server(("127.0.0.1", CLONE)):
        assert "cannot listen at 127.0.0.1:15463 of db-mtp" in led(sides, monkeypatch)["reason"]
    begun = {"bytes": 1 << 20, "mark": "none"}
    found = followed(sides, monkeypatch, begun)
    assert found["tried"] is False
    assert found["reason"].startswith("port 15463 of db-mtp is not reached from db-tls: ")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1 << 30))
    assert "a copy on db-mtp takes" in led(sides, monkeypatch)["reason"]
    assert "a copy on db-tls takes" in followed(sides, monkeypatch, begun)["reason"]
    assert sides.units.started == []


def test_a_log_that_went_away_meanwhile_is_no_copy(
    sides: Sides, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(copying, "first_segment", lambda label: "000000010000000000FFFFFF")
    with sides.session(CLOSED) as session, pytest.raises(BasculeError, match="the standby has removed it"):
        copying.copy(session, sides.specs[CLOSED], tmp_path / "copy")
