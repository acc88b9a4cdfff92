"""The frames of a zstd file, followed from header to header: only a frame itself says whether it carries a checksum.

A file is as well protected as its worst frame. Nothing is decompressed; the layout is that of RFC 8878.
"""

from __future__ import annotations

from collections.abc import Callable

ReadAt = Callable[[int, int], bytes]

_FRAME = 0xFD2FB528
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_RLE, _RESERVED = 1, 3
_LONGEST_HEADER = 18


class Frames:
    """Follows a file of a known size as far as it is told to."""

    def __init__(self, read_at: ReadAt, size: int) -> None:
        self.frames = 0
        self.with_checksum = 0
        # Why the rest cannot be followed.
        self.lost = ""
        self._read_at = read_at
        self._size = size
        self._position = 0
        self._inside = False
        self._checksum = False

    @property
    def checked(self) -> bool:
        """Say whether the file is whole frames, each with a checksum of its content."""
        whole = not self.lost and not self._inside and self._position == self._size
        return whole and 0 < self.frames == self.with_checksum

    def follow(self, until: int) -> None:
        """Go on up to this byte: the headers that begin before it."""
        while self._position < min(until, self._size) and not self.lost:
            if self._inside:
                self._block()
            else:
                self._frame()

    def _lose(self, what: str) -> None:
        self.lost = f"byte {self._position} of the file: {what}"

    def _frame(self) -> None:
        held = self._read_at(self._position, _LONGEST_HEADER)
        number = int.from_bytes(held[:4], "little")
        if number in _SKIPPABLE and len(held) >= 8:
            self._position += 8 + int.from_bytes(held[4:8], "little")
            return
        if number != _FRAME or len(held) < 6:
            self._lose("no zstd frame begins here")
            return
        descriptor = held[4]
        single = descriptor >> 5 & 1
        window = 1 - single
        dictionary = (0, 1, 2, 4)[descriptor & 3]
        content = (single, 2, 4, 8)[descriptor >> 6]
        self._checksum = bool(descriptor >> 2 & 1)
        self.frames += 1
        self.with_checksum += self._checksum
        self._inside = True
        self._position += 5 + window + dictionary + content

    def _block(self) -> None:
        header = int.from_bytes(self._read_at(self._position, 3), "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind == _RESERVED:
            self._lose("a block of an unknown kind")
            return
        self._position += 3 + (1 if kind == _RLE else size)
        if last:
            self._position += 4 * self._checksum
            self._inside = False
