"""The digest of a file's content: the right one for its size, none for what moved, and nobody left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bascule.filetree.io.manifest import content
from bascule.filetree.manifest import BLAKE3, BLAKE3_FROM

# The input of BLAKE3's published test vectors, and two of their answers:
# https://github.com/BLAKE3-team/BLAKE3/blob/master/test_vectors/test_vectors.json
VECTOR = bytes(number % 251 for number in range(102_400))
VECTORS = {
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    102_400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
}
Program = Callable[[str], None]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is just large enough for the other algorithm."""
    path = tmp_path / "file"
    with path.open("wb") as out:
        out.truncate(BLAKE3_FROM)
    return path


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put a shell script in the place of b3sum."""
    directory = tmp_path / "bin"
    directory.mkdir()
    setpriv = shutil.which("setpriv")
    assert setpriv
    (directory / "setpriv").symlink_to(setpriv)
    monkeypatch.setenv("PATH", str(directory))

    def put(text: str) -> None:
        path = directory / "b3sum"
        path.write_text(f"#!/bin/bash\nPATH=/usr/bin:/bin\n{text}\n")
        path.chmod(0o755)

    return put


@pytest.mark.parametrize("length", VECTORS)
def test_a_large_file_has_the_published_blake3(length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "BLAKE3_FROM", 1024)
    (tmp_path / "file").write_bytes(VECTOR[:length])
    with opened(tmp_path / "file") as descriptor:
        # Wherever somebody else has read to before.
        os.lseek(descriptor, 100, os.SEEK_SET)
        digest, info = content.digest(descriptor)
    assert digest == BLAKE3 + VECTORS[length]
    assert info.st_size == length


@pytest.mark.parametrize("size", [0, 1, 1 << 20, BLAKE3_FROM - 1])
def test_a_smaller_file_has_a_sha256(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    with opened(tmp_path / "file") as descriptor:
        assert content.digest(descriptor)[0] == hashlib.sha256(data).hexdigest()


def test_the_size_alone_chooses_the_algorithm(file: Path) -> None:
    with opened(file) as descriptor:
        assert content.digest(descriptor)[0].startswith(BLAKE3)
    os.truncate(file, BLAKE3_FROM - 1)
    with opened(file) as descriptor:
        assert ":" not in content.digest(descriptor)[0]


@pytest.mark.parametrize(
    "change",
    [
        "printf more >>{path}; exec b3sum --no-names",
        "printf X | dd of={path} conv=notrunc status=none; exec b3sum --no-names",
        "truncate --size=-1 {path}; exec b3sum --no-names",
        "b3sum --no-names; truncate --size=-1 {path}",
    ],
    ids=["appended", "overwritten", "cut before it was read", "cut after it was read"],
)
def test_a_large_file_that_changes_meanwhile_has_no_digest(change: str, file: Path, program: Program) -> None:
    # Time stamps come from a clock that ticks.
    time.sleep(0.02)
    program(change.format(path=file))
    with opened(file) as descriptor:
        assert content.digest(descriptor)[0] == ""


def test_a_file_that_grows_for_ever_is_not_read_for_ever(
    file: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "_LOOK_MS", 10)
    program(f"while :; do head --bytes=1M /dev/zero >>{file}; head --bytes=4M >/dev/null; done")
    with opened(file) as descriptor:
        digest, info = content.digest(descriptor)
    assert digest == ""
    assert info.st_size > BLAKE3_FROM


def test_a_large_file_that_cannot_be_read_is_an_error(file: Path, program: Program) -> None:
    program("echo 'b3sum: Input/output error' >&2; exit 1")
    with opened(file) as descriptor, pytest.raises(OSError, match="b3sum: Input/output error"):
        content.digest(descriptor)


@pytest.mark.parametrize("answer", ["true", "echo", "echo abc", "echo no digest"])
def test_an_answer_that_is_no_digest_is_an_error(answer: str, file: Path, program: Program) -> None:
    program(f"cat >/dev/null; {answer}")
    with opened(file) as descriptor, pytest.raises(OSError, match="told no digest"):
        content.digest(descriptor)


def test_without_the_program_the_error_says_what_to_install(file: Path, program: Program) -> None:
    with opened(file) as descriptor, pytest.raises(content.ProgramMissing, match="apt-get install b3sum"):
        content.digest(descriptor)


def test_the_program_ends_with_whoever_asked(file: Path, program: Program, tmp_path: Path) -> None:
    note = tmp_path / "note"
    program(f"echo $$ >{note}.new; mv {note}.new {note}; exec sleep 60")
    child = os.fork()
    if child == 0:
        with opened(file) as descriptor:
            content.digest(descriptor)
        os._exit(0)
    while not note.exists():
        time.sleep(0.01)
    started = int(note.read_text())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for _ in range(500):
        if not alive(started):
            break
        time.sleep(0.01)
    assert not alive(started)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
