"""A closed side that somebody has written to is put aside or refused, never removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guard.state import GuardState
from bascule.postgresql import control
from bascule.postgresql.control import Control
from bascule.postgresql.io.standby import basebackup, data_directory, divergence

from .test_files import make_spec

CLOSED = GuardState("accounts_db", "db-mtp", status="closed")


def control_file(state: str) -> Control:
    """Make a control file."""
    return Control("7", state, 1, "0/1000", "0/1000", "0/0", 0, True, "replica", 16)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A standby that a base backup has put there, stopped."""
    data = tmp_path / "main"
    data.mkdir()
    (data / "bascule.seeded").touch()
    (data / "standby.signal").touch()
    (data / "rows").write_text("by hand")
    found: Any = SimpleNamespace(
        data=data,
        spec=make_spec(),
        state=control.SHUT_DOWN_IN_RECOVERY,
        left=False,
        exists=lambda: True,
        postmaster=lambda: None,
        stop=lambda timeout: True,
        follow_conf=lambda *, connect: None,
        has_signal=lambda: (data / "standby.signal").exists(),
        # The real one makes every closed directory look like a standby's.
        fence=lambda: (data / "standby.signal").touch(),
        control=lambda: control_file(found.state),
    )
    monkeypatch.setattr(divergence, "has_left", lambda cluster: found.left)
    return found


@pytest.mark.parametrize("state", ["in production", "shut down", "shutting down", "in crash recovery"])
@pytest.mark.parametrize("running", [True, False])
def test_a_closed_side_that_was_a_primary_is_not_built_anew(cluster: Any, state: str, running: bool) -> None:
    cluster.state = state
    cluster.postmaster = lambda: object() if running else None
    with pytest.raises(BasculeError, match="runs as a primary" if running else "ended as a primary") as refused:
        data_directory.refuse_primary(cluster, CLOSED, "7")
    assert "30_sync.yml --limit accounts_db" in refused.value.next_command
    assert ("systemctl stop" in refused.value.next_command) is running


def test_whose_primary_it_is_decides(cluster: Any) -> None:
    cluster.state = control.SHUT_DOWN
    data_directory.refuse_primary(cluster, CLOSED, "another cluster's")
    data_directory.refuse_primary(cluster, GuardState("accounts_db", "db-mtp", status="unknown"), "7")
    (cluster.data / "backup_label").touch()
    data_directory.refuse_primary(cluster, CLOSED, "7")


def test_a_standby_is_not_refused(cluster: Any) -> None:
    for state in (control.IN_RECOVERY, control.SHUT_DOWN_IN_RECOVERY):
        cluster.state = state
        data_directory.refuse_primary(cluster, CLOSED, "7")


def test_what_a_base_backup_of_the_same_cluster_has_put_there_may_be_replaced(cluster: Any) -> None:
    """A standby that lost its way holds the source's databases: they are nobody else's."""
    assert data_directory.was_built_here(cluster, "7")
    assert not data_directory.was_built_here(cluster, "8")
    (cluster.data / "bascule.seeded").unlink()
    assert not data_directory.was_built_here(cluster, "7")


def in_place(cluster: Any, monkeypatch: pytest.MonkeyPatch, doubtful: bool = False) -> tuple[str, list[str]]:
    """Put a base backup in place; return what was said and what lies there."""
    partial = cluster.data.with_name("main.bascule-seed")
    partial.mkdir()
    (partial / "rows").write_text("of the other side")

    @contextlib.contextmanager
    def nothing(*_: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(basebackup, "store", SimpleNamespace(read=lambda component, side: CLOSED))
    monkeypatch.setattr("pwd.getpwnam", lambda name: SimpleNamespace(pw_uid=0, pw_gid=0))
    monkeypatch.setattr("shutil.chown", lambda path, user, group: None)
    aside = basebackup._put_in_place(cluster, partial, doubtful=doubtful)
    assert (cluster.data / "rows").read_text() == "of the other side"
    return aside, sorted(path.name.rstrip("0123456789") for path in cluster.data.parent.iterdir())


def test_a_standby_that_lost_its_way_is_replaced(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_place(cluster, monkeypatch) == ("", ["main"])


def test_a_base_backup_that_was_never_started_is_replaced(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.state = control.IN_PRODUCTION
    (cluster.data / "backup_label").touch()
    assert in_place(cluster, monkeypatch) == ("", ["main"])


@pytest.mark.parametrize(
    ("state", "gone", "doubtful"),
    [
        (control.SHUT_DOWN, "", False),
        (control.IN_PRODUCTION, "", False),
        (control.SHUT_DOWN_IN_RECOVERY, "standby.signal", False),
        (control.SHUT_DOWN_IN_RECOVERY, "bascule.seeded", False),
        (control.SHUT_DOWN_IN_RECOVERY, "", True),
        (control.SHUT_DOWN_IN_RECOVERY, "another timeline", False),
    ],
)
def test_whatever_may_have_rows_of_its_own_is_put_aside(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, state: str, gone: str, doubtful: bool
) -> None:
    cluster.state = state
    cluster.left = gone == "another timeline"
    if gone and not cluster.left:
        (cluster.data / gone).unlink()
    aside, left = in_place(cluster, monkeypatch, doubtful)
    assert left == ["main", "main.bascule-before-"]
    assert (Path(aside) / "rows").read_text() == "by hand"
