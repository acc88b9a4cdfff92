"""Manifests of real trees: every change is seen, digests are read once, and nothing about a name surprises."""

from __future__ import annotations

import os
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.filetree.io.manifest import content, reader, take, walk
from bascule.filetree.io.manifest.workers import Workers
from bascule.filetree.manifest import BLAKE3, BLAKE3_FROM, DIRECTORY, FILE, LINK, compare

ODD = [
    b" leading",
    b"two\nlines",
    b"tab\there",
    b"\xff\xfe",
    b"back\\slash",
    b"-rf",
    "درس".encode(),
    b"n" * 255,
    b"...",
]


class Here(Workers):
    """Answers in this process, so that what a worker does can be watched."""

    def __init__(self, count: int, answer: Callable[[bytes], bytes]) -> None:
        super().__init__(count, answer)
        self.questions: list[bytes] = []

    def ask(self, question: bytes, first: bool = False) -> None:
        self.questions.append(question)

    def answers(self, wait: bool) -> Iterator[bytes]:
        while self.questions:
            yield self._answer(self.questions.pop(0))


def make(root: Path, names: list[bytes]) -> None:
    for name in names:
        path = os.path.join(os.fsencode(root), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(b"content of " + name)
        os.utime(path, ns=(10**18, 10**18 + 7))


def still(root: Path) -> None:
    """Give every directory the same time, so that only what a test changes differs."""
    for directory, _, _ in os.walk(root, topdown=False):
        os.utime(directory, ns=(10**18, 10**18))


def old(path: Path) -> None:
    """Make a manifest's digests look as if they had been read long after the files changed."""
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line.rpartition(' ')[0]} {2**62}\n" for line in lines))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    make(root, [b"a", b"b", b"d/x", b"d/y", b"d.txt", *(b"odd/" + name for name in ODD)])
    (root / "empty").mkdir()
    os.symlink(b"nowhere \xff", os.fsencode(root) + b"/dangling")
    os.link(root / "a", root / "zz-linked")
    still(root)
    return root


def test_the_same_tree_made_in_another_order_has_the_same_digest(tmp_path: Path) -> None:
    names = [b"a", b"d/x", b"d/y/z", b"d.txt", *(b"odd/" + name for name in ODD)]
    digests = []
    for number in range(3):
        root = tmp_path / str(number)
        make(root, random.Random(number).sample(names, len(names)))
        still(root)
        digests.append(take.take_manifest(str(root), tmp_path / f"{number}.jsonl")[0])
    assert len(set(digests)) == 1


