"""The log of a side, compared byte by byte with what the other side sends."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.postgresql import lsn
from bascule.postgresql.io.standby import wal_compare
from bascule.system.io.process import Result

from .test_files import make_spec

SIZE = 1 << 20


class Logs:
    """Two logs of one timeline; pg_receivewal brings the other side's."""

    def __init__(self, data: Path) -> None:
        self.data, self.spec = data, make_spec()
        (data / "pg_wal").mkdir(parents=True)
        self.theirs = bytearray(os.urandom(5 * SIZE))
        self.gone = ""

    def control(self) -> Any:
        return SimpleNamespace(segment_bytes=SIZE)

    def write(self, changed: int | None = None, first: int = 0) -> None:
        """Write our log: theirs, with everything different from one byte on."""
        ours = bytearray(self.theirs)
        if changed is not None:
            ours[changed:] = bytes(255 - byte for byte in ours[changed:])
        for number in range(first, 5):
            name = wal_compare.file_name(1, number, SIZE)
            (self.data / "pg_wal" / name).write_bytes(ours[number * SIZE : (number + 1) * SIZE])

    def run(self, argv: list[str], **_: Any) -> Result:
        """As pg_receivewal does: begin after the last whole file, end beyond a position, leave a partial file."""
        if self.gone:
            return Result(tuple(argv), 1, "", self.gone)
        words = dict(word[2:].split("=", 1) for word in argv[1:] if "=" in word)
        directory, upto = Path(words["directory"]), lsn.parse(words["endpos"]) + 1
        (before,) = directory.iterdir()
        assert before.stat().st_size == SIZE
        start = int(before.name[8:], 16) + 1
        for number in range(start, (upto - 1) // SIZE + 1):
            part = self.theirs[number * SIZE : min(upto, (number + 1) * SIZE)]
            name = wal_compare.file_name(1, number, SIZE) + ("" if len(part) == SIZE else ".partial")
            (directory / name).write_bytes(part.ljust(SIZE, b"\0"))
        return Result(tuple(argv), 0, "", "")


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logs:
    logs = Logs(tmp_path / "main")
    monkeypatch.setattr(wal_compare, "run", logs.run)
    monkeypatch.setattr("pwd.getpwnam", lambda name: SimpleNamespace(pw_uid=os.getuid(), pw_gid=os.getgid()))
    return logs


@pytest.fixture
def parted(logs: Logs, tmp_path: Path) -> Callable[..., str | None]:
    """Compare up to an end; nothing is left behind."""

    def compare(end: int, peer_end: int = 5 * SIZE, begin: int = 0) -> str | None:
        cluster: Any = logs
        try:
            return wal_compare.parted(cluster, 1, lsn.render(begin), lsn.render(end), lsn.render(peer_end))
        finally:
            assert [path.name for path in tmp_path.iterdir()] == ["main"]

    return compare


def test_one_log_is_one(logs: Logs, parted: Callable[..., str | None]) -> None:
    logs.write()
    for end in (4 * SIZE + 700, 4 * SIZE, 3 * SIZE + 1):
        assert parted(end) is None


def test_the_first_byte_that_differs_is_found(logs: Logs, parted: Callable[..., str | None]) -> None:
    for place in (4 * SIZE + 300, 3 * SIZE + 9000, 3 * SIZE, 2 * SIZE + 70000, 3 * SIZE + 1):
        logs.write(place)
        assert parted(4 * SIZE + 700) == lsn.render(place)
        assert parted(place, begin=place - 100) is None


def test_log_that_the_other_side_has_not_written_is_ours_alone(logs: Logs, parted: Callable[..., str | None]) -> None:
    logs.write()
    assert parted(4 * SIZE + 700, 4 * SIZE + 600) == lsn.render(4 * SIZE + 600)
    assert parted(4 * SIZE + 700, 4 * SIZE + 700) is None


def test_what_differs_from_the_first_log_there_is_may_differ_before(
    logs: Logs, parted: Callable[..., str | None]
) -> None:
    logs.write(3 * SIZE + 5, first=3)
    assert parted(4 * SIZE + 700) == wal_compare.UNKNOWN
    # Unless the timeline began there.
    assert parted(4 * SIZE + 700, begin=3 * SIZE) == lsn.render(3 * SIZE + 5)


def test_log_that_does_not_come_is_an_error(logs: Logs, parted: Callable[..., str | None]) -> None:
    logs.write()
    logs.gone = "requested WAL segment 000000010000000000000003 has already been removed"
    with pytest.raises(BasculeError, match=r"already been removed.*run prepare, which keeps db-mtp aside"):
        parted(4 * SIZE + 700)
    logs.gone = ""
    (logs.data / "pg_wal" / wal_compare.file_name(1, 4, SIZE)).unlink()
    with pytest.raises(BasculeError, match="no log file 000000010000000000000004 here"):
        parted(4 * SIZE + 700)


@pytest.mark.parametrize(
    ("number", "size", "name"),
    [(255, 1 << 24, "0000000200000000000000FF"), (256, 1 << 24, "000000020000000100000000"), (4, 1 << 30, None)],
)
def test_log_files_are_named_as_the_server_does(number: int, size: int, name: str | None) -> None:
    assert wal_compare.file_name(2, number, size) == (name or "000000020000000100000000")
