"""The proofs by trying leave nothing behind, and writers are named: on real files of this machine."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.filetree.io.fence import mounts


@pytest.fixture
def quiet() -> Iterator[Path]:
    """A directory on a file system that few others use."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name)


def own(found: list[str]) -> list[str]:
    return [one for one in found if f"(process {os.getpid()})" in one]


def test_a_writable_tree_is_found_so_without_a_trace(tmp_path: Path) -> None:
    os.utime(tmp_path, ns=(10**18, 10**18))
    before = tmp_path.stat()
    assert not mounts.refused_unnamed(str(tmp_path))
    after = tmp_path.stat()
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    assert not mounts.refused(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mtime_ns == 10**18


def test_a_file_system_without_unnamed_files_is_tried_with_a_named_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def open_(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", open_)
    assert not mounts.refused_unnamed(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_only_read_only_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(code: int) -> None:
        def open_(*_: Any, **__: Any) -> int:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "open", open_)

    refuse(errno.EROFS)
    assert mounts.refused(str(tmp_path))
    for code in (errno.EACCES, errno.ENOSPC, errno.EIO):
        refuse(code)
        with pytest.raises(OSError, match=os.strerror(code)):
            mounts.refused(str(tmp_path))


def test_who_has_a_file_open_for_writing_is_named(quiet: Path) -> None:
    (quiet / "read").write_text("x")
    with (quiet / "read").open():
        assert own(mounts.writers(str(quiet))) == []
    with (quiet / "written").open("w"):
        assert f"{quiet}/written" in own(mounts.writers(str(quiet)))[0]


def test_who_has_a_file_mapped_is_named(quiet: Path) -> None:
    (quiet / "mapped").write_bytes(b"x" * mmap.PAGESIZE)
    with (quiet / "mapped").open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    try:
        assert f"{quiet}/mapped (mapped)" in own(mounts.writers(str(quiet)))[0]
    finally:
        mapping.close()


def test_who_uses_a_deleted_file_is_named(quiet: Path) -> None:
    (quiet / "gone").write_text("x")
    with (quiet / "gone").open():
        (quiet / "gone").unlink()
        assert "gone (deleted)" in own(mounts.writers(str(quiet)))[0]
