"""Verify a VMA archive: from one pass over its bytes, in bounded memory, without seeking.

Checked: the header and its md5, each extent's md5, length and owner, and that each cluster of each disk stands in the
archive exactly once. Not checked, because the format has nothing to check it by: the payload itself. Whoever relies on
an archive needs the compressed stream's checksum, or a digest taken at the source, beside this; see `Verdict`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Optional, Protocol

BLOCK = 4096
CLUSTER = 65536
HEADER = 12288
EXTENT = 512
EXTENT_CLUSTERS = 59
LARGEST_HEADER = 16 << 20
# Cluster numbers are 32 bits long.
LARGEST_DISK = CLUSTER << 32
MOST_PROBLEMS = 20
_BUFFER = 1 << 20
_PAGE_BITS = 16
_INFOS = struct.Struct(f">{EXTENT_CLUSTERS}Q")
_EXTENT = struct.Struct(">4sHH16s16s")
_BITS = bytes(bin(number).count("1") for number in range(65536))


class Stream(Protocol):
    """Bytes in order: what a raw file and the output of a decompressor have."""

    def readinto(self, into: memoryview, /) -> Optional[int]:
        """Fill the buffer as far as bytes are at hand; 0 at the end."""

    def skip(self, size: int, /) -> int:
        """Pass over bytes that nobody looks at, at most so many; 0 at the end."""


@dataclass(frozen=True)
class Problem:
    """What is wrong, and at which byte of the archive (as it is without compression)."""

    position: int
    what: str

    def __str__(self) -> str:
        return f"byte {self.position}: {self.what}"


@dataclass(frozen=True)
class Disk:
    """One device of the archive."""

    ident: int
    name: str
    size: int
    clusters: int
    found: int
    stored: int


@dataclass(frozen=True)
class VmaReport:
    """What one pass over the archive found."""

    problems: tuple[Problem, ...]
    disks: tuple[Disk, ...] = ()
    configs: Mapping[str, int] = field(default_factory=dict)
    uuid: str = ""
    created: int = 0
    extents: int = 0
    length: int = 0

    @property
    def sound(self) -> bool:
        """Say whether the structure holds; it says nothing about the payload."""
        return not self.problems


@dataclass(frozen=True)
class Verdict:
    """Structure and payload together. `payload` names what proves the payload; empty when nothing does."""

    report: VmaReport
    container: str
    payload: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()
    digest: str = ""

    @property
    def result(self) -> str:
        """Return `proved`, `payload not proved` or `damaged`."""
        if self.damage or not self.report.sound:
            return "damaged"
        return "proved" if self.payload else "payload not proved"


class _End(Exception):
    """The archive cannot be followed any further."""


class _Source:
    """The stream, with its position and one buffer for everything."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = memoryview(bytearray(_BUFFER))
        self.position = 0

    def take(self, size: int) -> memoryview:
        """Return the next bytes, fewer at the end; valid until the next call."""
        into, have = self._buffer[:size], 0
        while have < size:
            count = self._stream.readinto(into[have:])
            if not count:
                break
            have += count
        self.position += have
        return into[:have]

    def skip(self, size: int) -> int:
        """Pass over the next bytes; return how many there were."""
        left = size
        while left:
            count = self._stream.skip(left)
            if not count:
                break
            left -= count
        self.position += size - left
        return size - left

    def drain(self) -> None:
        """Go on to the end: a checksum over the whole stands there."""
        while self.skip(_BUFFER):
            pass


class _Seen:
    """Which clusters of a disk have come: pages of bits that vanish when they are full."""

    def __init__(self, clusters: int) -> None:
        self.clusters = clusters
        self.count = 0
        self._pages: dict[int, tuple[bytearray, list[int]]] = {}
        self._full: set[int] = set()

    def add(self, number: int) -> bool:
        """Note a cluster; False when it has come before."""
        page = number >> _PAGE_BITS
        if page in self._full:
            return False
        held = self._pages.get(page)
        if held is None:
            held = self._pages[page] = (bytearray(1 << _PAGE_BITS - 3), [0])
        bits, count = held
        place, bit = (number & (1 << _PAGE_BITS) - 1) >> 3, 1 << (number & 7)
        if bits[place] & bit:
            return False
        bits[place] |= bit
        count[0] += 1
        self.count += 1
        if count[0] == 1 << _PAGE_BITS:
            del self._pages[page]
            self._full.add(page)
        return True

    def first_missing(self) -> int:
        """Return the lowest number that has not come."""
        page = 0
        while page in self._full:
            page += 1
        base = page << _PAGE_BITS
        if page not in self._pages:
            return base
        bits = self._pages[page][0]
        place = next(index for index, byte in enumerate(bits) if byte != 0xFF)
        return base + place * 8 + next(bit for bit in range(8) if not bits[place] >> bit & 1)


