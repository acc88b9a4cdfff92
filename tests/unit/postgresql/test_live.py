"""Who uses the live side, and what of a move each would notice."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.postgresql import compatibility, live

from .test_compatibility import cluster
from .test_files import CLIENT

SPEC = {"clients": [CLIENT], "peer_clients": [CLIENT], "pooler": "none"}


def session(**changes: Any) -> dict[str, Any]:
    """Make what an audit has seen of one client."""
    known = {"username": "courses", "database": "courses", "address": "198.18.1.7", "ssl": True, "version": "TLSv1.3"}
    return {**known, "count": 2, **changes}


@pytest.mark.parametrize(
    ("changes", "spec", "text"),
    [
        (
            {"address": "10.1.1.1"},
            {},
            "courses in courses from 10.1.1.1 (2 sessions, TLSv1.3) is no declared client of",
        ),
        ({"username": "report"}, {}, "report in courses from 198.18.1.7"),
        ({"ssl": False, "version": None}, {}, "without TLS) is refused at db-tls after the switch"),
        ({"version": "TLSv1.2"}, {"pooler": "install"}, "cannot come through the pooler"),
    ],
)
def test_who_would_be_hurt_is_named(changes: dict[str, Any], spec: dict[str, Any], text: str) -> None:
    source, target = cluster(sessions=[session(**changes)]), cluster(side="db-tls")
    found = live.notes(source, target, {**SPEC, **spec})
    assert len(found) == 1
    assert text in found[0]


def test_a_declared_client_that_speaks_an_older_tls_is_left_alone() -> None:
    source = cluster(sessions=[session(version="TLSv1.2")])
    assert live.notes(source, cluster(side="db-tls"), SPEC) == []


def test_a_certificate_that_has_to_go_and_slots_of_others_are_named() -> None:
    source = cluster(
        sessions=[session()],
        tls_wanting="self-signed certificate",
        other_slots=["report"],
        wal_bytes_per_second=1 << 20,
    )
    source["settings"]["max_slot_wal_keep_size"] = "-1"
    first, second = live.notes(source, cluster(side="db-tls"), SPEC)
    assert "self-signed certificate" in first
    assert "2 sessions over TLS" in first
    assert "other slots at the source (report): no limit is set" in second
    assert "2.8 hours" in second
    source["settings"]["max_slot_wal_keep_size"] = "4096"
    assert "stays at 4096 MB" in live.notes(source, cluster(side="db-tls"), SPEC)[1]


def test_what_would_keep_a_declared_client_out_stands_in_the_way() -> None:
    source = cluster(md5_roles=["courses", "nobody_declared"])
    target = cluster(side="db-tls", shut_out=["courses in courses from all: host all all all reject"])
    first, second = live.differences(source, target, SPEC)
    assert "pg_hba.conf of db-tls rejects a declared client" in first
    assert "the password of courses is stored as md5" in second
    spec = {"clients": [{**CLIENT, "method": "md5"}], "peer_clients": []}
    assert live.differences(source, cluster(side="db-tls"), spec) == []


@pytest.mark.parametrize(
    ("addresses", "own", "said"),
    [
        ("*", "198.18.1.10", True),
        ("localhost, 198.18.1.10", "198.18.1.10", True),
        (".".join("0000"), "198.18.1.10", True),
        ("::", "fd00::1", True),
        ("::", "198.18.1.10", False),
        # Not the address, although it begins like it.
        ("198.18.1.100", "198.18.1.10", False),
        ("localhost", "198.18.1.10", False),
    ],
)
def test_what_a_server_is_reached_at(addresses: str, own: str, said: bool) -> None:
    assert live.listens(addresses, own) is said


def test_files_that_the_server_does_not_go_by_stand_in_the_way() -> None:
    found = compatibility.differences(cluster(), cluster(side="db-tls", misplaced_files=["hba_file is elsewhere"]))
    assert found == ["db-tls: hba_file is elsewhere"]
