"""The permissions that components share one file for."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import pytest

from bascule.errors import StoreError
from bascule.guest.io import ssh_key
from bascule.system.io import authorized_keys

SIDE_BY_SIDE = 8


def trust(place: Path, number: int) -> bool:
    """As a guest's `prepare` does on a node, in a process of its own."""
    return ssh_key.trust(
        f"guest_{number}",
        "198.18.2.30",
        22,
        [],
        f"ssh-ed25519 AAAA{number} x",
        ["/var/lib/vz"],
        authorized=place / "authorized_keys",
    )


def _many(place: str, number: int) -> int:
    with mock.patch.object(ssh_key, "directory", lambda component: f"{place}/{component}"):
        return sum(trust(Path(place), number * 100 + turn) for turn in range(12))


def test_components_prepared_side_by_side_keep_each_others_permission(tmp_path: Path) -> None:
    (tmp_path / "authorized_keys").write_text("ssh-ed25519 AAAAold somebody\n")
    with ProcessPoolExecutor(SIDE_BY_SIDE, get_context("spawn")) as pool:
        done = [pool.submit(_many, str(tmp_path), number) for number in range(SIDE_BY_SIDE)]
        assert sum(future.result() for future in done) == SIDE_BY_SIDE * 12
    lines = (tmp_path / "authorized_keys").read_text().splitlines()
    assert lines[0] == "ssh-ed25519 AAAAold somebody"
    assert len(lines) == 1 + SIDE_BY_SIDE * 12
    assert {line.rsplit(" ", 1)[1] for line in lines[1:]} == {
        f"guest_{number * 100 + turn}" for number in range(SIDE_BY_SIDE) for turn in range(12)
    }


def test_one_line_per_label_and_no_others_touched(tmp_path: Path) -> None:
    target = tmp_path / "ssh" / "authorized_keys"
    assert authorized_keys.set_line("bascule a", None, target=target) is False
    assert authorized_keys.set_line("bascule a", "one bascule a", target=target, check=True) is True
    assert not target.exists()
    assert authorized_keys.set_line("bascule a", "one bascule a", target=target) is True
    assert authorized_keys.set_line("bascule ab", "x bascule ab", target=target) is True
    target.write_text(target.read_text() + "double bascule a\n")
    assert authorized_keys.set_line("bascule a", "one bascule a", target=target) is True
    assert authorized_keys.set_line("bascule a", "one bascule a", target=target) is False
    assert target.read_text() == "x bascule ab\none bascule a\n"
    assert authorized_keys.set_line("bascule a", None, target=target) is True
    assert target.read_text() == "x bascule ab\n"
    assert os.listdir(target.parent) == ["authorized_keys"]


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A node's authorized_keys: a link into the cluster's file system."""
    found = tmp_path / "pve" / "priv"
    (found / "lock").mkdir(parents=True)
    (found / "authorized_keys").write_text("")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "authorized_keys").symlink_to(found / "authorized_keys")
    return found


def test_a_link_stays_and_the_clusters_lock_is_let_go(tmp_path: Path, cluster: Path) -> None:
    link = tmp_path / "root" / "authorized_keys"
    assert authorized_keys.set_line("a", "line a", target=link, cluster=cluster) is True
    assert link.is_symlink()
    assert (cluster / "authorized_keys").read_text() == "line a\n"
    assert os.listdir(cluster / "lock") == []


def test_it_waits_for_another_node_and_asks_to_drop_a_dead_holders_lock(
    tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, lock = tmp_path / "root" / "authorized_keys", cluster / "lock" / "bascule-authorized_keys"
    lock.mkdir()
    asked: list[object] = []

    def utime(path: object, times: object) -> None:
        """As the cluster's file system does: the request is taken, and the call refused."""
        asked.append(times)
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "utime", utime)

    def let_go() -> None:
        while not asked:
            time.sleep(0.01)
        (cluster / "authorized_keys").write_text("other b\n")
        lock.rmdir()

    other = threading.Thread(target=let_go)
    other.start()
    assert authorized_keys.set_line("a", "line a", target=link, cluster=cluster, patience=30) is True
    other.join()
    assert set(asked) == {(0, 0)}
    assert (cluster / "authorized_keys").read_text() == "other b\nline a\n"


def test_a_lock_that_stays_held_changes_nothing(tmp_path: Path, cluster: Path) -> None:
    link = tmp_path / "root" / "authorized_keys"
    (cluster / "lock" / "bascule-authorized_keys").mkdir()
    with pytest.raises(StoreError, match="another node holds it"):
        authorized_keys.set_line("a", "line a", target=link, cluster=cluster, patience=0.2)
    assert (cluster / "authorized_keys").read_text() == ""
