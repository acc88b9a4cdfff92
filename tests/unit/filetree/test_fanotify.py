"""What the recorder makes of directories and files that the kernel names by handles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bascule.filetree import events
from bascule.filetree.changes import ROOT
from bascule.filetree.events import Event
from bascule.filetree.io.recorder import fanotify
from bascule.filetree.io.recorder.fanotify import Directories


class Tree:
    """Directories by their handles; counts how often the kernel is asked."""

    def __init__(self) -> None:
        self.where: dict[bytes, bytes | None] = {b"a": b"a", b"b": b"a/b"}
        self.asked: list[bytes] = []

    def resolve(self, handle: bytes) -> bytes | None:
        self.asked.append(handle)
        return self.where.get(handle)


def happened(*masks: int) -> list[Event]:
    return [Event(mask, b"a", b"x") for mask in masks]


def test_a_directory_is_resolved_once_until_one_is_moved() -> None:
    tree = Tree()
    known = Directories(tree.resolve)
    quiet = happened(events.CREATE | events.ONDIR, events.MODIFY, events.MOVED_TO, events.DELETE | events.ONDIR)
    for _ in range(3):
        known.begin(quiet)
        assert [known.path(handle) for handle in (b"a", b"b", b"gone")] == [b"a", b"a/b", None]
    assert tree.asked == [b"a", b"b", b"gone"]
    # Whatever is in the same piece of the queue, before or after the move, is resolved after the move.
    for kind in (events.MOVED_FROM, events.MOVED_TO):
        tree.where[b"b"] = b"c/%d" % kind
        known.begin(happened(events.MODIFY, kind | events.ONDIR, events.MODIFY))
        assert [known.path(b"b") for _ in range(3)] == [b"c/%d" % kind] * 3
    assert tree.asked.count(b"b") == 3


def test_the_directories_that_are_known_are_bounded_and_given_back() -> None:
    tree = Tree()
    known = Directories(tree.resolve, most=10)
    for number in range(100):
        known.path(b"%d" % number)
        assert len(known._known) <= 10
    known.clear()
    assert known.path(b"a") == b"a"


@pytest.fixture
def base(tmp_path: Path) -> bytes:
    (tmp_path / "d").mkdir()
    return os.fsencode(tmp_path)


def noted(base: bytes, path: bytes, told: bytes | None, *then: object) -> int | bytes | None:
    """Return what is noted of a file that is found open, after something has happened to it."""
    found = os.open(base + b"/" + path, os.O_RDONLY)
    try:
        for act in then:
            assert callable(act)
            act()
        return fanotify.to_note(found, base, None if told is None else base + b"/" + told)
    finally:
        os.close(found)


def test_a_file_with_one_name_is_noted_under_it(base: bytes) -> None:
    path = base + b"/d/file (deleted)"
    Path(os.fsdecode(path)).write_text("x")
    assert noted(base, b"d/file (deleted)", b"d/file (deleted)") is None
    assert noted(base, b"d/file (deleted)", b"d/other") == b"d/file (deleted)"
    assert noted(base, b"d/file (deleted)", None) == b"d/file (deleted)"
    # Renamed since: the name it has now is the one that counts.
    assert noted(base, b"d/file (deleted)", b"d/file (deleted)", lambda: os.rename(path, base + b"/now")) == b"now"


def test_a_file_with_several_names_is_noted_by_its_inode_and_one_without_any_not_at_all(base: bytes) -> None:
    one, two = base + b"/d/one", base + b"/two"
    Path(os.fsdecode(one)).write_text("x")
    inode = os.stat(one).st_ino
    os.link(one, two)
    assert noted(base, b"d/one", b"d/one") == inode
    assert noted(base, b"d/one", None) == inode
    # The name by which it was opened is gone, the other one remains, and nothing tells where.
    assert noted(base, b"d/one", b"d/one", lambda: os.unlink(one)) == inode
    # Uploads in files that have no name (yet) fill nothing.
    assert noted(base, b"two", b"two", lambda: os.unlink(two)) is None


@pytest.mark.parametrize("large", [1 << 30, 0])
def test_which_names_of_a_directory_are_missing(base: bytes, large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in one go, or, where the directory holds far more, name by name."""
    monkeypatch.setattr(fanotify, "_LARGE", large)
    for name in (b"d/there", b"top", b"d/odd\nname \xff"):
        Path(os.fsdecode(base + b"/" + name)).touch()
    os.symlink("nowhere", base + b"/d/broken")
    names = [b"d/there", b"d/gone", b"d/odd\nname \xff", b"d/broken"]
    assert fanotify.missing(base, b"d", names) == {b"d/gone"}
    assert fanotify.missing(base, ROOT, [b"top", b"away", b"d"]) == {b"away"}
    assert fanotify.missing(base, b"never", [b"never/a"]) == {b"never/a"}
    assert fanotify.missing(base, b"top", [b"top/a"]) == {b"top/a"}
