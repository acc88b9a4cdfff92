"""What two nodes say to each other while the changed blocks of one disk travel: pure, both ends use it.

The node that receives (the puller) begins; both work through the disk in chunks of `chunks.CHUNK` bytes, in order.

1. The node that sends answers with one line of JSON: `{"blocks": 1, "size": bytes of its volume}`.
2. For each chunk the puller sends one byte: `Z` when the chunk is all zeros in its own disk, or `H` and then the first
   16 bytes of the SHA-256 of each block of it. The last block of a disk may be shorter.
3. For each of these the sender answers in the same order: a flag (0 plain, 1 zlib) and the length of what follows, as
   `>BI`; then, for each block that is another one, its number in the chunk as `>I` and its content.
4. After the last chunk the puller sends `E`, and the sender answers with flag 2 and no content: it has read all of the
   disk, and nobody had it open then.

A hash that is equal by chance leaves a block out. It is not what proves that two disks are equal: that is the digest
which both nodes take of the whole disk afterwards.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BasculeError
from .chunks import CHUNK

VERSION = 1
HASHES = b"H"
ZEROS = b"Z"
END = b"E"
PLAIN, PACKED, DONE = 0, 1, 2
HEAD = struct.Struct(">BI")
_NUMBER = struct.Struct(">I")
_HASH = 16
# What the puller asks for over the link, before the values.
COMMAND = "disk-blocks"
# Blocks are no smaller, as each has a hash and a number, and no larger than a chunk.
SMALLEST = 512


@dataclass(frozen=True)
class Wish:
    """What the puller asks for: a disk by its name in the guest's config, and how its blocks travel.

    length: bytes of the disk from its beginning. block: bytes of a block. bwlimit: KiB per second, 0 is no limit.
    """

    name: str
    length: int
    block: int
    compress: bool
    bwlimit: int

    def words(self) -> str:
        """Return the command for the other node."""
        return f"{COMMAND} {self.name} {self.length} {self.block} {int(self.compress)} {self.bwlimit}"

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Wish:
        """Read the command; raise BasculeError for anything else."""
        try:
            command, name, *numbers = words
            length, block, compress, bwlimit = (int(number) for number in numbers)
        except ValueError as error:
            raise _refused(words) from error
        if command != COMMAND or not name.isalnum() or min(length - 1, bwlimit) < 0 or compress not in (0, 1):
            raise _refused(words)
        if not is_block(block):
            raise _refused(words)
        return cls(name, length, block, bool(compress), bwlimit)


def is_block(size: int) -> bool:
    """Say whether disks can be compared in blocks of so many bytes."""
    return SMALLEST <= size <= CHUNK


def _refused(words: Sequence[str]) -> BasculeError:
    return BasculeError(
        expected=f"{COMMAND} NAME LENGTH BLOCK COMPRESS BWLIMIT", found=" ".join(words)[:300], state="refused"
    )


def hello(size: int) -> bytes:
    """Return what the sender says first."""
    return json.dumps({"blocks": VERSION, "size": size}).encode() + b"\n"


def size_in(line: bytes) -> int:
    """Return the size of the sender's volume in what it has said first; raise BasculeError where it is no such line."""
    try:
        said: Mapping[str, Any] = json.loads(line)
        if said["blocks"] == VERSION:
            return int(said["size"])
    except (ValueError, KeyError, TypeError):
        pass
    raise BasculeError(
        expected=f"the other node to send blocks of a disk (version {VERSION})",
        found=repr(line[:200]) if line else "no answer",
        state="nothing was written",
        next_command="ansible-playbook playbooks/20_prepare.yml, which brings both nodes to the same version",
    )


def split(chunk: bytes, block: int) -> Iterator[bytes]:
    """Return the blocks of a chunk; the last one may be shorter."""
    view = memoryview(chunk)
    return (view[start : start + block].tobytes() for start in range(0, len(chunk), block))


def hashes(chunk: bytes, block: int) -> bytes:
    """Return the hashes of the blocks of a chunk, one after the other."""
    return b"".join(hashlib.sha256(part).digest()[:_HASH] for part in split(chunk, block))


def hashes_length(length: int, block: int) -> int:
    """Return how many bytes the hashes of a chunk of this length take."""
    return -(-length // block) * _HASH


def changed(chunk: bytes, block: int, theirs: bytes) -> bytes:
    """Return the numbers and contents of the blocks of which the other one's hash is another; `theirs` as `hashes`."""
    found = []
    for number, part in enumerate(split(chunk, block)):
        if hashlib.sha256(part).digest()[:_HASH] != theirs[number * _HASH : (number + 1) * _HASH]:
            found.append(_NUMBER.pack(number) + part)
    return b"".join(found)


def unlike_zeros(chunk: bytes, block: int) -> bytes:
    """Return the numbers and contents of the blocks that are not all zeros."""
    zeros = bytes(block)
    return b"".join(
        _NUMBER.pack(number) + part
        for number, part in enumerate(split(chunk, block))
        if part != (zeros if len(part) == block else bytes(len(part)))
    )


def packed(content: bytes, compress: bool) -> bytes:
    """Return an answer of the sender: its head, then the content."""
    if compress and content:
        small = zlib.compress(content, 1)
        if len(small) < len(content):
            return HEAD.pack(PACKED, len(small)) + small
    return HEAD.pack(PLAIN, len(content)) + content


def most(length: int, block: int) -> int:
    """Return how many bytes an answer about a chunk of this length has at most."""
    return length + -(-length // block) * _NUMBER.size


def unpacked(flag: int, content: bytes, length: int, block: int) -> list[tuple[int, bytes]]:
    """Return where in the chunk each block begins, and its content, from an answer about a chunk of `length` bytes.

    Raises:
        BasculeError: it is no answer about this chunk; nothing of it may be written.
    """
    if flag == PACKED:
        unpacker = zlib.decompressobj()
        try:
            content = unpacker.decompress(content, most(length, block))
        except zlib.error as error:
            raise _garbled(str(error)) from error
        if not unpacker.eof:
            raise _garbled("more than the chunk has")
    elif flag != PLAIN:
        raise _garbled(f"flag {flag}")
    found, at = [], 0
    while at < len(content):
        if len(content) - at < _NUMBER.size:
            raise _garbled("half a number")
        start = _NUMBER.unpack_from(content, at)[0] * block
        size = min(block, length - start)
        at += _NUMBER.size
        if size <= 0 or len(content) - at < size:
            raise _garbled(f"a block at {start} of a chunk of {length} bytes")
        found.append((start, content[at : at + size]))
        at += size
    return found


def _garbled(found: str) -> BasculeError:
    return BasculeError(
        expected="changed blocks of the disk from the other node",
        found=found,
        state="what has arrived before was written; nothing uses it",
        next_command="run the same command again: it carries over what is missing",
    )
