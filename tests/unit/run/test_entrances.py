"""What of an entrance is declared so that it cannot be right is named by variable before anything begins."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.run.entrances import entrance_findings
from bascule.run.findings import Declared

CA = "/etc/ssl/certs/ca-certificates.crt"
OPTIONS: dict[str, dict[str, Any]] = {
    "web_entrance_ca_file": {"default": CA},
    "web_entrance_certificate_days": {"default": 14},
}
VALUES: dict[str, Any] = {
    "web_entrance_scheme": "https",
    "web_entrance_port": 443,
    "web_entrance_ca_file": CA,
    "web_entrance_certificate_days": 14,
    "web_entrance_addresses": {"a": "192.0.2.1", "b": "192.0.2.2"},
    "web_entrance_further_addresses": {},
}
FURTHER = "web_entrance_further_addresses"


def found(**changes: Any) -> list[tuple[str, str]]:
    """Return the variable and what was found, of each finding."""
    values = {**VALUES, **{f"web_entrance_{name}": value for name, value in changes.items()}}
    one = Declared("entrance", "web_entrance", ("a", "b"), values, OPTIONS)
    return [(finding.key, finding.found) for finding in entrance_findings(one)]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, []),
        ({"ca_file": "/ca.pem", "certificate_days": 30, "port": 8443}, []),
        ({"scheme": "http", "port": 80}, []),
        ({"scheme": "http", "port": 8080, "further_addresses": {"a": ["192.0.2.10"]}}, []),
        ({"scheme": "http"}, [("web_entrance_port", "443")]),
        ({"port": "80"}, [("web_entrance_port", "80")]),
        (
            {"scheme": "http", "port": 80, "ca_file": "/ca.pem", "certificate_days": 30},
            [("web_entrance_ca_file", "'/ca.pem'"), ("web_entrance_certificate_days", "30")],
        ),
        (
            {"further_addresses": {"a": ["192.0.2.10", ""]}},
            [(f"{FURTHER}.a", "an empty one, by which nobody would be asked")],
        ),
        ({"further_addresses": {"a": [None]}}, [(f"{FURTHER}.a", "an empty one, by which nobody would be asked")]),
        ({"further_addresses": {"a": "192.0.2.10"}}, [(f"{FURTHER}.a", "'192.0.2.10'")]),
        ({"further_addresses": {"c": ["192.0.2.10"]}}, [(f"{FURTHER}.c", "c")]),
        ({"further_addresses": {"a": ["192.0.2.1"]}}, [(f"{FURTHER}.a", "that one again")]),
        ({"further_addresses": {"b": ["192.0.2.9"] * 2}}, [(f"{FURTHER}.b", "one of them twice")]),
    ],
)
def test_findings(changes: dict[str, Any], wanted: list[tuple[str, str]]) -> None:
    assert found(**changes) == wanted


def test_other_roles_have_no_entrance() -> None:
    assert (
        entrance_findings(Declared("tree", "rsync_delta_sync", ("a", "b"), {**VALUES, "web_entrance_port": 80})) == []
    )