class _Device:
    def __init__(self, ident: int, name: str, size: int) -> None:
        self.ident = ident
        self.name = name
        self.size = size
        self.clusters = -(-size // CLUSTER)
        self.seen = _Seen(self.clusters)
        self.stored = 0
        # A saved memory state is a stream: its clusters come in order.
        self.ordered = name == "vmstate"


class _Verifier:
    def __init__(self, source: _Source) -> None:
        self._source = source
        self.problems: list[Problem] = []
        self.devices: dict[int, _Device] = {}
        self.configs: dict[str, int] = {}
        self.uuid = b""
        self.created = 0
        self.extents = 0

    def wrong(self, position: int, what: str) -> None:
        self.problems.append(Problem(position, what))
        if len(self.problems) >= MOST_PROBLEMS:
            raise _End

    def run(self) -> None:
        try:
            self._header()
            while self._extent():
                pass
        except _End:
            return
        for device in self.devices.values():
            missing = device.clusters - device.seen.count
            if missing and len(self.problems) < MOST_PROBLEMS:
                self.problems.append(
                    Problem(
                        self._source.position,
                        f"the end, and {missing} of {device.clusters} clusters of {device.name} have not come, "
                        f"{device.seen.first_missing()} is the first of them",
                    )
                )

    # ---- the header

    def _header(self) -> None:
        head = bytes(self._source.take(HEADER))
        if head[:4] != b"VMA\0":
            found = f"found {head[:4].hex(' ')}" if head else "the archive is empty"
            self._stop(0, f"no VMA archive begins here (expected 56 4d 41 00, {found})")
        if len(head) < HEADER:
            self._stop(len(head), f"the archive ends inside its header ({len(head)} of at least {HEADER} bytes)")
        version, uuid, created, digest, start, length, size = struct.unpack_from(">I16sq16sIII", head, 4)
        if version != 1:
            self._stop(4, f"version {version} of the format (expected 1)")
        if not HEADER <= size <= LARGEST_HEADER:
            self._stop(56, f"a header of {size} bytes (expected {HEADER} to {LARGEST_HEADER})")
        rest = self._rest_of_header(size - HEADER)
        whole = bytearray(head + rest)
        whole[32:48] = bytes(16)
        if hashlib.md5(whole, usedforsecurity=False).digest() != digest:
            self._stop(32, f"the header's md5 does not fit: something in bytes 0 to {size - 1} has changed")
        if start < HEADER or start + length > size:
            self._stop(48, f"a blob buffer at {start} to {start + length}, outside the header of {size} bytes")
        self.uuid, self.created = uuid, created
        self._names(bytes(whole), memoryview(whole)[start : start + length])

    def _rest_of_header(self, size: int) -> bytes:
        parts = []
        while size:
            part = bytes(self._source.take(min(size, _BUFFER)))
            if not part:
                self._stop(self._source.position, f"the archive ends inside its header ({size} bytes are missing)")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _stop(self, position: int, what: str) -> None:
        self.problems.append(Problem(position, what))
        raise _End

    def _names(self, header: bytes, blobs: memoryview) -> None:
        names, contents = struct.unpack_from(">256I", header, 2044), struct.unpack_from(">256I", header, 3068)
        for number, (name, content) in enumerate(zip(names, contents)):
            if name and content:
                data = self._blob(blobs, content, 3068 + 4 * number)
                self.configs[self._text(blobs, name, 2044 + 4 * number)] = len(data)
        for ident in range(1, 256):
            place = 4096 + 32 * ident
            name, _, size = struct.unpack_from(">IIQ", header, place)
            if not name:
                continue
            device = _Device(ident, self._text(blobs, name, place), size)
            if size > LARGEST_DISK:
                self._stop(place + 8, f"{device.name} has {size} bytes (expected {LARGEST_DISK} at most)")
            self.devices[ident] = device
        if not self.devices:
            self._stop(4096, "the archive names no device")

    def _text(self, blobs: memoryview, pointer: int, place: int) -> str:
        return bytes(self._blob(blobs, pointer, place)).rstrip(b"\0").decode("utf-8", "replace")

    def _blob(self, blobs: memoryview, pointer: int, place: int) -> memoryview:
        if pointer + 2 <= len(blobs):
            # The one little-endian number of the format.
            size = blobs[pointer] | blobs[pointer + 1] << 8
            if pointer + 2 + size <= len(blobs):
                return blobs[pointer + 2 : pointer + 2 + size]
        self._stop(place, f"a pointer to {pointer}, outside the blob buffer of {len(blobs)} bytes")
        raise AssertionError("unreachable")

    # ---- the extents

    def _extent(self) -> bool:
        """Check the next extent; False at the end of the archive."""
        begin = self._source.position
        head = bytes(self._source.take(EXTENT))
        if not head:
            return False
        if head[:4] != b"VMAE"[: len(head)]:
            self._stop(begin, f"no extent begins here (expected 56 4d 41 45, found {head[:4].hex(' ')})")
        if len(head) < EXTENT:
            self._stop(
                begin + len(head),
                f"the archive ends inside the header of extent {self.extents + 1}, which begins at byte {begin} "
                f"({len(head)} of {EXTENT} bytes)",
            )
        self.extents += 1
        _, _, count, uuid, digest = _EXTENT.unpack_from(head)
        infos = _INFOS.unpack_from(head, 40)
        blocks = sum(_BITS[info >> 48] for info in infos)
        whole = hashlib.md5(head[:24] + bytes(16) + head[40:], usedforsecurity=False).digest() == digest
        if not whole:
            self.wrong(begin, f"the md5 of extent {self.extents} does not fit: something in its header has changed")
        elif uuid != self.uuid:
            self.wrong(
                begin + 8,
                f"extent {self.extents} belongs to another archive ({_uuid(uuid)}, this one is {_uuid(self.uuid)})",
            )
        if count != blocks:
            self._stop(
                begin + 6,
                f"extent {self.extents} counts {count} blocks, its clusters name {blocks}: where the next one begins "
                "cannot be said",
            )
        if whole and uuid == self.uuid:
            self._clusters(begin, infos)
        missing = count * BLOCK - self._source.skip(count * BLOCK)
        if missing:
            self._stop(
                self._source.position,
                f"the archive ends inside extent {self.extents}, which begins at byte {begin}: {missing} of its bytes "
                "are missing",
            )
        return True

    def _clusters(self, begin: int, infos: tuple[int, ...]) -> None:
        for place, info in zip(range(begin + 40, begin + EXTENT, 8), infos):
            ident, number = info >> 32 & 0xFF, info & 0xFFFFFFFF
            if not ident:
                if info >> 48:
                    self.wrong(place, f"extent {self.extents} has blocks of no device")
                continue
            device = self.devices.get(ident)
            if device is None:
                self.wrong(place, f"cluster {number} of device {ident}, which the header does not name")
                continue
            name, due = device.name, device.seen.count
            if number >= device.clusters:
                self.wrong(place, f"cluster {number} of {name} is behind its end (it has {device.clusters} clusters)")
                continue
            if device.ordered and number != due:
                self.wrong(place, f"cluster {number} of {name} comes where {due} is due: a stream has an order")
            if device.seen.add(number):
                device.stored += _BITS[info >> 48] * BLOCK
            else:
                self.wrong(place, f"cluster {number} of {name} comes a second time")

    def report(self) -> VmaReport:
        return VmaReport(
            problems=tuple(self.problems),
            disks=tuple(self._disks()),
            configs=dict(self.configs),
            uuid=_uuid(self.uuid) if self.uuid else "",
            created=self.created,
            extents=self.extents,
            length=self._source.position,
        )

    def _disks(self) -> Iterator[Disk]:
        for device in self.devices.values():
            yield Disk(device.ident, device.name, device.size, device.clusters, device.seen.count, device.stored)


def _uuid(raw: bytes) -> str:
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def verify(stream: Stream) -> VmaReport:
    """Read the archive once, to the end, and say what is wrong with it and where."""
    source = _Source(stream)
    verifier = _Verifier(source)
    verifier.run()
    source.drain()
    return verifier.report()