def test_what_most_files_are_is_told_as_everything_else_is(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small files that stand still have a way of their own; what it says does not depend on it."""
    make(root, [b"empty file", b"noisy", b"with/attributes", b"odd \\ one", b"e\xcc\x81"])
    (root / "empty file").write_bytes(b"")
    (root / "large").write_bytes(bytes(200_000))
    os.setxattr(root / "with/attributes", "user.seen", b"yes")
    (root / "a").chmod(0o4711)
    time.sleep(0.1)
    plain: list[bool] = []
    original = reader.Reader._plain

    def counted(*given: Any) -> Any:
        found = original(*given)
        plain.append(found is not None)
        return found

    manifests = []
    for way in (counted, lambda *_: None):
        monkeypatch.setattr(reader.Reader, "_plain", way)
        monkeypatch.setattr(take, "Workers", Here)
        digest, count = take.take_manifest(str(root), tmp_path / "m.jsonl", cached=False)
        lines = [line.rpartition(" ")[0] for line in (tmp_path / "m.jsonl").read_text().splitlines()]
        manifests.append((digest, lines, count.to_dict()))
    assert manifests[0] == manifests[1]
    assert (plain.count(True), plain.count(False)) == (4 + 4 + len(ODD), 4)


def test_a_file_that_became_a_directory_is_left_to_the_next_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = walk.runs

    def replaced(*given: Any) -> Any:
        for run in original(*given):
            yield [(path, inode, "f" if path == b"empty" else kind) for path, inode, kind in run]

    monkeypatch.setattr(take, "runs", replaced)
    take.take_manifest(str(root), tmp_path / "m.jsonl")
    assert {one.path: one.kind for one in take.read_manifest(tmp_path / "m.jsonl")}[b"empty"] == DIRECTORY


def test_kinds_and_names_come_out_as_they_are(root: Path, tmp_path: Path) -> None:
    _, count = take.take_manifest(str(root), tmp_path / "m.jsonl")
    found = {one.path: one for one in take.read_manifest(tmp_path / "m.jsonl")}
    assert {b"odd/" + name for name in ODD} <= set(found)
    assert found[b"."].kind == DIRECTORY
    assert (found[b"dangling"].kind, found[b"dangling"].target) == (LINK, b"nowhere \xff")
    assert (found[b"a"].kind, found[b"a"].links, found[b"a"].first) == (FILE, 2, b"a")
    assert (found[b"zz-linked"].first, found[b"zz-linked"].digest) == (b"a", found[b"a"].digest)
    assert count.files == 4 + 1 + 1 + len(ODD)
    assert count.entries == len(found)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: keep_times(root / "b", lambda path: path.write_bytes(b"content of B")),
    "mtime": lambda root: os.utime(root / "b", ns=(1, 10**18 + 8)),
    "mode": lambda root: (root / "b").chmod(0o600),
    "owner": lambda root: os.chown(root / "b", 12, -1),
    "group": lambda root: os.chown(root / "b", -1, 12),
    "xattr": lambda root: os.setxattr(root / "b", "user.seen", b"yes"),
    "xattr of a directory": lambda root: os.setxattr(root / "d", "user.seen", b"yes"),
    "new": lambda root: quietly(root, lambda: make(root, [b"c"])),
    "gone": lambda root: quietly(root, (root / "b").unlink),
    "renamed": lambda root: quietly(root, lambda: (root / "b").rename(root / "bb")),
    "target": lambda root: retarget(root),
    "unlinked": lambda root: unlinked(root),
    "directory's time": lambda root: os.utime(root / "empty", ns=(1, 1)),
    "kind": lambda root: quietly(root, lambda: file_instead(root / "empty")),
}


def keep_times(path: Path, change: Callable[[Path], object]) -> None:
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def quietly(root: Path, change: Callable[[], object]) -> None:
    change()
    still(root)


def file_instead(path: Path) -> None:
    path.rmdir()
    make(path.parent, [os.fsencode(path.name)])


def retarget(root: Path) -> None:
    info = os.lstat(root / "dangling")
    (root / "dangling").unlink()
    os.symlink(b"nowhere \xfe", root / "dangling")
    os.utime(root / "dangling", ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)
    still(root)


def unlinked(root: Path) -> None:
    info = os.lstat(root / "a")
    content = (root / "zz-linked").read_bytes()
    (root / "zz-linked").unlink()
    (root / "zz-linked").write_bytes(content)
    os.utime(root / "zz-linked", ns=(info.st_atime_ns, info.st_mtime_ns))
    still(root)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("cached", [True, False], ids=["cached", "all"])
def test_every_change_is_seen(root: Path, tmp_path: Path, name: str, cached: bool) -> None:
    if name in ("owner", "group") and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    target = tmp_path / "m.jsonl"
    before, _ = take.take_manifest(str(root), target)
    old(target)
    assert take.take_manifest(str(root), target, cached=cached)[0] == before
    CHANGES[name](root)
    assert take.take_manifest(str(root), target, cached=cached)[0] != before


def test_an_acl_is_seen(root: Path, tmp_path: Path) -> None:
    before, _ = take.take_manifest(str(root), tmp_path / "m.jsonl")
    # Version 2: owner rw-, user 1234 r--, group r--, mask r--, others ---.
    entries = [(1, 6, 2**32 - 1), (2, 4, 1234), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)]
    raw = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + who.to_bytes(4, "little") for tag, bits, who in entries
    )
    mode = (root / "b").stat().st_mode
    os.setxattr(root / "b", "system.posix_acl_access", raw)
    after, _ = take.take_manifest(str(root), tmp_path / "n.jsonl")
    assert before != after
    (root / "b").chmod(mode)
    found = compare(take.read_manifest(tmp_path / "m.jsonl"), take.read_manifest(tmp_path / "n.jsonl"))
    assert [one.path for one in found.differences] == [b"b"]
    assert "acl" in found.differences[0].attributes


def test_only_what_changed_is_read_again(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.jsonl"
    _, first = take.take_manifest(str(root), target)
    assert first.read_files == first.files - 1  # the second name of a file is not read
    old(target)
    assert take.take_manifest(str(root), target)[1].read_files == 0
    (root / "b").write_bytes(b"other")
    assert take.take_manifest(str(root), target)[1].read_files == 1
    assert take.take_manifest(str(root), target, cached=False)[1].read_files == first.read_files


def test_what_changed_just_before_it_was_read_is_read_again(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.jsonl"
    _, first = take.take_manifest(str(root), target)
    assert take.take_manifest(str(root), target)[1].read_files == first.read_files


def test_a_small_file_that_is_read_again_beside_known_ones_comes_from_the_disk(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take, "Workers", Here)
    take.take_manifest(str(root), tmp_path / "m.jsonl", cached=False)
    old(tmp_path / "m.jsonl")
    (root / "b").write_bytes(b"repaired")
    time.sleep(0.1)
    let_go: list[str] = []
    original = os.posix_fadvise

    def advise(descriptor: int, offset: int, size: int, advice: int) -> None:
        if advice == os.POSIX_FADV_DONTNEED:
            let_go.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        original(descriptor, offset, size, advice)

    monkeypatch.setattr(os, "posix_fadvise", advise)
    _, count = take.take_manifest(str(root), tmp_path / "m.jsonl", cached=False, since_ns=1)
    assert count.read_files == 1
    assert set(let_go) == {"b"}


def test_an_interrupted_run_is_gone_on_with(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.jsonl"
    whole, first = take.take_manifest(str(root), target)
    old(target)
    lines = target.read_text().splitlines(keepends=True)
    target.unlink()
    target.with_suffix(".part").write_text("".join(lines[:-3]) + lines[-3][:20])
    digest, count = take.take_manifest(str(root), target)
    assert digest == whole
    assert 0 < count.read_files < first.read_files
    assert sorted(path.name for path in tmp_path.glob("m.*")) == ["m.jsonl"]


def test_a_file_that_changes_while_it_is_read_is_never_believed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest: dict[str, Callable[..., int]] = {"readv": os.readv, "preadv": os.preadv}

    def meanwhile(name: str) -> Callable[..., int]:
        def read(descriptor: int, *rest: Any) -> int:
            size = int(honest[name](descriptor, *rest))
            if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/b"):
                with open(root / "b", "ab") as out:
                    out.write(b"more")
            return size

        return read

    for name in honest:
        monkeypatch.setattr(os, name, meanwhile(name))
    monkeypatch.setattr(content, "_BLOCK", 4)
    _, count = take.take_manifest(str(root), tmp_path / "m.jsonl")
    assert (count.moving, count.moving_names) == (1, ["b"])
    assert next(one for one in take.read_manifest(tmp_path / "m.jsonl") if one.path == b"b").digest == ""


def test_lost_and_found_belongs_to_the_file_system(root: Path, tmp_path: Path) -> None:
    before, _ = take.take_manifest(str(root), tmp_path / "m.jsonl")
    (root / "lost+found").mkdir()
    still(root)
    assert take.take_manifest(str(root), tmp_path / "m.jsonl")[0] == before


def test_parts_of_broken_transfers_are_swept_away_without_a_trace(root: Path, tmp_path: Path) -> None:
    before, _ = take.take_manifest(str(root), tmp_path / "m.jsonl")
    make(root, [b"d/.bascule-partial/large"])
    still(root)
    assert take.sweep_partial(str(root)) == 1
    assert take.take_manifest(str(root), tmp_path / "m.jsonl")[0] == before


def test_large_files_are_read_whole_and_keep_their_place(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    make(root, [b"a", b"z"])
    for number in range(5):
        (root / f"large-{number}").write_bytes(os.urandom(300_000 + number))
    _, count = take.take_manifest(str(root), tmp_path / "m.jsonl")
    found = list(take.read_manifest(tmp_path / "m.jsonl"))
    assert [one.path for one in found] == [b".", b"a", *(b"large-%d" % n for n in range(5)), b"z"]
    assert all(len(one.digest) == 64 for one in found[1:])
    assert count.bytes == count.read_bytes


def test_memory_does_not_grow_with_the_tree(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for number in range(60):
        make(root, [b"d%02d/%03d" % (number, file) for file in range(50)])
    tracemalloc.start()
    try:
        take.take_manifest(str(root), tmp_path / "m.jsonl")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A file of the size from which on another algorithm digests, alone in a tree; mostly a hole."""
    path = tmp_path / "videos" / "video"
    path.parent.mkdir()
    with path.open("wb") as out:
        out.write(b"begin")
        out.truncate(BLAKE3_FROM)
    os.utime(path, ns=(10**18, 10**18))
    return path


def test_one_bit_of_a_large_file_is_seen_though_size_and_time_are_the_same(video: Path, tmp_path: Path) -> None:
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    take.take_manifest(str(video.parent), before)
    with video.open("r+b") as out:
        out.seek(BLAKE3_FROM - 1)
        out.write(b"\x01")
    os.utime(video, ns=(10**18, 10**18))
    _, count = take.take_manifest(str(video.parent), after, cached=False)
    assert count.read_bytes == BLAKE3_FROM
    found = compare(take.read_manifest(before), take.read_manifest(after))
    assert [one.attributes for one in found.differences] == [("digest",)]


def test_the_digest_of_a_large_file_by_an_earlier_version_is_not_kept(video: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.jsonl"
    whole, _ = take.take_manifest(str(video.parent), target)
    old(target)
    assert take.take_manifest(str(video.parent), target)[1].read_files == 0
    lines = target.read_text()
    digest = lines[lines.index(BLAKE3) :].partition('"')[0]
    target.write_text(lines.replace(digest, "0" * 64))
    old(target)
    again, count = take.take_manifest(str(video.parent), target)
    assert (again, count.read_files) == (whole, 1)


def test_a_program_that_is_missing_is_named_by_the_worker(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "_COMMAND", ("setpriv", "--", "b3sum-that-nobody-has"))
    with pytest.raises(BasculeError, match="apt-get install b3sum"):
        take.take_manifest(str(video.parent), tmp_path / "m.jsonl")
    assert not (tmp_path / "m.jsonl").exists()
