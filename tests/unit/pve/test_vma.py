"""The archive format: what is written is read back, and what is damaged is named."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pve.pve_standin import vma
from pve.pve_standin.vma import BLOCK, CLUSTER, Device, Header, VmaError

CONTENTS = st.lists(
    st.one_of(st.none(), st.binary(min_size=1, max_size=8).map(lambda seed: (seed * CLUSTER)[:CLUSTER])),
    min_size=1, max_size=70,
)  # fmt: skip
SPARSE = st.integers(0, 0xFFFF).map(
    lambda mask: b"".join((b"x" if mask >> bit & 1 else b"\0") * BLOCK for bit in range(16))
)


def archive(disks: list[list[bytes | None]], tail: int = 0) -> tuple[bytes, Header]:
    """An archive of disks given cluster by cluster; the last cluster of each is short by `tail` bytes."""
    devices = tuple(
        Device(number, f"drive-scsi{number - 1}", len(disk) * CLUSTER - tail) for number, disk in enumerate(disks, 1)
    )
    header = Header(bytes(range(16)), 1795164361, {"qemu-server.conf": b"name: vm1\n"}, devices)
    out = io.BytesIO()
    writer = vma.Writer(header, out.write)
    for device, disk in zip(devices, disks, strict=True):
        for number, data in enumerate(disk):
            short = data[: device.size - number * CLUSTER] if data is not None else None
            writer.add(device, number, short)
    writer.close()
    return out.getvalue(), header


def read(data: bytes) -> dict[str, bytes]:
    stream = io.BytesIO(data)
    header = vma.read_header(stream)
    disks = {device.name: bytearray(device.size) for device in header.devices}
    for device, number, mask, blocks in vma.read_clusters(stream, header):
        for offset, piece in vma.pieces(mask, blocks):
            start = number * CLUSTER + offset
            disks[device.name][start : start + len(piece)] = piece[: device.size - start]
    return {name: bytes(disk) for name, disk in disks.items()}


@settings(max_examples=40, deadline=None)
@given(disks=st.lists(CONTENTS, min_size=1, max_size=2), tail=st.sampled_from([0, 512, 4096, 65024]))
def test_what_is_written_is_read_back(disks: list[list[bytes | None]], tail: int) -> None:
    data, header = archive(disks, tail)
    found = read(data)
    for device, disk in zip(header.devices, disks, strict=True):
        expected = b"".join(cluster or bytes(CLUSTER) for cluster in disk)[: device.size]
        assert found[device.name] == expected
    assert vma.read_header(io.BytesIO(data)) == header


@settings(max_examples=40, deadline=None)
@given(cluster=SPARSE)
def test_only_blocks_with_data_are_stored(cluster: bytes) -> None:
    data, _ = archive([[cluster]])
    present = sum(cluster[start : start + BLOCK] != bytes(BLOCK) for start in range(0, CLUSTER, BLOCK))
    header_size = struct.unpack_from(">I", data, 56)[0]
    assert len(data) == header_size + vma.EXTENT_HEADER + present * BLOCK
    assert read(data)["drive-scsi0"] == cluster


def test_layout_is_the_published_one() -> None:
    data, header = archive([[b"a" * CLUSTER, None]])
    magic, version, uuid, ctime = struct.unpack_from(">4sI16sq", data)
    assert (magic, version, uuid, ctime) == (b"VMA\0", 1, header.uuid, header.ctime)
    start, length, size = struct.unpack_from(">III", data, 48)
    assert (start, start + length) == (12288, size)
    name, reserved, disk = struct.unpack_from(">IIQ", data, 4096 + 32)
    assert (reserved, disk) == (0, 2 * CLUSTER)
    # The length of a blob is little-endian, and names end in NUL.
    assert struct.unpack_from("<H", data, start + name)[0] == len("drive-scsi0") + 1
    assert data[start + name + 2 :].startswith(b"drive-scsi0\0")
    assert data[size : size + 8] == b"VMAE" + struct.pack(">HH", 0, 16)
    assert struct.unpack_from(">HBBI", data, size + 40) == (0xFFFF, 0, 1, 0)
    assert struct.unpack_from(">HBBI", data, size + 48) == (0, 0, 1, 1)


def damaged(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data, end: damaged(data, 0), "bad magic"),
        (lambda data, end: damaged(data, 100), "wrong vma header checksum"),
        (lambda data, end: damaged(data, end - 1), "wrong vma header checksum"),
        (lambda data, end: damaged(data, end), "no vma extent"),
        (lambda data, end: damaged(data, end + 10), "another archive"),
        (lambda data, end: damaged(data, end + 45), "wrong vma extent checksum"),
        (lambda data, end: data[:-1], "short vma extent"),
        (lambda data, end: data[: end + 100], "short vma extent"),
        (lambda data, end: data[:end], "2 clusters of drive-scsi0 are missing"),
        (lambda data, end: data + data[end:], "stands twice"),
        (lambda data, end: data + b"x", "short vma extent"),
    ],
)
def test_damage_is_named(change: object, said: str) -> None:
    data, _ = archive([[b"a" * CLUSTER, b"b" * CLUSTER]])
    end = struct.unpack_from(">I", data, 56)[0]
    assert callable(change)
    with pytest.raises(VmaError, match=said):
        read(change(data, end))


def test_a_flipped_payload_bit_passes() -> None:
    """The format has no checksum over its payload: whoever needs one must bring it."""
    data, _ = archive([[b"a" * CLUSTER]])
    assert read(damaged(data, len(data) - 1)) != read(data)
