"""Worker processes answer everything, once; one that fails or dies is an error. Long lists and tables go to disk."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.filetree.io.manifest import content, reader, take, walk
from bascule.filetree.io.manifest import links as manifest_links
from bascule.filetree.io.manifest.links import Links
from bascule.filetree.io.manifest.workers import WorkerFailed, Workers
from bascule.filetree.manifest import order


def answers(pool: Workers, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        found += pool.answers(wait=True)
    return found


def test_every_question_is_answered_once_whatever_its_size() -> None:
    # More than what fits into a socket, in both directions at the same time.
    questions = [bytes([number]) * (number * 40_000) for number in range(1, 21)]
    with Workers(3, lambda question: question[:1] + question) as pool:
        for question in questions:
            pool.ask(question)
        assert pool.unanswered == len(questions)
        found = answers(pool, len(questions))
        assert pool.unanswered == 0
    assert sorted(found) == [question[:1] + question for question in questions]


def test_an_error_of_a_worker_is_told() -> None:
    def fails(question: bytes) -> bytes:
        raise OSError(5, "Input/output error", "a")

    with Workers(2, fails) as pool:
        pool.ask(b"x")
        with pytest.raises(WorkerFailed, match="Input/output error"):
            answers(pool, 1)


def test_a_worker_that_is_killed_is_an_error_not_a_missing_answer() -> None:
    def dies(question: bytes) -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    with Workers(2, dies) as pool:
        pool.ask(b"x")
        with pytest.raises(WorkerFailed, match="it has died"):
            answers(pool, 1)


def test_workers_end_with_whoever_asked() -> None:
    with Workers(2, lambda question: b"%d" % os.getpid()) as pool:
        pool.ask(b"x")
        (pid,) = answers(pool, 1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


NAMES = st.binary(min_size=1, max_size=8).filter(lambda raw: not set(raw) & set(b"/\0") and raw not in (b".", b".."))


@settings(max_examples=25, deadline=None)
@given(st.sets(NAMES, min_size=1, max_size=30))
def test_a_walk_is_in_order_also_when_its_lists_go_to_the_disk(
    tmp_path_factory: pytest.TempPathFactory, names: set[bytes]
) -> None:
    root = tmp_path_factory.mktemp("walk")
    for name in names:
        directory = os.fsencode(root) + b"/d" + name[:3]
        os.makedirs(directory, exist_ok=True)
        (Path(os.fsdecode(directory)) / os.fsdecode(name)).touch()
        # Files among the directories, before and behind what is in them.
        Path(os.fsdecode(os.fsencode(root) + b"/d" + name + b"~~~~")).touch()
    found = list(walk.walk(os.fsencode(root)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "IN_MEMORY", 3)
        assert list(walk.walk(os.fsencode(root), root.parent)) == found
    paths = [path for path, _, _ in found]
    assert paths == sorted(paths, key=order)
    assert len(paths) == 1 + 2 * len(names) + len({name[:3] for name in names})
    assert [path for run in walk.runs(os.fsencode(root)) for path, _, _ in run] == paths
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "_PIECE", 2)
        assert list(walk.walk(os.fsencode(root))) == found
    assert {path.name for path in root.parent.glob("bascule-names-*")} == set()


@given(st.lists(st.tuples(st.integers(1, 9), st.binary(max_size=4)), max_size=40), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_the_first_path_of_an_inode_is_remembered_wherever_it_lies(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[int, bytes]], in_memory: int
) -> None:
    first: dict[int, bytes] = {}
    with Links(tmp_path_factory.mktemp("links"), in_memory) as links:
        for small, path in asked:
            # Numbers beyond what fits into a signed integer of 64 bits, too.
            inode = (1 << 64) - small if small % 2 else small
            assert links.first(inode, path) == first.setdefault(inode, path)


def test_a_table_on_the_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    with Links(tmp_path, 1) as links:
        assert [links.first(inode, b"p%d" % inode) for inode in (1, 2, 3, 2)] == [b"p1", b"p2", b"p3", b"p2"]
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []
    assert manifest_links.IN_MEMORY > 1


def test_small_windows_and_batches_make_the_same_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "tree"
    for number in range(40):
        directory = root / f"d{number % 7}" / f"e{number % 3}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{number}").write_bytes(os.urandom(number * 997))
    os.link(root / "d1" / "e1" / "f1", root / "z")
    whole, _ = take.take_manifest(str(root), tmp_path / "m.jsonl")
    monkeypatch.setattr(take, "_WINDOW", 5)
    monkeypatch.setattr(take, "_BATCH", 2)
    # Every file of some size becomes a question of its own.
    monkeypatch.setattr(reader, "_FIRST_READ", 1000)
    monkeypatch.setattr(reader, "LARGE", 2000)
    monkeypatch.setattr(content, "_BLOCK", 512)
    for workers in (1, 3):
        digest, count = take.take_manifest(str(root), tmp_path / "n.jsonl", cached=False, workers=workers)
        assert digest == whole
        # A second name of a file is not read again, unless another worker comes to it.
        assert count.bytes - 997 <= count.read_bytes <= (count.bytes - 997 if workers == 1 else count.bytes)
    assert (tmp_path / "n.jsonl").read_text().count("\n") == count.entries


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "bad disk").write_text("x")

    def fails(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "readv", fails)
    with pytest.raises(WorkerFailed, match=r"to read bad disk; found: .*Input/output error"):
        take.take_manifest(str(root), tmp_path / "m.jsonl")
