"""ACLs as the kernel stores them, and by name: the same for the same names, whatever their numbers are."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.filetree import acl
from bascule.filetree.acl import GROUP, NOBODY, USER, Entry

OWNER, OWNING_GROUP, MASK, OTHER = 0x01, 0x04, 0x10, 0x20
MODES = st.integers(0, 7)


def lists() -> st.SearchStrategy[list[Entry]]:
    """Lists as the kernel takes them: one entry for each of the owner, group and others, any number for named ones."""

    def named(tag: int) -> st.SearchStrategy[list[Entry]]:
        return st.dictionaries(st.integers(0, 999), MODES, max_size=5).map(
            lambda found: [Entry(tag, number, mode) for number, mode in found.items()]
        )

    plain = st.tuples(MODES, MODES, MODES, MODES).map(
        lambda modes: [Entry(tag, NOBODY, mode) for tag, mode in zip((OWNER, OWNING_GROUP, MASK, OTHER), modes)]
    )
    return st.tuples(plain, named(USER), named(GROUP)).map(lambda parts: [one for part in parts for one in part])


class Called(dict[int, str]):
    """A name service that has given numbers away in its own order."""

    def __init__(self, shift: int) -> None:
        super().__init__((number, f'"n{(number * 7 + shift) % 1000}"') for number in range(1000))
        self.numbers = {name: number for number, name in self.items()}


@given(entries=lists())
def test_what_was_written_is_read_again(entries: list[Entry]) -> None:
    assert acl.read(acl.write(entries)) == sorted(entries)
    assert acl.write(acl.read(acl.write(entries)) or []) == acl.write(entries)


@given(entries=lists(), shifts=st.tuples(st.integers(0, 999), st.integers(0, 999)))
def test_a_list_goes_to_the_other_side_and_back(entries: list[Entry], shifts: tuple[int, int]) -> None:
    here, there = Called(shifts[0]), Called(shifts[1])
    text = acl.to_names(acl.write(entries), here, here)
    arrived = acl.to_numbers(text, there.numbers.__getitem__, there.numbers.__getitem__)
    assert acl.to_names(arrived, there, there) == text
    assert acl.to_numbers(text, here.numbers.__getitem__, here.numbers.__getitem__) == acl.write(entries)


@given(one=lists(), other=lists())
def test_other_lists_are_other_texts(one: list[Entry], other: list[Entry]) -> None:
    called = Called(3)
    texts = [acl.to_names(acl.write(entries), called, called) for entries in (one, other)]
    assert (texts[0] == texts[1]) == (sorted(one) == sorted(other))


def test_the_kernels_own_bytes() -> None:
    """As `setfacl -m u:1234:r` leaves them: owner rw-, user 1234 r--, group r--, mask r--, others ---."""
    value = bytes.fromhex(
        "02000000 01000600ffffffff 02000400d2040000 04000400ffffffff 10000400ffffffff 20000000ffffffff".replace(" ", "")
    )
    assert acl.read(value) == [
        (OWNER, NOBODY, 6), (USER, 1234, 4), (OWNING_GROUP, NOBODY, 4), (MASK, NOBODY, 4), (OTHER, NOBODY, 0),
    ]  # fmt: skip
    assert acl.write(acl.read(value) or []) == value
    text = acl.to_names(value, {1234: '"amina"'}, {})
    assert text == "named:1..6,2.22616d696e6122.4,4..4,10..4,20..0"


@pytest.mark.parametrize("value", [b"", b"\x02\0\0", struct.pack("<I", 3), struct.pack("<I", 2) + b"1234567"])
def test_a_form_that_is_not_known_stays_as_it_is(value: bytes) -> None:
    assert acl.read(value) is None
    text = acl.to_names(value, {}, {})
    assert text == value.hex()
    assert acl.to_numbers(text, len, len) == value
