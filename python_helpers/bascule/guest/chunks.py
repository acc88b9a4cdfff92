"""The digest of a disk: a tree of SHA-256 over chunks of 4 MiB, so that holes cost nothing to digest.

It is a digest of the full logical content: a hole, zeros that were written, and zeros that were copied all count the
same. `tree-sha256:` + hex of SHA-256 over the text `bascule disk 1`, the size in bytes as 8 bytes big-endian, and the
SHA-256 of every chunk in order; the last chunk is as long as what is left.
"""

from __future__ import annotations

import hashlib

CHUNK = 4 * 1024 * 1024
PREFIX = "tree-sha256:"
_ZERO = hashlib.sha256(bytes(CHUNK)).digest()


class Tree:
    """Takes the chunks of one disk in order."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._root = hashlib.sha256(b"bascule disk 1" + size.to_bytes(8, "big"))

    @property
    def offset(self) -> int:
        """Return where the next chunk begins."""
        return self._taken

    def next_length(self) -> int:
        """Return the length of the next chunk; 0 at the end."""
        return min(CHUNK, self._size - self._taken)

    def data(self, chunk: bytes) -> None:
        """Take the next chunk."""
        if len(chunk) != self.next_length():
            raise ValueError(f"a chunk of {self.next_length()} bytes is due, not of {len(chunk)}")
        self._root.update(hashlib.sha256(chunk).digest())
        self._taken += len(chunk)

    def zeros(self) -> None:
        """Take the next chunk, known to be all zeros."""
        length = self.next_length()
        self._root.update(_ZERO if length == CHUNK else hashlib.sha256(bytes(length)).digest())
        self._taken += length

    def digest(self) -> str:
        """Return the digest of the whole disk."""
        if self._taken != self._size:
            raise ValueError(f"{self._size} bytes are due, {self._taken} were taken")
        return PREFIX + self._root.hexdigest()
