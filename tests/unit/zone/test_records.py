"""What is declared for a zone is read strictly, and compared in one spelling."""

from __future__ import annotations

import pytest

from bascule.dns import records
from bascule.errors import PlanError
from bascule.system.domain_names import absolute

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
    assert absolute(name, ZONE) == wanted


def test_a_name_outside_the_zone_is_refused() -> None:
    """An absolute name of another zone is a mistake."""
    with pytest.raises(PlanError, match=r"below example\.org"):
        absolute("courses.example.net.", ZONE)


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("CNAME", "web", "web.example.org."),
        ("CNAME", "Web.Example.net.", "web.example.net."),
        ("MX", "10  Mail.example.org.", "10 mail.example.org."),
        ("AAAA", "2001:DB8::1", "2001:db8::1"),
        ("A", " 192.0.2.1 ", "192.0.2.1"),
        ("AAAA", "2001:db8:0:0::1", "2001:db8::1"),
        ("AAAA", "::FFFF:192.0.2.1", "::ffff:192.0.2.1"),
        ("CNAME", "@", "example.org."),
        ("CNAME", "web.example.org", "web.example.org."),
        ("PTR", "host7", "host7.example.org."),
        ("MX", "10 mail2", "10 mail2.example.org."),
        ("MX", "010 mail.example.org", "10 mail.example.org."),
        ("SRV", "0 5 443 web", "0 5 443 web.example.org."),
        ("MX", "0 .", "0 ."),
        ("MX", "10\tmail2", "10 mail2.example.org."),
        ("TXT", '"v=spf1  -all"', '"v=spf1  -all"'),
        ("TXT", "v=spf1 -all", '"v=spf1 -all"'),
        ("CAA", '0 issue "Letsencrypt.org"', '0 issue "Letsencrypt.org"'),
    ],
)
def test_values_have_one_spelling(kind: str, value: str, wanted: str) -> None:
    """A server's spelling and a person's are the same value."""
    assert records.normal_value(kind, value, ZONE) == wanted


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("CNAME", "lb.tls.example.net"),
        ("PTR", "lb.tls.example.net"),
        ("MX", "10 lb.tls.example.net"),
        ("SRV", "0 5 443 lb.tls.example.net"),
        # As the zone's own names go, but nobody can tell from the outside that a label was meant to be below it.
        ("CNAME", "entrance.a"),
        ("MX", "mail2"),
        ("SRV", "5 443 web"),
        ("MX", "10 mail2 mail3"),
        ("A", "2001:db8::1"),
        ("A", "192.0.2.300"),
        ("A", "192.0.2"),
        ("AAAA", "192.0.2.1"),
        ("CNAME", "two words"),
        ("CNAME", ""),
        ("MX", "10\tlb.tls.example.net"),
        ("CAA", "issue letsencrypt.org"),
        ("TXT", "déjà"),
    ],
)
def test_a_value_that_would_mean_something_else_is_refused(kind: str, value: str) -> None:
    """A name of several labels outside the zone, without its final dot, would be published below the zone."""
    good = {"A": "192.0.2.1", "AAAA": "::1", "MX": "1 a", "SRV": "1 1 1 a", "CAA": '0 issue ";"'}.get(kind, "a")
    for values in ({"ns-a": good, "ns-b": value}, {"ns-a": value, "ns-b": good}):
        with pytest.raises(PlanError) as caught:
            records.parse_records([{"name": "x", "type": kind, "values": values}], ZONE, SIDES)
        assert (value.split() or ["nothing"])[-1] in caught.value.found
    if kind in ("CNAME", "PTR") and "." in value:
        assert f"{value}." in caught.value.found, "the message says how it is written"


def test_every_fault_is_named_at_once() -> None:
    """A tired reader corrects all faults in one go."""
    declared = [
        {"name": "a", "type": "NAPTR", "values": {}},
        {"name": "b", "type": "A", "values": {"ns-a": "192.0.2.1"}},
        {"name": "c", "type": "A", "values": {"ns-a": "192.0.2.1", "ns-b": []}},
        {"name": "d", "type": "a", "values": {"ns-a": "192.0.2.1", "ns-b": "192.0.2.2"}},
        {"name": "d", "type": "A", "values": {"ns-a": "192.0.2.1", "ns-b": "192.0.2.2"}},
        {"name": "_bascule", "type": "TXT", "values": {"ns-a": "x", "ns-b": "y"}},
        {"name": "e", "type": "CNAME", "values": {"ns-a": "x", "ns-b": ["y", "z"]}},
    ]
    with pytest.raises(PlanError) as caught:
        records.parse_records(declared, ZONE, SIDES)
    for text in ("NAPTR", "exactly the keys ns-a, ns-b", "a side without a value", "declared twice", "keeps the state"):
        assert text in caught.value.found
    assert "(e): a side with several values, and an alias has one" in caught.value.found


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


def test_a_reverse_record_to_a_single_label_is_doubted_without_refusing_a_return() -> None:
    """It would be read below the reverse zone, which nobody means."""
    declared = [
        {"name": "1", "type": "ptr", "values": {"ns-a": "courses", "ns-b": ["b.example.net.", "b"]}},
        {"name": "www", "type": "CNAME", "values": {"ns-a": "a", "ns-b": "b"}},
    ]
    assert [text.partition(" is ")[0] for text in records.doubtful(declared)] == [
        "record 1 (1): ns-a: PTR 'courses'",
        "record 1 (1): ns-b: PTR 'b'",
    ]
