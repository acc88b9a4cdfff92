"""An archive is digested while it grows; what was digested counts for that very file only."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bascule.agent.__main__ import main as agent
from bascule.guest.io import archive_digest
from bascule.system.io.process import Result

STEM = "vzdump-qemu-100-2026_11_20-08_46_01"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The component's folder."""
    monkeypatch.setattr(archive_digest, "directory", lambda component: str(tmp_path / "var" / component))
    (tmp_path / "dump").mkdir()
    return tmp_path


def _job(place: Path, *known: str) -> dict[str, Any]:
    return {"folder": str(place / "dump"), "vmid": 100, "known": list(known), "seconds": 60}


def _follow(place: Path, steps: Sequence[Callable[[], None]], *known: str) -> Any:
    """Follow while something happens at each sleep; time runs by a second a sleep."""
    left, now = list(steps), [0.0]

    def sleep(seconds: float) -> None:
        now[0] += 1
        if left:
            left.pop(0)()

    return archive_digest.follow(_job(place, *known), lambda: now[0], sleep)


@pytest.mark.parametrize(("growing", "finished"), [(".vma.dat", ".vma.zst"), (".dat", ".vma")])
def test_a_growing_archive_is_digested(place: Path, growing: str, finished: str) -> None:
    part, final = place / "dump" / f"{STEM}{growing}", place / "dump" / f"{STEM}{finished}"
    parts = [os.urandom(3 << 20), os.urandom(10), os.urandom(1 << 20)]

    def grow(data: bytes) -> Callable[[], None]:
        def act() -> None:
            with part.open("ab") as out:
                out.write(data)

        return act

    def finish() -> None:
        grow(b"end")()
        part.rename(final)

    found = _follow(place, [grow(data) for data in parts] + [finish])
    whole = b"".join([*parts, b"end"])
    assert found == {"path": str(final), "size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}


def test_archives_of_before_and_of_others_are_left_alone(place: Path) -> None:
    for name in (f"{STEM}.vma.zst", "vzdump-qemu-200-2026_11_20-08_46_01.vma.zst", f"{STEM}.log"):
        (place / "dump" / name).write_bytes(b"old")
    assert _follow(place, [], f"{STEM}.vma.zst") is None


def test_an_aborted_archive_is_let_go_and_the_next_one_taken(place: Path) -> None:
    part, final = place / "dump" / f"{STEM}.vma.dat", place / "dump" / f"{STEM[:-1]}9.vma.zst"

    def half() -> None:
        part.write_bytes(b"half")

    def whole() -> None:
        final.write_bytes(b"x")

    found = _follow(place, [half, part.unlink, whole])
    assert found["path"] == str(final)


class Units:
    """systemd in memory."""

    def __init__(self) -> None:
        self.active = False
        self.commands: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str], **options: Any) -> Result:
        self.commands.append(tuple(argv))
        if argv[0] == "systemd-run":
            self.active = True
        if list(argv[:2]) == ["systemctl", "stop"]:
            self.active = False
        return Result(tuple(argv), 0, "active\n" if self.active else "inactive\n", "")


def test_the_digest_counts_for_that_file_only(place: Path) -> None:
    units, final = Units(), place / "dump" / f"{STEM}.vma.zst"
    archive_digest.begin("c", str(place / "dump"), 100, 60, units)
    assert units.commands[-1][-2:] == ("archive_follow", "c")
    final.write_bytes(b"abc")
    assert agent(["archive_follow", "c"]) == 0
    result = json.loads(archive_digest.result_path("c").read_text())
    result["sha256"] = "followed"
    archive_digest.result_path("c").write_text(json.dumps(result))
    assert archive_digest.digest_of("c", str(final), units) == ("followed", True)
    assert not units.active
    final.write_bytes(b"abcd")
    assert archive_digest.digest_of("c", str(final), units) == (hashlib.sha256(b"abcd").hexdigest(), False)
    archive_digest.begin("c", str(place / "dump"), 100, 60, units)
    assert archive_digest.digest_of("c", str(final), units, wait=0.2) == (hashlib.sha256(b"abcd").hexdigest(), False)
    assert not units.active


def test_nothing_to_follow_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert agent(["archive_follow", "c"]) == 1
    assert "no archive was finished" in capsys.readouterr().err
