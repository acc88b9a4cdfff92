"""The verifier of archives, against archives that the lab's own writer makes: what is damaged is named, and where."""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pve.pve_standin import vma as writer

from bascule.guest import vma
from bascule.guest.vma import BLOCK, CLUSTER, EXTENT, Verdict, VmaReport, verify

FULL = b"a" * CLUSTER
MASKS = st.one_of(st.sampled_from([0, 0xFFFF]), st.integers(0, 0xFFFF))
DISKS = st.lists(st.lists(MASKS, min_size=1, max_size=130), min_size=1, max_size=3)


def cluster(mask: int) -> bytes | None:
    return b"".join((b"x" if mask >> bit & 1 else b"\0") * BLOCK for bit in range(16)) if mask else None


@dataclass(frozen=True)
class Made:
    """An archive, and where its parts stand."""

    data: bytes
    header: int
    extents: tuple[tuple[int, int], ...]


def archive(disks: list[list[int]], uuid: bytes = bytes(range(16)), tail: int = 0, names: str = "drive-scsi{}") -> Made:
    """An archive of disks given as the masks of their clusters; the last cluster of each is short by `tail` bytes."""
    devices = tuple(
        writer.Device(number + 1, names.format(number), len(disk) * CLUSTER - tail) for number, disk in enumerate(disks)
    )
    out = io.BytesIO()
    made = writer.Writer(writer.Header(uuid, 1795164361, {"qemu-server.conf": b"name: vm1\n"}, devices), out.write)
    for device, disk in zip(devices, disks, strict=True):
        for number, mask in enumerate(disk):
            made.add(device, number, cluster(mask))
    made.close()
    data = out.getvalue()
    header = struct.unpack_from(">I", data, 56)[0]
    extents, position = [], header
    while position < len(data):
        length = EXTENT + BLOCK * struct.unpack_from(">H", data, position + 6)[0]
        extents.append((position, length))
        position += length
    return Made(data, header, tuple(extents))


def look(data: bytes) -> VmaReport:
    return verify(Stream(data))


def said(report: VmaReport) -> list[str]:
    return [str(problem) for problem in report.problems]


def flipped(data: bytes, place: int, bit: int = 0) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def sealed(extent: bytes) -> bytes:
    """The extent with the md5 that fits: what a writer with a fault would write."""
    head = extent[:24] + bytes(16) + extent[40:EXTENT]
    return extent[:24] + hashlib.md5(head, usedforsecurity=False).digest() + extent[40:]


class Stream:
    """An archive in memory; with a `step` it hands out little at a time, as a pipe does."""

    def __init__(self, data: bytes, step: int = 1 << 30) -> None:
        self._stream = io.BytesIO(data)
        self._step = step

    def readinto(self, into: memoryview, /) -> int:
        return self._stream.readinto(into[: self._step])

    def skip(self, size: int, /) -> int:
        return len(self._stream.read(min(size, self._step)))


@settings(max_examples=40, deadline=None)
@given(disks=DISKS, tail=st.sampled_from([0, 512, 4096, 65024]))
def test_what_is_written_whole_is_sound(disks: list[list[int]], tail: int) -> None:
    made = archive(disks, tail=tail)
    report = look(made.data)
    assert said(report) == []
    assert [disk.found for disk in report.disks] == [disk.clusters for disk in report.disks]
    assert [disk.clusters for disk in report.disks] == [len(masks) for masks in disks]
    assert report.extents == len(made.extents)
    assert report.length == len(made.data)
    assert verify(Stream(made.data, 777)) == report


@settings(max_examples=60, deadline=None)
@given(data=st.data(), disks=DISKS)
def test_a_flipped_bit_in_header_or_extent_is_found_where_it_is(data: st.DataObject, disks: list[list[int]]) -> None:
    made = archive(disks)
    begin, length = data.draw(st.sampled_from([(0, made.header), *((start, EXTENT) for start, _ in made.extents)]))
    place = data.draw(st.integers(begin, begin + length - 1))
    first = look(flipped(made.data, place, data.draw(st.integers(0, 7)))).problems[0]
    # A header that says it is longer than the whole archive cannot be told from an archive cut short.
    longer = 56 <= place < 60 and "the archive ends inside its header" in first.what
    assert longer or begin <= first.position < begin + length


@settings(max_examples=40, deadline=None)
@given(data=st.data(), disks=DISKS)
def test_a_flipped_bit_in_the_payload_passes(data: st.DataObject, disks: list[list[int]]) -> None:
    """Nothing in the format covers it: a sound structure is no proof of the payload."""
    made = archive([[*disks[0], 1], *disks[1:]])
    begin, length = data.draw(st.sampled_from([extent for extent in made.extents if extent[1] > EXTENT]))
    place = data.draw(st.integers(begin + EXTENT, begin + length - 1))
    report = look(flipped(made.data, place))
    assert report.sound
    assert Verdict(report, "vma").result == "payload not proved"


@settings(max_examples=60, deadline=None)
@given(data=st.data(), disks=DISKS)
def test_a_truncated_archive_is_found(data: st.DataObject, disks: list[list[int]]) -> None:
    made = archive(disks)
    cut = data.draw(st.integers(0, len(made.data) - 1))
    report = look(made.data[:cut])
    assert not report.sound
    assert report.problems[0].position in (0, cut)
    assert report.length == cut


