"""Files found by their handles, and what is said when the kernel has no memory, or says so."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from bascule.filetree.io.recorder import handles
from bascule.filetree.io.recorder.handles import Handles, WatchEnded


class Kernel:
    """Answers in turn, the last one for ever: an error, or 0 for the file that the handle stands for."""

    def __init__(self, path: Path, *answers: int) -> None:
        self.file, self.answers = path / "file", list(answers)
        self.file.write_text("x")
        self.asked = self.relieved = 0

    def call(self, mount: int, handle: bytes) -> int:
        assert os.path.isdir(f"/proc/self/fd/{mount}")
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == 0:
            return os.open(self.file, os.O_RDONLY)
        ctypes.set_errno(answer)
        return -1

    def relieve(self) -> None:
        self.relieved += 1


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr("time.sleep", found.append)
    return found


def of(kernel: Kernel, path: Path, device: int = 0) -> Handles:
    return Handles(os.fsencode(path), device or path.stat().st_dev, kernel.relieve, kernel.call)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_no_memory_once_is_asked_again_and_the_file_is_found_or_known_to_be_gone(
    tmp_path: Path, slept: list[float]
) -> None:
    before = descriptors()
    for last, there in ((0, True), (errno.ESTALE, False), (errno.ENOENT, False)):
        kernel = Kernel(tmp_path, errno.ENOMEM, last)
        with of(kernel, tmp_path).opened(b"h") as found:
            assert (found is not None) is there
        assert (kernel.asked, kernel.relieved) == (2, 0)
    assert sum(slept) == 0
    assert descriptors() == before


def test_no_memory_for_some_seconds_is_outlived_after_memory_was_given_back(tmp_path: Path, slept: list[float]) -> None:
    kernel = Kernel(tmp_path, *[errno.ENOMEM] * (handles.TRIES - 1), 0)
    with of(kernel, tmp_path).opened(b"h") as found:
        assert found is not None
        assert os.path.samestat(os.fstat(found), kernel.file.stat())
    assert kernel.asked == handles.TRIES
    assert kernel.relieved > 0
    assert slept == sorted(slept)


def test_no_memory_for_ever_is_said_and_nothing_stays_open(tmp_path: Path, slept: list[float]) -> None:
    before = descriptors()
    kernel = Kernel(tmp_path, errno.ENOMEM)
    with pytest.raises(WatchEnded) as caught, of(kernel, tmp_path).opened(b"h"):
        raise AssertionError("there is nothing to look at")
    assert caught.value.found == f"the kernel had no memory to find a file by its handle, asked {handles.TRIES} times"
    assert kernel.asked == handles.TRIES
    assert descriptors() == before


def test_any_other_error_is_believed_at_once(tmp_path: Path, slept: list[float]) -> None:
    kernel = Kernel(tmp_path, errno.EPERM, 0)
    with pytest.raises(WatchEnded) as caught, of(kernel, tmp_path).opened(b"h"):
        raise AssertionError("there is nothing to look at")
    assert caught.value.found == "Operation not permitted (error 1), asked to find a file by its handle"
    assert (kernel.asked, slept) == (1, [])


def test_what_is_gone_is_asked_for_once_in_each_piece_of_the_queue(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, errno.ESTALE)
    found = of(kernel, tmp_path)
    for _ in range(2):
        found.begin()
        for handle in (b"one", b"one", b"two", b"one"):
            with found.opened(handle) as nothing:
                assert nothing is None
    assert kernel.asked == 4


def test_another_file_system_at_the_path_is_not_asked(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, 0)
    elsewhere = of(kernel, tmp_path, device=tmp_path.stat().st_dev + 1)
    with pytest.raises(WatchEnded, match="unmounted"), elsewhere.opened(b"h"):
        raise AssertionError("there is nothing to look at")
    assert kernel.asked == 0
