"""What two nodes say to each other about changed blocks; anything else is refused."""

from __future__ import annotations

import pytest

from bascule.errors import BasculeError
from bascule.guest import blocks

BLOCK = 16384


@pytest.mark.parametrize(
    "asked",
    [
        "disk-blocks", "disk-blocks scsi0", "disk-blocks scsi0 512 16384 1 0 0", "disk-blocks ../x 512 16384 1 0",
        "disk-blocks scsi0 0 16384 1 0", "disk-blocks scsi0 512 1 1 0", "disk-blocks scsi0 512 99999999 1 0",
        "disk-blocks scsi0 512 16384 2 0", "disk-blocks scsi0 512 16384 1 -1", "disk-blocks scsi0 x 16384 1 0",
    ],
)  # fmt: skip
def test_anything_else_is_refused(asked: str) -> None:
    with pytest.raises(BasculeError, match="state now: refused"):
        blocks.Wish.from_words(asked.split())


@pytest.mark.parametrize(
    ("flag", "content", "words"),
    [
        (blocks.DONE, b"", "flag 2"), (blocks.PLAIN, b"\0\0", "half a number"),
        (blocks.PLAIN, b"\0\0\0\x01" + bytes(BLOCK), "a block at 16384"),
        (blocks.PLAIN, b"\0\0\0\0" + bytes(BLOCK - 1), "a block at 0"), (blocks.PACKED, b"no zlib", "header"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_not_written(flag: int, content: bytes, words: str) -> None:
    with pytest.raises(BasculeError, match=words):
        blocks.unpacked(flag, content, BLOCK, BLOCK)


def test_an_answer_larger_than_its_chunk_is_not_unpacked() -> None:
    flood = blocks.packed(bytes(64 << 20), compress=True)
    flag, size = blocks.HEAD.unpack(flood[: blocks.HEAD.size])
    with pytest.raises(BasculeError, match="more than the chunk has"):
        blocks.unpacked(flag, flood[-size:], BLOCK, BLOCK)


@pytest.mark.parametrize("line", [b"", b"bascule guest_serve\n", b'{"blocks": 2, "size": 1}\n', b'{"size": 1}\n'])
def test_a_node_of_another_version_is_told(line: bytes) -> None:
    with pytest.raises(BasculeError, match=r"playbooks/20_prepare\.yml"):
        blocks.size_in(line)
