"""A data directory that nothing can change places with is refused before anything is changed."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from bascule.errors import BasculeError, GuardRefused
from bascule.guard.io import fence_settings
from bascule.postgresql.io.standby import data_directory, prepare
from bascule.system.io import storage

from .test_files import make_spec


def test_an_ordinary_directory_is_fine(tmp_path: Path) -> None:
    """Also one that is not there yet, or lies behind a link further up."""
    (tmp_path / "15/main").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "15")
    for data in (tmp_path / "15/main", tmp_path / "link/main", tmp_path / "15/other"):
        assert data_directory.misplaced(data) == ""


def test_a_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "main").symlink_to(tmp_path / "volume")
    assert f"is a symbolic link (to {tmp_path}/volume)" in data_directory.misplaced(tmp_path / "main")
    (tmp_path / "volume").rmdir()
    assert "is a symbolic link" in data_directory.misplaced(tmp_path / "main")


@pytest.mark.parametrize("same", [False, True])
def test_a_mount_point_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool) -> None:
    """A volume has another device; a directory bound from the same file system shows among the mounts only."""
    data = tmp_path / "main"
    data.mkdir()
    if same:
        line = f"36 35 98:0 /elsewhere {data} rw,noatime master:1 - ext4 /dev/root rw\n"
        monkeypatch.setattr(storage, "read_text", lambda path: line)
    else:
        real = os.stat
        monkeypatch.setattr(
            Path,
            "stat",
            lambda path, **_: SimpleNamespace(st_dev=7, st_mode=real(path).st_mode) if path == data else real(path),
        )
    assert f"{data} is a mount point" in data_directory.misplaced(data)


def test_prepare_refuses_it_whatever_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "main").symlink_to(tmp_path)
    spec = make_spec(
        data_directory=str(tmp_path / "main"), layout={"config_file": str(tmp_path / "conf/postgresql.conf")}
    )
    with pytest.raises(BasculeError, match=r"symbolic link.*nothing was changed.*mount the volume at .* or above"):
        prepare.configure(spec, "secret", False, {}, {})
    assert list((tmp_path / "conf").iterdir()) == []


def test_prepare_refuses_the_cluster_of_another_component(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "main").mkdir()
    monkeypatch.setattr(prepare, "HOME", tmp_path / "lib")
    fence_settings.keep("other_db", "db-mtp", "postgresql", str(tmp_path / "main"), base=tmp_path / "lib")
    spec = make_spec(
        data_directory=str(tmp_path / "main"), layout={"config_file": str(tmp_path / "conf/postgresql.conf")}
    )
    with pytest.raises(GuardRefused, match="other_db has control of it"):
        prepare.configure(spec, "secret", True, {}, {})
    assert list((tmp_path / "conf").iterdir()) == []
    assert not (tmp_path / "lib" / spec.component).exists()