@settings(max_examples=30, deadline=None)
@given(data=st.data(), disks=DISKS)
def test_extents_may_stand_in_any_order_but_once_each(data: st.DataObject, disks: list[list[int]]) -> None:
    """A backup of a running guest writes clusters in the order in which they are saved."""
    made = archive(disks)
    parts = [made.data[start : start + length] for start, length in made.extents]
    order = data.draw(st.permutations(parts))
    assert look(made.data[: made.header] + b"".join(order)).sound
    without = look(made.data[: made.header] + b"".join(order[1:]))
    assert any("have not come" in text for text in said(without))
    twice = look(made.data[: made.header] + b"".join(order) + order[0])
    assert "comes a second time" in said(twice)[0]
    assert len(made.data) <= twice.problems[0].position < len(made.data) + EXTENT


def test_a_foreign_extent_is_named() -> None:
    ours, other = archive([[0xFFFF] * 70]), archive([[0xFFFF] * 70], uuid=b"f" * 16)
    begin, length = ours.extents[1]
    assert other.extents[1] == (begin, length)
    report = look(ours.data[:begin] + other.data[begin:])
    assert said(report) == [
        f"byte {begin + 8}: extent 2 belongs to another archive (66666666-6666-6666-6666-666666666666, this one is "
        "00010203-0405-0607-0809-0a0b0c0d0e0f)",
        f"byte {len(ours.data)}: the end, and 11 of 70 clusters of drive-scsi0 have not come, 59 is the first of them",
    ]


def test_what_one_damaged_extent_hides_is_told_and_the_rest_is_checked() -> None:
    made = archive([[0xFFFF] * 130])
    begin = made.extents[1][0]
    assert said(look(flipped(made.data, begin + 47))) == [
        f"byte {begin}: the md5 of extent 2 does not fit: something in its header has changed",
        f"byte {len(made.data)}: the end, and 59 of 130 clusters of drive-scsi0 have not come, 59 is the first of them",
    ]


@pytest.mark.parametrize(
    ("place", "fresh", "text"),
    [
        (6, struct.pack(">H", 1), "extent 1 counts 1 blocks, its clusters name 32"),
        (44, struct.pack(">I", 7), "cluster 7 of drive-scsi0 is behind its end (it has 2 clusters)"),
        (52, struct.pack(">I", 0), "cluster 0 of drive-scsi0 comes a second time"),
        (43, b"\x09", "cluster 0 of device 9, which the header does not name"),
        (43, b"\x00", "extent 1 has blocks of no device"),
    ],
)
def test_an_extent_with_a_fitting_md5_and_wrong_contents(place: int, fresh: bytes, text: str) -> None:
    made = archive([[0xFFFF] * 2])
    extent = made.data[made.header :]
    report = look(made.data[: made.header] + sealed(extent[:place] + fresh + extent[place + len(fresh) :]))
    assert text in said(report)[0]
    assert made.header <= report.problems[0].position < made.header + EXTENT


def test_a_memory_state_comes_in_order() -> None:
    made = archive([[0xFFFF] * 70], names="vmstate")
    assert look(made.data).sound
    parts = [made.data[start : start + length] for start, length in made.extents]
    report = look(made.data[: made.header] + parts[1] + parts[0])
    assert "cluster 59 of vmstate comes where 0 is due: a stream has an order" in said(report)[0]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "byte 0: no VMA archive begins here (expected 56 4d 41 00, the archive is empty)"),
        (b"PK\x03\x04" + bytes(99), "byte 0: no VMA archive begins here (expected 56 4d 41 00, found 50 4b 03 04)"),
    ],
)
def test_what_is_no_archive(data: bytes, text: str) -> None:
    assert said(look(data)) == [text]


def test_bytes_behind_the_end() -> None:
    made = archive([[0xFFFF]])
    report = look(made.data + b"\0" * 5)
    assert said(report) == [
        f"byte {len(made.data)}: no extent begins here (expected 56 4d 41 45, found 00 00 00 00)",
    ]
    assert report.length == len(made.data) + 5, "it is read to its end: a digest wants every byte"


def test_a_header_that_claims_too_much_takes_no_memory() -> None:
    made = archive([[0xFFFF]])
    header = bytearray(made.data[: made.header])
    struct.pack_into(">Q", header, 4096 + 32 + 8, 1 << 48)
    header[32:48] = bytes(16)
    header[32:48] = hashlib.md5(header, usedforsecurity=False).digest()
    report = look(bytes(header) + made.data[made.header :])
    assert "4294967295 of 4294967296 clusters of drive-scsi0 have not come, 1 is the first" in said(report)[0]
    struct.pack_into(">Q", header, 4096 + 32 + 8, (1 << 48) + 1)
    header[32:48] = bytes(16)
    header[32:48] = hashlib.md5(header, usedforsecurity=False).digest()
    assert "drive-scsi0 has 281474976710657 bytes" in said(look(bytes(header)))[0]


def test_a_header_of_any_length_and_a_disk_of_none() -> None:
    """Only the md5 and the field say where a header ends; an empty disk has no cluster that could be missing."""
    made = archive([[0xFFFF]])
    header = bytearray(made.data[: made.header]) + b"odd"
    struct.pack_into(">I", header, 56, len(header))
    name = struct.unpack_from(">I", header, 4096 + 32)[0]
    struct.pack_into(">IIQ", header, 4096 + 64, name, 0, 0)
    header[32:48] = bytes(16)
    header[32:48] = hashlib.md5(header, usedforsecurity=False).digest()
    report = look(bytes(header) + made.data[made.header :])
    assert said(report) == []
    assert [disk.clusters for disk in report.disks] == [1, 0]


def test_complaints_are_not_endless() -> None:
    made = archive([[0xFFFF] * 118])
    first = made.data[made.header : made.extents[1][0]]
    report = look(made.data + first)
    assert len(report.problems) == vma.MOST_PROBLEMS
