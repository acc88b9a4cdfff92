"""Setting a pooler up, and taking it away, with the host's files in a directory of the test."""

from __future__ import annotations

import pwd
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.postgresql.io.cluster.cluster import Cluster, Postmaster
from bascule.postgresql.io.pooler import install
from bascule.postgresql.spec import Spec
from bascule.system.io.process import Result

from .test_pgbouncer import SECRET, pooler_spec


class FakePooler:
    """A pooler whose console is not asked."""

    connected: tuple[dict[str, str], ...] = ()

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def __enter__(self) -> FakePooler:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ready(self) -> None:
        pass

    def clients(self) -> list[dict[str, str]]:
        return list(self.connected)

    def point(self, host: str, port: int) -> bool:
        return False


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, ...]]:
    """A host: its commands are kept, its units and the pooler's files lie in the directory of the test."""
    ran: list[tuple[str, ...]] = []

    def run(argv: Sequence[str], **_: Any) -> Result:
        ran.append(tuple(argv))
        said = {"is-active": "active\n", "is-enabled": "enabled\n"}.get(argv[1], "")
        return Result(tuple(argv), 0, said, "")

    monkeypatch.setattr(install, "run", run)
    monkeypatch.setattr(install, "Pooler", FakePooler)
    monkeypatch.setattr(install, "UNITS", tmp_path / "units")
    monkeypatch.setattr("bascule.postgresql.io.pooler.install.shutil.which", lambda name: f"/usr/sbin/{name}")
    monkeypatch.setattr(install, "_secrets", lambda spec: {"loader": SECRET})
    monkeypatch.setattr("bascule.postgresql.io.pooler.install.pwd.getpwnam", lambda name: pwd.getpwuid(0))
    monkeypatch.setattr(Spec, "pooler_home", property(lambda self: str(tmp_path / "home")))
    monkeypatch.setattr(FakePooler, "connected", ())
    monkeypatch.setattr(Cluster, "postmaster", lambda self: Postmaster(1, "ready"))
    for name in ("ca", "certificate", "key"):
        (tmp_path / name).write_text(f"{name}\n")
    return ran


def installed(tmp_path: Path, **changes: object) -> Spec:
    """The description of a side whose TLS files are there."""
    files = {name: str(tmp_path / name) for name in ("ca", "certificate", "key")}
    return pooler_spec(**{**files, **changes})


def content(tmp_path: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in sorted(tmp_path.rglob("*")) if path.is_file()}


def test_a_check_names_everything_and_writes_nothing(commands: list[tuple[str, ...]], tmp_path: Path) -> None:
    before = content(tmp_path)
    found = install.prepare(installed(tmp_path), "db-mtp", check=True)
    assert found["changed"]
    assert {Path(name).name for name in found["changes"]} >= {"pgbouncer.ini", "users.txt", "databases.ini", "host.key"}
    assert SECRET not in str(found)
    assert content(tmp_path) == before
    assert {command[1] for command in commands} <= {"is-active", "is-enabled"}


def test_a_check_asks_no_standby_that_is_yet_to_be_built(
    commands: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cluster, "postmaster", lambda self: None)
    monkeypatch.setattr(install, "_secrets", lambda spec: pytest.fail("the server was asked"))
    found = install.prepare(installed(tmp_path), "db-mtp", check=True)
    assert any(name.endswith("users.txt") for name in found["changes"])


def test_a_second_run_changes_nothing(commands: list[tuple[str, ...]], tmp_path: Path) -> None:
    spec = installed(tmp_path)
    assert install.prepare(spec, "db-mtp")["changed"]
    assert (tmp_path / "home/users.txt").stat().st_mode & 0o777 == 0o600
    before = content(tmp_path)
    commands.clear()
    assert install.prepare(spec, "db-mtp") == {"changed": False, "changes": []}
    assert content(tmp_path) == before
    assert {command[1] for command in commands} <= {"is-active", "is-enabled"}


def test_another_limit_is_a_reload_and_another_port_a_restart(commands: list[tuple[str, ...]], tmp_path: Path) -> None:
    install.prepare(installed(tmp_path), "db-mtp")
    commands.clear()
    install.prepare(installed(tmp_path, pooler_query_wait=60), "db-mtp")
    assert ("systemctl", "reload", "bascule-pooler-accounts_db.service") in commands
    commands.clear()
    install.prepare(installed(tmp_path, pooler_port=6433), "db-mtp")
    assert ("systemctl", "restart", "bascule-pooler-accounts_db.service") in commands


