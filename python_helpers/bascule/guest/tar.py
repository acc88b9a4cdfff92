"""Verify the archive of a container, which is a tar file: from one pass over its bytes, in bounded memory.

Checked: the checksum and size of every header, that all bytes of each member are there, that the archive ends as a tar
file does, and that it holds the container's config. Not checked, because a tar file has nothing to check it by: what
stands in its members. So a digest taken at the source, or the compressed stream's checksum, is needed beside this.

Format: POSIX.1-2001 (pax) and GNU tar, as PVE::VZDump::LXC has them written.
"""

from __future__ import annotations

from typing import Optional

from .vma import Problem, Stream, VmaReport

BLOCK = 512
CONFIG = "pct.conf"
_CONFIG_PATH = b"etc/vzdump/pct.conf"
_PIECE = 1 << 20
# Headers that say something of the member that follows: long names of GNU tar, and pax records.
_PREFIXES = (b"L", b"K", b"x", b"g")


def verify(stream: Stream) -> VmaReport:
    """Read the archive to its end and return what is wrong with it, and what it holds (`extents` are its members)."""
    source = _Source(stream)
    problems: list[Problem] = []
    configs: dict[str, int] = {}
    members = 0
    told: Optional[int] = None
    while True:
        at = source.position
        header = source.take(BLOCK)
        if len(header) < BLOCK:
            problems.append(Problem(at, "the archive ends without the two empty blocks that end a tar file"))
            break
        if not any(header):
            if any(source.take(BLOCK)):
                problems.append(Problem(at, "an empty block stands between two members"))
            break
        if not _is_sound(header):
            problems.append(Problem(at, "the checksum of a header is wrong"))
            break
        kind = header[156:157]
        size = _number(header[124:136]) if told is None or kind in _PREFIXES else told
        told = told if kind in _PREFIXES else None
        members += 1
        if kind == b"x" and size <= _PIECE:
            # Of a member of 8 GiB or more the size stands here, and its own header says 0.
            told = _told(source.take(size))
            if (rest := source.skip(-size % BLOCK)) < -size % BLOCK:
                problems.append(Problem(at, f"a member of {size} bytes is cut ({rest} bytes of its last block)"))
                break
            continue
        name = header[:100].rstrip(b"\0")
        if name.removeprefix(b"./") == _CONFIG_PATH and size:
            configs[CONFIG] = size
        padded = -(-size // BLOCK) * BLOCK
        # A link has no data, whatever its size says.
        if kind in (b"1", b"2", b"3", b"4", b"5", b"6"):
            padded = 0
        if (found := source.skip(padded)) < padded:
            problems.append(Problem(at, f"a member of {size} bytes ends after {min(found, size)}"))
            break
    source.drain()
    if not problems and CONFIG not in configs:
        problems.append(Problem(0, f"there is no {_CONFIG_PATH.decode()}: it is no archive of a container"))
    return VmaReport(tuple(problems), configs=configs, extents=members, length=source.position)


def _is_sound(header: bytes) -> bool:
    """Say whether a header has the checksum that it states: the sum of its bytes, with blanks in that field's place."""
    told = header[148:156].strip(b" \0")
    if not told or set(told) - set(b"01234567"):
        return False
    return int(told, 8) == sum(header[:148]) + sum(header[156:]) + 8 * ord(" ")


def _told(records: bytes) -> Optional[int]:
    """Return the size that pax records (`LENGTH KEY=VALUE`, each with a line's end) state; None when they do not."""
    while records:
        length, _, _ = records.partition(b" ")
        if not length.isdigit() or not int(length):
            return None
        key, _, value = records[len(length) + 1 : int(length)].rstrip(b"\n").partition(b"=")
        if key == b"size" and value.isdigit():
            return int(value)
        records = records[int(length) :]
    return None


def _number(field: bytes) -> int:
    """Return a number of a header: octal digits, or binary where its first bit is set (GNU tar, large files)."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    told = field.strip(b" \0")
    return int(told, 8) if told and not set(told) - set(b"01234567") else 0


class _Source:
    """The stream, with its position."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.position = 0

    def take(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        buffer = memoryview(bytearray(size))
        have = 0
        while have < size:
            count = self._stream.readinto(buffer[have:])
            if not count:
                break
            have += count
        self.position += have
        return bytes(buffer[:have])

    def skip(self, size: int) -> int:
        """Pass over the next bytes; return how many there were."""
        left = size
        while left:
            count = self._stream.skip(min(left, _PIECE))
            if not count:
                break
            left -= count
        self.position += size - left
        return size - left

    def drain(self) -> None:
        """Go on to the end: a checksum over the whole stands there."""
        while self.skip(_PIECE):
            pass
