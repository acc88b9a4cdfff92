"""Zstd by the system's library: the same bytes as the program gives, whatever the sizes, and the same refusals."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.guest.io import zstd

LIBRARY = zstd.load()


def packed(data: bytes, *options: str) -> bytes:
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, capture_output=True, check=True).stdout


def unpacked(path: Path, sizes: list[int], skip: bool = False) -> tuple[bytes, zstd.Stream]:
    """Read a file in pieces of these sizes; what is passed over comes as zeros."""
    assert LIBRARY is not None
    with path.open("rb", buffering=0) as file:
        stream = zstd.Stream(LIBRARY, file, lambda read: None)
        try:
            out = bytearray()
            turn = 0
            while True:
                size = sizes[turn % len(sizes)]
                buffer = bytearray(size)
                skipped = skip and turn % 2
                count = stream.skip(size) if skipped else stream.readinto(memoryview(buffer))
                out += bytes(count) if skipped else buffer[:count]
                turn += 1
                if not count:
                    return bytes(out), stream
        finally:
            stream.close()


def test_the_library_is_here() -> None:
    assert LIBRARY is not None, (
        "libzstd1 is part of every Debian: archives would be read by the program, at half the speed"
    )


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000), parts=st.lists(st.tuples(st.integers(0, 400_000), st.booleans()), max_size=4),
    sizes=st.lists(st.integers(1, 300_000), min_size=1, max_size=4),
)  # fmt: skip
def test_any_frames_in_any_pieces(
    seed: int, parts: list[tuple[int, bool]], sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = random.Random(seed)
    contents = [source.randbytes(size) if hard else bytes(size) for size, hard in parts]
    path = tmp_path_factory.getbasetemp() / "frames.zst"
    skippable = struct.pack("<II", 0x184D2A53, 5) + b"notes"
    path.write_bytes(skippable + b"".join(packed(data) for data in contents))
    if sum(map(len, contents)) // max(1, sum(sizes) // len(sizes)) > 5000:
        sizes = [50_000]
    found, stream = unpacked(path, sizes)
    assert found == b"".join(contents)
    assert (stream.complaint, stream.delivered, stream.read) == ("", len(found), path.stat().st_size)
    passed_over, stream = unpacked(path, sizes, skip=True)
    assert (len(passed_over), stream.complaint) == (len(found), "")


@pytest.mark.parametrize("hard", [True, False])
def test_every_cut_is_found(tmp_path: Path, hard: bool) -> None:
    whole = packed(os.urandom(5000) if hard else bytes(5000))
    path = tmp_path / "cut.zst"
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        assert unpacked(path, [777])[1].complaint == "premature end of the file", length


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path: Path) -> None:
    whole = bytearray(packed(os.urandom(300_000)))
    whole[150_000] ^= 4
    path = tmp_path / "flipped.zst"
    path.write_bytes(whole)
    assert "doesn't match checksum" in unpacked(path, [65_536])[1].complaint


def test_what_is_no_frame_is_said(tmp_path: Path) -> None:
    path = tmp_path / "behind.zst"
    path.write_bytes(packed(b"x" * 1000) + b"something else")
    found, stream = unpacked(path, [400])
    assert found == b"x" * 1000
    assert stream.complaint


def test_it_is_told_how_far_the_file_was_read(tmp_path: Path) -> None:
    assert LIBRARY is not None
    path = tmp_path / "told.zst"
    path.write_bytes(packed(os.urandom(1 << 20)))
    told: list[int] = []
    with path.open("rb", buffering=0) as file:
        stream = zstd.Stream(LIBRARY, file, told.append)
        while stream.skip(1 << 20):
            pass
        stream.close()
    assert told[-1] == path.stat().st_size
    assert told == sorted(told)


def test_without_the_library_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", missing)
    assert zstd.load() is None
