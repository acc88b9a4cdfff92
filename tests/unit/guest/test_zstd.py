"""The frames of a zstd file: each says whether its content is protected."""

from __future__ import annotations

import struct
import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.guest.zstd import Frames


def packed(data: bytes, *options: str) -> bytes:
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, capture_output=True, check=True).stdout


def follow(data: bytes, step: int | None = None) -> Frames:
    frames = Frames(lambda offset, length: data[offset : offset + length], len(data))
    for until in range(step or len(data), len(data) + (step or 1), step or 1):
        frames.follow(until)
    return frames


@settings(max_examples=25, deadline=None)
@given(seed=st.binary(max_size=40), times=st.integers(0, 20000), step=st.integers(1, 5000))
def test_a_frame_with_a_checksum(seed: bytes, times: int, step: int) -> None:
    data = packed(seed * times)
    frames = follow(data, step)
    assert (frames.frames, frames.checked) == (1, True)
    assert not follow(data[:-1]).checked, "cut short"
    assert not follow(packed(seed * times, "--no-check")).checked


def test_the_worst_frame_counts() -> None:
    good, bare = packed(b"x" * 300_000), packed(b"y" * 10, "--no-check")
    skippable = struct.pack("<II", 0x184D2A53, 5) + b"notes"
    assert follow(good + skippable + good).checked
    mixed = follow(good + bare)
    assert (mixed.frames, mixed.with_checksum, mixed.checked) == (2, 1, False)
    assert not follow(skippable).checked, "nothing is proved about nothing"


def test_what_is_no_frame() -> None:
    good = packed(b"x" * 1000)
    frames = follow(good + b"behind")
    assert frames.lost == f"byte {len(good)} of the file: no zstd frame begins here"
    assert not frames.checked