def test_what_is_missing_is_named_at_once_and_nothing_is_written(
    commands: list[tuple[str, ...]], tmp_path: Path
) -> None:
    before = content(tmp_path)
    with pytest.raises(BasculeError) as caught:
        install.prepare(pooler_spec(pooler_clients=[], address=""), "db-mtp")
    for word in ("postgresql_replication_pooler_clients is empty", "address of db-mtp", "ca, certificate, key"):
        assert word in caught.value.found
    assert content(tmp_path) == before
    assert commands == []


def test_an_existing_pooler_has_to_read_the_file(commands: list[tuple[str, ...]], tmp_path: Path) -> None:
    main = tmp_path / "pgbouncer.ini"
    main.write_text("[databases]\ncourses = host=1.2.3.4\n")
    include = tmp_path / "bascule.ini"
    spec = pooler_spec(pooler="existing", pooler_main=str(main), pooler_include=str(include))
    with pytest.raises(BasculeError) as caught:
        install.prepare(spec, "db-mtp")
    assert f"no line '%include {include}'" in caught.value.found
    assert "move the entries of courses" in caught.value.next_command
    main.write_text(f"[databases]\n%include {include}\n")
    with pytest.raises(BasculeError, match="courses has no entry in"):
        install.prepare(spec, "db-mtp")
    assert not include.exists()
    include.write_text("courses = host=198.18.1.10 pool_size=40 auth_user=pgb\n")
    assert install.prepare(spec, "db-mtp", check=True) == {"changed": False, "changes": []}
    assert install.prepare(spec, "db-tls", check=True) == {"changed": True, "changes": ["points to db-tls"]}
    assert include.read_text() == "courses = host=198.18.1.10 pool_size=40 auth_user=pgb\n"
    assert commands == []


def test_what_would_stay_at_the_closed_side_is_refused_and_nothing_is_changed(
    commands: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, include, more = (tmp_path / name for name in ("pgbouncer.ini", "bascule.ini", "more.ini"))
    main.write_text(f"[databases]\n%include {include}\n%include {more}\nx = host=198.18.1.10\n[pgbouncer]\nport = 1\n")
    include.write_text("courses = host=198.18.1.10\nbatch = host=db1.example.net dbname=courses\n")
    more.write_text("* = host=198.18.1.10 port=5432\n")
    spec = pooler_spec(
        pooler="existing", pooler_main=str(main), pooler_include=str(include), pooler_host="", pooler_peer_host=""
    )
    monkeypatch.setattr(
        "bascule.postgresql.io.pooler.install.socket.getaddrinfo",
        lambda host, *_, **__: [(0, 0, 0, "", ("198.18.1.10" if host == "db1.example.net" else host, 0))],
    )
    before = content(tmp_path)
    with pytest.raises(BasculeError) as caught:
        install.prepare(spec, "db-mtp")
    for text in ("x points to 198.18.1.10 and stands outside", "* points to", "batch points to db1.example.net"):
        assert text in caught.value.found
    assert caught.value.state == "the pooler was not changed"
    assert content(tmp_path) == before
    assert commands == []


def test_a_pooler_in_use_is_not_taken_away(
    commands: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = installed(tmp_path)
    install.prepare(spec, "db-mtp")
    before = content(tmp_path)
    monkeypatch.setattr(FakePooler, "connected", ({"user": "loader", "addr": "198.18.1.7"},))
    with pytest.raises(BasculeError) as caught:
        install.remove(spec)
    assert caught.value.found == "loader from 198.18.1.7"
    assert "point these clients to the pooler of db-tls" in caught.value.next_command
    assert content(tmp_path) == before
    monkeypatch.setattr(FakePooler, "connected", ())
    assert install.remove(spec, check=True)["changed"]
    assert content(tmp_path) == before
    assert install.remove(spec)["changed"]
    assert not (tmp_path / "home").exists()
    assert install.remove(spec) == {"changed": False, "changes": []}


def test_without_a_pooler_there_is_nothing_to_do(commands: list[tuple[str, ...]]) -> None:
    spec = pooler_spec(pooler="none")
    assert install.prepare(spec, "db-mtp") == {"changed": False, "changes": []}
    assert install.audit(spec, 5) == {"pooler": "none", "warnings": [], "refused": []}
    assert commands == []
