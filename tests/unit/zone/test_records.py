"""What is declared for a zone is read strictly, and compared in one spelling."""

from __future__ import annotations

import pytest

from bascule.dns import records
from bascule.errors import PlanError

ZONE = "example.org"
SIDES = ("ns-a", "ns-b")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("courses", "courses.example.org."),
        ("Courses.Example.org", "courses.example.org."),
        ("courses.example.org.", "courses.example.org."),
        ("@", "example.org."),
        ("a.b", "a.b.example.org."),
    ],
)
def test_names_are_absolute(name: str, wanted: str) -> None:
    """However a name is written, it means one thing."""
    assert records.absolute(name, ZONE) == wanted


def test_a_name_outside_the_zone_is_refused() -> None:
    """An absolute name of another zone is a mistake."""
    with pytest.raises(PlanError, match=r"below example\.org"):
        records.absolute("courses.example.net.", ZONE)


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("CNAME", "web", "web.example.org."),
        ("CNAME", "Web.Example.net.", "web.example.net."),
        ("MX", "10  Mail.example.org.", "10 mail.example.org."),
        ("AAAA", "2001:DB8::1", "2001:db8::1"),
        ("A", " 192.0.2.1 ", "192.0.2.1"),
    ],
)
def test_values_have_one_spelling(kind: str, value: str, wanted: str) -> None:
    """A server's spelling and a person's are the same value."""
    assert records.normal_value(kind, value, ZONE) == wanted


def test_every_fault_is_named_at_once() -> None:
    """A tired reader corrects all faults in one go."""
    declared = [
        {"name": "a", "type": "NAPTR", "values": {}},
        {"name": "b", "type": "A", "values": {"ns-a": "192.0.2.1"}},
        {"name": "c", "type": "A", "values": {"ns-a": "192.0.2.1", "ns-b": []}},
        {"name": "d", "type": "a", "values": {"ns-a": "192.0.2.1", "ns-b": "192.0.2.2"}},
        {"name": "d", "type": "A", "values": {"ns-a": "192.0.2.1", "ns-b": "192.0.2.2"}},
        {"name": "_bascule", "type": "TXT", "values": {"ns-a": "x", "ns-b": "y"}},
    ]
    with pytest.raises(PlanError) as caught:
        records.parse_records(declared, ZONE, SIDES)
    for text in ("NAPTR", "exactly the keys ns-a, ns-b", "a side without a value", "declared twice", "keeps the state"):
        assert text in caught.value.found


def test_nothing_declared_is_refused() -> None:
    """A switch of nothing would succeed and move nobody."""
    with pytest.raises(PlanError, match="no record is declared"):
        records.parse_records([], ZONE, SIDES)


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [(1, 2, True), (2, 2, False), (3, 2, False), (4294967295, 0, True), (0, 4294967295, False)],
)
def test_serials_wrap_around(before: int, after: int, moved: bool) -> None:
    """RFC 1982."""
    assert records.serial_moved(before, after) is moved
