"""The VMA archive: a writer and a reader of Proxmox's backup format, both streaming.

A header names the configuration and the devices; extents follow, each with up to 59 clusters of 64 KiB and a mask of
the 4 KiB blocks that are present. Blocks that are zero are left out. Written from the published description of the
format alone.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

BLOCK = 4096
CLUSTER = 65536
FULL_MASK = 0xFFFF
EXTENT_CLUSTERS = 59
EXTENT_HEADER = 512
HEADER = 12288
MAX_HEADER = 16 << 20
ZERO_BLOCK = bytes(BLOCK)
ZERO_CLUSTER = bytes(CLUSTER)


def md5(data: bytes | bytearray) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


class VmaError(Exception):
    """The archive is not what it must be."""


@dataclass(frozen=True)
class Device:
    ident: int
    name: str
    size: int

    @property
    def clusters(self) -> int:
        return -(-self.size // CLUSTER)


@dataclass(frozen=True)
class Header:
    uuid: bytes
    ctime: int
    configs: dict[str, bytes]
    devices: tuple[Device, ...]


def pack_header(header: Header) -> bytes:
    blobs = bytearray(1)

    def add(data: bytes) -> int:
        position = len(blobs)
        blobs.extend(struct.pack("<H", len(data)) + data)
        return position

    names, contents = [0] * 256, [0] * 256
    for index, (name, text) in enumerate(header.configs.items()):
        names[index], contents[index] = add(name.encode() + b"\0"), add(text)
    devices = bytearray(256 * 32)
    for device in header.devices:
        struct.pack_into(">IIQ", devices, device.ident * 32, add(device.name.encode() + b"\0"), 0, device.size)
    blobs.extend(bytes(-len(blobs) % 512))
    size = HEADER + len(blobs)
    out = bytearray(size)
    struct.pack_into(">4sI16sq16sIII", out, 0, b"VMA\0", 1, header.uuid, header.ctime, b"", HEADER, len(blobs), size)
    struct.pack_into(">256I", out, 2044, *names)
    struct.pack_into(">256I", out, 3068, *contents)
    out[4096 : 4096 + len(devices)] = devices
    out[HEADER:] = blobs
    out[32:48] = md5(out)
    return bytes(out)


class Writer:
    """Collects clusters and writes an extent whenever one is full."""

    def __init__(self, header: Header, write: Callable[[bytes], object]) -> None:
        self._header = header
        self._write = write
        self._infos: list[int] = []
        self._blocks: list[bytes] = []
        self._count = 0
        self.zero_bytes = 0
        write(pack_header(header))

    def add(self, device: Device, number: int, data: bytes | None) -> None:
        """One cluster; None is a cluster known to be zero. The last one of a device may be short."""
        mask = 0
        if data is not None:
            if len(data) != CLUSTER:
                data = data.ljust(CLUSTER, b"\0")
            mask = self._add_blocks(data)
        self._infos.append(mask << 48 | device.ident << 32 | number)
        self.zero_bytes += (16 - mask.bit_count()) * BLOCK
        if len(self._infos) == EXTENT_CLUSTERS:
            self._flush()

    def _add_blocks(self, data: bytes) -> int:
        # Most clusters are all zero or all data: two comparisons decide before blocks are looked at one by one.
        if data == ZERO_CLUSTER:
            return 0
        mask = 0
        pieces = [data[start : start + BLOCK] for start in range(0, CLUSTER, BLOCK)]
        for bit, piece in enumerate(pieces):
            if piece != ZERO_BLOCK:
                mask |= 1 << bit
        self._blocks += [data] if mask == FULL_MASK else [piece for bit, piece in enumerate(pieces) if mask >> bit & 1]
        self._count += mask.bit_count()
        return mask

    def _flush(self) -> None:
        if not self._infos:
            return
        head = bytearray(EXTENT_HEADER)
        struct.pack_into(">4sHH16s", head, 0, b"VMAE", 0, self._count, self._header.uuid)
        struct.pack_into(f">{len(self._infos)}Q", head, 40, *self._infos)
        head[24:40] = md5(head)
        self._write(b"".join([head, *self._blocks]))
        self._infos, self._blocks, self._count = [], [], 0

    def close(self) -> None:
        self._flush()


def _exactly(source: IO[bytes], size: int, what: str) -> bytes:
    data = source.read(size)
    if len(data) != size:
        raise VmaError(f"short vma {what} ({len(data)} of {size} bytes)")
    return data


def _blob(blobs: bytes, position: int) -> bytes:
    if position + 2 > len(blobs):
        raise VmaError("blob pointer outside the blob buffer")
    (size,) = struct.unpack_from("<H", blobs, position)
    data = blobs[position + 2 : position + 2 + size]
    if len(data) != size:
        raise VmaError("blob reaches beyond the blob buffer")
    return data


def _name(blobs: bytes, position: int) -> str:
    return _blob(blobs, position).rstrip(b"\0").decode(errors="replace")


def read_header(source: IO[bytes]) -> Header:
    head = _exactly(source, HEADER, "header")
    magic, version, uuid, ctime, digest, start, length, size = struct.unpack_from(">4sI16sq16sIII", head)
    if magic != b"VMA\0":
        raise VmaError("not a vma archive (bad magic)")
    if version != 1:
        raise VmaError(f"unknown vma version {version}")
    if not HEADER <= size <= MAX_HEADER or start + length > size or start < HEADER:
        raise VmaError("wrong vma header size")
    whole = bytearray(head + _exactly(source, size - HEADER, "header"))
    whole[32:48] = bytes(16)
    if md5(whole) != digest:
        raise VmaError("wrong vma header checksum")
    blobs = bytes(whole[start : start + length])
    names, contents = struct.unpack_from(">256I", whole, 2044), struct.unpack_from(">256I", whole, 3068)
    configs = {_name(blobs, name): _blob(blobs, text) for name, text in zip(names, contents, strict=True) if name}
    devices = []
    for ident in range(1, 256):
        name, _, bytes_long = struct.unpack_from(">IIQ", whole, 4096 + ident * 32)
        if name:
            devices.append(Device(ident, _name(blobs, name), bytes_long))
    return Header(uuid, ctime, configs, tuple(devices))


def read_clusters(source: IO[bytes], header: Header) -> Iterator[tuple[Device, int, int, memoryview]]:
    """Every cluster as (device, number, mask, present blocks), in the archive's order.

    At the end of the stream each cluster of each device must have come exactly once.
    """
    devices = {device.ident: device for device in header.devices}
    seen = {device.ident: bytearray(device.clusters) for device in header.devices}
    while head := source.read(EXTENT_HEADER):
        if len(head) != EXTENT_HEADER:
            raise VmaError(f"short vma extent ({len(head)} of {EXTENT_HEADER} bytes)")
        magic, _, count, uuid, digest = struct.unpack_from(">4sHH16s16s", head)
        if magic != b"VMAE":
            raise VmaError("no vma extent where one must be (bad magic)")
        if uuid != header.uuid:
            raise VmaError("extent of another archive (wrong uuid)")
        if md5(head[:24] + bytes(16) + head[40:]) != digest:
            raise VmaError("wrong vma extent checksum")
        infos = struct.unpack_from(f">{EXTENT_CLUSTERS}Q", head, 40)
        if sum((info >> 48).bit_count() for info in infos) != count:
            raise VmaError("wrong block count in a vma extent")
        data, position = memoryview(_exactly(source, count * BLOCK, "extent")), 0
        for info in infos:
            ident, number, mask = info >> 32 & 0xFF, info & 0xFFFFFFFF, info >> 48
            if not ident:
                continue
            device = devices.get(ident)
            if device is None or number >= device.clusters:
                raise VmaError(f"cluster {number} of device {ident} does not belong to this archive")
            if seen[ident][number]:
                raise VmaError(f"cluster {number} of device {ident} stands twice in the archive")
            seen[ident][number] = 1
            length = mask.bit_count() * BLOCK
            yield device, number, mask, data[position : position + length]
            position += length
    for device in header.devices:
        missing = seen[device.ident].count(0)
        if missing:
            raise VmaError(f"{missing} clusters of {device.name} are missing")


def pieces(mask: int, blocks: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The runs of neighbouring present blocks in a cluster: offset inside it, and bytes."""
    bit = position = 0
    while bit < 16:
        if not mask >> bit & 1:
            bit += 1
            continue
        first = bit
        while bit < 16 and mask >> bit & 1:
            bit += 1
        length = (bit - first) * BLOCK
        yield first * BLOCK, blocks[position : position + length]
        position += length
