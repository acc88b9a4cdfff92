"""An earlier digest is believed where a recorder vouches for the file, or nobody could write; else the file is read."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from bascule.filetree.changes import Changes, Mark, doubt
from bascule.filetree.io import transitions
from bascule.filetree.io.fence.side import Side
from bascule.filetree.io.manifest import cache
from bascule.filetree.io.recorder import client

from .world import COMPONENT, Kernel, adopt, fill, host

NOW = Mark("g", 7)


@pytest.fixture
def recorder() -> dict[str, object]:
    """What a recorder says, and what it was asked and had to remember."""
    return {"changes": doubt("the queue overflowed"), "now": NOW, "asked": [], "kept": []}


def record(told: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Put this recorder in place of the host's."""

    def since(component: str, mark: Optional[Mark]) -> tuple[Changes, Optional[Mark]]:
        assert isinstance(told["asked"], list)
        told["asked"].append(mark)
        changes, now = told["changes"], told["now"]
        assert isinstance(changes, Changes)
        assert now is None or isinstance(now, Mark)
        return changes, now

    def remember(side: Side, reader: str, mark: Mark) -> None:
        assert isinstance(told["kept"], list)
        told["kept"].append((reader, mark))

    monkeypatch.setattr(client, "since", since)
    monkeypatch.setattr(client, "remember", remember)
    monkeypatch.setattr(client, "remembered", lambda side, reader: Mark("g", 3))
    monkeypatch.setattr(client, "mark", lambda component: NOW)


def tree_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorder: dict[str, object], status: str) -> Kernel:
    kernel = host(tmp_path, monkeypatch)
    record(recorder, monkeypatch)
    fill(kernel.side, a="one", b="two")
    adopt(kernel.side, status)
    if status == "closed":
        transitions.make_ready(COMPONENT, kernel.side.name)
    return kernel


def aged(side: Side) -> None:
    """Make the digests look as if they had been read long after the files changed."""
    lines = side.manifest.read_text().splitlines()
    side.manifest.write_text("".join(f"{line.rpartition(' ')[0]} {2**62}\n" for line in lines))


def changed(*names: bytes, complete: bool = True) -> Changes:
    return Changes(3, 7, frozenset(names), frozenset(), complete, "" if complete else "doubt")


def test_where_services_write_only_a_recorder_vouches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorder: dict[str, object]
) -> None:
    kernel = tree_of(tmp_path, monkeypatch, recorder, "open")
    transitions.freeze(COMPONENT, kernel.side.name, False)
    first, count, why = cache.take(kernel.side)
    assert (count.read_files, why, recorder["asked"]) == (3, "the queue overflowed", [None])
    assert recorder["kept"] == [("digests", NOW)]
    aged(kernel.side)
    # Everything about the files is as it was: without the recorder's word that is not enough.
    assert cache.take(kernel.side)[1].read_files == 3
    aged(kernel.side)
    recorder["changes"] = changed(b"a")
    again, count, why = cache.take(kernel.side)
    assert (again, count.read_files, why) == (first, 1, "")
    assert recorder["asked"] == [None, Mark("g", 3), Mark("g", 3)]


def test_the_recorders_word_alone_is_not_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorder: dict[str, object]
) -> None:
    kernel = tree_of(tmp_path, monkeypatch, recorder, "open")
    transitions.freeze(COMPONENT, kernel.side.name, False)
    before, _, _ = cache.take(kernel.side)
    aged(kernel.side)
    recorder["changes"] = changed()
    (Path(kernel.side.path) / "a").write_text("1ne")
    after, count, _ = cache.take(kernel.side)
    assert (after != before, count.read_files) == (True, 1)


def test_a_recorder_that_does_not_record_leaves_no_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorder: dict[str, object]
) -> None:
    kernel = tree_of(tmp_path, monkeypatch, recorder, "open")
    transitions.freeze(COMPONENT, kernel.side.name, False)
    recorder["now"] = None
    cache.take(kernel.side)
    assert recorder["kept"] == []


def test_where_only_transfers_write_what_the_kernel_says_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorder: dict[str, object]
) -> None:
    kernel = tree_of(tmp_path, monkeypatch, recorder, "closed")
    assert cache.take(kernel.side)[1].read_files == 3
    aged(kernel.side)
    assert cache.take(kernel.side)[1].read_files == 0
    assert recorder["asked"] == []


def test_without_a_recorder_an_active_side_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorder: dict[str, object]
) -> None:
    kernel = tree_of(tmp_path, monkeypatch, recorder, "open")
    alone = Side(COMPONENT, kernel.side.name, kernel.side.path, ".sentinel", kernel.side.base, recorder=False)
    transitions.freeze(COMPONENT, kernel.side.name, False)
    cache.take(alone)
    aged(alone)
    _, count, why = cache.take(alone)
    assert (count.read_files, why) == (3, "no recorder is wanted for this tree")
    assert recorder["asked"] == []
    cache.trust(alone)
    assert recorder["kept"] == []
