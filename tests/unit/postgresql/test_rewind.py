"""Going back to the fork: on a copy, and only when pg_rewind has really gone back."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError, CommandFailed
from bascule.postgresql import control
from bascule.postgresql.io.standby import rewind

SPEC: Any = SimpleNamespace(
    component="accounts_db",
    side="db-mtp",
    owner="postgres",
    programs="/programs",
    replication_user="bascule_replication",
)


class Server:
    """A session that knows which functions are granted, and notes what it is told."""

    def __init__(self, granted: set[str], timelines: tuple[int, str] = (2, "00000002")) -> None:
        self.granted = granted
        self.timelines = timelines
        self.exists = True
        self.told: list[str] = []

    def value(self, sql: str) -> Any:
        if "pg_roles" in sql:
            return int(self.exists)
        if "has_function_privilege" in sql:
            assert self.exists, sql
            return any(function in sql for function in self.granted)
        return self.timelines[0] if "pg_control_checkpoint" in sql else self.timelines[1]

    def execute(self, sql: str, **_: Any) -> None:
        self.told.append(sql)


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A data directory of a cluster that stands still; pg_rewind does what `does` says."""
    data = tmp_path / "main"
    (data / "base").mkdir(parents=True)
    (data / "base" / "1").write_text("one")
    (data / "standby.signal").touch()
    found: Any = SimpleNamespace(
        spec=SPEC,
        data=data,
        stop=lambda timeout: True,
        control=lambda: SimpleNamespace(state=found.state),
        state=control.SHUT_DOWN_IN_RECOVERY,
        does=lambda copy: None,
        argv=[],
    )

    def run(argv: list[str], **_: Any) -> None:
        if argv[0] == "/programs/pg_rewind":
            found.argv.append(argv)
            found.does(Path(argv[1].split("=", 1)[1]))
        else:
            subprocess.run(argv, check=True)

    @contextlib.contextmanager
    def world(component: str) -> Iterator[None]:
        yield

    monkeypatch.setattr(rewind, "run", run)
    monkeypatch.setattr(rewind, "world", world)
    monkeypatch.setattr("bascule.postgresql.conf.conninfo", lambda spec: "host=db-tls")
    return found


def test_the_copy_is_changed_and_the_only_one_is_not(stopped: Any, tmp_path: Path) -> None:
    def go_back(copy: Path) -> None:
        assert not (copy / "standby.signal").exists()
        (copy / "base" / "1").write_text("two")
        (copy / "backup_label").touch()

    stopped.does = go_back
    copy = tmp_path / "main.bascule-seed"
    rewind.rewind(stopped, copy)
    assert (copy / "base" / "1").read_text() == "two"
    assert (stopped.data / "base" / "1").read_text() == "one"
    assert "--source-server=host=db-tls dbname=postgres" in stopped.argv[0]


def test_no_fork_seen_is_no_success(stopped: Any, tmp_path: Path) -> None:
    with pytest.raises(BasculeError, match="it saw no fork"):
        rewind.rewind(stopped, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert (stopped.data / "standby.signal").exists()


def test_a_rewind_that_fails_leaves_no_copy(stopped: Any, tmp_path: Path) -> None:
    def fail(copy: Path) -> None:
        raise CommandFailed(expected="pg_rewind to succeed", found="could not find previous WAL record")

    stopped.does = fail
    with pytest.raises(CommandFailed, match="previous WAL record"):
        rewind.rewind(stopped, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_cluster_that_crashed_is_not_rewound(stopped: Any, tmp_path: Path) -> None:
    stopped.state = "in production"
    with pytest.raises(BasculeError, match="shut down cleanly"):
        rewind.rewind(stopped, tmp_path / "copy")
    assert stopped.argv == []


def test_only_what_is_missing_is_granted_and_nothing_in_check_mode() -> None:
    server: Any = Server(set(rewind.FUNCTIONS[:3]))
    assert rewind.permit(server, SPEC, check=True)
    assert server.told == []
    assert rewind.permit(server, SPEC, check=False)
    assert server.told == [f'GRANT EXECUTE ON FUNCTION {rewind.FUNCTIONS[3]} TO "bascule_replication"']
    server.exists = False
    assert rewind.permit(server, SPEC, check=True)
    whole: Any = Server(set(rewind.FUNCTIONS))
    assert not rewind.permit(whole, SPEC, check=False)


@pytest.mark.parametrize(("timelines", "asked"), [((1, "00000002"), 1), ((10, "0000000A"), 0)])
def test_a_checkpoint_comes_first_only_when_the_control_file_is_behind(timelines: tuple[int, str], asked: int) -> None:
    server: Any = Server(set(), timelines)
    rewind.make_ready(server)
    assert server.told == ["CHECKPOINT"] * asked
