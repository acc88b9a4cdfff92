"""What goes to a worker that reads a tree, and what comes back: bytes, because a tree has millions of entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

# Instead of a line: nothing is there; ask again alone; followed by what its other names have in common.
GONE, LATER, LINKED = "", "\x01", "\x02"
# Beside the kinds of tree_walk: read it now, however large it is.
READ_NOW = "F"


@dataclass
class Batch:
    """What a worker answers: a line for each path, or why there is none, and what it counted."""

    number: int = 0
    lines: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    moving: list[int] = field(default_factory=list)
    files: int = 0
    directories: int = 0
    size: int = 0
    read_files: int = 0
    read_bytes: int = 0

    def pack(self) -> bytes:
        """Return it as bytes; no line holds a NUL or a line feed."""
        figures = (
            self.number,
            self.files,
            self.directories,
            self.size,
            self.read_files,
            self.read_bytes,
            *self.moving,
        )
        return "\0".join((" ".join(map(str, figures)), "\n".join(self.lines), "\n".join(self.seen))).encode("ascii")

    @classmethod
    def unpack(cls, data: bytes) -> Batch:
        """Read what `pack` wrote."""
        figures, lines, seen = data.decode("ascii").split("\0")
        number, files, directories, size, read_files, read_bytes, *moving = map(int, figures.split(" "))
        return cls(
            number, lines.split("\n"), seen.split("\n"), moving, files, directories, size, read_files, read_bytes
        )


def pack_question(number: int, kinds: str, paths: Sequence[bytes], known: Sequence[str]) -> bytes:
    """Return a batch as bytes; an empty `known` means that nothing is known of any of them."""
    return b"\0\0".join(
        (b"%d %s" % (number, kinds.encode("ascii")), b"\0".join(paths), "\n".join(known).encode("ascii"))
    )
