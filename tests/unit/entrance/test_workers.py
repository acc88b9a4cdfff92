"""Which children of HAProxy's master are workers: a program that it runs beside them is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bascule.entrance.io.haproxy import Haproxy
from bascule.system.io.process import Result

HAPROXY, PROGRAM = "/usr/sbin/haproxy", "/usr/bin/sleep"


def _children(tmp_path: Path, programs: dict[int, str | None]) -> Haproxy:
    """Return the HAProxy of a host with these children of its master, by what they run; None is one that is gone."""
    proc = tmp_path / "proc"
    for pid, program in {7: HAPROXY, **programs}.items():
        (proc / str(pid)).mkdir(parents=True)
        if program is not None:
            (proc / str(pid) / "exe").symlink_to(program)
    (proc / "7/task/7").mkdir(parents=True)
    (proc / "7/task/7/children").write_text(" ".join(map(str, programs)) + " ")

    def run(argv: Sequence[str], **_: Any) -> Result:
        return Result(tuple(argv), 0, "7\n", "")

    return Haproxy("map", "socket", "mode", run, proc)


@pytest.mark.parametrize(
    ("programs", "old"),
    [
        ({}, 0),
        ({11: HAPROXY}, 0),
        ({11: HAPROXY, 12: PROGRAM}, 0),
        ({10: PROGRAM, 11: HAPROXY, 12: PROGRAM}, 0),
        ({10: HAPROXY, 11: HAPROXY, 12: PROGRAM}, 1),
        # The master runs the package's new binary by now, the worker still the one that was replaced.
        ({10: f"{HAPROXY} (deleted)", 11: HAPROXY}, 1),
        ({10: None, 11: HAPROXY}, 0),
    ],
)
def test_only_workers_count(tmp_path: Path, programs: dict[int, str | None], old: int) -> None:
    assert _children(tmp_path, programs).old_workers() == old


def test_a_child_that_cannot_be_looked_at_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not seen is not gone."""
    haproxy = _children(tmp_path, {10: PROGRAM, 11: HAPROXY})

    def refuse(path: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "readlink", refuse)
    assert haproxy.old_workers() == 1
